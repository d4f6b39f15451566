//! Why a message was not taken, and what to tell the caller who waits for its result.

use crate::task::{Exception, TaskId, TaskName};

/// A message that cannot become a request. Displayed, it is one line for a log or a dead letter.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The task's id, if it could be read.
    pub id: Option<TaskId>,
    /// The task's name, if it could be read.
    pub task: Option<TaskName>,
    reason: Reason,
}

impl Refusal {
    pub(super) fn new(id: Option<TaskId>, task: Option<TaskName>, reason: Reason) -> Self {
        Self { id, task, reason }
    }

    /// What a caller's `get()` raises when this is stored as the task's failure. Python's worker stores nothing in these
    /// cases, and its callers wait for ever.
    pub fn exception(&self) -> Exception {
        let (module, class) = match &self.reason {
            Reason::Disallowed(_) => ("kombu.exceptions", "ContentDisallowed"),
            Reason::Undecodable(_) => ("kombu.exceptions", "DecodeError"),
            Reason::Invalid(_) => ("builtins", "ValueError"),
        };
        Exception::new(module, class, vec![self.reason.to_string().into()])
    }
}

/// What is wrong with a message. The texts are one line each; what they quote of the message went through [`quoted`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Reason {
    /// The body is in a form that is not accepted, such as pickle.
    #[error("{0}")]
    Disallowed(String),
    /// The message, or its body, is not what it says it is.
    #[error("{0}")]
    Undecodable(String),
    /// A header has a value that it cannot have.
    #[error("{0}")]
    Invalid(String),
}

/// Text of a stranger as it may appear in a message of ours: its beginning, without control characters.
pub fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}
