//! Tasks that fail for now, and how often they may.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Task, TestHost, TestRedis, eventually, guests, host};

/// Runs a task whose message says that it was retried so often before.
fn retried(redis: &TestRedis, task: &str, args: Value, retries: u32) -> String {
    let task = Task::new(task, args).header("retries", json!(retries));
    redis.answer(&redis.send(&task)).to_string()
}

#[test]
fn a_task_knows_how_often_it_was_retried() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("retry", guests::RETRY)]);
    assert_eq!(retried(&redis, "retry.flaky", json!([2, "ConnectionError"]), 2), "SUCCESS 2");
    let early = retried(&redis, "retry.flaky", json!([2, "ConnectionError"]), 1);
    assert_eq!(early, "FAILURE builtins.ConnectionError: failed after 1 retries");
}

#[test]
fn a_task_that_asks_for_a_retry_and_succeeds_has_succeeded() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("retry", guests::RETRY)]);
    assert_eq!(retried(&redis, "retry.ask_until", json!([0]), 0), "SUCCESS 0");
}

#[test]
fn a_task_whose_retries_are_used_up_fails_with_its_own_exception() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("retry", guests::RETRY), ("exit_75", guests::EXIT_75)]);
    for (task, args, retries, expected) in [
        ("retry.ask", json!([null, 0]), 0, "builtins.ConnectionError: no route"),
        ("retry.ask", json!([5, 2]), 2, "builtins.ConnectionError: no route"),
        ("retry.ask", json!([]), 3, "builtins.ConnectionError: no route"),
        ("exit_75", json!([]), 3, "builtins.RuntimeError: exit code 75"),
    ] {
        let answer = retried(&redis, task, args.clone(), retries);
        assert_eq!(answer, format!("FAILURE {expected}"), "{task} {args} {retries}");
    }
}

#[test]
fn a_task_that_asks_for_it_is_run_again_until_it_succeeds() {
    let redis = TestRedis::start();
    let host = TestHost::start(&redis, &[("retry", guests::RETRY)]);
    let id = redis.send(&Task::new("retry.ask_until", json!([3])).queue("celery").priority(5));
    assert_eq!(redis.answer(&id).to_string(), "SUCCESS 3");
    redis.wait_until_idle();
    assert_eq!(host.output().matches(&format!("[{id}] retry at")).count(), 3);
}

#[test]
fn a_task_that_waits_for_its_retry_says_why_and_survives_its_worker() {
    let redis = TestRedis::start();
    let mut host = TestHost::start(&redis, &[("retry", guests::RETRY)]);
    let id = redis.send(&Task::new("retry.ask", json!([3_000, 1])));
    let waiting = eventually("it waits", || redis.stored(&id));
    assert_eq!(waiting.to_string(), "RETRY builtins.ConnectionError: no route");
    assert!(waiting.traceback.unwrap().ends_with("ConnectionError: no route\n"));
    assert_eq!(redis.ask::<u64>(&["HLEN", "unacked"]), 0, "no worker holds it");
    host.kill_9();
    host.start_again();
    assert_eq!(redis.answer(&id).to_string(), "FAILURE builtins.ConnectionError: no route");
    let letters = dead_letters(&redis);
    assert_eq!((&letters[0]["task_id"], &letters[0]["attempts"]), (&json!(id), &json!(2)), "{letters}");
}

#[test]
fn a_manifest_declares_automatic_retries_for_some_errors() {
    let redis = TestRedis::start();
    let host = TestHost::start(&redis, &[("retry", guests::RETRY)]);
    let manifest = "[tasks.flaky]\nautoretry_for = [\"OSError\"]\nmax_retries = 2\nretry_backoff = 0.01\n";
    fs::write(host.plugins().join("retry.toml"), manifest).unwrap();
    eventually("the manifest is read", || host.output().contains("retry.wasm replaced").then_some(()));
    // ConnectionError is one of Python's OSErrors, ValueError is none.
    assert_eq!(redis.run("retry.flaky", json!([2, "ConnectionError"])).to_string(), "SUCCESS 2");
    let used_up = redis.run("retry.flaky", json!([9, "ConnectionError"])).to_string();
    assert_eq!(used_up, "FAILURE builtins.ConnectionError: failed after 2 retries");
    let other = redis.run("retry.flaky", json!([1, "ValueError"])).to_string();
    assert_eq!(other, "FAILURE builtins.ValueError: failed after 0 retries");
    let reasons: Vec<_> =
        dead_letters(&redis).as_array().unwrap().iter().map(|letter| letter["reason"].clone()).collect();
    assert_eq!(reasons.len(), 2, "both are worth keeping: {reasons:?}");
}

#[test]
fn a_task_may_be_ignored_rejected_or_sent_to_the_end_of_its_queue() {
    let redis = TestRedis::start();
    let requeued = redis.send(&Task::new("retry.reject_once", json!([])));
    let behind: Vec<_> = (0..20).map(|_| Task::new("retry.flaky", json!([0, ""]))).collect();
    redis.send_all(&behind);
    let host = TestHost::start_with(&redis, &[("retry", guests::RETRY)], &["-c", "1"]);
    // It knows by its message that it comes again, and it comes after all that was behind it.
    assert_eq!(redis.answer(&requeued).to_string(), "SUCCESS true");
    let when = |id: &str| redis.answer(id).meta["date_done"].to_string();
    assert!(behind.iter().all(|task| when(task.id()) < when(&requeued)));

    let ignored = redis.send(&Task::new("retry.ignore", json!([])));
    eventually("it has run", || host.output().contains(&format!("[{ignored}] ignored")).then_some(()));
    assert!(redis.stored(&ignored).is_none());
    let rejected = redis.run("retry.reject", json!([false])).to_string();
    assert!(rejected.starts_with("FAILURE celery.exceptions.Reject: "), "{rejected}");
    assert_eq!(dead_letters(&redis).as_array().unwrap().len(), 1);
    redis.wait_until_idle();
}

#[test]
fn a_task_that_must_run_at_most_once_is_not_run_again_when_its_worker_dies() {
    let redis = TestRedis::start();
    let mut host = TestHost::start(&redis, &[("observe", guests::OBSERVE)]);
    fs::write(host.plugins().join("observe.toml"), "[tasks.report]\nacks_late = false\n").unwrap();
    eventually("the manifest is read", || host.output().contains("observe.wasm replaced").then_some(()));
    let id = redis.send(&Task::new("observe.report", json!(["PROGRESS", null, 100])));
    let other = redis.send(&Task::new("observe.sleep_for", json!([5])));
    eventually("it runs", || redis.stored(&id));
    host.kill_9();
    host.start_again();
    assert_eq!(
        redis.answer(&id).to_string(),
        "FAILURE billiard.exceptions.WorkerLostError: \
         Worker exited prematurely: the worker ended while running this task."
    );
    assert_eq!(redis.answer(&other).to_string(), "SUCCESS 5.0");
    assert_eq!(dead_letters(&redis)[0]["task_id"], json!(id));
}

#[test]
fn the_tightest_of_all_time_limits_wins() {
    let redis = TestRedis::start();
    let host = TestHost::start_with(&redis, &[("observe", guests::OBSERVE)], &["--time-limit", "20"]);
    fs::write(host.plugins().join("observe.toml"), "[tasks.sleep_for]\ntime_limit = 1\n").unwrap();
    eventually("the manifest is read", || host.output().contains("observe.wasm replaced").then_some(()));
    let limited = |hard| {
        let task = Task::new("observe.sleep_for", json!([60])).limits(hard, None);
        redis.answer(&redis.send(&task)).to_string()
    };
    assert_eq!(limited(None), "FAILURE billiard.exceptions.TimeLimitExceeded: 1");
    assert_eq!(limited(Some(5.0)), "FAILURE billiard.exceptions.TimeLimitExceeded: 1");
    assert_eq!(limited(Some(0.25)), "FAILURE billiard.exceptions.TimeLimitExceeded: 0.25");
}

fn dead_letters(redis: &TestRedis) -> Value {
    serde_json::from_slice(&host(redis, &["dead", "list", "--json"]).stdout).unwrap()
}

#[test]
fn a_manifest_that_cannot_be_used_is_told_and_takes_nothing_away() {
    let redis = TestRedis::start();
    let mut host = TestHost::start(&redis, &[("retry", guests::RETRY)]);
    let manifest = host.plugins().join("retry.toml");
    fs::write(&manifest, "max_retries = \"many\"").unwrap();
    host.wait_for(r#""retry.toml" has max_retries = "many", but it must be a whole number"#);
    assert_eq!(retried(&redis, "retry.flaky", json!([0, "E"]), 0), "SUCCESS 0");
    fs::write(&manifest, "[tasks.ask]\nmax_retries = 5\n[tasks.nothing]\n").unwrap();
    eventually("the manifest is read", || host.output().contains("retry.nothing").then_some(()));
    assert_eq!(retried(&redis, "retry.flaky", json!([0, "E"]), 0), "SUCCESS 0");
}
