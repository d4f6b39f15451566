//! The order of messages, and that none is lost when the worker or Redis dies.

use std::{thread, time::Duration};

use serde_json::json;

use crate::support::{Random, Task, TestHost, TestRedis, eventually, guests};

#[test]
fn killing_the_worker_at_any_moment_loses_no_task() {
    let redis = TestRedis::start();
    let mut host = TestHost::start_with(&redis, &[("observe", guests::OBSERVE)], &["-c", "20"]);
    let tasks: Vec<_> = (0..1_000).map(|_| Task::new("observe.sleep_for", json!([0.02]))).collect();
    redis.send_all(&tasks);

    let mut random = Random(0x5eed);
    for _ in 0..12 {
        // Random moments are the point here: while it starts, takes, runs, stores.
        thread::sleep(Duration::from_millis(random.below(600)));
        host.kill_9();
        host.start_again();
    }
    assert!(redis.ready(&tasks) < tasks.len(), "the kills came while there was work");
    redis.wait_for_all(&tasks);
    for task in &tasks {
        assert_eq!(redis.answer(task.id()).to_string(), "SUCCESS 0.02");
    }
    redis.wait_until_idle();
}

#[test]
fn what_a_dead_worker_held_is_given_to_a_living_one() {
    let redis = TestRedis::start();
    let plugins = [("observe", guests::OBSERVE)];
    let mut dies = TestHost::start(&redis, &plugins);
    let held = redis.send(&Task::new("observe.report", json!(["PROGRESS", null, 3])));
    eventually("the task runs", || redis.stored(&held));
    let _lives = TestHost::start_with(&redis, &plugins, &["-n", "other@%h"]);
    dies.kill_9();
    assert_eq!(redis.answer(&held).to_string(), "SUCCESS null");
}

#[test]
fn a_worker_that_was_frozen_too_long_stops_what_another_has_taken_over() {
    let redis = TestRedis::start();
    let plugins = [("observe", guests::OBSERVE)];
    let mut frozen = TestHost::start(&redis, &plugins);
    let id = redis.send(&Task::new("observe.report", json!(["PROGRESS", null, 20])));
    eventually("the task runs", || redis.stored(&id));
    let other = TestHost::start_with(&redis, &plugins, &["-n", "other@%h"]);
    frozen.signal("STOP");
    eventually("the other has it", || other.output().contains(&id).then_some(()));
    frozen.signal("CONT");
    frozen.wait_for(&format!("[{id}] is stopped: its message had gone to another worker"));
    assert_eq!(redis.answer(&id).to_string(), "SUCCESS null");
    assert!(!frozen.output().contains("succeeded"), "{}", frozen.output());
}

#[test]
fn a_task_that_runs_long_is_not_given_to_another_worker_meanwhile() {
    let redis = TestRedis::start();
    let plugins = [("observe", guests::OBSERVE)];
    let one = TestHost::start(&redis, &plugins);
    let other = TestHost::start_with(&redis, &plugins, &["-n", "other@%h"]);
    // Longer than the lease that would give away the tasks of a dead worker.
    let id = redis.send(&Task::new("observe.report", json!(["PROGRESS", null, 15])));
    assert_eq!(redis.answer(&id).to_string(), "SUCCESS null");
    let mentions = || one.output().contains(&id) as u8 + other.output().contains(&id) as u8;
    eventually("a worker speaks of it", || (mentions() > 0).then_some(()));
    assert_eq!(mentions(), 1, "exactly one worker speaks of it");
}

#[test]
fn tasks_of_one_priority_run_in_the_order_they_were_sent() {
    let redis = TestRedis::start();
    let tasks: Vec<_> = (0..50).map(|n| Task::new("app.divide", json!([n, 1]))).collect();
    redis.send_all(&tasks);
    let _host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-c", "1"]);
    redis.wait_for_all(&tasks);
    let done: Vec<_> =
        tasks.iter().map(|task| redis.answer(task.id()).meta["date_done"].to_string()).collect();
    assert!(done.is_sorted(), "{done:?}");
}

#[test]
fn no_queue_waits_for_another_to_be_empty() {
    let redis = TestRedis::start();
    let many: Vec<_> =
        (0..2_000).map(|_| Task::new("observe.sleep_for", json!([0.01])).queue("busy")).collect();
    redis.send_all(&many);
    let flags = ["-c", "2", "-Q", "busy,quiet"];
    let _host = TestHost::start_with(&redis, &[("observe", guests::OBSERVE)], &flags);
    let one = redis.send(&Task::new("observe.sleep_for", json!([0])).queue("quiet"));
    redis.answer(&one);
    assert!(redis.ready(&many) < many.len() / 2, "the queue of one did not wait for the queue of many");
}

#[test]
fn the_worker_goes_on_when_redis_was_away() {
    let mut redis = TestRedis::start();
    let mut host = TestHost::start(&redis, &[("observe", guests::OBSERVE)]);
    // One ends while Redis is away, one waits in the queue meanwhile.
    let running = redis.send(&Task::new("observe.report", json!(["PROGRESS", null, 1])));
    eventually("the task runs", || redis.stored(&running));
    redis.stop();
    thread::sleep(Duration::from_secs(2));
    redis.start_again();
    assert_eq!(redis.answer(&running).to_string(), "SUCCESS null");
    assert_eq!(redis.run("observe.sleep_for", json!([0])).to_string(), "SUCCESS 0.0");
    assert!(host.lives());
}

#[test]
fn the_worker_goes_on_when_redis_hung() {
    let redis = TestRedis::start();
    let mut host = TestHost::start(&redis, &[("app", guests::DIVIDE)]);
    let tasks: Vec<_> = (0..200).map(|n| Task::new("app.divide", json!([n, 1]))).collect();
    redis.send_all(&tasks);
    redis.freeze();
    thread::sleep(Duration::from_secs(15));
    redis.thaw();
    redis.wait_for_all(&tasks);
    redis.wait_until_idle();
    assert!(host.lives());
}

#[test]
fn after_an_outage_no_worker_takes_another_for_dead() {
    let mut redis = TestRedis::start();
    let plugins = [("observe", guests::OBSERVE)];
    let first = TestHost::start_with(&redis, &plugins, &["-n", "first@%h"]);
    let second = TestHost::start_with(&redis, &plugins, &["-n", "second@%h"]);
    let tasks: Vec<_> = (0..20).map(|_| Task::new("observe.sleep_for", json!([25]))).collect();
    redis.send_all(&tasks);
    eventually("all run", || (redis.ask::<usize>(&["HLEN", "unacked"]) == tasks.len()).then_some(()));
    // Longer than a lease: when Redis is back no worker has a heartbeat.
    redis.stop();
    thread::sleep(Duration::from_secs(12));
    redis.start_again();
    redis.wait_for_all(&tasks);
    for host in [first, second] {
        let log = host.output();
        assert!(!log.contains("dead workers held") && !log.contains("another worker"), "{log}");
    }
}

#[test]
fn an_expired_task_is_not_run() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("app", guests::DIVIDE)]);
    let task = Task::new("app.divide", json!([1, 2])).header("expires", json!("2020-01-01T00:00:00+00:00"));
    let answer = redis.answer(&redis.send(&task));
    assert_eq!(answer.to_string(), "REVOKED celery.exceptions.TaskRevokedError: expired");
}

#[test]
fn a_task_with_an_eta_waits_in_redis_and_runs_once_when_it_is_due() {
    let redis = TestRedis::start();
    let mut host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-c", "1"]);
    let task = |eta: &str| Task::new("app.divide", json!([1, 2])).header("eta", json!(eta));
    let far = redis.send(&task("2999-01-01T00:00:00Z"));
    let due = jiff::Timestamp::now() + Duration::from_secs(3);
    let near = redis.send(&task(&due.to_string()));
    eventually("both wait", || (redis.ask::<u64>(&["ZCARD", "host:delayed"]) == 2).then_some(()));
    redis.wait_until_idle();
    assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5", "a place is free");

    // What waits is nothing that a worker holds.
    host.kill_9();
    host.start_again();
    let answer = redis.answer(&near);
    assert_eq!(answer.to_string(), "SUCCESS 0.5");
    let done: jiff::Timestamp = answer.meta["date_done"].as_str().unwrap().parse().unwrap();
    assert!(done >= due, "due at {due}, done at {done}");
    assert!(redis.stored(&far).is_none());
}
