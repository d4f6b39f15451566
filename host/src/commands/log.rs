//! The log of a worker, on standard error.

use std::{
    fmt,
    io::{IsTerminal, Write, stderr},
};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// How many lines wait to be written; what comes on top is dropped.
const MOST_WAITING: usize = 10_000;

/// Says things on standard error without ever waiting for it.
#[derive(Clone)]
pub(super) struct Voice(NonBlocking);

/// Starts the log. A thread of its own writes, so that whoever reads it and stops reading holds up no task and no heartbeat. What
/// waits is written when the guard is dropped.
pub(super) fn start(level: tracing::Level) -> (Voice, WorkerGuard) {
    let writer = NonBlockingBuilder::default().buffered_lines_limit(MOST_WAITING).thread_name("log");
    let (writer, guard) = writer.finish(stderr());
    tracing_subscriber::fmt()
        .with_writer(writer.clone())
        .with_max_level(level)
        .with_target(false)
        // It would panic when nobody reads standard error any more.
        .log_internal_errors(false)
        .with_ansi(stderr().is_terminal())
        .init();
    (Voice(writer), guard)
}

impl Voice {
    /// Says a line, whatever the log's level is.
    pub(super) fn say(&self, line: impl fmt::Display) {
        // When nobody listens to it there is nobody left to tell.
        let _ = self.0.clone().write_all(format!("{line}\n").as_bytes());
    }
}
