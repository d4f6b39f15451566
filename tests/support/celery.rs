//! Python's side: real Celery clients of two versions, and Celery's own worker to compare with.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{TestRedis, process::Process};

/// One version of Celery, as `tests/setup` installed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Celery(&'static str);

impl Celery {
    /// The versions that the tests know: what the tutorial names, and the newest.
    pub const BOTH: [Self; 2] = [Self("5.4"), Self("5.7")];

    /// Runs Python code in a client of this Redis and returns the value of its last expression. What the code finds
    /// is said in `tests/python/evaluate.py`.
    #[track_caller]
    pub fn evaluate(self, redis: &TestRedis, code: &str) -> Value {
        self.evaluate_each(redis, &[code]).remove(0)
    }

    /// The same for many pieces of code, one after the other in one client.
    #[track_caller]
    pub fn evaluate_each(self, redis: &TestRedis, code: &[&str]) -> Vec<Value> {
        let mut python = self
            .command("python", redis)
            .arg(folder().join("python/evaluate.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("Celery {} is not installed ({e}): run `tests/setup`", self.0));
        // Python may end before it has read all; its own message then says more than a broken pipe.
        let _ = serde_json::to_writer(python.stdin.take().expect("it is piped"), code);
        let output = python.wait_with_output().expect("Python ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "Celery {}, {}:\n{errors}", self.0, output.status);
        serde_json::from_slice(&output.stdout).expect("the values are JSON")
    }

    fn command(self, program: &str, redis: &TestRedis) -> Command {
        let folder = folder();
        let environment = folder.join("../target/python").join(format!("celery-{}", self.0));
        let mut command = Command::new(environment.join("bin").join(program));
        command
            .env("CELERY_BROKER_URL", redis.url())
            .env("CELERY_RESULT_BACKEND", redis.url())
            .env("PYTHONPATH", folder.join("tutorial"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// Celery's own worker, which runs `tests/python/reference.py`.
pub struct PythonWorker {
    _process: Process,
}

impl PythonWorker {
    #[track_caller]
    pub fn start(celery: Celery, redis: &TestRedis) -> Self {
        let mut process = Process::start(
            celery.command("celery", redis).current_dir(folder().join("python")).args([
                "--app=reference",
                "worker",
                "--loglevel=info",
                "--pool=threads",
            ]),
            "run `tests/setup`",
        );
        process.wait_for(" ready.");
        Self { _process: process }
    }
}

/// The folder `tests`.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests")
}
