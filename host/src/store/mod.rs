//! What must outlive a process: queues, deliveries, results, records. Narrow traits; each storage engine implements them.
//!
//! What tenants call alike is not the same: results, groups and revocations are known by tenant and id, tasks by tenant and name.
//! What a settlement writes it writes for the tenant of the queue that its delivery came from, whoever asks.
//!
//! A store never parses a task's body: messages pass as bytes. What it writes into a message that comes back, that it was
//! delivered before, is done by `protocol`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use serde::{Deserialize, Serialize};

use crate::task::{OwnedTask, QueueName, TaskId, Tenant};

mod blobs;
mod bus;
mod chords;
#[cfg(test)]
mod conformance;
mod dead_letter;
mod delivery;
mod error;
mod keyvalue;
mod rate_limit;
mod records;
pub mod redis;
mod revocation;
mod scope;
pub mod sqlite;

pub use blobs::{Blobs, Count, Counts};
pub use bus::{Broadcast, Bus, Heard, Inbox, Listener, Topic};
pub use chords::{Chords, Finish};
pub use dead_letter::{Cause, DeadLetter, DeadLetters};
pub use delivery::{
    Delivery, Fate, Once, Portion, Publication, Scheduled, Settled, Settlement, StoredResult, Tag, Taken,
};
pub use error::StoreError;
pub use keyvalue::KeyValue;
pub use rate_limit::{Admission, Candidate, Pace, RateLimits, Released};
pub use records::{Change, Entry, Record, RecordNews, Records, Table};
pub use revocation::{Revocation, Revocations, Target};

/// An opened store: its parts may be one and the same.
#[derive(Clone)]
pub struct Store {
    /// Queues and deliveries.
    pub broker: Arc<dyn Broker>,
    /// Messages that were given up.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// Chords whose parts have all ended.
    pub chords: Arc<dyn Chords>,
    /// Tasks that must not run.
    pub revocations: Arc<dyn Revocations>,
    /// Tasks that may not be run as often as they are called.
    pub rate_limits: Arc<dyn RateLimits>,
    /// Results.
    pub backend: Arc<dyn Backend>,
    /// Events, requests and replies.
    pub bus: Arc<dyn Bus>,
    /// What people set up.
    pub records: Arc<dyn Records>,
    /// Code that was uploaded.
    pub blobs: Arc<dyn Blobs>,
    /// How often it was run.
    pub counts: Arc<dyn Counts>,
    /// What guests keep.
    pub keyvalue: Arc<dyn KeyValue>,
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
    /// How long dead letters are kept.
    pub dead_letter_lifetime: Duration,
}

impl Default for Options {
    /// The first two as in Celery: a day and an hour. Dead letters stay for a month: long enough for somebody to come
    /// back from holidays.
    fn default() -> Self {
        Self {
            result_lifetime: Duration::from_secs(24 * 60 * 60),
            visibility_timeout: Duration::from_secs(60 * 60),
            dead_letter_lifetime: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

/// The folder of the file that a URL names, if it names one.
pub fn folder(broker: &str) -> Option<PathBuf> {
    sqlite::folder(broker)
}

impl Store {
    /// Opens the store that the URLs name: `redis://...`, or `sqlite:PATH` for a file. Without a `backend` results go to the
    /// broker; of a file it can be no other.
    pub async fn open(broker: &str, backend: Option<&str>, options: Options) -> Result<Self, StoreError> {
        if sqlite::is_meant_by(broker) {
            let sqlite = Arc::new(sqlite::Sqlite::open(broker, backend, options).await?);
            return Ok(Self {
                broker_address: sqlite.address(),
                backend_address: sqlite.address(),
                broker: sqlite.clone(),
                dead_letters: sqlite.clone(),
                chords: sqlite.clone(),
                revocations: sqlite.clone(),
                bus: sqlite.clone(),
                records: sqlite.clone(),
                blobs: sqlite.clone(),
                counts: sqlite.clone(),
                keyvalue: sqlite.clone(),
                rate_limits: sqlite.clone(),
                backend: sqlite,
            });
        }
        if let Some(url) = backend.filter(|url| sqlite::is_meant_by(url)) {
            let reason =
                "a file keeps results only of its own queues; name it as the broker as well".to_owned();
            return Err(StoreError::Url { url: url.to_owned(), reason });
        }
        let redis = Arc::new(self::redis::Redis::connect(broker, backend, options.into()).await?);
        Ok(Self {
            broker_address: redis.address(),
            backend_address: redis.backend_address(),
            broker: redis.clone(),
            dead_letters: redis.clone(),
            chords: redis.clone(),
            revocations: redis.clone(),
            bus: redis.clone(),
            records: redis.clone(),
            blobs: redis.clone(),
            counts: redis.clone(),
            keyvalue: redis.clone(),
            rate_limits: redis.clone(),
            backend: redis,
        })
    }
}

/// What a worker tells of itself with its heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its name among the workers: `celery@box`.
    pub node: String,
    /// Its process on its machine.
    pub pid: u32,
    /// How many tasks it runs.
    pub active: u64,
    /// How many it has run.
    pub processed: u64,
    /// What tenants with quotas do there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<TenantLoad>,
}

/// What a tenant with quotas does in a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantLoad {
    /// Whose it is.
    pub tenant: Tenant,
    /// How many of its tasks are in flight.
    pub in_flight: u64,
    /// How many may be: this worker's part of the quota.
    pub most_in_flight: Option<u64>,
    /// How long its tasks have computed in the last minute, in milliseconds.
    pub cpu_ms: u64,
    /// Whether it has as much as its quotas allow, so that no more of its messages are taken.
    pub held_back: bool,
}

/// Queues and deliveries.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Appends messages to their queues, in this order and in one round trip.
    async fn publish(&self, publications: &[Publication]) -> Result<(), StoreError>;

    /// The same, unless it was done under the same key before: then nothing is sent, and what was kept under the key is answered. All
    /// in one atomic step.
    async fn publish_once(
        &self,
        publications: &[Publication],
        once: &Once,
    ) -> Result<Option<String>, StoreError>;

    /// Takes at most `most` messages, delayed ones that are due among them, the most urgent first, and records each as
    /// held by this owner; both in one atomic step. Takes fewer when they are large. Does not wait: an empty answer
    /// means that the queues are empty, and arms [`Broker::arrival`]. May be cancelled at any time: what nobody
    /// received is restored by [`Broker::restore`].
    async fn take(&self, queues: &[QueueName], most: usize) -> Result<Taken, StoreError> {
        self.take_portions(&[Portion { queues, share: most, most }], most).await
    }

    /// The same for several that share: first each gets its own share, in this order, and then, as long as fewer than `most` were
    /// taken, each up to the most that it may have. In an answer that says that there is no more, those who have as much as they
    /// may have can still have messages; [`Broker::arrival`] tells nothing of them.
    async fn take_portions(&self, portions: &[Portion<'_>], most: usize) -> Result<Taken, StoreError>;

    /// Waits until there may be something to take. May be cancelled at any time. Returns early now and then, so that
    /// the caller looks again even when an announcement was lost. Meant for one caller: an announcement wakes one.
    async fn arrival(&self);

    /// Ends deliveries, in as few round trips as the engine can. Answers in the order asked. After an error any of them
    /// may have been settled; asking again is safe and answers [`Settled::NotHeld`] for those.
    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError>;

    /// Replaces the message of a delivery, which stays held; answers whether it was. Should the owner die, this is
    /// what is restored.
    async fn replace(&self, tag: &Tag, message: &[u8]) -> Result<bool, StoreError>;

    /// Tells the others that this owner lives, for the given time, and that it still holds what it has taken and not
    /// settled. Taking says so too, but only for some seconds: an owner that holds anything must beat. Answers which
    /// of its deliveries it has lost: they were given to others when it was taken for dead. Each is named once.
    async fn beat(&self, lease: Duration, report: &Report) -> Result<Vec<Tag>, StoreError>;

    /// Gives up the owner's heartbeat; what it still holds is restored by the next [`Broker::restore`].
    async fn leave(&self) -> Result<(), StoreError>;

    /// Puts messages that nobody holds any more back to the head of their queues, the oldest first in line: those of
    /// dead owners, marked as lost, and those that a take brought to nobody, marked as redelivered. Puts back parked messages
    /// whose time has come. Returns how many were put back, parked ones among them.
    async fn restore(&self) -> Result<usize, StoreError>;

    /// The tasks for which messages are parked, with their number.
    async fn parked(&self) -> Result<Vec<(OwnedTask, u64)>, StoreError>;

    /// Puts the messages that are parked for this task back to the head of their queues, the one that was parked first being
    /// first in line; answers how many.
    async fn release(&self, task: &OwnedTask) -> Result<u64, StoreError>;

    /// What the workers that live now tell of themselves.
    async fn workers(&self) -> Result<Vec<Report>, StoreError>;

    /// The number of messages waiting in a queue.
    async fn length(&self, queue: &QueueName) -> Result<u64, StoreError>;

    /// The queues that exist: all that hold messages or were ever bound.
    async fn queues(&self) -> Result<Vec<QueueName>, StoreError>;

    /// The number of messages that wait for their time.
    async fn delayed(&self) -> Result<u64, StoreError>;

    /// The messages in these queues that would be taken next, the most urgent first; they stay where they are. At most so many,
    /// fewer when they are large.
    async fn peek(&self, queues: &[QueueName], most: usize) -> Result<Vec<(QueueName, Bytes)>, StoreError>;

    /// Messages that wait for their time and are for these queues, the next due first: at most so many, fewer when they are
    /// large, or when those for other queues are many.
    async fn scheduled(&self, queues: &[QueueName], most: usize) -> Result<Vec<Scheduled>, StoreError>;

    /// The number of messages that are held by workers.
    async fn held(&self) -> Result<u64, StoreError>;

    /// Throws away the messages waiting in a queue, and those that were set aside from it; returns how many.
    async fn purge(&self, queue: &QueueName) -> Result<u64, StoreError>;
}

/// Results.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Stores and announces a state of a task that still runs (STARTED, PROGRESS). A stored SUCCESS stays, and so does any
    /// other end of the task.
    async fn store(&self, tenant: &Tenant, result: &StoredResult) -> Result<(), StoreError>;

    /// The stored JSON text, if there is one.
    async fn get(&self, tenant: &Tenant, id: &TaskId) -> Result<Option<String>, StoreError>;

    /// Of a tenant's tasks those that have a result, in no order, about `most` of them, beginning where an answer before has said; and
    /// where to go on. There may be fewer, even none, and more to come; one may come twice.
    async fn results(
        &self,
        tenant: &Tenant,
        from: Option<&str>,
        most: usize,
    ) -> Result<(Vec<TaskId>, Option<String>), StoreError>;

    /// Waits for the next announcement for the tenant's `id` whose text `is_final` accepts, looking first at what is
    /// stored already. No polling.
    async fn wait(
        &self,
        tenant: &Tenant,
        id: &TaskId,
        is_final: &(dyn for<'t> Fn(&'t str) -> bool + Sync),
    ) -> Result<String, StoreError>;
}
