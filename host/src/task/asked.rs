//! What a run asks to become of its message if it fails.

use std::time::Duration;

/// The longest time that a retry can be put off, a year. What asks for longer gets this.
pub const LONGEST_DELAY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a run asked for, should it fail; `wit/delivery.wit` says how a guest does that. A run that succeeds is a success
/// whatever it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Python's `self.retry(countdown=delay, max_retries=max)`.
    Retry {
        /// How long to wait before the next run; `None` leaves it to the task's options.
        delay: Option<Duration>,
        /// How often the task may be retried; `None` leaves it to the task's options.
        max: Option<u32>,
        /// Whether the failure tells why. A command that exits with 75 and prints nothing tells nothing.
        explained: bool,
    },
    /// Celery's `Ignore`: the message is done with and nothing is stored.
    Ignore,
    /// Celery's `Reject`.
    Reject {
        /// Whether the message goes back to the tail of its queue. If not, the task has failed.
        requeue: bool,
    },
}
