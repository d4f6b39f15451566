//! What is sent once a task has ended: callbacks, the rest of a chain, the body of a chord, and what failed tasks leave behind
//! for those that wait for them. Celery's canvas, from the side of the worker.
//!
//! # Layout
//!
//! - `signature`: calls that are not made yet, read and written. `freeze`: who is who in them. `result_tuple`: their results.
//! - `names`: which tasks a signature can have run.
//! - `apply`: from a signature to messages. `replace`: a task that hands its place to another.
//! - `workflow`: what a message says is to come after it. `follow`: what comes after an outcome. `abandon`: what never comes.
//! - `builtin`: the tasks that Celery itself brings along. `chord`: what comes after the last part of a chord.
//!
//! # What always holds
//!
//! - No I/O: what is to be sent, stored and noted is returned, and the worker commits it in one step with the result.
//! - Whatever becomes of a task, everything that waits for it is told: nothing of a workflow waits for ever.

mod abandon;
mod apply;
mod builtin;
mod chord;
mod follow;
mod freeze;
mod names;
mod replace;
mod result_tuple;
mod signature;
#[cfg(test)]
mod tests;
mod workflow;

use std::fmt;

use serde_json::value::RawValue;

pub use apply::{Caller, Sends};
pub use builtin::{BUILTINS, Builtin, builtin};
pub use chord::{ending, finish, missing};
pub use follow::{Follow, Setting, after};
pub use names::tasks_of;
pub use replace::Sent;
pub use signature::{Raw, Signature};
pub use workflow::Workflow;

use crate::task::{Exception, GroupChange, InvalidName};

/// A signature that cannot be sent. The text is one line and says which, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCanvas {
    /// It cannot be read.
    #[error("{text} is no signature: {reason}")]
    Signature {
        /// Its beginning.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option of it cannot be used.
    #[error("signature of {task}: {reason}")]
    Task {
        /// The task's name.
        task: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It stands for too much.
    #[error("it would send more than {messages} messages or {bytes} bytes; send less at a time")]
    TooLarge {
        /// The most messages.
        messages: usize,
        /// The most bytes.
        bytes: usize,
    },
}

impl InvalidCanvas {
    fn signature(json: &RawValue, reason: &str) -> Self {
        Self::Signature { text: quoted(json.get()), reason: reason.to_owned() }
    }

    fn name(task: &str, what: &str, error: &InvalidName) -> Self {
        Self::Task { task: quoted(task), reason: format!("its {what}: {error}") }
    }

    /// What a caller's `get()` raises.
    pub fn exception(&self) -> Exception {
        Exception::builtin("ValueError", format!("cannot go on with the workflow: {self}"))
    }
}

/// Text of a stranger as it may appear in a message of ours: its beginning, without control characters.
fn quoted(text: impl fmt::Display) -> String {
    const LONGEST: usize = 80;
    let text = text.to_string();
    let mut shown: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}
