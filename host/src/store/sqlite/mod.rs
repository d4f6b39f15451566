//! One SQLite file as broker and result backend: for one machine, with nothing to install. Any number of its
//! processes share it.
//!
//! # Layout
//!
//! - `address`: URLs. `schema`: the file and its tables. `fault`: what SQLite says when it fails. `clock`: leases and times.
//! - `lane`: the threads that do the blocking work. `watch`: who is woken when the file has changed.
//! - `broker`: publishing and looking. `take`, `settle`, `restore`: the life of a delivery, with `lists`, `owners` and `tag`.
//! - `rate_limits`: messages that wait for their task's turn.
//! - `backend`: results. `bus`: events, requests and replies. `chords`: groups. `dead_letters`, `revocations`: what their
//!   names say. `records`: what people set up. `blobs`: uploaded code. `keyvalue`: what guests keep.
//!
//! # What always holds
//!
//! - A message is one row of one table, in one state: waiting, held, waiting for its time, parked, or set aside.
//! - What is answered is on the disk: each answer comes after a commit that was synced.
//! - What happens to a held message happens in one transaction, which begins by looking whether it is still held.
//! - Leases are told by a clock that nobody can set.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize},
    },
    time::Duration,
};

use tokio::sync::Notify;

use self::{address::Address, clock::LeaseClock, lane::Lane, take::Abandoned, watch::Watch};
use super::{Options, StoreError};
use crate::task::QueueName;

mod address;
mod backend;
mod blobs;
mod broker;
mod bus;
mod chords;
mod clock;
mod dead_letters;
mod fault;
mod keyvalue;
mod lane;
mod lists;
mod owners;
mod rate_limits;
mod records;
mod restore;
mod revocations;
mod schema;
mod settle;
mod tag;
mod take;
#[cfg(test)]
mod tests;
mod watch;

/// A file as broker and result backend. One value is one owner of deliveries.
pub struct Sqlite {
    owner: Arc<str>,
    options: Options,
    address: Address,
    /// Everything that changes the file, in turn.
    writes: Lane,
    /// Everything that only reads it: it waits for no commit.
    reads: Lane,
    watch: Arc<Watch>,
    clock: LeaseClock,
    /// The number of the next delivery.
    next_number: Arc<AtomicI64>,
    /// What was taken and received by nobody.
    abandoned: Arc<Abandoned>,
    /// When the next delayed message was due when last asked; [`i64::MAX`] if there was none.
    next_due: AtomicI64,
    /// A chord may be complete.
    chord_complete: Notify,
    /// Counts takes: it says whose turn it is.
    turn: AtomicUsize,
    /// The queues that this owner has taken from, and so has bound.
    bound: Mutex<HashSet<QueueName>>,
}

/// Whether a URL names a file of this engine, rather than a server.
pub fn is_meant_by(url: &str) -> bool {
    Address::is_meant_by(url)
}

/// The folder of the file that a URL names.
pub fn folder(url: &str) -> Option<PathBuf> {
    Some(Address::parse(url).ok()?.path().parent()?.to_owned())
}

impl Sqlite {
    /// Opens the file that the URL names (`sqlite:PATH`), and makes it if it is not there; its folder must be. A result
    /// backend must be the same file.
    pub async fn open(url: &str, backend_url: Option<&str>, options: Options) -> Result<Self, StoreError> {
        let address = Address::parse(url)?;
        if let Some(backend_url) = backend_url {
            let same = Address::parse(backend_url).is_ok_and(|backend| backend.is_same_file(&address));
            if !same {
                let reason = format!(
                    "with {address} as broker, results are in the same file; leave out the result backend"
                );
                return Err(StoreError::Url { url: backend_url.to_owned(), reason });
            }
        }
        let opened = address.clone();
        let open = move || Ok([schema::open(&opened)?, schema::open(&opened)?, schema::open(&opened)?]);
        let opened = tokio::task::spawn_blocking(open).await;
        let thread_failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::NotReady {
            address: address.to_string(),
            source,
        };
        let [writing, reading, watching] = opened.map_err(|error| thread_failed(error.into()))??;
        let threads = || {
            let (watch, poke) = Watch::start(watching)?;
            let writes = Lane::writing(writing, &address, move || poke.poke())?;
            Ok((watch, writes, Lane::reading(reading, &address)?))
        };
        let (watch, writes, reads) =
            threads().map_err(|error: std::io::Error| thread_failed(error.into()))?;
        Ok(Self {
            owner: tag::new_owner().into(),
            options,
            address,
            writes,
            reads,
            watch,
            clock: LeaseClock::new(),
            next_number: Arc::default(),
            abandoned: Arc::default(),
            next_due: AtomicI64::new(i64::MAX),
            chord_complete: Notify::new(),
            turn: AtomicUsize::new(0),
            bound: Mutex::default(),
        })
    }

    /// The file's URL as a banner may show it: `sqlite:/var/lib/host.db`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

/// When something is dropped that is kept for this long from now; `None` is never.
fn expires(lifetime: Duration) -> Option<i64> {
    let lifetime = i64::try_from(lifetime.as_micros()).unwrap_or(i64::MAX);
    (lifetime > 0).then(|| clock::now().saturating_add(lifetime))
}
