//! Revoked tasks do not run, whoever was there to hear it.

use serde_json::json;

use crate::support::{Task, TestHost, TestRedis, eventually, guests, host};

const REVOKED: &str = "REVOKED celery.exceptions.TaskRevokedError: revoked";

fn revoke(redis: &TestRedis, arguments: &[&str]) {
    let done = host(redis, &[&["revoke"], arguments].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_task_revoked_before_any_worker_was_there_is_not_run() {
    let redis = TestRedis::start();
    let id = redis.send(&Task::new("app.divide", json!([1, 2])));
    revoke(&redis, &[&id]);
    let _host = TestHost::start(&redis, &[("app", guests::DIVIDE)]);
    assert_eq!(redis.answer(&id).to_string(), REVOKED);
    redis.wait_until_idle();
}

#[test]
fn a_worker_that_is_busy_when_a_task_is_revoked_does_not_run_it_later() {
    let redis = TestRedis::start();
    let mut host = TestHost::start_with(&redis, &[("observe", guests::OBSERVE)], &["-c", "1"]);
    let busy = redis.send(&Task::new("observe.report", json!(["PROGRESS", null, 1])));
    eventually("the worker is busy", || redis.stored(&busy));
    let waiting = Task::new("observe.sleep_for", json!([0]));
    redis.send(&waiting);
    // Twice is once.
    revoke(&redis, &[waiting.id(), waiting.id()]);
    assert_eq!(redis.answer(waiting.id()).to_string(), REVOKED);
    assert_eq!(redis.answer(&busy).to_string(), "SUCCESS null", "it was not meant");
    host.wait_for("] revoked");
}

#[test]
fn a_scheduled_task_stays_revoked_though_all_workers_are_replaced() {
    let redis = TestRedis::start();
    let mut host = TestHost::start(&redis, &[("app", guests::DIVIDE)]);
    let due = jiff::Timestamp::now() + std::time::Duration::from_secs(4);
    let task = |header: &str| Task::new("app.divide", json!([1, 2])).header("eta", json!(header));
    let (revoked, other) = (redis.send(&task(&due.to_string())), redis.send(&task(&due.to_string())));
    eventually("both wait", || (redis.ask::<u64>(&["ZCARD", "host:delayed"]) == 2).then_some(()));
    revoke(&redis, &[&revoked]);
    host.kill_9();
    host.start_again();
    assert_eq!(redis.answer(&other).to_string(), "SUCCESS 0.5");
    assert_eq!(redis.answer(&revoked).to_string(), REVOKED);
}

#[test]
fn a_running_task_is_stopped_only_when_it_is_to_be_terminated() {
    let redis = TestRedis::start();
    let _host = TestHost::start_with(
        &redis,
        &[("observe", guests::OBSERVE), ("misbehave", guests::MISBEHAVE)],
        &["-c", "3"],
    );
    let goes_on = redis.send(&Task::new("observe.report", json!(["PROGRESS", null, 3])));
    let waits = redis.send(&Task::new("observe.report", json!(["PROGRESS", null, 100])));
    let computes = redis.send(&Task::new("misbehave.endless_loop", json!([])));
    for running in [&goes_on, &waits] {
        eventually("it runs", || redis.stored(running));
    }
    eventually("all run", || (redis.ask::<u64>(&["HLEN", "unacked"]) == 3).then_some(()));
    revoke(&redis, &[&goes_on]);
    revoke(&redis, &["--terminate", &waits, &computes]);
    for stopped in [&waits, &computes] {
        let answer = redis.answer(stopped).to_string();
        assert_eq!(answer, "REVOKED celery.exceptions.TaskRevokedError: terminated");
    }
    assert_eq!(redis.answer(&goes_on).to_string(), "SUCCESS null");
    redis.wait_until_idle();
}

#[test]
fn all_tasks_with_a_stamp_are_revoked_together() {
    let redis = TestRedis::start();
    let stamped = |customer: &str| {
        Task::new("app.divide", json!([1, 2]))
            .header("stamped_headers", json!(["customer"]))
            .header("stamps", json!({"customer": [customer]}))
    };
    let (meant, other) = (redis.send(&stamped("acme")), redis.send(&stamped("initech")));
    revoke(&redis, &["--stamp", "customer=acme"]);
    let _host = TestHost::start(&redis, &[("app", guests::DIVIDE)]);
    assert_eq!(redis.answer(&meant).to_string(), REVOKED);
    assert_eq!(redis.answer(&other).to_string(), "SUCCESS 0.5");
}
