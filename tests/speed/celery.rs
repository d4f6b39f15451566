//! Celery's own worker, to compare with, if it is installed.

use std::path::Path;

use crate::support::{Celery, Process, TestRedis};

/// A worker with a process for each of two cores, which is how Celery is usually run.
pub struct Prefork(Process);

impl Prefork {
    /// Nothing when it is not installed.
    pub fn start(redis: &TestRedis) -> Option<Self> {
        let mut celery = Celery::BOTH[0].program("celery", &redis.url());
        Path::new(celery.get_program()).exists().then(|| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/speed");
            celery.current_dir(folder).env("PYTHONDONTWRITEBYTECODE", "1");
            celery.args(["--app=app", "worker", "--pool=prefork", "--concurrency=2", "--loglevel=warning"]);
            let worker = Process::start(&mut celery, "run `tests/setup`");
            Self(worker)
        })
    }

    pub fn pid(&self) -> u32 {
        self.0.pid()
    }
}
