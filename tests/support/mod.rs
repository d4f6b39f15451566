//! What the end-to-end tests stand on: a Redis of their own, a worker of their own, real Celery clients.
//!
//! Nothing here waits for time to pass: it waits for a condition, and gives up loudly after [`PATIENCE`].

mod browser;
mod celery;
mod flower;
mod host;
pub mod http;
mod machine;
mod neighbours;
mod process;
mod random;
mod redis;
mod server;
mod task;

use std::{
    thread,
    time::{Duration, Instant},
};

pub use artifacts as guests;

pub use self::{
    browser::Browser,
    celery::{Celery, PythonWorker},
    flower::Flower,
    host::{TestHost, host},
    http::Response,
    neighbours::{Flood, percentile, processor, timed},
    process::Process,
    random::Random,
    redis::TestRedis,
    server::{Server, served},
    task::{Answer, Task},
};

/// How long a condition may take to come true: far longer than it does on a slow and busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until there is something to see, and returns it. `what` completes "waited in vain until".
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
