//! Calls that will never be made, because a task before them has failed: whoever waits for their results reads the same
//! failure, and chords that wait for them as parts count them (celery-protocol.md, 4.3).

use super::{
    GroupChange,
    chord::ending,
    follow::Follow,
    signature::{Kind, Raw, Signature, as_list, parse, raw},
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
        let id = signature.text_option("task_id").and_then(|id| TaskId::new(&id).ok());
        let group = signature.text_option("group_id").and_then(|id| TaskId::new(&id).ok());
        match &signature.kind {
            Kind::Chain(tasks) => tasks.iter().for_each(|task| self.abandon(task, ended)),
            Kind::Group(tasks) => tasks.iter().for_each(|task| self.abandon(task, ended)),
            // Nobody waits for the parts of a header but the body.
            Kind::Chord { body, .. } => self.abandon(body, ended),
            Kind::Task | Kind::Map(_) | Kind::Chunks => {}
        }
        if let Some(id) = id {
            let meta = result::encode(&Meta {
                id: &id,
                state: ended.state,
                result: MetaResult::Exception(&ended.failure.exception),
                traceback: ended.failure.traceback.as_deref(),
                children: &[],
                date_done: Some(ended.now),
                group_id: group.as_ref(),
                parent_id: None,
            });
            self.results.push((id.clone(), ended.state.clone(), meta));
            if let (Some(group), Some(chord)) = (group, signature.option("chord")) {
                let index = signature.option("group_index").and_then(|index| parse(index));
                let part = ChordPart {
                    ending: ending(&id, ended.state, &raw(&exception(ended.failure))),
                    id,
                    index,
                    chord: super::chord::note(chord, ended.id, ended.root_id),
                };
                // Like Celery's own worker: the group's members are counted, not the group.
                if !matches!(signature.kind, Kind::Group(_)) {
                    self.groups.push((group, GroupChange::Part(part)));
                }
            }
        }
        self.abandon_all(&as_list(signature.option("chain")), ended);
    }
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
