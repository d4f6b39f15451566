//! Python's side: real Celery clients of two versions, and Celery's own worker to compare with.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

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
        self.run(redis, "evaluate.py", &[], &json!(code))
    }

    /// Runs a file of `tests/python` with these arguments and this JSON on standard input, and reads what it prints.
    #[track_caller]
    pub fn run<T: DeserializeOwned>(
        self,
        redis: &TestRedis,
        file: &str,
        arguments: &[&str],
        input: &Value,
    ) -> T {
        let mut python = self
            .command("python", redis)
            .arg(folder().join("python").join(file))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("Celery {} is not installed ({e}): run `tests/setup`", self.0));
        // Python may end before it has read all; its own message then says more than a broken pipe.
        let _ = serde_json::to_writer(python.stdin.take().expect("it is piped"), input);
        let output = python.wait_with_output().expect("Python ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "Celery {}, {}:\n{errors}", self.0, output.status);
        serde_json::from_slice(&output.stdout).expect("it prints the JSON that is asked for")
    }

    /// A program of its environment, such as `celery`, told which broker and backend to use.
    pub fn program(self, program: &str, url: &str) -> Command {
        let environment = folder().join("../target/python").join(format!("celery-{}", self.0));
        let mut command = Command::new(environment.join("bin").join(program));
        command.env("CELERY_BROKER_URL", url).env("CELERY_RESULT_BACKEND", url);
        command
    }

    /// A program of its environment, run where the tutorial's `app.py` is.
    pub fn tutorial(self, program: &str, redis: &TestRedis) -> Command {
        let mut command = self.command(program, redis);
        command.current_dir(folder().join("tutorial"));
        command
    }

    fn command(self, program: &str, redis: &TestRedis) -> Command {
        let folder = folder();
        let mut command = self.program(program, &redis.url());
        command.env("PYTHONPATH", folder.join("tutorial")).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// One process, so that a kill ends all of the worker.
const THREADS: &str = "--pool=threads";

/// Celery's own worker. When the test fails, what it wrote is shown.
pub struct PythonWorker {
    process: Process,
}

impl PythonWorker {
    /// Starts a worker of `tests/python/reference.py` and waits until it is ready.
    #[track_caller]
    pub fn start(celery: Celery, redis: &TestRedis) -> Self {
        let mut worker = Self::spawn(&mut celery.command("celery", redis), "reference", &[THREADS]);
        worker.wait_for(" ready.");
        worker
    }

    /// Starts a worker of `tests/python/fleet.py`, which runs two tasks at once and takes the messages of others for lost
    /// after so many seconds. Does not wait until it is ready.
    #[track_caller]
    pub fn start_in_fleet(celery: Celery, redis: &TestRedis, visibility_timeout: u64) -> Self {
        let mut command = celery.command("celery", redis);
        command.env("VISIBILITY_TIMEOUT", visibility_timeout.to_string());
        Self::spawn(&mut command, "fleet", &[THREADS, "--concurrency=2", "--hostname=python@%h"])
    }

    /// Starts a worker of this file in `tests/python` with more flags, and waits until it is ready. Its pool is of processes,
    /// Celery's default: with threads it acknowledges but once a second, and sometimes stops for ever.
    #[track_caller]
    pub fn start_app(celery: Celery, redis: &TestRedis, app: &str, flags: &[&str]) -> Self {
        let mut worker = Self::spawn(&mut celery.command("celery", redis), app, flags);
        worker.wait_for(" ready.");
        worker
    }

    #[track_caller]
    fn spawn(command: &mut Command, app: &str, flags: &[&str]) -> Self {
        command
            .current_dir(folder().join("python"))
            .arg(format!("--app={app}"))
            .args(["worker", "--loglevel=info"]);
        Self { process: Process::start(command.args(flags), "run `tests/setup`") }
    }

    /// Waits until it wrote `text`.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        self.process.wait_for(text);
    }

    /// All that it wrote.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Stops it where it is, between any two of its instructions.
    pub fn freeze(&self) {
        self.process.signal("STOP");
    }

    pub fn thaw(&self) {
        self.process.signal("CONT");
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }

    /// Ends it in the middle of whatever it does.
    pub fn kill_9(&mut self) {
        self.process.kill();
    }
}

impl Drop for PythonWorker {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- what the Python worker wrote:\n{}---", self.output());
        }
    }
}

/// The folder `tests`.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests")
}
