//! Calls that will never be made, because a task before them has failed: whoever waits for their results reads the same
//! failure, and chords that wait for them as parts count them (celery-protocol.md, 4.3).

use super::{
    GroupChange,
    apply::{chunks_group, size},
    chord::{ending, note},
    follow::Follow,
    signature::{Kind, Object, Raw, Signature, as_list, option, parse, raw, text},
};
use crate::{
    protocol::result::{self, Meta, MetaResult},
    task::{ChordPart, Failure, State, TaskId},
};

/// How the task that others waited for has ended.
#[derive(Clone, Copy)]
pub(super) struct Ended<'a> {
    pub state: &'a State,
    pub failure: &'a Failure,
    /// The task that ended so, and the root of its workflow.
    pub id: &'a TaskId,
    pub root_id: &'a TaskId,
    pub now: jiff::Timestamp,
}

impl Follow {
    /// Tells all who wait for any of these calls. What is no signature has nobody who waits for it.
    pub(super) fn abandon_all<'s>(
        &mut self,
        signatures: impl IntoIterator<Item = &'s Raw>,
        ended: Ended<'_>,
    ) {
        for signature in signatures {
            if let Ok(signature) = Signature::parse(signature) {
                self.abandon(&signature, ended);
            }
        }
    }

    /// Tells all who wait for this call, or for what comes after it.
    pub(super) fn abandon(&mut self, signature: &Signature, ended: Ended<'_>) {
        self.abandon_as(signature, Role::End(None), ended);
        self.abandon_all(&as_list(signature.option("chain")), ended);
    }

    /// The same for a call in its role. Of what a part of a chord is made of, only what it ends with is a part: as many tasks
    /// as the chord has counted for it.
    fn abandon_as(&mut self, signature: &Signature, role: Role, ended: Ended<'_>) {
        let role = role.or_own(&signature.options);
        match &signature.kind {
            Kind::Chain(tasks) => {
                let last = tasks.iter().rposition(|task| size(task) > 0);
                for (number, task) in tasks.iter().enumerate() {
                    let role = if Some(number) == last { role.clone() } else { Role::Before };
                    self.abandon_as(task, role, ended);
                }
            }
            Kind::Group(tasks) => {
                for task in tasks {
                    self.abandon_as(task, role.in_place_of(&task.options), ended);
                }
            }
            // Nobody waits for the parts of a header but the body.
            Kind::Chord { body, .. } => self.abandon_as(body, role, ended),
            Kind::Chunks => self.abandon_as(&chunks_group(signature), role, ended),
            Kind::Task | Kind::Map(_) => {
                if let Role::End(Some(Part { group, index, chord })) = role {
                    let id = task_id(&signature.options, "task_id").unwrap_or_else(TaskId::random);
                    let part = ChordPart {
                        ending: ending(&id, ended.state, &raw(&exception(ended.failure))),
                        id,
                        index,
                        chord: note(&chord, ended.id, ended.root_id),
                    };
                    self.groups.push((group, GroupChange::Part(part)));
                }
            }
        }
        let Some(id) = task_id(&signature.options, "task_id") else { return };
        let meta = result::encode(&Meta {
            id: &id,
            state: ended.state,
            result: MetaResult::Exception(&ended.failure.exception),
            traceback: ended.failure.traceback.as_deref(),
            children: &[],
            date_done: Some(ended.now),
            group_id: task_id(&signature.options, "group_id").as_ref(),
            parent_id: None,
            ran: None,
        });
        self.results.push((id, ended.state.clone(), meta));
    }
}

/// What a call is to those that wait.
#[derive(Clone)]
enum Role {
    /// Something comes after it, so that it is no part of a chord itself, whatever its options say.
    Before,
    /// It ends what it belongs to, and so is this part of a chord, if any.
    End(Option<Part>),
}

/// Of which chord a call is a part, and where in its header.
#[derive(Clone)]
struct Part {
    group: TaskId,
    index: Option<i64>,
    chord: Raw,
}

impl Role {
    /// What is not said by what a call belongs to its own options may say.
    fn or_own(self, options: &Object) -> Self {
        match self {
            Self::End(None) => Self::End(Part::of(options)),
            role => role,
        }
    }

    /// The members of a group that is a part are parts themselves, each in its own place.
    fn in_place_of(&self, options: &Object) -> Self {
        match self {
            Self::End(Some(part)) => {
                Self::End(Some(Part { index: place(options).or(part.index), ..part.clone() }))
            }
            role => role.clone(),
        }
    }
}

impl Part {
    fn of(options: &Object) -> Option<Self> {
        let (group, chord) = (task_id(options, "group_id")?, option(options, "chord")?.clone());
        Some(Self { group, index: place(options), chord })
    }
}

fn place(options: &Object) -> Option<i64> {
    option(options, "group_index").and_then(|index| parse(index))
}

fn task_id(options: &Object, name: &str) -> Option<TaskId> {
    option(options, name).and_then(|id| text(id)).and_then(|id| TaskId::new(&id).ok())
}

/// An exception as results have it.
pub(super) fn exception(failure: &Failure) -> impl serde::Serialize + use<'_> {
    let exception = &failure.exception;
    serde_json::json!({
        "exc_type": exception.class,
        "exc_message": exception.args,
        "exc_module": exception.module,
    })
}
