//! What a task's author says about how it is to be run.

use std::time::Duration;

use super::{Limits, QueueName, RateLimit, RetryPolicy};

/// The options of one task, by Celery's names. A plugin's manifest sets them; see `plugin/manifest.rs`.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskOptions {
    /// The time limits of a run; the message and the worker can only ask for less.
    pub limits: Limits,
    /// How much memory a run may take, in bytes, if less than the worker allows.
    pub memory_limit: Option<usize>,
    /// How long a run may compute, if less than the worker allows.
    pub cpu_limit: Option<Duration>,
    /// The queue to which the task is sent when whoever sends it names none, as its tenant calls it.
    pub queue: Option<QueueName>,
    /// Whether retries, and what follows in a chain, stay on the version of the plugin that they began with.
    pub pin_version: bool,
    /// Whether the task is run again when a worker died that was running it: Celery's `acks_late` and
    /// `reject_on_worker_lost`. If either is false, it has failed then.
    pub acks_late: bool,
    /// See `acks_late`.
    pub reject_on_worker_lost: bool,
    /// Whether no result is stored, whatever the message says.
    pub ignore_result: bool,
    /// How often it may be begun, by all workers together.
    pub rate_limit: Option<RateLimit>,
    /// Whether it is told that a worker runs it, as state STARTED.
    pub track_started: bool,
    /// Whether and when it is retried.
    pub retry: RetryPolicy,
}

impl Default for TaskOptions {
    /// Celery's own, but for `acks_late` and `reject_on_worker_lost`: here no task is lost unless its author allows it.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            memory_limit: None,
            cpu_limit: None,
            queue: None,
            pin_version: false,
            acks_late: true,
            reject_on_worker_lost: true,
            ignore_result: false,
            rate_limit: None,
            track_started: false,
            retry: RetryPolicy::default(),
        }
    }
}

impl TaskOptions {
    /// Whether the task must not be begun twice. Celery acknowledges the message of such a task before it begins, so that a
    /// dying worker takes the task with it and nobody is told. Here the message stays, with a note that the task was
    /// begun; when the worker dies the task fails with `WorkerLostError`.
    pub fn runs_at_most_once(&self) -> bool {
        !self.acks_late || !self.reject_on_worker_lost
    }
}
