//! Task messages: [`decode`] reads what is in a queue, [`encode`] writes what goes into one.
//!
//! A message is an envelope (content type, headers, properties) around a body that is itself encoded, perhaps compressed.
//! Who the message is about stands in the headers, so even a message whose body is unusable can be answered: every
//! [`Refusal`] carries the task's id and name as far as they can be read.

mod body;
mod decode;
mod encode;
mod field;
mod refusal;
mod rewrite;
mod stamps;
#[cfg(test)]
mod tests;

pub use decode::decode;
pub(super) use decode::open;
pub use encode::{Embed, Submission, encode};
pub use refusal::Refusal;
pub use rewrite::{
    mark_admitted, mark_lost, mark_parked, mark_redelivered, mark_requeued, mark_running, replayed, retried,
};
pub use stamps::stamps;

/// How large a message may be. Celery sets no bounds, and teams do send megabytes; but a worker that takes everything
/// can be stopped by one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLimits {
    /// The length in bytes of the message as it comes, and of its body once decompressed.
    pub bytes: usize,
    /// How deep lists and objects may nest in the body, in the headers and in the properties.
    pub depth: usize,
}

impl Default for MessageLimits {
    /// 8 MiB: several times what Redis copes well with in one element, and little beside the memory of one instance.
    /// 64 levels: more than any workflow nests, and far below the 128 at which `serde_json` gives up.
    fn default() -> Self {
        Self { bytes: 8 << 20, depth: 64 }
    }
}
