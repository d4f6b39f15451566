//! What a worker's runs took together.

use std::time::Duration;

/// What a worker has done since it started: its receipts added up, and how its tasks ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// How often a task was run to its end.
    pub runs: u64,
    /// How long these runs took.
    pub wall: Duration,
    /// How long they computed.
    pub cpu: Duration,
    /// How long their messages waited, of those of which it is known.
    pub waited: Duration,
    /// The most memory that one of them had, in bytes.
    pub peak_memory: u64,
    /// How many tasks have succeeded.
    pub succeeded: u64,
    /// How many have failed for good.
    pub failed: u64,
    /// How many have failed and were sent again.
    pub retried: u64,
    /// How many were expired, revoked or terminated.
    pub revoked: u64,
}
