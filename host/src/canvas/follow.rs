//! What comes after a task has ended (celery-protocol.md, 4.3).

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    GroupChange, InvalidCanvas,
    abandon::{Ended, exception},
    apply::{Caller, Sends, Surroundings},
    chord::{ending, note},
    replace::Sent,
    signature::{Kind, Raw, Signature, raw},
    workflow::Workflow,
};
use crate::{
    protocol::message::Submission,
    task::{ChordPart, Failure, Outcome, QueueName, Request, State, TaskId, TaskName},
};

/// What is committed together with the end of a task.
#[derive(Debug, Default)]
pub struct Follow {
    /// What is sent.
    pub sends: Vec<Submission>,
    /// What is stored of other tasks: their states and metas.
    pub results: Vec<(TaskId, State, String)>,
    /// What becomes known of groups, in order.
    pub groups: Vec<(TaskId, GroupChange)>,
    /// The results of what was sent: JSON texts for `children`.
    pub children: Vec<Raw>,
    /// Whether the task has handed its place to another, so that it has no result of its own.
    pub replaced: bool,
}

/// Where and when a workflow goes on.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// Where tasks are sent that say nothing of a queue, as their tenant calls it.
    pub queue: &'a QueueName,
    /// What time it is.
    pub now: Timestamp,
    /// Whether a task, by its name, takes several arguments: as an errback it gets more than an id then.
    pub takes_several: &'a dyn Fn(&str) -> bool,
}

/// What comes after `outcome`. `sent` is what the run itself sends.
pub fn after(
    request: &Request,
    workflow: &Workflow,
    outcome: &Outcome,
    sent: Sent,
    setting: Setting<'_>,
) -> Result<Follow, InvalidCanvas> {
    let Setting { queue, now, .. } = setting;
    let caller = || Caller {
        tenant: request.tenant.clone(),
        id: request.id.clone(),
        root_id: request.root_id.clone(),
        queue: queue.clone(),
        now,
    };
    let mut follow = Follow::default();
    match outcome {
        Outcome::Success(value) => {
            let mut sends = Sends::by(caller());
            follow.replaced = sent.is_replaced();
            sent.apply(&mut sends, request, workflow)?;
            let value: Raw = value.clone().into();
            if !follow.replaced {
                call_back(&mut sends, request, workflow, &value)?;
                follow.count(request, workflow, &State::Success, &value);
            }
            follow.take(sends);
        }
        Outcome::Failure(failure) => {
            follow.fail(request, workflow, &State::Failure, failure, now);
            let mut sends = Sends::by(caller());
            let failed =
                Failed { id: &request.id, root_id: &request.root_id, request: told(request), failure };
            call_errbacks(&mut sends, workflow.errbacks.clone(), &failed, setting)?;
            // Celery stores a failure before it calls errbacks, so they are not among the children.
            sends.children.clear();
            follow.take(sends);
        }
        Outcome::Revoked(exception) => {
            let failure = Failure::without_traceback(exception.clone());
            follow.fail(request, workflow, &State::Revoked, &failure, now);
        }
    }
    Ok(follow)
}

/// Calls back whoever wants the result, and goes on with the chain.
fn call_back(
    sends: &mut Sends,
    request: &Request,
    workflow: &Workflow,
    value: &Raw,
) -> Result<(), InvalidCanvas> {
    let partial = std::slice::from_ref(value);
    let around = || {
        Surroundings::with([
            ("parent_id", raw(request.id.as_str())),
            ("root_id", raw(request.root_id.as_str())),
        ])
    };
    let is_group = |callback: &&Signature| matches!(callback.kind, Kind::Group(_));
    match workflow.callbacks.as_slice() {
        [] => {}
        [only] => sends.apply(only.clone(), partial, around())?,
        several => {
            for group in several.iter().filter(is_group) {
                sends.apply(group.clone(), partial, around())?;
            }
            let others: Vec<_> = several.iter().filter(|callback| !is_group(callback)).cloned().collect();
            if !others.is_empty() {
                sends.apply(Signature::group(others), partial, around())?;
            }
        }
    }
    if let Some(next) = &workflow.next {
        let mut around = around();
        around.options.insert("chain".to_owned(), raw(&workflow.rest));
        sends.apply(next.clone(), partial, around)?;
    }
    Ok(())
}

/// A task that has failed, for those who want to know.
pub(super) struct Failed<'a> {
    pub id: &'a TaskId,
    pub root_id: &'a TaskId,
    /// What is told of its request.
    pub request: Raw,
    pub failure: &'a Failure,
}

/// Calls those who want to know of a failure. Celery's worker calls an errback that takes several arguments with the
/// request, the exception and the traceback, in its own process; here it is sent as a task. Any other one, and any that this
/// worker does not have, gets the id of what has failed.
pub(super) fn call_errbacks(
    sends: &mut Sends,
    errbacks: Vec<Signature>,
    failed: &Failed<'_>,
    setting: Setting<'_>,
) -> Result<(), InvalidCanvas> {
    let id = raw(failed.id.as_str());
    let around =
        || Surroundings::with([("parent_id", id.clone()), ("root_id", raw(failed.root_id.as_str()))]);
    let (full, plain): (Vec<_>, Vec<_>) = errbacks
        .into_iter()
        .partition(|errback| matches!(errback.kind, Kind::Task) && (setting.takes_several)(&errback.task));
    let partial = [failed.request.clone(), raw(&exception(failed.failure)), raw(&failed.failure.traceback)];
    for errback in full {
        sends.apply(errback, &partial, around())?;
    }
    if plain.is_empty() {
        return Ok(());
    }
    sends.apply(Signature::group(plain), std::slice::from_ref(&id), around())
}

/// What an errback is told of a request, by the names in Celery's own. What clients wrote is in it as they wrote it: not all that
/// is JSON can be read, `1e999` and half a character among it.
#[derive(Serialize)]
struct Told<'a> {
    id: &'a TaskId,
    task: &'a TaskName,
    args: &'a RawValue,
    kwargs: &'a RawValue,
    retries: u32,
    root_id: &'a TaskId,
    parent_id: Option<&'a TaskId>,
    group: Option<&'a TaskId>,
    headers: &'a RawValue,
}

fn told(request: &Request) -> Raw {
    raw(&Told {
        id: &request.id,
        task: &request.task,
        args: &request.args,
        kwargs: &request.kwargs,
        retries: request.retries,
        root_id: &request.root_id,
        parent_id: request.parent_id.as_ref(),
        group: request.group_id.as_ref(),
        headers: &request.headers,
    })
}

impl Follow {
    /// What comes after a task that has no result, without anything being called: whoever waits for it, or for what would have
    /// come after it, reads this failure.
    pub fn abandoned(request: &Request, workflow: &Workflow, failure: &Failure, now: Timestamp) -> Self {
        let mut follow = Self::default();
        follow.fail(request, workflow, &State::Failure, failure, now);
        follow
    }

    /// Adds what comes after something else that ends in the same step.
    pub fn add(&mut self, other: Self) {
        let Self { sends, results, groups, children, replaced } = other;
        self.sends.extend(sends);
        self.results.extend(results);
        self.groups.extend(groups);
        self.children.extend(children);
        self.replaced |= replaced;
    }

    pub(super) fn take(&mut self, sends: Sends) {
        self.sends.extend(sends.messages);
        self.groups.extend(sends.groups);
        self.children.extend(sends.children.iter().map(raw));
    }

    /// Counts the task as a part of its chord.
    fn count(&mut self, request: &Request, workflow: &Workflow, state: &State, result: &Raw) {
        let (Some(group), Some(chord)) = (&request.group_id, &workflow.chord) else { return };
        let part = ChordPart {
            id: request.id.clone(),
            index: request.group_index,
            ending: ending(&request.id, state, result),
            chord: note(chord, &request.id, &request.root_id),
        };
        self.groups.push((group.clone(), GroupChange::Part(part)));
    }

    /// Tells all who wait for the task, or for what would have come after it.
    fn fail(
        &mut self,
        request: &Request,
        workflow: &Workflow,
        state: &State,
        failure: &Failure,
        now: Timestamp,
    ) {
        self.count(request, workflow, state, &raw(&exception(failure)));
        let ended = Ended { state, failure, id: &request.id, root_id: &request.root_id, now };
        // As the chain stands in the message: the last first.
        self.abandon_all(&workflow.rest, ended);
        if let Some(next) = &workflow.next {
            self.abandon(next, ended);
        }
    }
}
