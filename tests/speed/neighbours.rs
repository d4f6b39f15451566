//! Tenants on one worker, beside each other.

use std::{thread, time::Duration};

use serde_json::json;

use crate::{
    measure::{median, percentile},
    support::{Flood, Task, TestHost, TestRedis, eventually, guests, host, processor, timed},
    table::Line,
};

/// How long shares are looked at.
const MINUTE: Duration = Duration::from_secs(60);

fn start(redis: &TestRedis) -> TestHost {
    let plugins = [
        ("a/app", guests::DIVIDE),
        ("a/compute", guests::COMPUTE),
        ("b/app", guests::DIVIDE),
        ("b/compute", guests::COMPUTE),
    ];
    TestHost::start_with(redis, &plugins, &["-l", "warning"])
}

fn divide() -> Task {
    Task::new("app.divide", json!([1, 2]))
}

/// How long a task takes, of which ten come in a second, while another tenant has 100,000 in its queue.
pub fn neighbour(rounds: usize) -> Vec<Line> {
    let redis = TestRedis::start();
    let _host = start(&redis);
    let measure = |count, flood: Option<&Flood>| {
        let timed = timed(&redis, "b", divide, count, Duration::from_millis(100), flood);
        percentile(timed.into_iter().map(|timed| timed.ms), 95)
    };
    measure(20, None);
    let kinds =
        [("short tasks", divide()), ("tasks that compute for 1 ms", Task::new("compute.fib", json!([27])))];
    let mut seen = vec![[0.0; 3]; rounds];
    for seen in &mut seen {
        seen[0] = measure(100, None);
        for ((_, task), beside) in kinds.iter().zip(&mut seen[1..]) {
            let flood = Flood::start(&redis, "a", task, 100_000);
            *beside = measure(100, Some(&flood));
            drop(flood);
            clear(&redis);
        }
    }
    let figure = |n: usize| median(seen.iter().map(|seen| seen[n]));
    let line = |(n, (name, _)): (usize, &(&str, Task))| {
        let what = format!("p95 of a task beside a flood of another tenant's {name}");
        Line::at_most_times(&what, [figure(n + 1), figure(0)], "ms", "when it is quiet", 2.0)
    };
    kinds.iter().enumerate().map(line).collect()
}

/// How much two tenants with weights 1 and 3 get, for a minute, when both have as much to do as they like.
pub fn shares(_rounds: usize) -> Vec<Line> {
    let redis = TestRedis::start();
    let _host = start(&redis);
    // Workers tell how much those have computed that have a limit.
    let set = |tenant: &str, weight: u32| {
        let record = json!({"weight": weight, "quotas": {"cpu_per_minute": 100_000}}).to_string();
        let output = host(&redis, &["tenant", "set", tenant, &record]);
        assert!(output.status.success(), "{output:?}");
    };
    let fib = |n: u32| Task::new("compute.fib", json!([n]));
    let mut lines = Vec::new();
    for (name, first, second) in [
        ("short tasks", divide(), divide()),
        ("tasks that compute", fib(27), fib(27)),
        ("tasks that compute, the first 100 times longer", fib(37), fib(27)),
        ("tasks that compute, the second 100 times longer", fib(27), fib(37)),
    ] {
        set("a", 1);
        set("b", 3);
        let floods = [Flood::start(&redis, "a", &first, 50_000), Flood::start(&redis, "b", &second, 50_000)];
        // What is told is of the last minute, and some seconds old.
        thread::sleep(MINUTE + Duration::from_secs(8));
        let cpu = processor(&redis, ["a", "b"]);
        drop(floods);
        clear(&redis);
        let off = (cpu[1] / cpu[0] / 3.0 - 1.0).abs() * 100.0;
        lines.push(Line::at_most(&format!("how far shares by weight are off, {name}"), off, "%", 5.0));
    }
    lines
}

/// Nothing is left to do, and nothing of what was done.
fn clear(redis: &TestRedis) {
    redis.ask::<()>(&["DEL", "a/celery", "b/celery"]);
    eventually("all is over", || redis.ask::<bool>(&["EXISTS", "unacked"]).eq(&false).then_some(()));
    redis.ask::<()>(&["FLUSHDB"]);
}
