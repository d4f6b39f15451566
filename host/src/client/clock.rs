//! The logical clock that Celery's nodes keep (Lamport's): what is told after something was heard has a later time than it,
//! whatever the machines' own clocks say.

use std::sync::atomic::{AtomicU64, Ordering};

/// The clock of one node.
#[derive(Debug, Default)]
pub struct LogicalClock(AtomicU64);

/// A time that nobody reaches by counting; what is beyond it is not believed, so that nobody can stop the clock.
const LATEST: u64 = 1 << 53;

impl LogicalClock {
    /// The time of something that is told now.
    pub fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes note of the time of something that was heard.
    pub fn hear(&self, time: u64) {
        if time < LATEST {
            let later = |now: u64| Some(now.max(time) + 1);
            // It always has a later time to put in.
            let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        }
    }

    /// The time now.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_later_than_all_it_has_heard_and_told() {
        let clock = LogicalClock::default();
        assert_eq!((clock.tick(), clock.tick(), clock.now()), (1, 2, 2));
        for (heard, now) in [(10, 11), (3, 12), (12, 13), (u64::MAX, 13)] {
            clock.hear(heard);
            assert_eq!(clock.now(), now, "after {heard}");
        }
        assert_eq!(clock.tick(), 14);
    }
}
