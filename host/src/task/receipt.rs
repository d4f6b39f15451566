//! What one run took.

use std::{sync::Arc, time::Duration};

/// What one run took, and what ran. Goes with the result, the events and the totals of the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// How long it ran, instantiation included.
    pub wall: Duration,
    /// How long it computed.
    pub cpu: Duration,
    /// The most memory it had at once, in bytes.
    pub peak_memory: u64,
    /// How long its message waited after it could have been run; nothing where its sender did not say when it was sent.
    pub waited: Option<Duration>,
    /// The SHA-256 of the plugin's `.wasm`, in hexadecimal.
    pub digest: Arc<str>,
}
