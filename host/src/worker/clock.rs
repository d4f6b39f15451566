//! The store's time, as this worker knows it. An eta or an expiry is a time of day that many machines have to agree on, so
//! it is the store's clock that counts: a worker whose own is wrong, or jumps, neither runs a task early nor late.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use jiff::Timestamp;

/// How far this machine's clock is from the store's.
#[derive(Default)]
pub(super) struct Clock {
    /// In microseconds; to be added to this machine's time.
    offset: AtomicI64,
}

impl Clock {
    /// Notes what time it is for the store.
    pub fn set(&self, now: Timestamp) {
        let offset = now.as_microsecond().saturating_sub(Timestamp::now().as_microsecond());
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// The store's time.
    pub fn now(&self) -> Timestamp {
        let offset = self.offset.load(Ordering::Relaxed);
        let now = Timestamp::now().as_microsecond().saturating_add(offset);
        Timestamp::from_microsecond(now).unwrap_or_else(|_| Timestamp::now())
    }

    /// The store's time after so long; at the end of time at the latest.
    pub fn after(&self, wait: Duration) -> Timestamp {
        after(self.now(), wait)
    }
}

/// The time so long after this one; the end of time at the latest.
pub(super) fn after(time: Timestamp, wait: Duration) -> Timestamp {
    time.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_time_that_was_set_whatever_this_machine_says() {
        let clock = Clock::default();
        for hours in [0, 1, -1, 100_000] {
            let theirs = Timestamp::now() + jiff::SignedDuration::from_hours(hours);
            clock.set(theirs);
            let passed = clock.now().duration_since(theirs);
            assert!((0..60).contains(&passed.as_secs()), "{passed}");
        }
        assert_eq!(clock.after(Duration::MAX), Timestamp::MAX);
    }
}
