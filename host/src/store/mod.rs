//! What must outlive a process: queues, deliveries, results. Narrow traits; each storage engine implements them.
//!
//! A store never parses a task's body: messages pass as bytes.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::task::{QueueName, State, TaskId};

pub mod redis;

#[cfg(test)]
mod conformance;

/// An opened store: a broker and a result backend, which may be one and the same.
#[derive(Clone)]
pub struct Store {
    /// Queues and deliveries.
    pub broker: Arc<dyn Broker>,
    /// Results.
    pub backend: Arc<dyn Backend>,
    /// Where the broker is, without a password.
    pub broker_address: String,
    /// Where results are, without a password.
    pub backend_address: String,
}

/// How a store is to be used.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long results are kept; zero is for ever. Celery's `result_expires`.
    pub result_lifetime: Duration,
    /// After this time deliveries that Python workers hold count as lost. Must be that of the Python workers.
    pub visibility_timeout: Duration,
}

impl Default for Options {
    /// Both as in Celery: a day and an hour.
    fn default() -> Self {
        Self {
            result_lifetime: Duration::from_secs(24 * 60 * 60),
            visibility_timeout: Duration::from_secs(60 * 60),
        }
    }
}

impl Store {
    /// Opens the store that the URLs name; without a `backend` results go to the broker.
    pub async fn open(broker: &str, backend: Option<&str>, options: Options) -> Result<Self, StoreError> {
        let Options { result_lifetime, visibility_timeout } = options;
        let options =
            self::redis::Options { result_lifetime, visibility_timeout, ..self::redis::Options::default() };
        let redis = Arc::new(self::redis::Redis::connect(broker, backend, options).await?);
        Ok(Self {
            broker_address: redis.address(),
            backend_address: redis.backend_address(),
            broker: redis.clone(),
            backend: redis,
        })
    }
}

/// A message in a worker's hands. The broker keeps a record of it under `tag` until it is settled.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Names this delivery; unique to it, so a message delivered twice has two tags.
    pub tag: Tag,
    /// The queue it was taken from.
    pub queue: QueueName,
    /// The message, byte for byte.
    pub message: bytes::Bytes,
}

/// The name of one delivery. It is also the proof of holding it: what is settled under a tag that the broker no
/// longer knows has no effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag(pub std::sync::Arc<str>);

/// How a delivery ends. Everything in one settlement takes effect together or, if the delivery is no longer held,
/// not at all.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The delivery.
    pub tag: Tag,
    /// What to store as the task's result, if anything.
    pub result: Option<StoredResult>,
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
    /// It waits, where no worker's death matters, and is at the head of its queue again at this time.
    Delay(jiff::Timestamp),
    /// It goes to the dead letters, with the reason.
    DeadLetter(String),
}

/// Whether a settlement took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It did.
    Done,
    /// The delivery was not held any more: settled before, or given to another worker.
    NotHeld,
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

/// Queues and deliveries.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Appends a message to a queue. `priority` is 0 to 9, 0 the most urgent.
    async fn publish(&self, queue: &QueueName, priority: u8, message: &[u8]) -> Result<(), StoreError>;

    /// Takes at most `most` messages, delayed ones that are due among them, the most urgent first, and records each as held by this owner; both in one atomic
    /// step. Takes fewer when they are large. Does not wait: an empty answer means that the queues are empty, and arms
    /// [`Broker::arrival`]. May be cancelled at any time: what nobody received is restored by [`Broker::restore`].
    async fn take(&self, queues: &[QueueName], most: usize) -> Result<Vec<Delivery>, StoreError>;

    /// Waits until there may be something to take. May be cancelled at any time. Returns early now and then, so that
    /// the caller looks again even when an announcement was lost. Meant for one caller: an announcement wakes one.
    async fn arrival(&self);

    /// Ends deliveries, in as few round trips as the engine can. Answers in the order asked. After an error any of them
    /// may have been settled; asking again is safe and answers [`Settled::NotHeld`] for those.
    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError>;

    /// Tells the others that this owner lives, for the given time, and that it still holds what it has taken and not
    /// settled. Taking says so too, but only for some seconds: an owner that holds anything must beat.
    async fn beat(&self, lease: Duration) -> Result<(), StoreError>;

    /// Gives up the owner's heartbeat; what it still holds is restored by the next [`Broker::restore`].
    async fn leave(&self) -> Result<(), StoreError>;

    /// Puts messages that nobody holds any more, above all those of dead owners, back to the head of their queues,
    /// the oldest first in line and marked as redelivered. Returns how many.
    async fn restore(&self) -> Result<usize, StoreError>;

    /// The number of messages waiting in a queue.
    async fn length(&self, queue: &QueueName) -> Result<u64, StoreError>;

    /// The queues that exist: all that hold messages or were ever bound.
    async fn queues(&self) -> Result<Vec<QueueName>, StoreError>;

    /// The number of messages that wait for their time.
    async fn delayed(&self) -> Result<u64, StoreError>;

    /// The number of messages that are held by workers.
    async fn held(&self) -> Result<u64, StoreError>;

    /// How many messages were ever put aside as dead letters; the store keeps the newest of them.
    async fn dead_letters(&self) -> Result<u64, StoreError>;

    /// Throws away the messages waiting in a queue; returns how many.
    async fn purge(&self, queue: &QueueName) -> Result<u64, StoreError>;
}

/// Results.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Stores and announces a state of a task that still runs (STARTED, PROGRESS). A stored SUCCESS stays, and so does any
    /// other end of the task.
    async fn store(&self, result: &StoredResult) -> Result<(), StoreError>;

    /// The stored JSON text, if there is one.
    async fn get(&self, id: &TaskId) -> Result<Option<String>, StoreError>;

    /// Waits for the next announcement for `id` whose text `is_final` accepts, looking first at what is
    /// stored already. No polling.
    async fn wait(
        &self,
        id: &TaskId,
        is_final: &(dyn for<'t> Fn(&'t str) -> bool + Sync),
    ) -> Result<String, StoreError>;
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL of the store is not usable.
    #[error("cannot use the URL {url:?}: {reason}")]
    Url {
        /// The URL without its password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store could not be reached, or went away, or did not answer in time. What was asked may have been done.
    #[error("{address} is not reachable")]
    Unreachable {
        /// Where it was looked for, without a password.
        address: String,
        /// What the connection said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store is in a condition that passes: it loads its data, fails over, or has no memory left.
    #[error("{address} cannot do this at the moment")]
    NotReady {
        /// The store, without a password.
        address: String,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store answered with an error that will not pass by itself.
    #[error("{address} refused")]
    Refused {
        /// The store, without a password.
        address: String,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether trying again later may help. Everything in [`Broker`] and [`Backend`] may be tried again: what was done
    /// already has no second effect, but for [`Broker::publish`], which may then send the message twice.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NotReady { .. })
    }
}
