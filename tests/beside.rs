//! A tenant whose tasks are as bad as can be does not spoil another's in the same worker.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Answer, Task, TestHost, TestRedis, guests};

/// How often the good tenant's task is measured.
const TASKS: usize = 150;

/// What the good tenant's slowest task of a hundred may take in any case: where it is run there may be others before it that
/// compute, and each of them gives its thread back after a tick of 10 ms.
const FLOOR: Duration = Duration::from_millis(100);

#[test]
fn a_good_tenant_hardly_notices_a_hostile_one() {
    let redis = TestRedis::start_alone();
    let plugins = [
        ("good/app", guests::DIVIDE),
        ("evil/misbehave", guests::MISBEHAVE),
        ("evil/observe", guests::OBSERVE),
        ("evil/sender", guests::SENDER),
        ("evil/numbers", guests::NUMBERS),
        ("evil/loop_at_start", guests::LOOP_AT_START),
    ];
    let mut host = TestHost::start_with(&redis, &plugins, &["--memory-limit", "64MiB", "-c", "20"]);
    p99(&redis);
    let quiet = p99(&redis);
    let enough = AtomicBool::new(false);
    let beside = thread::scope(|scope| {
        scope.spawn(|| flood(&redis, &enough));
        // The first of them meet an empty worker.
        let measured = scope.spawn(|| (p99(&redis), p99(&redis)).1).join();
        enough.store(true, Ordering::Relaxed);
        measured.expect("all of the good tenant's tasks succeed")
    });
    println!("p99 of a good tenant: quiet {quiet:?}, beside a hostile one {beside:?}");
    assert!(beside <= (quiet * 2).max(FLOOR), "quiet {quiet:?}, beside a hostile tenant {beside:?}");
    let ended: usize = redis.ask::<Vec<String>>(&["KEYS", "evil/_celery-task-meta-*"]).len();
    assert!(ended > 50, "only {ended} hostile tasks have been run meanwhile");
    assert!(host.lives());
    // Guests panic, and that is shown; the host does not.
    assert!(!host.output().contains("panicked at host/"), "{}", host.output());
    assert!(host.resident_memory() < 1 << 20, "{} KiB resident", host.resident_memory());
}

/// What the slowest of a hundred tasks takes, from sent to told, one after the other.
fn p99(redis: &TestRedis) -> Duration {
    let mut connection = redis.connection();
    connection.set_read_timeout(Some(Duration::from_secs(60))).expect("it is a time");
    let mut took: Vec<_> = (0..TASKS)
        .map(|_| {
            let task = Task::new("app.divide", json!([1, 2]));
            let channel = format!("good/_celery-task-meta-{}", task.id());
            let mut told = connection.as_pubsub();
            told.subscribe(&channel).expect("Redis answers");
            let begin = Instant::now();
            redis.push("good/celery", task.message().as_bytes());
            let message: String =
                told.get_message().and_then(|told| told.get_payload()).expect("it is told in time");
            let took = begin.elapsed();
            assert_eq!(Answer::parse(&message).to_string(), "SUCCESS 0.5");
            took
        })
        .collect();
    took.sort();
    took[TASKS * 99 / 100]
}

/// Keeps everything that a guest can do wrong waiting in the hostile tenant's queue.
fn flood(redis: &TestRedis, enough: &AtomicBool) {
    let call = json!({"task": "misbehave.panic", "args": ["again"], "kwargs": {}, "options": {}});
    let tasks: &[(&str, Value)] = &[
        ("misbehave.endless_loop", json!([])),
        ("misbehave.memory_bomb", json!([])),
        ("misbehave.endless_recursion", json!([])),
        ("misbehave.huge_output", json!([64])),
        ("misbehave.huge_result", json!([900_000])),
        ("misbehave.deep_json", json!([100_000])),
        ("misbehave.panic", json!(["out of cheese"])),
        ("numbers.grow_for_ever", json!([])),
        ("loop_at_start.answer", json!([])),
        ("observe.sleep_for", json!([60])),
        ("observe.until_cancelled", json!([])),
        ("sender.flood", json!([call, 200])),
    ];
    while !enough.load(Ordering::Relaxed) {
        let waiting: usize = redis.ask(&["LLEN", "evil/celery"]);
        if waiting < 100 {
            for (name, args) in tasks {
                let task = Task::new(name, args.clone()).limits(Some(0.5), None);
                redis.push("evil/celery", task.message().as_bytes());
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}
