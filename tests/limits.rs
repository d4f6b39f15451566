//! Whatever a guest does, only its own task fails, in time and by a name.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Task, TestHost, TestRedis, guests};

/// How much later than its limit a task may end.
const GRACE: Duration = Duration::from_millis(100);

#[test]
fn each_misbehaviour_ends_as_its_own_failure_and_the_next_task_succeeds() {
    let redis = TestRedis::start();
    let plugins = [
        ("app", guests::DIVIDE),
        ("misbehave", guests::MISBEHAVE),
        ("numbers", guests::NUMBERS),
        ("loop_at_start", guests::LOOP_AT_START),
    ];
    let _host = TestHost::start_with(&redis, &plugins, &["--time-limit", "5", "--memory-limit", "64MiB"]);
    let cases = [
        ("app.integer_divide", json!([1, 0]), "builtins.ZeroDivisionError: division by zero"),
        ("app.integer_divide", json!([i32::MIN, -1]), "builtins.OverflowError: integer overflow"),
        ("numbers.remainder", json!([1, 0]), "builtins.ZeroDivisionError: division by zero"),
        ("misbehave.panic", json!(["out of cheese"]), "builtins.RuntimeError: out of cheese"),
        (
            "misbehave.endless_recursion",
            json!([]),
            "builtins.RecursionError: maximum recursion depth exceeded",
        ),
        ("misbehave.memory_bomb", json!([]), "builtins.MemoryError: memory limit of 64 MiB exceeded"),
        ("numbers.grow_for_ever", json!([]), "builtins.MemoryError: memory limit of 64 MiB exceeded"),
        ("misbehave.end_process", json!([]), "builtins.RuntimeError: exit code 1"),
        ("misbehave.huge_result", json!([2_000_000]), "kombu.exceptions.EncodeError: "),
        ("misbehave.broken_json", json!([]), "kombu.exceptions.EncodeError: "),
        ("misbehave.deep_json", json!([100_000]), "kombu.exceptions.EncodeError: "),
        (
            "misbehave.not_a_number",
            json!([]),
            "kombu.exceptions.EncodeError: Out of range float values are not JSON compliant: nan",
        ),
        ("misbehave.endless_loop", json!([]), "billiard.exceptions.TimeLimitExceeded: 5"),
        ("loop_at_start.answer", json!([]), "billiard.exceptions.TimeLimitExceeded: 5"),
    ];
    for (task, args, expected) in cases {
        let answer = redis.run(task, args).to_string();
        assert!(answer.starts_with(&format!("FAILURE {expected}")), "{task}: {answer}");
        assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5", "after {task}");
    }
}

#[test]
fn a_failure_shows_where_in_the_guest_it_happened() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("misbehave", guests::MISBEHAVE)]);
    let traceback = redis.run("misbehave.panic", json!(["out of cheese"])).traceback.unwrap();
    assert!(traceback.starts_with("Traceback (most recent call last):\n"), "{traceback}");
    assert!(traceback.contains("misbehave.rs"), "where it panicked, from its standard error: {traceback}");
    assert!(traceback.ends_with("RuntimeError: out of cheese\n"), "{traceback}");
}

#[test]
fn a_gibibyte_of_output_does_no_harm() {
    let redis = TestRedis::start();
    let host = TestHost::start(&redis, &[("misbehave", guests::MISBEHAVE)]);
    assert_eq!(redis.run("misbehave.huge_output", json!([1024])).to_string(), "SUCCESS 1024");
    assert!(host.resident_memory() < 512 * 1024, "{} KiB resident", host.resident_memory());
    assert!(host.output().len() < 1 << 20, "{} bytes logged", host.output().len());
}

#[test]
fn a_task_is_stopped_at_its_limit_whether_it_computes_or_waits() {
    let redis = TestRedis::start_alone();
    let plugins = [("misbehave", guests::MISBEHAVE), ("observe", guests::OBSERVE)];
    let _host = TestHost::start(&redis, &plugins);
    for (task, args) in [("misbehave.endless_loop", json!([])), ("observe.sleep_for", json!([60]))] {
        for (hard, soft, expected) in [
            (Some(0.5), None, "FAILURE billiard.exceptions.TimeLimitExceeded: 0.5"),
            (Some(60.0), Some(0.5), "FAILURE billiard.exceptions.SoftTimeLimitExceeded:"),
        ] {
            let limit = Duration::from_millis(500);
            // The machine may be slow for a moment; a worker that is late is late each time.
            let took = (0..3).map(|_| {
                let begin = Instant::now();
                let answer = redis.answer(&redis.send(&Task::new(task, args.clone()).limits(hard, soft)));
                assert_eq!(answer.to_string(), expected, "{task}");
                begin.elapsed()
            });
            let shortest = took.min().unwrap();
            assert!(
                (limit..limit + GRACE).contains(&shortest),
                "{task} with {hard:?}, {soft:?} took {shortest:?}"
            );
        }
    }
}

#[test]
fn a_guest_that_watches_its_soft_limit_ends_in_its_own_way() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("observe", guests::OBSERVE)]);
    let task = Task::new("observe.until_cancelled", json!([])).limits(Some(30.0), Some(0.3));
    assert_eq!(redis.answer(&redis.send(&task)).to_string(), "SUCCESS \"ended in its own way\"");
}

#[test]
fn a_short_task_runs_at_once_beside_endless_ones() {
    let redis = TestRedis::start_alone();
    let plugins = [("app", guests::DIVIDE), ("misbehave", guests::MISBEHAVE)];
    let _host = TestHost::start_with(&redis, &plugins, &["--concurrency", "20"]);
    for _ in 0..8 {
        redis.send(&Task::new("misbehave.endless_loop", json!([])).limits(Some(20.0), None));
    }
    for _ in 0..10 {
        let begin = Instant::now();
        assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5");
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    }
}

#[test]
fn a_thousand_tasks_that_wait_wait_together() {
    let redis = TestRedis::start_alone();
    let _host = TestHost::start_with(&redis, &[("observe", guests::OBSERVE)], &["-c", "1000"]);
    let tasks: Vec<_> = (0..1_000).map(|_| Task::new("observe.sleep_for", json!([2]))).collect();
    let begin = Instant::now();
    redis.send_all(&tasks);
    redis.wait_for_all(&tasks);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn nothing_of_a_run_is_left_for_the_next() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("numbers", guests::NUMBERS)]);
    for _ in 0..20 {
        assert_eq!(redis.run("numbers.count_calls", json!([])).to_string(), "SUCCESS 1");
    }
}
