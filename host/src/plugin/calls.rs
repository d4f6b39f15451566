//! How often a version of a plugin was called here.

use std::sync::atomic::{AtomicU64, Ordering};

/// Calls that have ended, until somebody takes the numbers away to add them up.
#[derive(Debug, Default)]
pub struct Calls {
    ended: AtomicU64,
    failed: AtomicU64,
}

impl Calls {
    /// A call has ended.
    pub fn end(&self, has_failed: bool) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        if has_failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes away how many have ended, and how many of them have failed.
    pub fn take(&self) -> (u64, u64) {
        let failed = self.failed.swap(0, Ordering::Relaxed);
        (self.ended.swap(0, Ordering::Relaxed), failed)
    }

    /// Gives back what could not be added up.
    pub fn give_back(&self, (ended, failed): (u64, u64)) {
        self.ended.fetch_add(ended, Ordering::Relaxed);
        self.failed.fetch_add(failed, Ordering::Relaxed);
    }
}
