//! A worker of the test's own, started from the binary that this build made.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    thread,
};

use tempfile::TempDir;

use super::{TestRedis, process::Process};

/// A running `host worker` with a plugin folder of its own. It ends with the test; when the test fails, what it wrote
/// is shown.
pub struct TestHost {
    process: Process,
    plugins: TempDir,
    redis: String,
    flags: Vec<String>,
    variables: Vec<(String, String)>,
}

impl TestHost {
    /// Starts a worker with these plugins, named without `.wasm`, and waits until it is ready.
    #[track_caller]
    pub fn start(redis: &TestRedis, plugins: &[(&str, &str)]) -> Self {
        Self::start_with(redis, plugins, &[])
    }

    /// The same with more flags.
    #[track_caller]
    pub fn start_with(redis: &TestRedis, plugins: &[(&str, &str)], flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        for (name, wasm) in plugins {
            put(folder.path(), name, &fs::read(wasm).expect("the guest is built"));
        }
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        Self::start_as(redis, folder, flags, Vec::new())
    }

    /// Starts a worker with this plugin folder and these variables.
    #[track_caller]
    pub fn start_in(redis: &TestRedis, folder: TempDir, variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self::start_as(redis, folder, Vec::new(), variables)
    }

    #[track_caller]
    fn start_as(
        redis: &TestRedis,
        plugins: TempDir,
        flags: Vec<String>,
        variables: Vec<(String, String)>,
    ) -> Self {
        let redis = redis.url();
        let process = spawn(&redis, plugins.path(), &flags, &variables);
        let mut host = Self { process, plugins, redis, flags, variables };
        host.process.wait_for(" ready.");
        host
    }

    /// Starts it anew after it has ended; does not wait until it is ready.
    pub fn start_again(&mut self) {
        self.process = spawn(&self.redis, self.plugins.path(), &self.flags, &self.variables);
    }

    /// Ends it in the middle of whatever it does.
    pub fn kill_9(&mut self) {
        self.process.kill();
    }

    /// Sends a signal by its name: `TERM`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }

    pub fn lives(&mut self) -> bool {
        self.process.status().is_none()
    }

    /// Its number among the processes.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// All that it wrote: banner and log.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Waits until it wrote `text`.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        self.process.wait_for(text);
    }

    /// Stops reading what it writes, as a reader does that hangs.
    pub fn stop_reading(&self) {
        self.process.stop_reading();
    }

    /// Its resident memory, in KiB.
    pub fn resident_memory(&self) -> u64 {
        self.process.resident_memory()
    }

    pub fn plugins(&self) -> &Path {
        self.plugins.path()
    }

    /// Puts a plugin into the folder, or a new version in its place, in one step.
    pub fn put(&self, name: &str, wasm: &[u8]) {
        put(self.plugins.path(), name, wasm);
    }

    /// Takes a plugin out of the folder.
    pub fn remove(&self, name: &str) {
        fs::remove_file(file(self.plugins.path(), name)).expect("the plugin is there");
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- what the worker wrote:\n{}---", self.output());
        }
    }
}

/// Runs `host` with these arguments to its end.
pub fn host(redis: &TestRedis, arguments: &[&str]) -> Output {
    command(&redis.url()).args(arguments).output().expect("the binary is built")
}

fn spawn(redis: &str, plugins: &Path, flags: &[String], variables: &[(String, String)]) -> Process {
    let variables = variables.iter().map(|(name, value)| (name, value));
    Process::start(
        command(redis)
            .envs(variables)
            .args(["worker", "--loglevel", "info", "--plugins"])
            .arg(plugins)
            .args(flags),
        "cargo builds it with the tests",
    )
}

fn command(redis: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("CELERY_BROKER_URL", redis);
    command.env("HOST_CODE_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("code"));
    command
}

/// Written beside and moved into place, so that no half of it is ever seen. `acme/app` is a tenant's.
fn put(folder: &Path, name: &str, wasm: &[u8]) {
    let unfinished = folder.join(format!("{name}.unfinished"));
    fs::create_dir_all(unfinished.parent().expect("it is in the folder")).expect("the folder takes folders");
    fs::write(&unfinished, wasm).expect("the folder takes files");
    fs::rename(unfinished, file(folder, name)).expect("the folder takes files");
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.wasm"))
}
