//! What comes after the last part of a chord (celery-protocol.md, 4.4): the body with the results of all parts or, when a part
//! has failed, the failure of the body.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    InvalidCanvas,
    abandon::Ended,
    apply::{Caller, Sends, Surroundings},
    follow::{Failed, Follow, Setting, call_errbacks},
    result_tuple::ResultTuple,
    signature::{Object, Raw, Signature, as_list, raw, text},
};
use crate::{
    protocol::{repr, result::exception_of},
    task::{CompleteChord, Exception, Failure, Request, State, TaskId},
};

/// What the part that completes a chord leaves for whoever finishes it.
#[derive(Serialize, Deserialize)]
struct Note {
    body: Raw,
    id: TaskId,
    root_id: TaskId,
}

/// Writes [`crate::task::ChordPart::chord`].
pub(super) fn note(body: &Raw, id: &TaskId, root_id: &TaskId) -> String {
    raw(&Note { body: body.clone(), id: id.clone(), root_id: root_id.clone() }).get().to_owned()
}

/// Writes [`crate::task::ChordPart::ending`].
pub fn ending(id: &TaskId, state: &State, result: &Raw) -> String {
    raw(&(1, id, state.as_str(), result)).get().to_owned()
}

/// How one part has ended.
struct Ending {
    id: String,
    state: State,
    result: Raw,
}

impl Ending {
    fn parse(text: &str) -> Option<Self> {
        let (_, id, state, result): (Raw, String, String, Raw) = serde_json::from_str(text).ok()?;
        Some(Self { id, state: State::from(state.as_str()), result })
    }

    /// What it failed with, if it did.
    fn failure(&self) -> Option<Exception> {
        matches!(self.state, State::Failure | State::Revoked)
            .then(|| exception_of(&self.result).unwrap_or_else(|| Exception::builtin("Exception", "")))
    }
}

/// The ids in the shape of a chord's results that none of its parts has: of them the results are needed.
pub fn missing(chord: &CompleteChord) -> Vec<TaskId> {
    let known: Vec<_> = chord.endings.iter().filter_map(|text| Ending::parse(text)).map(|e| e.id).collect();
    let mut ids = Vec::new();
    if let Some(shape) = chord.shape.as_deref().and_then(shape) {
        leaves(&shape, &mut ids);
    }
    ids.retain(|id| !known.contains(id));
    ids.iter().filter_map(|id| TaskId::new(id).ok()).collect()
}

/// A chord whose parts nobody counted: all that is known is what its results are called.
pub(super) fn of_results(
    group: TaskId,
    body: &Raw,
    parts: &[Raw],
    request: &Request,
) -> Option<CompleteChord> {
    let members = parts.iter().map(|part| ResultTuple::parse(part)).collect::<Option<Vec<_>>>()?;
    let result = raw(&ResultTuple::group(raw(group.as_str()), members));
    let shape = Some(raw(&Saved { result }).get().to_owned());
    Some(CompleteChord {
        tenant: request.tenant.clone(),
        group,
        chord: note(body, &request.id, &request.root_id),
        endings: Vec::new(),
        shape,
    })
}

/// [`CompleteChord::shape`], as Celery saves a group.
#[derive(Serialize, Deserialize)]
struct Saved {
    result: Raw,
}

fn shape(saved: &str) -> Option<ResultTuple> {
    ResultTuple::parse(&serde_json::from_str::<Saved>(saved).ok()?.result)
}

fn leaves(tuple: &ResultTuple, ids: &mut Vec<String>) {
    match tuple.members() {
        Some(members) => members.iter().for_each(|member| leaves(member, ids)),
        None => ids.extend(text(tuple.id())),
    }
}

/// What the errbacks of a chord's body are told of it, as it was written; not all of that can be read.
#[derive(Serialize)]
struct Told<'a> {
    id: &'a TaskId,
    task: &'a str,
    args: &'a [Raw],
    kwargs: &'a Object,
}

/// What comes after a chord's last part. `stored` are the endings of tasks that are [`missing`]. Fails only when what the part
/// has left cannot be read; then there is nobody to be told.
pub fn finish(
    chord: &CompleteChord,
    stored: &[String],
    setting: Setting<'_>,
) -> Result<Follow, InvalidCanvas> {
    let Setting { queue, now, .. } = setting;
    let unreadable = |reason: &str| InvalidCanvas::Signature {
        text: super::quoted(&chord.chord),
        reason: reason.to_owned(),
    };
    let note: Note = serde_json::from_str(&chord.chord).map_err(|error| unreadable(&error.to_string()))?;
    let body = Signature::parse(&note.body)?;
    let caller = || Caller {
        tenant: chord.tenant.clone(),
        id: note.id.clone(),
        root_id: note.root_id.clone(),
        queue: queue.clone(),
        now,
    };
    let why = match results(chord, stored) {
        Ok(results) => {
            let mut sends = Sends::by(caller());
            match sends.apply(body.clone(), &[results], Surroundings::default()) {
                Ok(()) => {
                    let mut follow = Follow::default();
                    follow.take(sends);
                    return Ok(follow);
                }
                Err(error) => format!("Callback error: {}", repr::exception(&error.exception())),
            }
        }
        Err(why) => why,
    };
    let mut follow = Follow::default();
    let exception = Exception::new("celery.exceptions", "ChordError", vec![why.into()]);
    let failure = Failure::without_traceback(exception);
    let ended =
        Ended { state: &State::Failure, failure: &failure, id: &note.id, root_id: &note.root_id, now };
    follow.abandon(&body, ended);

    let failed = body_id(&body).unwrap_or_else(|| chord.group.clone());
    let root_id =
        body.text_option("root_id").and_then(|id| TaskId::new(&id).ok()).unwrap_or_else(|| failed.clone());
    let errbacks = as_list(body.option("link_error"));
    let errbacks: Vec<_> = errbacks.iter().filter_map(|errback| Signature::parse(errback).ok()).collect();
    let mut sends = Sends::by(caller());
    let request = raw(&Told { id: &failed, task: &body.task, args: &body.args, kwargs: &body.kwargs });
    let told = Failed { id: &failed, root_id: &root_id, request, failure: &failure };
    if let Err(error) = call_errbacks(&mut sends, errbacks, &told, setting) {
        tracing::warn!("the errbacks of chord {} are not called: {error}", chord.group);
        sends = Sends::by(caller());
    }
    follow.take(sends);
    Ok(follow)
}

/// The id by which the caller knows the chord: its body's, or that of the last task if the body is a chain.
fn body_id(body: &Signature) -> Option<TaskId> {
    let own = || body.text_option("task_id").and_then(|id| TaskId::new(&id).ok());
    match &body.kind {
        super::signature::Kind::Chain(tasks) => tasks.last().and_then(body_id).or_else(own),
        super::signature::Kind::Chord { body, .. } => body_id(body),
        _ => own(),
    }
}

/// The results of all parts, in the order and the shape of the header; or why there are none, in Celery's words.
fn results(chord: &CompleteChord, stored: &[String]) -> Result<Raw, String> {
    let endings: Vec<_> = chord
        .endings
        .iter()
        .map(|text| {
            Ending::parse(text)
                .ok_or_else(|| format!("Join error: a part ended with {}", super::quoted(text)))
        })
        .collect::<Result<_, _>>()?;
    let Some(shape) = chord.shape.as_deref().and_then(shape) else {
        return match endings.iter().find_map(|ending| Some((&ending.id, ending.failure()?))) {
            Some((id, exception)) => Err(format!("Dependency {id} raised {}", repr::exception(&exception))),
            None => Ok(raw(&endings.iter().map(|ending| &ending.result).collect::<Vec<_>>())),
        };
    };
    let others = stored.iter().filter_map(|text| Ending::parse(text));
    let known: HashMap<String, Ending> =
        endings.into_iter().chain(others).map(|ending| (ending.id.clone(), ending)).collect();
    shaped(&shape, &known)
}

fn shaped(shape: &ResultTuple, known: &HashMap<String, Ending>) -> Result<Raw, String> {
    if let Some(members) = shape.members() {
        let values: Vec<_> = members.iter().map(|member| shaped(member, known)).collect::<Result<_, _>>()?;
        return Ok(raw(&values));
    }
    let id = text(shape.id()).unwrap_or_default();
    let ending =
        known.get(&id).ok_or_else(|| format!("Join error: nothing is known of {}", super::quoted(&id)))?;
    match ending.failure() {
        Some(exception) => Err(format!("Join error: {}", repr::exception(&exception))),
        None => Ok(ending.result.clone()),
    }
}
