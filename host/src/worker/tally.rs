//! Counts what this worker has done since it started.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Map, Value};

use super::end::End;
use crate::task::{Outcome, Receipt, Request, Totals};

/// The most names that are counted. Whoever sends a message can give it a name of their own.
const MOST_NAMES: usize = 10_000;

/// The counts.
pub(super) struct Tally {
    since: Instant,
    begun: Mutex<HashMap<String, u64>>,
    runs: AtomicU64,
    /// In nanoseconds: enough for 580 years of them.
    wall: AtomicU64,
    cpu: AtomicU64,
    waited: AtomicU64,
    peak_memory: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    revoked: AtomicU64,
}

impl Tally {
    /// From now on.
    pub fn new() -> Self {
        Self {
            since: Instant::now(),
            begun: Mutex::default(),
            runs: AtomicU64::default(),
            wall: AtomicU64::default(),
            cpu: AtomicU64::default(),
            waited: AtomicU64::default(),
            peak_memory: AtomicU64::default(),
            succeeded: AtomicU64::default(),
            failed: AtomicU64::default(),
            retried: AtomicU64::default(),
            revoked: AtomicU64::default(),
        }
    }

    /// A task begins to run.
    pub fn begun(&self, request: &Request) {
        let name = &*request.shown_name();
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = begun.get_mut(name) {
            *count += 1;
        } else if begun.len() < MOST_NAMES {
            begun.insert(name.to_owned(), 1);
        }
    }

    /// A task has run, and took this.
    pub fn ran(&self, receipt: &Receipt) {
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.wall.fetch_add(nanoseconds(receipt.wall), Ordering::Relaxed);
        self.cpu.fetch_add(nanoseconds(receipt.cpu), Ordering::Relaxed);
        self.peak_memory.fetch_max(receipt.peak_memory, Ordering::Relaxed);
        if let Some(waited) = receipt.waited {
            self.waited.fetch_add(nanoseconds(waited), Ordering::Relaxed);
        }
    }

    /// A delivery has ended so.
    pub fn ended(&self, end: &End) {
        let count = match end {
            End::Finished { outcome: Outcome::Success(_), .. } => &self.succeeded,
            End::Finished { outcome: Outcome::Failure(_), .. }
            | End::GivenUp { .. }
            | End::Refused { .. } => &self.failed,
            End::Finished { outcome: Outcome::Revoked(_), .. } => &self.revoked,
            End::Retried { .. } => &self.retried,
            _ => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it together.
    pub fn totals(&self) -> Totals {
        let number = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let time = |count: &AtomicU64| Duration::from_nanos(number(count));
        Totals {
            runs: number(&self.runs),
            wall: time(&self.wall),
            cpu: time(&self.cpu),
            waited: time(&self.waited),
            peak_memory: number(&self.peak_memory),
            succeeded: number(&self.succeeded),
            failed: number(&self.failed),
            retried: number(&self.retried),
            revoked: number(&self.revoked),
        }
    }

    /// How many tasks have run.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// How often tasks of each name have begun to run, by the name that their senders want to be shown.
    pub fn by_task(&self) -> Map<String, Value> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.iter().map(|(name, count)| (name.clone(), (*count).into())).collect()
    }

    /// How long this worker is there.
    pub fn uptime(&self) -> Duration {
        self.since.elapsed()
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
