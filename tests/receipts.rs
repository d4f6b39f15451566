//! A result says what its run took, and the worker's own totals are the sum of what its results say.

use serde_json::{Value, json};

use crate::support::{Celery, Task, TestHost, TestRedis, eventually, guests, host};

#[test]
fn the_sum_over_all_results_is_what_the_worker_says_it_took() {
    let redis = TestRedis::start();
    let _host = TestHost::start(
        &redis,
        &[("divide", guests::DIVIDE), ("compute", guests::COMPUTE), ("misbehave", guests::MISBEHAVE)],
    );
    let mut tasks = Vec::new();
    for n in 0..20 {
        tasks.push(Task::new("divide", json!([n, 0])));
        tasks.push(Task::new("divide", json!([n, 4])).kwargs(json!({"sleep": 0.01})));
        tasks.push(Task::new("compute.sha256", json!([n])));
        tasks.push(Task::new("misbehave.panic", json!(["boom"])));
    }
    tasks.push(Task::new("misbehave.memory_bomb", json!([])));
    redis.send_all(&tasks);
    redis.wait_for_all(&tasks);

    let receipts: Vec<Value> = tasks.iter().map(|task| receipt(&redis, task.id())).collect();
    // Counted once the store has answered, which is a moment after the results can be read.
    let totals = eventually("all ends are counted", || {
        let totals = totals(&redis);
        (totals["succeeded"] == 40 && totals["failed"] == 41).then_some(totals)
    });
    assert_eq!(totals["runs"], tasks.len());
    for what in ["runtime", "cputime"] {
        let sum: f64 = receipts.iter().map(|receipt| receipt[what].as_f64().unwrap()).sum();
        let total = totals[what].as_f64().unwrap();
        assert!(
            (sum - total).abs() <= total / 100.0,
            "{what}: the results say {sum}, the worker says {total}"
        );
    }
    let most = receipts.iter().map(|receipt| receipt["memory"].as_u64().unwrap()).max();
    assert_eq!(totals["memory"].as_u64(), most, "the bomb is stopped at its limit");
    assert!(most > Some(100 << 20), "{most:?}");
}

#[test]
fn a_receipt_says_what_ran_where_and_how_long_it_took_and_waited() {
    let redis = TestRedis::start();
    // Nobody is there yet, so that it waits.
    let sent = host(&redis, &["call", "app.divide", "1", "2", "--kwargs", r#"{"sleep": 0.2}"#]);
    let id = String::from_utf8(sent.stdout).unwrap().trim().to_owned();
    let by_others = redis.send(&Task::new("app.divide", json!([1, 2])));
    let flags = ["-n", "here@test"];
    let _host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &flags);
    redis.answer(&id);
    redis.answer(&by_others);

    let ran = receipt(&redis, &id);
    assert_eq!((&ran["task"], &ran["worker"]), (&json!("app.divide"), &json!("here@test")));
    let digest = ran["plugin"].as_str().unwrap();
    assert!(digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "{digest}");
    let number = |what: &str| ran[what].as_f64().unwrap();
    assert!(number("runtime") >= 0.2 && number("cputime") < number("runtime"), "it slept: {ran}");
    assert!(number("waited") > 0.0, "until the worker was there: {ran}");
    assert_eq!(
        receipt(&redis, &by_others)["waited"],
        Value::Null,
        "Celery's clients do not say when they sent"
    );

    for celery in Celery::BOTH {
        let seen = celery.evaluate(&redis, &format!("[Result('{id}').state, Result('{id}').get()]"));
        assert_eq!(seen, json!(["SUCCESS", 0.5]), "no client minds");
    }
}

/// What the stored result of a task says of its run.
#[track_caller]
fn receipt(redis: &TestRedis, id: &str) -> Value {
    redis.answer(id).meta["host"].take()
}

/// What the one worker says of all its runs.
#[track_caller]
fn totals(redis: &TestRedis) -> Value {
    let output = host(redis, &["inspect", "stats", "--json"]);
    let stats: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (_, stats) = stats.as_object().unwrap().iter().next().expect("there is a worker");
    stats["host"].clone()
}
