//! The log of a worker, on standard error.

use std::io::{IsTerminal, stderr};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

/// How many lines wait to be written; what comes on top is dropped.
const MOST_WAITING: usize = 10_000;

/// Starts it. A thread of its own writes, so that whoever reads the log and stops reading holds up no task and no heartbeat.
/// What waits is written when the guard is dropped.
pub(super) fn start(level: tracing::Level) -> WorkerGuard {
    let writer = NonBlockingBuilder::default().buffered_lines_limit(MOST_WAITING).thread_name("log");
    let (writer, guard) = writer.finish(stderr());
    tracing_subscriber::fmt()
        .with_writer(writer)
        .with_max_level(level)
        .with_target(false)
        // It would panic when nobody reads standard error any more.
        .log_internal_errors(false)
        .with_ansi(stderr().is_terminal())
        .init();
    guard
}
