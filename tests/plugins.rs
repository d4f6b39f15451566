//! Plugins come, change and go while the worker runs.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{Answer, Task, TestHost, TestRedis, eventually, guests};

/// A change must take effect within this time.
const SOON: Duration = Duration::from_secs(1);

#[test]
fn a_plugin_dropped_into_the_folder_is_there_within_a_second() {
    let redis = TestRedis::start_alone();
    let host = start(&redis, &[]);
    assert!(not_registered(&redis.run("app.divide", json!([1, 2]))));
    let begin = Instant::now();
    host.put("app", &fs::read(guests::DIVIDE).unwrap());
    let answer = first(&redis, "app.divide", |answer| !not_registered(answer));
    assert_eq!(answer.to_string(), "SUCCESS 0.5");
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
}

#[test]
fn a_plugin_taken_out_of_the_folder_is_gone_within_a_second() {
    let redis = TestRedis::start_alone();
    let host = start(&redis, &[("app", guests::DIVIDE)]);
    assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5");
    let begin = Instant::now();
    host.remove("app");
    first(&redis, "app.divide", not_registered);
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
}

#[test]
fn a_replaced_plugin_answers_anew_and_running_tasks_end_on_the_old_one() {
    let redis = TestRedis::start();
    let host = start(&redis, &[("app", guests::OBSERVE)]);
    let old = redis.send(&Task::new("app.report", json!(["PROGRESS", null, 2])));
    eventually("the task runs", || redis.stored(&old));
    host.put("app", &fs::read(guests::DIVIDE).unwrap());
    let new = first(&redis, "app.divide", |answer| !not_registered(answer));
    assert_eq!(new.to_string(), "SUCCESS 0.5");
    assert_eq!(redis.stored(&old).unwrap().status, "PROGRESS", "the old one still runs");
    assert_eq!(redis.answer(&old).to_string(), "SUCCESS null");
    assert!(not_registered(&redis.run("app.sleep_for", json!([0]))), "what only the old one offered is gone");
}

#[test]
fn a_broken_file_never_takes_away_the_working_version_and_is_reported() {
    let redis = TestRedis::start();
    let mut host = start(&redis, &[("app", guests::DIVIDE)]);
    let whole = fs::read(guests::DIVIDE).unwrap();
    for (n, broken) in
        [&b"hello"[..], b"\0asm\x01\0\0\0", &whole[..whole.len() / 2], b""].into_iter().enumerate()
    {
        host.put("app", broken);
        // A second file, equally broken, shows when the worker has looked.
        let name = format!("broken_{n}");
        host.put(&name, broken);
        host.wait_for(&format!("{name}.wasm"));
        assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5");
    }
    host.put("app", &fs::read(guests::OBSERVE).unwrap());
    first(&redis, "app.sleep_for", |answer| !not_registered(answer));
}

#[test]
fn a_file_is_not_loaded_before_it_is_whole() {
    let redis = TestRedis::start();
    let host = start(&redis, &[]);
    let wasm = fs::read(guests::DIVIDE).unwrap();
    let path = host.plugins().join("app.wasm");
    // As a slow copy writes it: in place, with pauses that are long enough for each part to be seen.
    for part in 1..=8 {
        fs::write(&path, &wasm[..wasm.len() * part / 8]).unwrap();
        std::thread::sleep(Duration::from_millis(150));
    }
    let answer = first(&redis, "app.divide", |answer| !not_registered(answer));
    assert_eq!(answer.to_string(), "SUCCESS 0.5");
    assert!(!host.output().contains("panicked"));
}

#[test]
fn a_worker_starts_with_broken_files_and_says_which() {
    let redis = TestRedis::start();
    let mut host = start(
        &redis,
        &[("app", guests::DIVIDE), ("notes", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))],
    );
    host.wait_for("notes.wasm");
    assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5");
}

#[test]
fn a_function_that_json_cannot_serve_is_listed_as_skipped_and_the_others_work() {
    let redis = TestRedis::start();
    let mut host = start(&redis, &[("echo", guests::ECHO)]);
    host.wait_for("nothings");
    assert!(not_registered(&redis.run("echo.two_nothings", json!([null]))));
    assert_eq!(redis.run("echo.maybe", json!([1])).to_string(), "SUCCESS 1");
}

/// A worker that says at once when it has no plugin for a task.
#[test]
fn what_was_compiled_once_is_mapped_at_the_next_start_unless_others_could_have_put_it_there() {
    let redis = TestRedis::start();
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("code");
    let flags = ["--code-cache", cache.to_str().unwrap()];
    let mut host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &flags);
    let code = || {
        let files = fs::read_dir(&cache).unwrap().map(|file| file.unwrap());
        files.map(|file| (file.file_name(), file.metadata().unwrap().ino())).collect::<Vec<_>>()
    };
    let compiled = code();
    assert_eq!(compiled.len(), 1);
    let mut restarted = || {
        host.kill_9();
        host.start_again();
        host.wait_for(" ready.");
        assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5");
        host.output()
    };
    restarted();
    assert_eq!(code(), compiled, "the same file, not written anew");

    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(restarted().contains("chmod it to 700"));
}

fn start(redis: &TestRedis, plugins: &[(&str, &str)]) -> TestHost {
    TestHost::start_with(redis, plugins, &["--park-unknown", "0"])
}

/// Calls a task again and again until the answer is as wanted, and returns that.
fn first(redis: &TestRedis, task: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    eventually(&format!("{task} answers as wanted"), || Some(redis.run(task, json!([1, 2]))).filter(&wanted))
}

fn not_registered(answer: &Answer) -> bool {
    answer.result["exc_type"] == "NotRegistered"
}
