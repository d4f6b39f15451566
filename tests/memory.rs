//! A worker does not grow.

use serde_json::json;

use crate::support::{Task, TestHost, TestRedis, guests};

#[test]
fn a_hundred_thousand_tasks_leave_the_memory_where_it_was_after_twenty_thousand() {
    let redis = TestRedis::start_alone();
    let plugins = [
        ("app", guests::DIVIDE),
        ("echo", guests::ECHO),
        ("misbehave", guests::MISBEHAVE),
        ("numbers", guests::NUMBERS),
        ("command", guests::CAT),
    ];
    let host = TestHost::start_with(&redis, &plugins, &["-l", "warning", "--park-unknown", "0"]);
    run(&redis, 20_000);
    let early = host.resident_memory();
    run(&redis, 80_000);
    let late = host.resident_memory();
    // The allocator's own ups and downs come to some MiB; whatever a task leaves behind, even one list entry, comes to more.
    let left_by_each = late.saturating_sub(early) * 1024 / 80_000;
    assert!(left_by_each < 64, "{early} KiB after 20,000 tasks, {late} KiB after 100,000");
}

/// Runs so many tasks of all kinds: good and bad, small and large, known and unknown.
fn run(redis: &TestRedis, count: usize) {
    let large = json!({"text": "x".repeat(20_000)});
    let kinds = [
        ("app.divide", json!([1, 2])),
        ("app.divide", json!([1, 0])),
        ("app.integer_divide", json!([1, 0])),
        ("app.divide", json!(["one"])),
        ("echo.any", large),
        ("echo.rest", json!(["a", 1, 2, 3])),
        ("misbehave.panic", json!(["again"])),
        ("numbers.add", json!([1, 2])),
        ("command", json!([1, 2])),
        ("app.nothing", json!([])),
    ];
    let tasks: Vec<_> =
        kinds.iter().cycle().take(count).map(|(name, args)| Task::new(name, args.clone())).collect();
    redis.send_all(&tasks);
    redis.wait_for_all(&tasks);
    // Results are not what is measured; away with them, for the sake of the machine.
    redis.ask::<()>(&["FLUSHDB"]);
}
