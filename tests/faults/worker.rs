//! A worker to which faults happen: `host`, or Celery's own beside it, in as many lives as it takes.

use std::{
    fs,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::Command,
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::support::{Celery, Process, eventually, guests};

/// How many tasks each worker runs at once: few, so that it is the same for both and all are busy.
pub const CONCURRENCY: &str = "4";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Host,
    Celery,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Celery => "celery 5.4",
        }
    }
}

/// One worker, which may die and be started again.
pub struct Worker {
    kind: Kind,
    broker: String,
    name: String,
    environment: Vec<(String, String)>,
    plugins: TempDir,
    lives: Vec<Life>,
}

/// From a start of the process to its end.
pub struct Life {
    pub process: Process,
    /// When it was seen to be dead.
    pub ended: Option<Instant>,
    /// While it was stopped by a signal.
    pub frozen: Vec<(Instant, Option<Instant>)>,
}

impl Worker {
    /// A worker that is not started yet.
    pub fn new(kind: Kind, broker: &str, name: &str) -> Self {
        let plugins = tempfile::tempdir().expect("there is room for a folder");
        fs::copy(guests::OBSERVE, plugins.path().join("observe.wasm")).expect("the guest is built");
        let (broker, name) = (broker.to_owned(), name.to_owned());
        Self { kind, broker, name, environment: Vec::new(), plugins, lives: Vec::new() }
    }

    /// Sets an environment variable for the lives to come.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Says how its tasks are to be run.
    pub fn manifest(&self, text: &str) {
        fs::write(self.plugins.path().join("observe.toml"), text).expect("the folder takes files");
    }

    /// Starts it; does not wait until it is ready.
    pub fn start(&mut self) {
        let mut command = match self.kind {
            Kind::Host => self.host(),
            Kind::Celery => self.celery(),
        };
        // Celery's worker is several processes: they are to die as one machine does.
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).process_group(0);
        let process = Process::start(&mut command, "run `tests/setup`");
        self.lives.push(Life { process, ended: None, frozen: Vec::new() });
    }

    fn host(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["worker", "--loglevel", "info", "-c", CONCURRENCY, "--broker", &self.broker]);
        // Some have a clock that is set by a file which no worker has to do with.
        command.arg("--unconfined");
        // Here all tasks are innocent, and some lose worker after worker. Giving up has tests of its own, and so has the last
        // try, which is made alone and would make others wait.
        command.args(["--max-worker-deaths", "20"]);
        command.args(["-n", &format!("{}@%h", self.name), "--plugins"]).arg(self.plugins.path());
        command
    }

    fn celery(&self) -> Command {
        let mut command = Celery::BOTH[0].program("celery", &self.broker);
        command
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/faults"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // Root may run it; it only says that this is unwise.
            .env("C_FORCE_ROOT", "1")
            .args(["--app=tasks", "worker", "--loglevel=info", "--concurrency", CONCURRENCY])
            .args(["-n", &format!("{}@%h", self.name)]);
        command
    }

    #[track_caller]
    pub fn wait_until_ready(&mut self) {
        self.life().process.wait_for(" ready.");
    }

    /// Ends it, with all processes that it started, in the middle of whatever it does. Returns when that was.
    pub fn kill_9(&mut self) -> Instant {
        self.group(Signal::KILL);
        self.life().process.wait();
        let now = Instant::now();
        self.life().ended = Some(now);
        now
    }

    /// Stops it in its tracks, as a machine does that swaps or is suspended.
    pub fn freeze(&mut self) -> Instant {
        self.group(Signal::STOP);
        let now = Instant::now();
        self.life().frozen.push((now, None));
        now
    }

    pub fn thaw(&mut self) {
        if let Some((_, end)) = self.life().frozen.last_mut() {
            *end = Some(Instant::now());
        }
        self.group(Signal::CONT);
    }

    /// Asks it to shut down: `TERM` warmly, `QUIT` coldly.
    pub fn signal(&mut self, name: &str) {
        self.life().process.signal(name);
    }

    /// Waits until it killed itself, and returns when that was; `None` if it ended in another way or `until` came first.
    pub fn wait_for_suicide(&mut self, until: Instant) -> Option<Instant> {
        let status = eventually("it ended or its time is over", || {
            let status = self.life().process.status();
            if status.is_none() && Instant::now() < until { None } else { Some(status) }
        })?;
        let now = Instant::now();
        self.life().ended = Some(now);
        (status.signal() == Some(Signal::KILL.as_raw())).then_some(now)
    }

    /// Whether its process still runs.
    pub fn lives(&mut self) -> bool {
        self.life().process.status().is_none()
    }

    /// All that it wrote in all its lives.
    pub fn output(&self) -> String {
        self.lives.iter().map(|life| life.process.output()).collect()
    }

    pub fn all_lives(&self) -> &[Life] {
        &self.lives
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    fn life(&mut self) -> &mut Life {
        self.lives.last_mut().expect("it was started")
    }

    fn group(&mut self, signal: Signal) {
        let pid = Pid::from_raw(self.life().process.pid() as i32).expect("a process has a number");
        // Who has ended needs no signal.
        let _ = kill_process_group(pid, signal);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The number of a group that has ended may be another's by now.
        if !self.lives.is_empty() && self.life().ended.is_none() {
            self.group(Signal::KILL);
        }
    }
}
