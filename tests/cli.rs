//! The command line: what it prints and how it exits.

use std::{fs, process::Output};

use serde_json::{Value, json};

use crate::support::{Task, TestHost, TestRedis, guests, host};

#[test]
fn call_sends_a_task_and_waits_for_its_result_when_told_to() {
    let redis = TestRedis::start();
    let _worker = TestHost::start(&redis, &[("app", guests::DIVIDE)]);

    let waited = host(&redis, &["call", "app.divide", "1", "2", "--wait"]);
    assert_eq!((exit_code(&waited), stdout(&waited).trim()), (0, "SUCCESS 0.5"));
    let by_name =
        host(&redis, &["call", "app.divide", "--kwargs", r#"{"x": 1, "y": 4}"#, "--wait", "--json"]);
    let answer: Value = serde_json::from_str(&stdout(&by_name)).unwrap();
    assert_eq!((&answer["status"], &answer["result"]), (&json!("SUCCESS"), &json!(0.25)));

    let failed = host(&redis, &["call", "app.divide", "1", "0", "--wait"]);
    let expected = "FAILURE ZeroDivisionError('division by zero')";
    assert_eq!((exit_code(&failed), stdout(&failed).trim()), (1, expected));
    assert!(stderr(&failed).contains("ZeroDivisionError: division by zero"), "{}", stderr(&failed));

    let sent = host(&redis, &["call", "app.divide", "1", "8"]);
    let id = stdout(&sent).trim().to_owned();
    let later = host(&redis, &["result", &id, "--wait"]);
    assert_eq!((exit_code(&later), stdout(&later).trim()), (0, "SUCCESS 0.125"));
}

#[test]
fn result_of_a_task_that_never_was_is_pending() {
    let redis = TestRedis::start();
    let pending = host(&redis, &["result", "no-such-task", "--json"]);
    let answer: Value = serde_json::from_str(&stdout(&pending)).unwrap();
    assert_eq!(answer["status"], "PENDING");
}

#[test]
fn plugins_shows_what_is_in_a_file_without_running_it() {
    let redis = TestRedis::start();
    let shown = host(&redis, &["plugins", guests::DIVIDE]);
    assert_eq!(exit_code(&shown), 0, "{}", stderr(&shown));
    for expected in
        ["divide(x: f64, y: f64, sleep: option<f64> = none) -> f64", "integer_divide(x: s32, y: s32) -> s32"]
    {
        assert!(stdout(&shown).contains(expected), "{}", stdout(&shown));
    }
    // A guest that would never come back if it were started.
    let shown = host(&redis, &["plugins", guests::LOOP_AT_START, "--json"]);
    assert!(stdout(&shown).contains("answer"), "{}", stdout(&shown));
    serde_json::from_str::<Value>(&stdout(&shown)).unwrap();
}

#[test]
fn plugins_says_why_a_file_is_none() {
    let redis = TestRedis::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.wasm");
    fs::write(&path, "hello").unwrap();
    let refused = host(&redis, &["plugins", path.to_str().unwrap()]);
    assert_ne!(exit_code(&refused), 0);
    assert!(stderr(&refused).contains("notes.wasm"), "{}", stderr(&refused));
}

#[test]
fn queues_counts_and_purge_empties() {
    let redis = TestRedis::start();
    redis.send(&Task::new("app.divide", json!([1, 2])));
    redis.send(&Task::new("app.divide", json!([1, 2])).priority(9));
    redis.send(&Task::new("app.divide", json!([1, 2])).queue("other"));
    let counted = host(&redis, &["queues", "--json"]);
    let text = stdout(&counted);
    let queues: Value = serde_json::from_str(&text).unwrap();
    assert!(text.contains("celery"), "{queues}");

    let unasked = host(&redis, &["purge"]);
    assert_eq!(exit_code(&unasked), 1, "nobody is there to be asked");
    let purged = host(&redis, &["purge", "-f"]);
    assert_eq!(exit_code(&purged), 0, "{}", stderr(&purged));
    assert!(stdout(&purged).contains('2'), "{}", stdout(&purged));
    assert_eq!(redis.ask::<u64>(&["EXISTS", "celery", "celery\u{6}\u{16}9"]), 0);
    assert_eq!(redis.ask::<u64>(&["LLEN", "other"]), 1, "a queue that was not named is left alone");
}

#[test]
fn the_banner_names_the_worker_its_queues_and_its_tasks_but_no_password() {
    let redis = TestRedis::start();
    redis.ask::<()>(&["ACL", "SETUSER", "worker", "on", ">hunter2", "~*", "&*", "+@all"]);
    let url = redis.url().replace("redis://", "redis://worker:hunter2@");
    let flags = ["--broker", &url, "-n", "w1@%h", "-Q", "celery,urgent"];
    let mut worker = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &flags);
    for expected in [env!("CARGO_PKG_VERSION"), "w1@", "urgent", "app.divide", "x: f64", "app.integer_divide"]
    {
        worker.wait_for(expected);
    }
    assert!(!worker.output().contains("hunter2"), "{}", worker.output());
    assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5");
}

#[test]
fn a_worker_that_cannot_start_says_why_in_one_line() {
    let redis = TestRedis::start();
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().to_str().unwrap();
    for (arguments, expected) in [
        (&["worker", "--plugins", "/no/such/folder"][..], "/no/such/folder"),
        (&["worker", "--plugins", plugins, "--broker", "http://user:hunter2@example"], "http"),
        (&["worker", "--plugins", plugins, "--broker", "redis://:hunter2@127.0.0.1:1/0"], "127.0.0.1:1"),
    ] {
        let refused = host(&redis, arguments);
        assert_ne!(exit_code(&refused), 0, "{arguments:?}");
        let said = stderr(&refused);
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(!said.contains("hunter2") && !said.contains("panicked"), "{arguments:?}: {said}");
        assert!(said.lines().count() <= 3, "{arguments:?}: {said}");
    }
}

#[test]
fn help_names_every_command() {
    let redis = TestRedis::start();
    let help = host(&redis, &["--help"]);
    assert_eq!(exit_code(&help), 0);
    for command in ["worker", "call", "result", "plugins", "queues", "purge"] {
        assert!(stdout(&help).contains(command), "{}", stdout(&help));
    }
    assert_eq!(exit_code(&host(&redis, &["no-such-command"])), 2);
}

fn exit_code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn health_is_in_the_exit_code() {
    let mut redis = TestRedis::start();
    let nobody = host(&redis, &["health"]);
    assert_eq!(exit_code(&nobody), 69, "{}", stdout(&nobody));
    let _worker = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-n", "w1@box"]);
    let healthy = host(&redis, &["health", "--json"]);
    let shown: Value = serde_json::from_str(&stdout(&healthy)).unwrap();
    assert_eq!((exit_code(&healthy), &shown["workers"][0]["node"]), (0, &json!("w1@box")));
    assert_eq!(exit_code(&host(&redis, &["health", "--node", "w1@box"])), 0);
    assert_eq!(exit_code(&host(&redis, &["health", "--node", "w2@box"])), 69);
    redis.stop();
    let unreachable = host(&redis, &["health"]);
    assert_eq!(exit_code(&unreachable), 1);
    assert!(stderr(&unreachable).contains("127.0.0.1"), "{}", stderr(&unreachable));
    redis.start_again();
}
