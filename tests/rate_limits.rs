//! A task with a rate limit is run at that rate by all workers together, and is in nobody's way while it waits.

use std::{collections::HashSet, fs};

use jiff::Timestamp;
use serde_json::json;

use crate::support::{Task, TestHost, TestRedis, eventually, guests, host};

const LIMITED: &str = "observe.sleep_for";

/// A worker in which `observe.sleep_for` is limited.
#[track_caller]
fn start(redis: &TestRedis, name: &str, limit: &str, flags: &[&str]) -> TestHost {
    let plugins = [("observe", guests::OBSERVE), ("app", guests::DIVIDE)];
    let flags: Vec<_> = ["-n", name].iter().chain(flags).copied().collect();
    let host = TestHost::start_with(redis, &plugins, &flags);
    set_limit(&host, limit);
    host
}

fn set_limit(host: &TestHost, limit: &str) {
    let before = host.output().matches("observe.wasm replaced").count();
    let manifest = format!("[tasks.sleep_for]\nrate_limit = {limit}\n");
    fs::write(host.plugins().join("observe.toml"), manifest).unwrap();
    eventually("the manifest is read", || {
        (host.output().matches("observe.wasm replaced").count() > before).then_some(())
    });
}

fn set_aside(redis: &TestRedis) -> u64 {
    let shown = host(redis, &["queues", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    shown["set_aside"].as_u64().unwrap()
}

fn limited(count: usize) -> Vec<Task> {
    (0..count).map(|_| Task::new(LIMITED, json!([0]))).collect()
}

/// When each ended, in order.
fn ends(redis: &TestRedis, tasks: &[Task]) -> Vec<Timestamp> {
    let end = |task: &Task| {
        let answer = redis.answer(task.id());
        assert_eq!(answer.to_string(), "SUCCESS 0.0");
        let done = answer.meta["date_done"].as_str().unwrap().to_owned();
        done.parse().unwrap_or_else(|_| format!("{done}Z").parse().unwrap())
    };
    let mut ends: Vec<Timestamp> = tasks.iter().map(end).collect();
    ends.sort();
    ends
}

#[test]
fn two_workers_together_keep_the_limit_and_use_all_of_it() {
    let redis = TestRedis::start_alone();
    let workers = ["one@%h", "two@%h"].map(|name| start(&redis, name, "20", &[]));
    let tasks = limited(200);
    redis.send_all(&tasks);
    redis.wait_for_all(&tasks);
    let ends = ends(&redis, &tasks);
    // Whichever part of it is looked at: never more than the limit allows, with the few that may be saved up.
    for first in 0..ends.len() {
        for last in first + 1..ends.len() {
            let seconds = (ends[last] - ends[first]).as_secs_f64();
            let most = seconds * 20.0 + 8.0;
            let count = last - first;
            assert!(count as f64 <= most, "{count} within {seconds} s");
        }
    }
    let seconds = (ends[199] - ends[0]).as_secs_f64();
    let rate = 199.0 / seconds;
    eprintln!("two workers ran {rate:.2} tasks a second under a limit of 20");
    assert!((19.0..=20.7).contains(&rate), "{rate}");
    // Each of them has run some, and each task ran once.
    let logs = workers.map(|worker| worker.output());
    let runs = |log: &String| log.matches(&format!("{LIMITED}[")).count() - log.matches("received").count();
    assert!(logs.iter().all(|log| runs(log) > 0), "{}", logs.join("\n---\n"));
    for task in &tasks {
        let done = format!("{LIMITED}[{}] succeeded", task.id());
        assert_eq!(logs.iter().map(|log| log.matches(&done).count()).sum::<usize>(), 1);
    }
    assert_eq!(set_aside(&redis), 0);
}

#[test]
fn a_limited_task_is_in_nobodys_way_even_with_one_slot() {
    let redis = TestRedis::start();
    let _worker = start(&redis, "one@%h", "\"1/h\"", &["-c", "1"]);
    let waiting = limited(300);
    redis.send_all(&waiting);
    for n in 1..=20 {
        assert_eq!(redis.run("app.divide", json!([n, n])).to_string(), "SUCCESS 1.0");
    }
    eventually("all but the first are set aside", || (set_aside(&redis) == 299).then_some(()));
    redis.wait_until_idle();
    assert_eq!(redis.ready(&waiting), 1);
}

#[test]
fn killing_workers_while_messages_are_set_aside_and_released_loses_none() {
    let redis = TestRedis::start();
    let mut workers = ["one@%h", "two@%h"].map(|name| start(&redis, name, "25", &["-c", "3"]));
    let tasks = limited(200);
    redis.send_all(&tasks);
    for round in 0..6 {
        let enough = (round + 1) * 20;
        eventually("some have run", || (redis.ready(&tasks) >= enough).then_some(()));
        workers[round % 2].kill_9();
        workers[round % 2].start_again();
    }
    assert!(redis.ready(&tasks) < 200, "the kills came while there was work");
    redis.wait_for_all(&tasks);
    assert_eq!(ends(&redis, &tasks).len(), 200);
    redis.wait_until_idle();
    assert_eq!(set_aside(&redis), 0);
}

#[test]
fn a_limit_that_is_lifted_lets_all_run() {
    let redis = TestRedis::start();
    let worker = start(&redis, "one@%h", "\"2/h\"", &["-c", "1"]);
    let tasks = limited(50);
    redis.send_all(&tasks);
    eventually("all but the first are set aside", || (set_aside(&redis) == 49).then_some(()));
    set_limit(&worker, "0");
    redis.wait_for_all(&tasks);
    let ends: Vec<_> =
        tasks.iter().map(|task| redis.answer(task.id()).meta["date_done"].to_string()).collect();
    assert!(ends.is_sorted(), "in the order in which they were sent: {ends:?}");
    assert_eq!(set_aside(&redis), 0);
}

#[test]
fn what_waits_for_its_turn_can_still_be_revoked_and_expire() {
    let redis = TestRedis::start();
    let worker = start(&redis, "one@%h", "\"1/h\"", &[]);
    let first = redis.send(&Task::new(LIMITED, json!([0])));
    assert_eq!(redis.answer(&first).status, "SUCCESS");
    let soon = Timestamp::now() + std::time::Duration::from_secs(1);
    let expires = Task::new(LIMITED, json!([0])).header("expires", json!(soon.to_string()));
    let tasks = [expires, Task::new(LIMITED, json!([0])), Task::new(LIMITED, json!([0]))];
    redis.send_all(&tasks);
    eventually("they are set aside", || (set_aside(&redis) == 3).then_some(()));
    assert!(host(&redis, &["revoke", tasks[1].id()]).status.success());
    eventually("it has expired", || (Timestamp::now() > soon).then_some(()));
    set_limit(&worker, "5");
    let answers: HashSet<_> = tasks.iter().map(|task| redis.answer(task.id()).to_string()).collect();
    let expected = [
        "REVOKED celery.exceptions.TaskRevokedError: expired",
        "REVOKED celery.exceptions.TaskRevokedError: revoked",
        "SUCCESS 0.0",
    ];
    assert_eq!(answers, expected.map(str::to_owned).into());
}

#[test]
fn a_retry_asks_for_a_turn_of_its_own() {
    let redis = TestRedis::start();
    let host = TestHost::start(&redis, &[("retry", guests::RETRY)]);
    let manifest = "[tasks.flaky]\nautoretry_for = [\"OSError\"]\nmax_retries = 3\ndefault_retry_delay = 0\nrate_limit = \"30/m\"\n";
    fs::write(host.plugins().join("retry.toml"), manifest).unwrap();
    eventually("the manifest is read", || host.output().contains("retry.wasm replaced").then_some(()));
    let id = redis.send(&Task::new("retry.flaky", json!([1, "ConnectionError"])));
    eventually("its retry waits for its turn", || {
        host.output().contains(&format!("[{id}] waits for its turn")).then_some(())
    });
    assert_eq!(redis.answer(&id).status, "SUCCESS");
}
