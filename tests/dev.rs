//! `host dev`: tasks run on a machine with nothing else installed.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::support::{Process, eventually, guests};

/// A folder to work in, with these plugins.
fn folder(plugins: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("plugins")).unwrap();
    for (name, wasm) in plugins {
        put(folder.path(), name, wasm);
    }
    folder
}

fn put(folder: &Path, name: &str, wasm: &str) {
    fs::copy(wasm, folder.join("plugins").join(format!("{name}.wasm"))).unwrap();
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    command.current_dir(folder).env_clear().args(arguments);
    command
}

fn dev(folder: &Path) -> Process {
    let mut process = Process::start(&mut command(folder, &["dev"]), "cargo builds it with the tests");
    process.wait_for("host call");
    process
}

/// `host call --wait` with the store that `host dev` has there.
fn call(folder: &Path, task: &[&str]) -> Output {
    let flags = ["call", "--wait", "--timeout", "30", "--broker", "sqlite:.host/dev.sqlite"];
    command(folder, &[&flags, task].concat()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn it_says_how_to_call_a_task_and_doing_so_runs_it() {
    let folder = folder(&[("divide", guests::DIVIDE)]);
    let mut dev = dev(folder.path());
    let output = dev.output();
    let line = output.lines().find(|line| line.trim_start().starts_with("host call")).unwrap();
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let called = command(folder.path(), &words).output().unwrap();
    assert_eq!((stdout(&called).as_str(), called.status.code()), ("SUCCESS 0.5", Some(0)), "{called:?}");

    let called = call(folder.path(), &["divide", "1", "0"]);
    let expected = "FAILURE ZeroDivisionError('division by zero')";
    assert_eq!((stdout(&called).as_str(), called.status.code()), (expected, Some(1)));
    dev.wait_for("succeeded in");
    dev.wait_for("ZeroDivisionError");
}

#[test]
fn a_plugin_dropped_into_the_folder_is_taken_up() {
    let folder = folder(&[]);
    let mut dev = dev(folder.path());
    assert!(dev.output().contains("No tasks yet"), "{}", dev.output());
    put(folder.path(), "divide", guests::DIVIDE);
    dev.wait_for("plugin divide.wasm added");
    assert_eq!(stdout(&call(folder.path(), &["divide", "1", "4"])), "SUCCESS 0.25");
}

#[test]
fn what_was_sent_survives_a_kill() {
    let folder = folder(&[("observe", guests::OBSERVE)]);
    let mut first = dev(folder.path());
    let sent: Vec<_> = ["0", "2"]
        .map(|seconds| {
            let flags = ["call", "--broker", "sqlite:.host/dev.sqlite", "observe.sleep_for", seconds];
            stdout(&command(folder.path(), &flags).output().unwrap())
        })
        .into();
    eventually("both were received", || sent.iter().all(|id| first.output().contains(id)).then_some(()));
    first.kill();
    let _second = dev(folder.path());
    for (id, expected) in sent.iter().zip(["SUCCESS 0.0", "SUCCESS 2.0"]) {
        let flags = ["result", "--wait", "--timeout", "60", "--broker", "sqlite:.host/dev.sqlite", id];
        assert_eq!(stdout(&command(folder.path(), &flags).output().unwrap()), expected);
    }
}

#[test]
fn a_worker_on_the_same_file_shares_the_work() {
    let folder = folder(&[("observe", guests::OBSERVE)]);
    let _dev = dev(folder.path());
    let flags = ["worker", "--plugins", "plugins", "--broker", "sqlite:.host/dev.sqlite", "-n", "other@%h"];
    let mut worker = Process::start(&mut command(folder.path(), &flags), "cargo builds it with the tests");
    worker.wait_for(" ready.");
    let health = command(folder.path(), &["health", "--broker", "sqlite:.host/dev.sqlite"]).output().unwrap();
    assert_eq!(stdout(&health).matches(" lives: ").count(), 2, "{health:?}");
    assert_eq!(stdout(&call(folder.path(), &["observe.sleep_for", "0.1"])), "SUCCESS 0.1");
}
