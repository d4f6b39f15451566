//! Looks for results all the time, and notes when each was first seen.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::place::{Endings, Place};

/// How often results are looked for: the precision of all times.
pub const GLANCE: Duration = Duration::from_millis(20);

/// A thread that looks, until this is dropped.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    pending: Vec<String>,
    endings: Endings,
}

impl Watch {
    pub fn start(place: &Place) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let over = Arc::<AtomicBool>::default();
        let mut look = place.look();
        let (shared, stop) = (Arc::clone(&seen), Arc::clone(&over));
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let pending = lock(&shared).pending.clone();
                let mut endings = Endings::new();
                look(&pending, &mut endings);
                let mut seen = lock(&shared);
                seen.pending.retain(|id| !endings.contains_key(id));
                seen.endings.extend(endings);
                drop(seen);
                thread::sleep(GLANCE);
            }
        });
        Self { seen, over, thread: Some(thread) }
    }

    /// Looks for the results of these tasks too.
    pub fn add(&self, ids: impl Iterator<Item = String>) {
        lock(&self.seen).pending.extend(ids);
    }

    /// How many tasks have ended.
    pub fn count(&self) -> usize {
        lock(&self.seen).endings.len()
    }

    /// When each task was seen to have ended, and how.
    pub fn endings(&self) -> Endings {
        lock(&self.seen).endings.clone()
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
