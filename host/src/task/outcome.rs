//! How a run can end.

use super::{Exception, Json};

/// How a run ended: a closed set. Whatever a guest does, it ends in one of these.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The task returned this value.
    Success(Json),
    /// The task failed for good.
    Failure(Failure),
    /// The task was not run, or was stopped, on request: expired, revoked or terminated.
    Revoked(Exception),
}

/// An exception and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// What the caller's `get()` raises.
    pub exception: Exception,
    /// Readable text in the form of a Python traceback: begins with `Traceback (most recent call last):` and
    /// ends with the exception's own line.
    pub traceback: Option<String>,
}

impl Failure {
    /// A failure that did not come out of running code, so that there is nothing to trace.
    pub fn without_traceback(exception: Exception) -> Self {
        Self { exception, traceback: None }
    }
}

impl Outcome {
    /// The state this outcome puts the task in.
    pub fn state(&self) -> State {
        match self {
            Self::Success(_) => State::Success,
            Self::Failure(_) => State::Failure,
            Self::Revoked(_) => State::Revoked,
        }
    }
}

/// The state of a task as its caller reads it, by Celery's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing is known of the task: it waits, or never was.
    Pending,
    /// A worker runs it.
    Started,
    /// It returned a value.
    Success,
    /// It failed for good.
    Failure,
    /// It failed and will be run again.
    Retry,
    /// It was expired, revoked or terminated.
    Revoked,
    /// A state that the task set itself, such as `PROGRESS`.
    Custom(String),
}

impl State {
    /// Celery's name of the state.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "PENDING",
            Self::Started => "STARTED",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Retry => "RETRY",
            Self::Revoked => "REVOKED",
            Self::Custom(name) => name,
        }
    }

    /// Whether nothing more will happen to a task in this state.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Revoked)
    }
}

impl From<&str> for State {
    fn from(name: &str) -> Self {
        match name {
            "PENDING" => Self::Pending,
            "STARTED" => Self::Started,
            "SUCCESS" => Self::Success,
            "FAILURE" => Self::Failure,
            "RETRY" => Self::Retry,
            "REVOKED" => Self::Revoked,
            other => Self::Custom(other.to_owned()),
        }
    }
}
