//! Freezing: giving ids to all that a signature will become, before anything of it is sent. So the parts know each other:
//! the last of a chain the group it belongs to, the parts of a chord the body, and the caller every result.

use super::{
    result_tuple::ResultTuple,
    signature::{Kind, Object, Raw, Signature, option, raw},
};

/// What the surroundings say of a signature that is frozen.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The id it is to have, unless it has one.
    pub id: Option<Raw>,
    /// The group it belongs to, unless it belongs to one.
    pub group_id: Option<Raw>,
    /// Where in the group.
    pub group_index: Option<Raw>,
    /// The body of the chord it is a part of.
    pub chord: Option<Raw>,
    /// The first task of the workflow.
    pub root_id: Option<Raw>,
}

impl Place {
    /// The place that options tell of.
    pub fn of(options: &Object) -> Self {
        let get = |name| option(options, name).cloned();
        Self {
            id: get("task_id"),
            group_id: get("group_id"),
            group_index: get("group_index"),
            chord: get("chord"),
            root_id: get("root_id"),
        }
    }
}

/// Gives ids to a signature and to all that it is made of; answers the result by which its caller will know it.
pub fn freeze(signature: &mut Signature, place: Place) -> ResultTuple {
    match &mut signature.kind {
        Kind::Task | Kind::Map(_) => freeze_task(&mut signature.options, place),
        Kind::Chunks => {
            *signature = super::apply::chunks_group(signature);
            freeze(signature, place)
        }
        Kind::Chain(tasks) => {
            let args = std::mem::take(&mut signature.args);
            let mut frozen = freeze_chain(std::mem::take(tasks), &args, &[], place);
            frozen.tasks.reverse();
            *tasks = frozen.tasks;
            frozen.result
        }
        Kind::Group(_) => freeze_group(signature, place),
        Kind::Chord { header, body } => {
            let Place { id, group_id, group_index, chord, root_id } = place;
            let body_result =
                freeze(body, Place { id, group_id, group_index, chord, root_id: root_id.clone() });
            let chord = Some(body.to_raw());
            let header_result = freeze(header, Place { chord, root_id, ..Place::default() });
            if let Some(id) = header.options.get("task_id") {
                signature.options.insert("task_id".to_owned(), id.clone());
            }
            body_result.after(header_result)
        }
    }
}

fn freeze_task(options: &mut Object, place: Place) -> ResultTuple {
    let id = match option(options, "task_id").cloned() {
        Some(id) => id,
        None => {
            let id = place.id.unwrap_or_else(random_id);
            options.insert("task_id".to_owned(), id.clone());
            id
        }
    };
    overlay(options, "root_id", place.root_id);
    if option(options, "group_id").is_none() {
        overlay(options, "group_id", place.group_id);
    }
    overlay(options, "chord", place.chord);
    overlay(options, "group_index", place.group_index);
    ResultTuple::task(id)
}

/// Members of groups in the group become members of it, a group's in reverse: so does Celery.
fn freeze_group(group: &mut Signature, place: Place) -> ResultTuple {
    let id = match option(&group.options, "task_id").cloned() {
        Some(id) => id,
        None => place.group_id.clone().unwrap_or_else(random_id),
    };
    group.options.insert("task_id".to_owned(), id.clone());
    overlay(&mut group.options, "group_id", place.group_id.clone());
    overlay(&mut group.options, "chord", place.chord.clone());
    overlay(&mut group.options, "group_index", place.group_index.clone());
    if option(&group.options, "root_id").is_none() {
        overlay(&mut group.options, "root_id", place.root_id.clone());
    }
    let root_id = option(&group.options, "root_id").cloned();
    let Kind::Group(tasks) = &mut group.kind else { unreachable!("only groups are frozen as groups") };
    let mut waiting: std::collections::VecDeque<_> = std::mem::take(tasks).into();
    let mut members = Vec::new();
    while let Some(mut task) = waiting.pop_front() {
        if let Kind::Group(inner) = task.kind {
            inner.into_iter().for_each(|task| waiting.push_front(task));
            continue;
        }
        let place = Place {
            id: None,
            group_id: place.group_id.clone(),
            group_index: Some(raw(&members.len())),
            chord: place.chord.clone(),
            root_id: root_id.clone(),
        };
        members.push(freeze(&mut task, place));
        tasks.push(task);
    }
    ResultTuple::group(id, members)
}

/// A chain that is ready to be sent.
pub struct FrozenChain {
    /// Its tasks, the last one first: so they stand in messages, and whoever ends one takes the next off the end.
    pub tasks: Vec<Signature>,
    /// The result of the last one, with those before it as its parents.
    pub result: ResultTuple,
}

/// Unrolls chains in the chain, makes a group with something behind it a chord, and gives ids to all. `args` go before those
/// of the first task.
pub fn freeze_chain(tasks: Vec<Signature>, args: &[Raw], link_error: &[Raw], place: Place) -> FrozenChain {
    let mut steps = unrolled(tasks);
    if let Some(first) = steps.first_mut() {
        first.args = first.args_after(args);
    }
    let elsewhere = Place { root_id: place.root_id.clone(), ..Place::default() };
    let mut place = place;
    let mut frozen: Vec<(Signature, ResultTuple)> = Vec::new();
    for mut step in steps.into_iter().rev() {
        if matches!(step.kind, Kind::Group(_))
            && let Some((body, _)) = frozen.pop()
        {
            step = Signature::chord(step, body);
        }
        // The group that the chain belongs to waits for its last task.
        let place = std::mem::replace(&mut place, elsewhere.clone());
        let result = freeze(&mut step, place);
        link_error.iter().for_each(|errback| step.link_error(errback));
        frozen.push((step, result));
    }
    let (tasks, results): (Vec<_>, Vec<_>) = frozen.into_iter().unzip();
    let result = results.into_iter().rev().reduce(|earlier, later| later.after(earlier));
    FrozenChain { tasks, result: result.unwrap_or_else(ResultTuple::nothing) }
}

/// The tasks with those of chains among them in their place, and with groups of one as that one.
fn unrolled(tasks: Vec<Signature>) -> Vec<Signature> {
    let mut steps = Vec::new();
    for task in tasks {
        match task.kind {
            Kind::Chain(mut inner) => {
                // The arguments of a chain are those of its first task.
                if let Some(first) = inner.first_mut() {
                    first.args = first.args_after(&task.args);
                }
                steps.extend(unrolled(inner));
            }
            Kind::Group(mut inner) if inner.len() == 1 => {
                let only = inner.pop().expect("there is one");
                steps.extend(unrolled(vec![only]));
            }
            _ => steps.push(task),
        }
    }
    steps
}

/// Sets an option, if there is something to set.
pub fn overlay(options: &mut Object, name: &str, value: Option<Raw>) {
    if let Some(value) = value {
        options.insert(name.to_owned(), value);
    }
}

/// A new task id.
pub fn random_id() -> Raw {
    raw(&uuid::Uuid::new_v4().to_string())
}
