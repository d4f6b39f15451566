//! What a worker does with its tasks when it is asked to end.

use std::collections::HashSet;

use serde_json::json;

use crate::support::{Celery, PythonWorker, Task, TestHost, TestRedis, eventually, guests};

#[test]
fn a_warm_shutdown_ends_what_runs_and_leaves_the_rest_in_the_queue() {
    for signal in ["TERM", "INT"] {
        let redis = TestRedis::start();
        let mut host = TestHost::start_with(&redis, &[("observe", guests::OBSERVE)], &["-c", "1"]);
        let (runs, waits) = (running(&redis, 1.0), redis.send(&Task::new("observe.sleep_for", json!([0]))));
        host.signal(signal);
        assert!(host.wait().success(), "{signal}");
        assert_eq!(redis.stored(&runs).unwrap().to_string(), "SUCCESS null", "{signal}");
        assert!(redis.stored(&waits).is_none(), "{signal}: it was not begun any more");
        assert_eq!(redis.ask::<u64>(&["LLEN", "celery"]), 1, "{signal}: it waits for another worker");
        assert_eq!(redis.ask::<u64>(&["HLEN", "unacked"]), 0, "{signal}: nothing is held any more");
    }
}

#[test]
fn a_cold_shutdown_puts_back_what_runs_at_once() {
    for signals in [&["QUIT"][..], &["INT", "INT"], &["TERM", "QUIT"]] {
        let redis = TestRedis::start();
        let mut host = TestHost::start(&redis, &[("observe", guests::OBSERVE)]);
        let runs = running(&redis, 50.0);
        if let [first, _] = signals {
            host.signal(first);
            host.wait_for("Warm shutdown");
        }
        host.signal(signals[signals.len() - 1]);
        host.wait();
        assert_eq!(redis.stored(&runs).unwrap().status, "PROGRESS", "{signals:?}: it did not end");
        assert_eq!(redis.ask::<u64>(&["LLEN", "celery"]), 1, "{signals:?}: its message is back in the queue");
        assert_eq!(redis.ask::<u64>(&["HLEN", "unacked"]), 0, "{signals:?}");
        let message: String = redis.ask(&["LINDEX", "celery", "-1"]);
        let message: serde_json::Value = serde_json::from_str(&message).unwrap();
        assert_eq!(message["headers"]["redelivered"], true, "{signals:?}: and says so");
    }
}

#[test]
fn a_task_put_back_by_one_worker_is_run_by_the_next() {
    let redis = TestRedis::start();
    let mut host = TestHost::start(&redis, &[("observe", guests::OBSERVE)]);
    let runs = running(&redis, 2.0);
    host.signal("QUIT");
    host.wait();
    host.start_again();
    assert_eq!(redis.answer(&runs).to_string(), "SUCCESS null");
}

#[test]
fn a_python_worker_goes_on_in_the_same_order_and_nothing_ends_twice() {
    for celery in Celery::BOTH {
        let redis = TestRedis::start();
        let mut host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-c", "2"]);
        let task = |sleep: f64| Task::new("app.divide", json!([1, 2])).kwargs(json!({ "sleep": sleep }));
        let (ends, waits) = ([task(1.0), task(1.0)], [task(2.5), task(2.5), task(0.0), task(0.0)]);
        redis.send_all(&ends);
        redis.send_all(&waits);
        let both_are_held =
            || eventually("two run", || (redis.ask::<u64>(&["HLEN", "unacked"]) == 2).then_some(()));
        let waiting = || -> Vec<String> {
            let messages: Vec<String> = redis.ask(&["LRANGE", "celery", "0", "-1"]);
            let id = |message: &String| {
                let message: serde_json::Value = serde_json::from_str(message).unwrap();
                message["headers"]["id"].as_str().unwrap().to_owned()
            };
            messages.iter().rev().map(id).collect()
        };
        both_are_held();
        host.signal("TERM");
        assert!(host.wait().success());
        assert_eq!(redis.ready(&ends), 2, "what ran has ended");
        let in_order: Vec<_> = waits.iter().map(|task| task.id().to_owned()).collect();
        assert_eq!(waiting(), in_order, "what waited waits");
        let mut logs = host.output();

        host.start_again();
        both_are_held();
        host.signal("QUIT");
        host.wait();
        let put_back = waiting();
        let set = |ids: &[String]| HashSet::<String>::from_iter(ids.iter().cloned());
        assert_eq!(set(&put_back[..2]), set(&in_order[..2]), "what ran is at the head of the queue again");
        assert_eq!(put_back[2..], in_order[2..], "and what waited waits");
        assert_eq!(redis.ask::<u64>(&["EXISTS", "unacked", "unacked_index"]), 0, "nothing is held");
        logs += &host.output();

        let python = PythonWorker::start_app(celery, &redis, "reference", &["--concurrency=2"]);
        redis.wait_for_all(&waits);
        redis.wait_until_idle();
        eventually("the log is written", || {
            let logs = format!("{logs}{}", python.output());
            let ended = |task: &Task| logs.matches(&format!("[{}] succeeded", task.id())).count();
            let counts: Vec<_> = ends.iter().chain(&waits).map(ended).collect();
            assert!(counts.iter().all(|count| *count <= 1), "{counts:?} times");
            counts.iter().all(|count| *count == 1).then_some(())
        });
    }
}

#[test]
fn a_warm_shutdown_ends_while_redis_is_away() {
    let mut redis = TestRedis::start();
    let mut host = TestHost::start(&redis, &[("observe", guests::OBSERVE)]);
    redis.stop();
    host.signal("TERM");
    host.wait();
}

/// A task that runs, for so many seconds.
fn running(redis: &TestRedis, seconds: f64) -> String {
    let id = redis.send(&Task::new("observe.report", json!(["PROGRESS", null, seconds])));
    eventually("the task runs", || redis.stored(&id));
    id
}
