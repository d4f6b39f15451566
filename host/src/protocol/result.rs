//! Results: the JSON text under `celery-task-meta-<id>`, as Celery's clients read it.
//!
//! A client trusts this text: a missing key raises in every access to the result, even to its state. So the text is written in
//! one place, whole, in Celery's own order of keys, and an exception always has its three parts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{receipt::Ran, time};
use crate::task::{Exception, Failure, Json, Outcome, Request, SharedJson, State, TaskId};

#[cfg(test)]
mod tests;

/// Everything that is stored about a task's state.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a> {
    /// The task.
    pub id: &'a TaskId,
    /// Its state.
    pub state: &'a State,
    /// What goes with the state.
    pub result: MetaResult<'a>,
    /// Readable text, in the form of a Python traceback.
    pub traceback: Option<&'a str>,
    /// The results of what it sent, each as Celery writes them (celery-protocol.md, 4.2).
    pub children: &'a [SharedJson],
    /// When it reached its final state; nothing while it has not.
    pub date_done: Option<Timestamp>,
    /// The group it is part of.
    pub group_id: Option<&'a TaskId>,
    /// The task that sent it.
    pub parent_id: Option<&'a TaskId>,
    /// What its run took, if it has run.
    pub ran: Option<Ran<'a>>,
}

/// What goes with a state. The states FAILURE and REVOKED need an exception, no other may have one but RETRY.
#[derive(Debug, Clone, Copy)]
pub enum MetaResult<'a> {
    /// The value returned, or what the task tells of its progress.
    Value(&'a RawValue),
    /// What the caller's `get()` raises.
    Exception(&'a Exception),
    /// Nothing.
    Null,
}

/// Writes the text to store and to announce.
pub fn encode(meta: &Meta<'_>) -> String {
    let text = Text {
        status: meta.state.as_str(),
        result: match meta.result {
            MetaResult::Value(value) => ResultText::Value(value),
            MetaResult::Exception(exception) => ResultText::Exception {
                exc_type: &exception.class,
                exc_message: &exception.args,
                exc_module: &exception.module,
            },
            MetaResult::Null => ResultText::Null(()),
        },
        traceback: meta.traceback,
        children: meta.children,
        date_done: meta.date_done.map(time::write),
        group_id: meta.group_id.map(TaskId::as_str),
        parent_id: meta.parent_id.map(TaskId::as_str),
        task_id: meta.id.as_str(),
        host: meta.ran,
    };
    serde_json::to_string(&text).expect("texts and JSON values can always be written")
}

/// Writes what a running task says of its progress, under a state of its own.
pub fn of_progress(id: &TaskId, state: &State, meta: &RawValue) -> String {
    let result = MetaResult::Value(meta);
    let (traceback, children) = (None, &[][..]);
    encode(&Meta {
        id,
        state,
        result,
        traceback,
        children,
        date_done: None,
        group_id: None,
        parent_id: None,
        ran: None,
    })
}

/// Writes the result of a task that has ended, having sent those of which `children` are the results.
pub fn of_outcome(
    request: &Request,
    outcome: &Outcome,
    children: &[SharedJson],
    ran: Option<Ran<'_>>,
    now: Timestamp,
) -> String {
    let (result, traceback) = match outcome {
        Outcome::Success(value) => (MetaResult::Value(value), None),
        Outcome::Failure(failure) => {
            (MetaResult::Exception(&failure.exception), failure.traceback.as_deref())
        }
        Outcome::Revoked(exception) => (MetaResult::Exception(exception), None),
    };
    encode(&Meta {
        id: &request.id,
        state: &outcome.state(),
        result,
        traceback,
        children,
        date_done: Some(now),
        group_id: request.group_id.as_ref(),
        parent_id: request.parent_id.as_ref(),
        ran,
    })
}

/// Writes the failure of a task that is going to be run again. The task is not done, so there is no time at which it was.
pub fn of_retry(request: &Request, failure: &Failure, ran: Option<Ran<'_>>) -> String {
    encode(&Meta {
        id: &request.id,
        state: &State::Retry,
        result: MetaResult::Exception(&failure.exception),
        traceback: failure.traceback.as_deref(),
        children: &[],
        date_done: None,
        group_id: request.group_id.as_ref(),
        parent_id: request.parent_id.as_ref(),
        ran,
    })
}

/// Writes the failure of a task of which little more is known than its id, such as one whose message was refused.
pub fn of_failure(id: &TaskId, exception: &Exception, now: Timestamp) -> String {
    encode(&Meta {
        id,
        state: &State::Failure,
        result: MetaResult::Exception(exception),
        traceback: None,
        children: &[],
        date_done: Some(now),
        group_id: None,
        parent_id: None,
        ran: None,
    })
}

#[derive(Serialize)]
struct Text<'a> {
    status: &'a str,
    result: ResultText<'a>,
    traceback: Option<&'a str>,
    children: &'a [SharedJson],
    date_done: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<&'a str>,
    task_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Ran<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ResultText<'a> {
    Value(&'a RawValue),
    Exception { exc_type: &'a str, exc_message: &'a [Value], exc_module: &'a str },
    Null(()),
}

/// A stored result, read back.
#[derive(Debug, Clone)]
pub struct StoredMeta {
    /// The task.
    pub id: TaskId,
    /// Its state.
    pub state: State,
    /// What goes with the state, as it is stored.
    pub result: Json,
    /// The exception in `result`, for the states that have one.
    pub exception: Option<Exception>,
    /// Readable text, in the form of a Python traceback.
    pub traceback: Option<String>,
    /// When it reached its final state, as it is stored.
    pub date_done: Option<String>,
    /// What its run took, as a worker of ours stored it (see [`super::receipt`]).
    pub host: Option<Json>,
}

/// A stored text that is no result.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMeta {
    /// It is not JSON, or lacks what every result has.
    #[error("stored result is not one of Celery's")]
    Unreadable(#[from] serde_json::Error),
    /// The task id in it cannot be used.
    #[error("stored result is not usable")]
    Id(#[from] crate::task::InvalidName),
}

/// Reads a stored result, whether a worker of ours wrote it or a Python one.
pub fn decode(text: &str) -> Result<StoredMeta, InvalidMeta> {
    let stored: StoredText<'_> = serde_json::from_str(text)?;
    let state = State::from(stored.status.as_str());
    let exception = match state {
        State::Failure | State::Retry | State::Revoked => exception_of(stored.result),
        _ => None,
    };
    Ok(StoredMeta {
        id: TaskId::new(&stored.task_id)?,
        state,
        result: stored.result.to_owned(),
        exception,
        traceback: stored.traceback,
        date_done: stored.date_done,
        host: stored.host.map(ToOwned::to_owned),
    })
}

/// Reads an exception as Celery's clients do: without a module it is one of Celery's own making, and its message may be one
/// text instead of a list.
pub fn exception_of(result: &RawValue) -> Option<Exception> {
    let stored: StoredException = serde_json::from_str(result.get()).ok()?;
    let args = match stored.exc_message {
        Some(Value::Array(args)) => args,
        Some(other) => vec![other],
        None => vec![Value::String(String::new())],
    };
    let module = stored.exc_module.as_deref().unwrap_or("celery.backends.base");
    Some(Exception::new(module, &stored.exc_type, args))
}

#[derive(Deserialize)]
struct StoredText<'a> {
    status: String,
    #[serde(borrow)]
    result: &'a RawValue,
    #[serde(default)]
    traceback: Option<String>,
    #[serde(default)]
    date_done: Option<String>,
    #[serde(default)]
    host: Option<&'a RawValue>,
    task_id: String,
}

#[derive(Deserialize)]
struct StoredException {
    exc_type: String,
    #[serde(default)]
    exc_message: Option<Value>,
    #[serde(default)]
    exc_module: Option<String>,
}
