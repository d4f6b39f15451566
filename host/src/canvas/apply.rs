//! Making calls: from a signature to the messages that it becomes now (celery-protocol.md, 4.1 and 4.4).
//!
//! Nothing is sent here. What is to be sent, and what is to be noted of groups, is collected and committed by the caller in
//! one step, so that a workflow goes on as a whole or not at all.

use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;

use super::{
    GroupChange, InvalidCanvas,
    freeze::{Place, freeze, freeze_chain, overlay, random_id},
    result_tuple::ResultTuple,
    signature::{Kind, Object, Raw, Signature, as_list, option, parse, raw, text},
};
use crate::{
    protocol::{
        message::{Embed, Submission},
        time,
    },
    task::{Json, Limits, QueueName, TaskId, TaskName, Tenant},
};

/// The most bytes, give or take one message, that one task may have sent: a short message can stand for very many long ones.
const LARGEST: usize = 64 << 20;

/// The most messages that one task may have sent.
const MOST: usize = 100_000;

/// Who makes the calls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose the sending task is, and so is all that it sends.
    pub tenant: Tenant,
    /// The task that sends: the parent of what it sends.
    pub id: TaskId,
    /// The first task of its workflow.
    pub root_id: TaskId,
    /// Where to send what says nothing of a queue, as the tenant calls it.
    pub queue: QueueName,
    /// The time from which countdowns count.
    pub now: Timestamp,
}

/// What is to be sent.
#[derive(Debug)]
pub struct Sends {
    caller: Caller,
    /// The messages, in order.
    pub messages: Vec<Submission>,
    /// What is to be noted of groups before any of the messages is there.
    pub groups: Vec<(TaskId, GroupChange)>,
    /// The results of what was sent, for the sender's `children`.
    pub children: Vec<ResultTuple>,
    bytes: usize,
}

/// What a call gets from its surroundings.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Options that are laid over its own.
    pub options: Object,
    /// Whether it is part of something that is itself among the sender's children.
    pub is_part: bool,
}

impl Surroundings {
    /// These options.
    pub fn with(options: impl IntoIterator<Item = (&'static str, Raw)>) -> Self {
        let options = options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { options, is_part: false }
    }
}

impl Sends {
    /// Nothing yet.
    pub fn by(caller: Caller) -> Self {
        Self { caller, messages: Vec::new(), groups: Vec::new(), children: Vec::new(), bytes: 0 }
    }

    /// Makes a call with `partial` arguments before its own.
    pub fn apply(
        &mut self,
        mut signature: Signature,
        partial: &[Raw],
        around: Surroundings,
    ) -> Result<(), InvalidCanvas> {
        match signature.kind {
            Kind::Task | Kind::Map(_) => {
                let args = signature.args_after(partial);
                let options = signature.merged(&around.options);
                self.send(&signature, &args, options, around.is_part)
            }
            Kind::Chunks => self.apply(chunks_group(&signature), partial, around),
            Kind::Chain(ref mut tasks) => {
                let tasks = std::mem::take(tasks);
                let args = signature.args_after(partial);
                let options = merged(signature.options, around.options);
                self.chain(tasks, &args, options, around.is_part)
            }
            Kind::Group(_) => self.group(signature, partial, around),
            Kind::Chord { .. } => self.chord(signature, partial, around),
        }
    }

    /// Sends the first task of a chain, and the others with it.
    fn chain(
        &mut self,
        tasks: Vec<Signature>,
        args: &[Raw],
        mut options: Object,
        is_part: bool,
    ) -> Result<(), InvalidCanvas> {
        let link_error = as_list(option(&options, "link_error"));
        let mut frozen = freeze_chain(tasks, args, &link_error, Place::of(&options));
        let Some(last) = frozen.tasks.first_mut() else { return Ok(()) };
        for callback in as_list(option(&options, "link")) {
            let mut links = as_list(last.option("link"));
            links.push(callback);
            last.set("link", &links);
        }
        for own in OF_THE_CHAIN {
            options.shift_remove(*own);
        }
        let Some(first) = frozen.tasks.pop() else { return Ok(()) };
        // What comes after this chain comes after all of it, so it stands before it in what is taken off the end.
        let mut chain = as_list(option(&options, "chain"));
        chain.extend(frozen.tasks.iter().map(Signature::to_raw));
        options.insert("chain".to_owned(), raw(&chain));
        self.apply(first, &[], Surroundings { options, is_part })
    }

    /// Sends all of a group.
    fn group(
        &mut self,
        group: Signature,
        partial: &[Raw],
        around: Surroundings,
    ) -> Result<(), InvalidCanvas> {
        let mut options = group.merged(&around.options);
        let Kind::Group(tasks) = group.kind else { unreachable!("only groups are sent as groups") };
        let id = options.shift_remove("task_id").filter(|id| id.get() != "null").unwrap_or_else(random_id);
        let outer = options.insert("group_id".to_owned(), id.clone());
        let root_id = option(&options, "root_id").cloned();
        let chord = options.shift_remove("chord").filter(|chord| chord.get() != "null");

        let mut members = Vec::new();
        for (index, mut task) in flat(tasks).into_iter().enumerate() {
            let place = Place {
                group_id: Some(id.clone()),
                group_index: Some(raw(&index)),
                root_id: root_id.clone(),
                ..Place::default()
            };
            let result = freeze(&mut task, place);
            members.push((task, result));
        }
        let size: usize = members.iter().map(|(task, _)| size(task)).sum();
        let chord_of_some = members.iter().find_map(|(task, _)| task.option("chord")).is_some();
        // A group that is the body of a chord in the header of another is part of that one's group, which has counted it.
        let is_counted = outer.is_some_and(|outer| outer.get() == id.get());
        if (chord.is_some() || chord_of_some) && !is_counted {
            self.groups.push((task_id(&id)?, GroupChange::Size(size as u64)));
        }
        let mut results = Vec::new();
        for (task, result) in members {
            let mut options = options.clone();
            options.shift_remove("group_index");
            overlay(&mut options, "chord", chord.clone());
            self.apply(task, partial, Surroundings { options, is_part: true })?;
            results.push(result);
        }
        if !around.is_part {
            self.children.push(ResultTuple::group(id, results).simplified());
        }
        Ok(())
    }

    /// Sends the header of a chord, with the body in each part of it. A chord without a header is its body.
    fn chord(
        &mut self,
        chord: Signature,
        partial: &[Raw],
        around: Surroundings,
    ) -> Result<(), InvalidCanvas> {
        let args = chord.args_after(partial);
        let mut options = merged(chord.options.clone(), around.options);
        let id = option(&options, "task_id").cloned();
        options.shift_remove("task_id");
        let Kind::Chord { mut header, mut body } = chord.kind else {
            unreachable!("only chords are sent as chords")
        };
        let group_id = header.option("task_id").cloned().unwrap_or_else(random_id);
        body.options = merged(body.options, options.clone());
        let id = id.filter(|id| id.get() != group_id.get());
        let root_id = body.option("root_id").cloned();
        freeze(&mut body, Place { id, root_id: root_id.clone(), ..Place::default() });

        if matches!(&header.kind, Kind::Group(tasks) if tasks.is_empty()) {
            return self.apply(
                *body,
                &[raw(&[(); 0])],
                Surroundings { is_part: around.is_part, ..Surroundings::default() },
            );
        }
        let place = Place {
            group_id: Some(group_id.clone()),
            chord: Some(body.to_raw()),
            root_id,
            ..Place::default()
        };
        header.options.insert("task_id".to_owned(), group_id.clone());
        let result = freeze(&mut header, place);
        // It is the group, not a part of it.
        header.options.shift_remove("group_id");
        if result.is_nested() {
            self.groups
                .push((task_id(&group_id)?, GroupChange::Saved(raw(&Saved { result: &result }).to_string())));
        }
        for of_the_body in ["chain", "chord", "group_index", "link", "link_error"] {
            options.shift_remove(of_the_body);
        }
        options.insert("task_id".to_owned(), group_id);
        self.group(*header, &args, Surroundings { options, is_part: around.is_part })
    }

    /// Sends one task.
    fn send(
        &mut self,
        signature: &Signature,
        args: &[Raw],
        mut options: Object,
        is_part: bool,
    ) -> Result<(), InvalidCanvas> {
        let id = option(&options, "task_id").cloned().unwrap_or_else(random_id);
        options.insert("task_id".to_owned(), id.clone());
        let message = self.submission(signature, args, &options)?;
        self.bytes = self.bytes.saturating_add(message.size());
        if self.bytes > LARGEST || self.messages.len() >= MOST {
            return Err(InvalidCanvas::TooLarge { messages: MOST, bytes: LARGEST });
        }
        self.messages.push(message);
        if !is_part {
            self.children.push(ResultTuple::task(id));
        }
        Ok(())
    }

    fn submission(
        &self,
        signature: &Signature,
        args: &[Raw],
        options: &Object,
    ) -> Result<Submission, InvalidCanvas> {
        let get = |name: &'static str| Get { task: &signature.task, options, name };
        let task: TaskName =
            signature.task.parse().map_err(|error| InvalidCanvas::name(&signature.task, "task", &error))?;
        let id = get("task_id").id()?.ok_or_else(|| InvalidCanvas::Task {
            task: signature.task.clone(),
            reason: "it has no task_id".to_owned(),
        })?;
        let list = |name| {
            let list = as_list(option(options, name));
            (!list.is_empty()).then(|| raw(&list))
        };
        let now = self.caller.now;
        let eta = match get("countdown").seconds()? {
            Some(wait) if !wait.is_zero() => Some(now.checked_add(wait).unwrap_or(Timestamp::MAX)),
            _ => get("eta").time(now)?,
        };
        let stamped_headers: Option<Raw> = option(options, "stamped_headers").cloned();
        let names: Vec<String> = stamped_headers.as_ref().and_then(|names| parse(names)).unwrap_or_default();
        let stamps = names.into_iter().filter_map(|name| Some((name.clone(), options.get(&name)?.clone())));
        Ok(Submission {
            priority: get("priority").number()?.unwrap_or(0).clamp(0, 9) as u8,
            eta,
            expires: get("expires").time(now)?,
            limits: Limits { hard: get("time_limit").limit()?, soft: get("soft_time_limit").limit()? },
            retries: get("retries").number()?.map_or(0, |count| u32::try_from(count).unwrap_or(0)),
            ignore_result: option(options, "ignore_result").is_some_and(|value| value.get() == "true"),
            root_id: get("root_id").id()?.unwrap_or_else(|| self.caller.root_id.clone()),
            parent_id: Some(get("parent_id").id()?.unwrap_or_else(|| self.caller.id.clone())),
            group_id: get("group_id").id()?,
            group_index: get("group_index").number()?,
            shadow: option(options, "shadow").and_then(|shadow| text(shadow)),
            replaced_task_nesting: get("replaced_task_nesting")
                .number()?
                .map_or(0, |count| u32::try_from(count).unwrap_or(0)),
            stamps: stamps.collect(),
            stamped_headers,
            headers: option(options, "headers").and_then(|headers| parse(headers)).unwrap_or_default(),
            embed: Embed {
                callbacks: list("link"),
                errbacks: list("link_error"),
                chain: option(options, "chain").cloned(),
                chord: option(options, "chord").cloned(),
            },
            ..Submission::new(id, task, json(args), json(&signature.kwargs), self.queue(options)?)
        })
    }

    /// A direct exchange sends to the queue of its own name; that of the default exchange is the routing key. Whatever a signature
    /// names is a queue of the caller's tenant.
    fn queue(&self, options: &Object) -> Result<QueueName, InvalidCanvas> {
        let named = |name| option(options, name).and_then(|name| text(name)).filter(|name| !name.is_empty());
        let by_default_exchange = || {
            named("routing_key").filter(|_| named("exchange").is_none() && options.contains_key("exchange"))
        };
        let Caller { tenant, queue, .. } = &self.caller;
        let name = named("queue").or_else(by_default_exchange);
        let named = match &name {
            Some(name) => name.parse().and_then(|name| tenant.queue(&name)),
            None => tenant.queue(queue),
        };
        named.map_err(|error| InvalidCanvas::name(name.as_deref().unwrap_or(queue.as_str()), "queue", &error))
    }
}

/// The options that are about a chain as a whole, and so not about its first task.
const OF_THE_CHAIN: &[&str] =
    &["group_id", "group_index", "chord", "task_id", "link", "link_error", "root_id", "parent_id"];

/// How a group of nested ones is saved (celery-protocol.md, 4.4).
#[derive(serde::Serialize)]
struct Saved<'a> {
    result: &'a ResultTuple,
}

fn merged(mut options: Object, over: Object) -> Object {
    options.extend(over);
    options
}

/// The members of a group with those of groups among them in their place.
fn flat(tasks: Vec<Signature>) -> Vec<Signature> {
    let each = |task: Signature| match task.kind {
        Kind::Group(inner) => flat(inner),
        _ => vec![task],
    };
    tasks.into_iter().flat_map(each).collect()
}

/// The text of arguments.
fn json(value: &(impl serde::Serialize + ?Sized)) -> Json {
    serde_json::value::to_raw_value(value).expect("JSON values can always be written")
}

/// How many parts a signature adds to the chord that waits for it.
pub fn size(signature: &Signature) -> usize {
    match &signature.kind {
        Kind::Task | Kind::Map(_) => 1,
        Kind::Chunks => size(&chunks_group(signature)),
        Kind::Group(tasks) => tasks.iter().map(size).sum(),
        // The last that is not empty counts.
        Kind::Chain(tasks) => tasks.iter().rev().map(size).find(|size| *size > 0).unwrap_or(0),
        Kind::Chord { body, .. } => size(body),
    }
}

/// What `chunks` stands for: a group of starmaps, each over so many of the list.
pub fn chunks_group(chunks: &Signature) -> Signature {
    let list = as_list(option(&chunks.kwargs, "it"));
    let n = option(&chunks.kwargs, "n").and_then(|n| parse::<usize>(n)).filter(|n| *n > 0).unwrap_or(1);
    let starmap = |part: &[Raw]| {
        let kwargs = [
            ("task".to_owned(), chunks.kwargs.get("task").cloned().unwrap_or_else(|| raw(&()))),
            ("it".to_owned(), raw(part)),
        ];
        Signature {
            kwargs: kwargs.into(),
            kind: Kind::Map("xstarmap"),
            immutable: true,
            ..Signature::task("celery.starmap")
        }
    };
    Signature { options: chunks.options.clone(), ..Signature::group(list.chunks(n).map(starmap).collect()) }
}

fn task_id(id: &RawValue) -> Result<TaskId, InvalidCanvas> {
    let id = text(id).ok_or_else(|| InvalidCanvas::Task {
        task: "celery.group".to_owned(),
        reason: format!("its task_id is {}, not text", super::quoted(id.get())),
    })?;
    id.parse().map_err(|error| InvalidCanvas::name(&id, "task_id", &error))
}

/// One option of a call, to be read as what it should be.
struct Get<'a> {
    task: &'a str,
    options: &'a Object,
    name: &'static str,
}

impl Get<'_> {
    fn value(&self) -> Option<&Raw> {
        option(self.options, self.name)
    }

    fn id(&self) -> Result<Option<TaskId>, InvalidCanvas> {
        let Some(value) = self.value() else { return Ok(None) };
        let text = text(value).ok_or_else(|| self.invalid("text"))?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|error| InvalidCanvas::name(&text, self.name, &error))
    }

    fn number(&self) -> Result<Option<i64>, InvalidCanvas> {
        let Some(value) = self.value() else { return Ok(None) };
        parse(value).map(Some).ok_or_else(|| self.invalid("a whole number"))
    }

    fn seconds(&self) -> Result<Option<SignedDuration>, InvalidCanvas> {
        let Some(value) = self.value() else { return Ok(None) };
        let seconds = parse::<f64>(value).and_then(|seconds| SignedDuration::try_from_secs_f64(seconds).ok());
        seconds.map(Some).ok_or_else(|| self.invalid("a number of seconds"))
    }

    fn limit(&self) -> Result<Option<std::time::Duration>, InvalidCanvas> {
        let Some(seconds) = self.seconds()? else { return Ok(None) };
        if seconds.is_zero() {
            return Ok(None);
        }
        std::time::Duration::try_from(seconds).map(Some).map_err(|_| self.invalid("more than 0 seconds"))
    }

    /// A time of day, or a number of seconds from now.
    fn time(&self, now: Timestamp) -> Result<Option<Timestamp>, InvalidCanvas> {
        #[derive(serde::Deserialize)]
        struct Marked {
            #[serde(rename = "__value__")]
            value: String,
        }
        let Some(value) = self.value() else { return Ok(None) };
        if let Some(after) =
            parse::<f64>(value).and_then(|after| SignedDuration::try_from_secs_f64(after).ok())
        {
            return Ok(Some(now.checked_add(after).unwrap_or(Timestamp::MAX)));
        }
        let text = text(value).or_else(|| parse::<Marked>(value).map(|marked| marked.value));
        let read = text.and_then(|text| time::read(&text));
        read.map(Some).ok_or_else(|| self.invalid("a time such as \"2030-01-31T12:00:00+00:00\""))
    }

    fn invalid(&self, expected: &str) -> InvalidCanvas {
        let value = self.value().map_or("null", |value| value.get());
        let reason = format!("its {} is {}, but must be {expected}", self.name, super::quoted(value));
        InvalidCanvas::Task { task: self.task.to_owned(), reason }
    }
}
