//! A task that no plugin offers yet waits for one that does.

use std::fs;

use serde_json::json;

use crate::support::{Task, TestHost, TestRedis, eventually, guests, host};

fn parked(redis: &TestRedis) -> u64 {
    let shown = host(redis, &["queues", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    shown["parked"].as_u64().unwrap()
}

#[test]
fn tasks_that_came_before_their_plugin_run_when_it_comes_in_the_order_they_were_sent() {
    let redis = TestRedis::start();
    let host = TestHost::start_with(&redis, &[("observe", guests::OBSERVE)], &["-c", "1"]);
    let tasks: Vec<_> = (0..20).map(|n| Task::new("app.divide", json!([n, 1]))).collect();
    redis.send_all(&tasks);
    eventually("all are parked", || (parked(&redis) == 20).then_some(()));
    assert_eq!(redis.run("observe.sleep_for", json!([0])).to_string(), "SUCCESS 0.0", "none is in the way");
    redis.wait_until_idle();

    host.put("app", &fs::read(guests::DIVIDE).unwrap());
    redis.wait_for_all(&tasks);
    let done: Vec<_> =
        tasks.iter().map(|task| redis.answer(task.id()).meta["date_done"].to_string()).collect();
    assert!(done.is_sorted(), "{done:?}");
    assert_eq!(parked(&redis), 0);
}

#[test]
fn what_one_worker_parked_is_run_by_another_that_has_the_plugin() {
    let redis = TestRedis::start();
    let _knows_not = TestHost::start(&redis, &[("observe", guests::OBSERVE)]);
    let id = redis.send(&Task::new("app.divide", json!([1, 2])));
    eventually("it is parked", || (parked(&redis) == 1).then_some(()));
    let _knows = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-n", "other@%h"]);
    assert_eq!(redis.answer(&id).to_string(), "SUCCESS 0.5");
}

#[test]
fn a_task_whose_plugin_never_comes_fails_at_its_deadline_and_is_kept() {
    let redis = TestRedis::start();
    let mut worker = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["--park-unknown", "3"]);
    let id = redis.send(&Task::new("app.nothing", json!([1])));
    eventually("it is parked", || (parked(&redis) == 1).then_some(()));
    // The deadline is the message's, not the worker's.
    worker.kill_9();
    worker.start_again();
    assert_eq!(redis.answer(&id).to_string(), "FAILURE celery.exceptions.NotRegistered: app.nothing");
    let letters = host(&redis, &["dead", "list", "--json"]);
    let letters: serde_json::Value = serde_json::from_slice(&letters.stdout).unwrap();
    assert_eq!(letters[0]["task_id"], json!(id), "{letters}");
    assert_eq!(parked(&redis), 0);
}

#[test]
fn a_worker_that_lets_no_task_wait_fails_each_at_once() {
    let redis = TestRedis::start();
    let worker = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["--park-unknown", "0"]);
    let tasks: Vec<_> = (0..3_000).map(|n| Task::new("app.nothing", json!([n]))).collect();
    redis.send_all(&tasks);
    redis.wait_for_all(&tasks);
    assert!(!worker.output().contains("waits for a plugin"), "none is laid aside, be it for a moment");
}
