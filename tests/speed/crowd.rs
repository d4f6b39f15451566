//! Many tasks at once, and short ones beside long ones.

use std::time::Instant;

use serde_json::json;

use crate::{
    latency::one_after_the_other,
    measure::{median, percentile},
    support::{Task, TestHost, TestRedis, eventually, guests},
    table::Line,
};

/// A thousand tasks at once that wait five seconds each, in one process.
pub fn sleepers(_rounds: usize) -> Vec<Line> {
    let redis = TestRedis::start();
    let flags = ["-l", "warning", "-c", "1000"];
    let host = TestHost::start_with(&redis, &[("observe", guests::OBSERVE)], &flags);
    let tasks: Vec<_> = (0..1_000).map(|_| Task::new("observe.sleep_for", json!([5.0]))).collect();
    let begin = Instant::now();
    redis.send_all(&tasks);
    let last = eventually("all run", || {
        (redis.ask::<usize>(&["HLEN", "unacked"]) == tasks.len()).then(|| &tasks[tasks.len() - 1])
    });
    let memory = host.resident_memory() as f64 / 1024.0;
    redis.answer(last.id());
    redis.wait_for_all(&tasks);
    let took = begin.elapsed().as_secs_f64();
    vec![
        Line::at_most("1,000 tasks of 5 s at once, one process", took, "s", 5.5),
        Line::at_most("memory while they sleep", memory, "MiB", 130.0),
    ]
}

/// Short tasks beside tasks that compute without end, one for each core.
pub fn beside(rounds: usize) -> Vec<Line> {
    let redis = TestRedis::start();
    let plugins = [("app", guests::DIVIDE), ("misbehave", guests::MISBEHAVE)];
    let flags = ["-l", "warning", "--time-limit", "600"];
    let _host = TestHost::start_with(&redis, &plugins, &flags);
    let endless: Vec<_> = (0..2).map(|_| Task::new("misbehave.endless_loop", json!([]))).collect();
    redis.send_all(&endless);
    eventually("both compute", || (redis.ask::<usize>(&["HLEN", "unacked"]) == 2).then_some(()));
    let p99 = median((0..rounds).map(|_| percentile(one_after_the_other(&redis, 300), 99)));
    vec![Line::at_most("p99 of short tasks while each core computes", p99, "ms", 20.0)]
}
