//! Tenants share a worker: none is held up by what another does, and each gets what its weight says.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Flood, Task, TestHost, TestRedis, eventually, guests, host, mean_cpu, percentile, timed,
};

/// A worker that serves the tenants `a` and `b`.
#[track_caller]
fn start(redis: &TestRedis, flags: &[&str]) -> TestHost {
    let plugins = ["a", "b"].map(|tenant| {
        [("app", guests::DIVIDE), ("compute", guests::COMPUTE), ("observe", guests::OBSERVE)]
            .map(|(name, wasm)| (format!("{tenant}/{name}"), wasm))
    });
    let plugins: Vec<_> = plugins.iter().flatten().map(|(name, wasm)| (name.as_str(), *wasm)).collect();
    TestHost::start_with(redis, &plugins, &[&["-l", "warning"], flags].concat())
}

#[track_caller]
fn set(redis: &TestRedis, tenant: &str, record: &str) {
    let output = host(redis, &["tenant", "set", tenant, record]);
    assert!(output.status.success(), "{output:?}");
}

/// How many of a tenant's tasks are in flight.
fn in_flight(redis: &TestRedis, tenant: &str) -> usize {
    let tags: Vec<String> = redis.ask(&["HKEYS", "unacked"]);
    tags.iter().filter(|tag| tag.contains(&format!(".{tenant}/"))).count()
}

#[test]
fn a_flood_of_one_tenant_does_not_hold_up_another() {
    const INTERVAL: Duration = Duration::from_millis(100);
    let redis = TestRedis::start_alone();
    let _worker = start(&redis, &[]);
    let divide = || Task::new("app.divide", json!([1, 2]));
    let measure = |count| percentile(&timed(&redis, "b", divide, count, INTERVAL), 95);
    measure(5);
    let quiet = measure(60);
    // Short tasks, of which many come and go, and long ones, which compute.
    for flood in [divide(), Task::new("compute.fib", json!([27]))] {
        let name = flood.name().to_owned();
        let flood = Flood::start(&redis, "a", &flood, 100_000);
        let before = flood.taken(&redis);
        let beside = measure(60);
        let meanwhile = flood.taken(&redis) - before;
        eprintln!(
            "p95 of a task: {quiet:.2} ms when it is quiet, {beside:.2} ms beside {meanwhile} of {name}"
        );
        // A machine that runs other tests as well does not give a thread its processor at once: a few milliseconds of
        // that are nobody's flood. What this is about would be a hundred: the turns of all tasks of the flood that are in flight.
        assert!(beside < 2.0 * quiet.max(5.0), "{beside} ms beside {name}");
        assert!(meanwhile > 300, "the flood goes on meanwhile: {meanwhile}");
        drop(flood);
        redis.ask::<()>(&["DEL", "a/celery"]);
        eventually("the flood is over", || (in_flight(&redis, "a") == 0).then_some(()));
    }
}

#[test]
fn shares_follow_weights_also_when_tasks_are_a_hundred_times_longer() {
    let redis = TestRedis::start_alone();
    let _worker = start(&redis, &[]);
    set(&redis, "b", r#"{"weight": 3}"#);
    // The time of `fib` grows by the golden ratio with each number: 10 more are 123 times.
    for (a, b) in [(22, 22), (31, 21)] {
        let fib = |n: u32| Task::new("compute.fib", json!([n]));
        let floods = [Flood::start(&redis, "a", &fib(a), 5_000), Flood::start(&redis, "b", &fib(b), 20_000)];
        let taken = || [0, 1].map(|n: usize| floods[n].taken(&redis) as f64);
        eventually("they run", || taken().iter().all(|taken| *taken > 0.0).then_some(()));
        // What was taken at the very first has only begun.
        let begin = taken();
        let before = eventually("some has run", || {
            let now = taken();
            (0..2).all(|n| now[n] - begin[n] > 50.0).then_some(now)
        });
        let first = Instant::now();
        let done = eventually("enough has run", || {
            let done = [0, 1].map(|n: usize| taken()[n] - before[n]);
            (first.elapsed() > Duration::from_secs(6) && done.iter().all(|done| *done > 100.0))
                .then_some(done)
        });
        let cpu = [0, 1].map(|n: usize| done[n] * mean_cpu(&redis, ["a", "b"][n]));
        let share = cpu[1] / cpu[0];
        eprintln!("weights 1 and 3, tasks of fib({a}) and fib({b}): {done:?} tasks, {cpu:?} s");
        // Over a minute it is less than 5 in a hundred: `tests/speed/run shares`.
        assert!((share / 3.0 - 1.0).abs() < 0.1, "{share}");
        drop(floods);
        redis.ask::<()>(&["DEL", "a/celery", "b/celery"]);
        eventually("all is over", || redis.ask::<bool>(&["EXISTS", "unacked"]).eq(&false).then_some(()));
        redis.ask::<()>(&["FLUSHDB"]);
        set(&redis, "b", r#"{"weight": 3}"#);
    }
}

#[test]
fn a_tenant_over_its_quota_waits_and_loses_nothing() {
    let redis = TestRedis::start();
    set(&redis, "a", r#"{"quotas": {"in_flight": 3}}"#);
    let workers = ["one@%h", "two@%h"].map(|name| start(&redis, &["-n", name]));
    eventually("both know of each other", || {
        let known: serde_json::Value =
            serde_json::from_slice(&host(&redis, &["queues", "--json"]).stdout).ok()?;
        let a = &known["tenants"]["a"];
        (a["workers"] == 2 && a["most_in_flight"] == 3).then_some(())
    });
    let sleep = |seconds: f64| Task::new("observe.sleep_for", json!([seconds])).queue("a/celery");
    let tasks: Vec<_> = (0..30).map(|_| sleep(0.1)).collect();
    redis.send_all(&tasks);
    let mut most = 0;
    eventually("they have run", || {
        most = most.max(in_flight(&redis, "a"));
        (redis.ready(&tasks) == tasks.len()).then_some(())
    });
    assert_eq!(most, 3, "of both workers together");
    // Others do not wait for it.
    redis.send_all(&[sleep(0.5), sleep(0.5), sleep(0.5), sleep(0.5)]);
    let other = Task::new("app.divide", json!([1, 2])).queue("b/celery");
    redis.send(&other);
    eventually("the other's has run", || (redis.ready(std::slice::from_ref(&other)) == 1).then_some(()));
    assert_eq!(redis.ask::<u64>(&["LLEN", "a/celery"]), 1, "one more than may run");
    drop(workers);
}

#[test]
fn a_tenant_that_has_computed_enough_waits_for_the_next_minute() {
    let redis = TestRedis::start();
    set(&redis, "a", r#"{"quotas": {"cpu_per_minute": 1}}"#);
    let _worker = start(&redis, &["-c", "2"]);
    let fib = || Task::new("compute.fib", json!([30])).queue("a/celery");
    let tasks: Vec<_> = (0..2_000).map(|_| fib()).collect();
    redis.send_all(&tasks);
    let tenant = || {
        let shown: serde_json::Value =
            serde_json::from_slice(&host(&redis, &["queues", "--json"]).stdout).unwrap();
        shown["tenants"]["a"].clone()
    };
    let shown = eventually("it is held back", || Some(tenant()).filter(|tenant| tenant["held_back"] == true));
    assert!(shown["cpu_seconds"].as_f64().unwrap() >= 0.9, "{shown}");
    eventually("what ran has ended", || (in_flight(&redis, "a") == 0).then_some(()));
    let waiting: u64 = redis.ask(&["LLEN", "a/celery"]);
    assert!(waiting > 0 && redis.ready(&tasks) as u64 == 2_000 - waiting, "nothing is lost");
    // With more to spend it goes on.
    set(&redis, "a", r#"{"quotas": {"cpu_per_minute": null}}"#);
    redis.ask::<()>(&["LTRIM", "a/celery", "0", "9"]);
    eventually("the rest has run", || redis.ask::<bool>(&["EXISTS", "a/celery"]).eq(&false).then_some(()));
}
