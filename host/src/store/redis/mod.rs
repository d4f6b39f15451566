//! Redis as broker and result backend, in the keys of Kombu and Celery, so that Python clients and workers share both.
//!
//! # Layout
//!
//! - `address`: URLs. `connection`: a connection that comes back. `script`: the Lua scripts. `keys`: every key.
//! - `broker`: taking, publishing, looking. `taken`: what a take answers. `settle`, `ending`: how deliveries end. `put_back`:
//!   how they come back into their lists. `restore`: what happens to those of the dead. `parking`: messages that wait for a
//!   plugin.
//! - `rate_limits`: messages that wait for their task's turn.
//! - `chords`: chords that are complete. `dead_letters`: messages that were given up. `revocations`: tasks that must not run.
//! - `tag`, `record`, `custody`: how a delivery is named, recorded, and kept track of.
//! - `backend`, `announcements`: results, and waiting for them. `late`: results for those who come a moment too late.
//! - `bus`: events, requests and replies. `records`: what people set up. `blobs`: uploaded code. `keyvalue`: what guests keep.
//!
//! # What always holds
//!
//! - A message is in its list or in the record of unacked deliveries; it goes from one to the other in one step.
//! - What happens to a held message happens only if its record is still there, in the same step that removes it. So
//!   of any number of workers that believe to hold it, one settles it.
//! - No command waits inside Redis, and no call waits without end for an answer.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize},
    },
    time::Duration,
};

use tokio::sync::{Mutex, Notify, watch};

use self::{
    address::Address, announcements::Announcements, chords::Complete, connection::Connection,
    custody::Custody,
};
use super::StoreError;
use crate::task::QueueName;

mod address;
mod announcements;
mod backend;
mod blobs;
mod broker;
mod bus;
mod chords;
mod connection;
mod custody;
mod dead_letters;
mod ending;
mod keys;
mod keyvalue;
mod late;
mod parking;
mod put_back;
mod rate_limits;
mod record;
mod records;
mod restore;
mod revocations;
mod script;
mod settle;
mod tag;
mod taken;
#[cfg(test)]
mod tests;

/// How Redis is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// How long an answer may take. So long a server that has silently gone is waited for, so it is short; when an answer comes
    /// too late, because much is on its way over a slow link, the next one may take longer (see [`Connection`]).
    pub response_timeout: Duration,
    /// How long results are kept; zero is for ever. Celery's `result_expires`.
    pub result_lifetime: Duration,
    /// After this time Python workers' deliveries count as lost. Must be that of the Python workers.
    pub visibility_timeout: Duration,
    /// How long dead letters are kept.
    pub dead_letter_lifetime: Duration,
}

impl From<super::Options> for Options {
    fn from(options: super::Options) -> Self {
        let super::Options { result_lifetime, visibility_timeout, dead_letter_lifetime } = options;
        Self {
            connect_timeout: Duration::from_secs(3),
            response_timeout: Duration::from_secs(3),
            result_lifetime,
            visibility_timeout,
            dead_letter_lifetime,
        }
    }
}

impl Options {
    /// For a connection on which nothing large is sent and nobody can wait long.
    fn hasty(self) -> Self {
        let longest = Duration::from_secs(2);
        Self {
            connect_timeout: longest.min(self.connect_timeout),
            response_timeout: longest.min(self.response_timeout),
            ..self
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        super::Options::default().into()
    }
}

/// A Redis server as broker and, perhaps another one, as result backend. One value is one owner of deliveries.
pub struct Redis {
    owner: String,
    options: Options,
    broker: Address,
    backend: Address,
    /// Used for taking only: what is read on it last is what Redis watches for us.
    takes: Connection,
    commands: Connection,
    /// For the heartbeat alone: it waits behind nothing, and a connection that has died is given up while the lease lasts.
    beats: Connection,
    /// For events and replies: however many there are, they are in nobody's way.
    bus: Connection,
    results: Arc<Connection>,
    arrived: Arc<Notify>,
    revoked: Arc<Notify>,
    /// How often a record may have changed.
    records: watch::Sender<u64>,
    custody: Custody,
    announcements: Arc<Announcements>,
    /// The chords that are complete by what this owner has settled, and are not finished as far as it knows.
    complete: Complete,
    /// In how many milliseconds the next delayed message was due when last asked; negative if there was none.
    next_due: AtomicI64,
    /// Counts takes: it says whose turn it is.
    turn: AtomicUsize,
    /// The queues that this owner has used, and so has bound.
    bound: Mutex<HashSet<QueueName>>,
}

impl Redis {
    /// Connects to the broker and checks that it can do what is needed. Results go to `backend_url`, or without one to
    /// the broker. When both are the same database, settling is one atomic step; else a result is stored before its
    /// message is acknowledged.
    pub async fn connect(
        broker_url: &str,
        backend_url: Option<&str>,
        options: Options,
    ) -> Result<Self, StoreError> {
        let broker = Address::parse(broker_url)?;
        let backend = Address::parse(backend_url.unwrap_or(broker_url))?;
        let (arrived, revoked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let records = watch::Sender::default();
        let announcements = Arc::new(Announcements::default());
        let redis = Self {
            owner: tag::new_owner(),
            takes: takes(&broker, &options, arrived.clone(), revoked.clone(), records.clone())?,
            commands: Connection::new(&broker, &options)?.patient(),
            beats: Connection::new(&broker, &options.clone().hasty())?,
            bus: Connection::new(&broker, &options.clone().hasty())?,
            results: Arc::new(announcements::listen(
                Connection::new(&backend, &options)?.patient(),
                announcements.clone(),
            )),
            options,
            broker,
            backend,
            arrived,
            revoked,
            records,
            custody: Custody::default(),
            announcements,
            complete: Complete::default(),
            next_due: AtomicI64::new(-1),
            turn: AtomicUsize::new(0),
            bound: Mutex::default(),
        };
        redis.takes.open().await.map_err(explain_old_server)?;
        Ok(redis)
    }

    /// The broker's URL as a banner may show it: `redis://:**@localhost:6379/0`.
    pub fn address(&self) -> String {
        self.broker.to_string()
    }

    /// The result backend's URL as a banner may show it.
    pub fn backend_address(&self) -> String {
        self.backend.to_string()
    }

    /// Whether results are in the broker's own database, so that one script can settle a delivery.
    fn results_are_with_broker(&self) -> bool {
        self.broker.is_same_database(&self.backend)
    }
}

/// The connection for taking. Redis remembers which keys a tracking client has read and tells it when one changes, so
/// nothing has to be asked again and again while the queues are empty. The pop that waits inside Redis (`BRPOP`) would
/// do too, but what it pops is recorded nowhere until the client has read it.
fn takes(
    address: &Address,
    options: &Options,
    arrived: Arc<Notify>,
    revoked: Arc<Notify>,
    records: watch::Sender<u64>,
) -> Result<Connection, StoreError> {
    let mut tracking = redis::cmd("CLIENT");
    tracking.arg("TRACKING").arg("ON").arg("NOLOOP");
    let connection = Connection::new(address, options)?.patient().greet(tracking).on_push(move |push| {
        let news = News::of(&push);
        if news.arrival {
            arrived.notify_one();
        }
        if news.revocation {
            revoked.notify_one();
        }
        if news.record {
            records.send_modify(|count| *count += 1);
        }
    });
    Ok(connection)
}

/// What a push may mean.
struct News {
    /// Something has arrived.
    arrival: bool,
    /// Something was revoked.
    revocation: bool,
    /// A record has changed.
    record: bool,
}

impl News {
    const ALL: Self = Self { arrival: true, revocation: true, record: true };
    const NONE: Self = Self { arrival: false, revocation: false, record: false };

    fn of(push: &redis::PushInfo) -> Self {
        match push.kind {
            redis::PushKind::Disconnection => Self::ALL,
            redis::PushKind::Invalidate => match push.data.first() {
                Some(redis::Value::Array(keys)) => {
                    let names = |known: &str| {
                        keys.iter().any(
                            |key| matches!(key, redis::Value::BulkString(key) if key == known.as_bytes()),
                        )
                    };
                    // Redis tells of all keys of a script, also of those that nobody waits for: what was taken was settled.
                    let is_news = |key: &redis::Value| match key {
                        redis::Value::BulkString(key) => !keys::is_no_arrival(key),
                        _ => true,
                    };
                    let (revocation, record) = (names(keys::REVISION), names(keys::RECORDS_REVISION));
                    Self { arrival: keys.iter().any(is_news), revocation, record }
                }
                // The server has dropped all keys.
                _ => Self::ALL,
            },
            _ => Self::NONE,
        }
    }
}

fn explain_old_server(error: StoreError) -> StoreError {
    #[derive(Debug, thiserror::Error)]
    #[error("Redis 6.2 or newer is needed, with HELLO and CLIENT TRACKING allowed: {0}")]
    struct TooOld(Box<dyn std::error::Error + Send + Sync>);

    match error {
        StoreError::Refused { address, source } if is_about_tracking(&source.to_string().to_lowercase()) => {
            StoreError::Refused { address, source: Box::new(TooOld(source)) }
        }
        error => error,
    }
}

/// Whether an error, in lower case, is about what the connection for taking needs. The words are those of Redis, for a
/// command that it does not know or does not allow, and of the redis crate. A server that wants a password names HELLO too.
fn is_about_tracking(error: &str) -> bool {
    !error.contains("noauth") && ["hello", "resp3", "tracking"].iter().any(|word| error.contains(word))
}
