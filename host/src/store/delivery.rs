//! Messages on their way: sent, delivered, settled.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;

use super::Cause;
use crate::task::{GroupChange, QueueName, State, TaskId, TaskName, Tenant};

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Where to.
    pub queue: QueueName,
    /// 0 to 9, 0 the most urgent.
    pub priority: u8,
    /// It waits in the store until then, taken by no worker, and is in its queue then. Those that were delayed come in the
    /// order of their times; whether before or behind what waits in the queue anyway is for the engine to say.
    pub due: Option<Timestamp>,
    /// The message.
    pub message: Bytes,
}

/// Why a store does not send these for what is this tenant's, if there is a reason: tenants send to their own queues.
pub(super) fn strays(sends: &[Publication], tenant: &Tenant) -> Option<String> {
    let stray = sends.iter().find(|send| send.queue.owner().0 != *tenant)?;
    Some(format!("{} is not a queue of {tenant}", stray.queue))
}

/// What makes sure that something is sent once, however often it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// Names what is sent.
    pub key: String,
    /// What is told to those who ask for it again.
    pub value: String,
    /// How long it is known.
    pub lifetime: Duration,
}

/// A message that waits for its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// When it is in its queue again.
    pub due: Timestamp,
    /// Its queue.
    pub queue: QueueName,
    /// The message.
    pub message: Bytes,
}

/// What may be taken by one of several that share.
#[derive(Debug, Clone, Copy)]
pub struct Portion<'a> {
    /// From these queues.
    pub queues: &'a [QueueName],
    /// So many, if they are there.
    pub share: usize,
    /// So many at most, of what others leave.
    pub most: usize,
}

/// What a take brought.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// The messages, the most urgent first.
    pub deliveries: Vec<Delivery>,
    /// Whether there may be more at once. If not, [`super::Broker::arrival`] tells when it is worth asking again.
    pub more: bool,
    /// Grows whenever something is revoked. A message is run only by a worker that knows of all that was revoked up to
    /// here: see [`super::Revocations::revoked_since`].
    pub revision: u64,
    /// The store's time: what counts for an eta, whatever this machine's clock says. When there are no deliveries it
    /// means nothing.
    pub now: Timestamp,
}

/// A message in a worker's hands. The broker keeps a record of it under `tag` until it is settled.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Names this delivery; unique to it, so a message delivered twice has two tags.
    pub tag: Tag,
    /// The queue it was taken from.
    pub queue: QueueName,
    /// The message, byte for byte.
    pub message: Bytes,
}

/// The name of one delivery. It is also the proof of holding it: what is settled under a tag that the broker no
/// longer knows has no effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag(pub Arc<str>);

/// How a delivery ends. Everything in one settlement takes effect together or, if the delivery is no longer held,
/// not at all.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The delivery.
    pub tag: Tag,
    /// What to store as results, if anything: the task's own, and those of others that wait for it in vain.
    pub results: Vec<StoredResult>,
    /// What becomes known of groups, in order.
    pub groups: Vec<(TaskId, GroupChange)>,
    /// What to send: to queues of the delivery's own tenant, and to no others.
    pub sends: Vec<Publication>,
    /// What becomes of the message.
    pub fate: Fate,
}

/// What becomes of a message when its delivery is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is done with.
    Acknowledge,
    /// It goes back to the head of its queue, marked as redelivered, and is the next to be taken.
    Restore,
    /// It goes back to the tail of its queue, marked as redelivered, and is the last to be taken.
    Requeue,
    /// It waits, where no worker's death matters, and is in its queue again at this time, as [`Publication::due`] says.
    Delay(Timestamp),
    /// It waits until somebody releases the messages of this task ([`super::Broker::release`]) or until this time, and is at
    /// the head of its queue then.
    Park {
        /// The task that no plugin offers.
        task: TaskName,
        /// When it is put back in any case.
        until: Timestamp,
        /// What is put back in place of the message that was delivered.
        message: Bytes,
    },
    /// It goes to the dead letters.
    DeadLetter(Box<Cause>),
}

/// Whether a settlement took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It did.
    Done,
    /// The delivery was not held any more: settled before, or given to another worker.
    NotHeld,
    /// The store will not do this, now or later, and says why; the delivery is still held. Others that were settled with
    /// it are not affected.
    Refused(String),
}

/// A task's result as it is stored and announced.
#[derive(Debug, Clone)]
pub struct StoredResult {
    /// The task.
    pub id: TaskId,
    /// Its state. A stored SUCCESS is never replaced.
    pub state: State,
    /// The JSON text that clients read (celery-protocol.md, 3.3).
    pub meta: String,
}
