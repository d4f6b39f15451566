//! Messages that were given up: kept for a time, to be looked at, sent again or dropped.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::task::{QueueName, TaskId, TaskName};

/// Why a message is a dead letter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The task's id, as far as the message could be read.
    pub task_id: Option<TaskId>,
    /// The task's name, as far as the message could be read.
    pub task: Option<TaskName>,
    /// Why, in a line: `ConnectionError('no route')`.
    pub reason: String,
    /// Where it failed, in the form of a Python traceback.
    pub traceback: Option<String>,
    /// How often it was tried, or killed its worker.
    pub attempts: u32,
}

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Names it among the dead letters.
    pub id: String,
    /// Why it is here.
    pub cause: Cause,
    /// The queue that it was last taken from.
    pub queue: QueueName,
    /// Since when it is here.
    pub since: Timestamp,
    /// When the store drops it.
    pub expires: Timestamp,
    /// The message as it was last delivered.
    pub message: Bytes,
}

/// The dead letters. A store keeps the newest 10,000, of at most 64 MiB together.
#[async_trait]
pub trait DeadLetters: Send + Sync + 'static {
    /// How many there are.
    async fn dead_count(&self) -> Result<u64, StoreError>;

    /// At most `most` of them, the newest first, after the `skip` newest.
    async fn dead_letters(&self, skip: usize, most: usize) -> Result<Vec<DeadLetter>, StoreError>;

    /// One of them.
    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, StoreError>;

    /// Takes one out and sends this message to the tail of its queue, in the list of its priority, in one step. Answers
    /// whether it was there.
    async fn replay(&self, id: &str, message: &[u8]) -> Result<bool, StoreError>;

    /// Drops some of them; answers how many were there.
    async fn drop_dead_letters(&self, ids: &[String]) -> Result<u64, StoreError>;
}
