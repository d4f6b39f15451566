//! A `host server` of the test's own.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::{
    http::{self, Response},
    process::Process,
};

/// A running `host server` on an embedded store of its own.
pub struct Server {
    _process: Process,
    address: String,
    folder: TempDir,
}

impl Server {
    /// Starts it with these flags, and waits until it takes requests.
    #[track_caller]
    pub fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let mut command = host_in(&folder);
        let mut process = Process::start(
            command.args(["server", "--http", "127.0.0.1:0"]).args(flags),
            "cargo builds it with the tests",
        );
        process.wait_for("serving http://");
        let address = served(&process.output());
        Self { _process: process, address, folder }
    }

    /// Where it listens: `127.0.0.1:40000`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        http::get(&self.url(path))
    }

    #[track_caller]
    pub fn get_with_token(&self, path: &str, token: &str) -> Response {
        http::get_with(&self.url(path), &[("Authorization", &format!("Bearer {token}"))])
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Response {
        http::post_json(&self.url(path), body)
    }

    /// Runs `host` with these arguments on the same store; what it printed.
    #[track_caller]
    pub fn host(&self, arguments: &[&str]) -> String {
        let output = host_in(&self.folder).args(arguments).output().expect("the binary is built");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Server {
    /// Runs `host` with these arguments on the same store, which fails; what it said.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str]) -> String {
        let output = host_in(&self.folder).args(arguments).output().expect("the binary is built");
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// The address in what a server or worker wrote when it began to serve.
#[track_caller]
pub fn served(output: &str) -> String {
    let (_, rest) = output.split_once("serving http://").expect("it serves");
    rest.split_whitespace().next().expect("an address follows").to_owned()
}

fn host_in(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    command.env_clear().current_dir(folder.path()).env("CELERY_BROKER_URL", "sqlite:store.sqlite");
    command
}
