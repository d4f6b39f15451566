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

use crate::task::Request;

/// The most names that are counted. Whoever sends a message can give it a name of their own.
const MOST_NAMES: usize = 10_000;

/// The counts.
pub(super) struct Tally {
    since: Instant,
    begun: Mutex<HashMap<String, u64>>,
    processed: AtomicU64,
}

impl Tally {
    /// From now on.
    pub fn new() -> Self {
        Self { since: Instant::now(), begun: Mutex::default(), processed: AtomicU64::new(0) }
    }

    /// A task begins to run.
    pub fn begun(&self, request: &Request) {
        let name = request.shadow.as_deref().unwrap_or(request.task.as_str());
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = begun.get_mut(name) {
            *count += 1;
        } else if begun.len() < MOST_NAMES {
            begun.insert(name.to_owned(), 1);
        }
    }

    /// A task has run.
    pub fn processed(&self) {
        self.processed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many tasks have run.
    pub fn total(&self) -> u64 {
        self.processed.load(Ordering::Relaxed)
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
