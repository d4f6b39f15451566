//! What failed for good is kept, to be looked at, sent again or dropped; and what kills its workers ends there.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Task, TestHost, TestRedis, eventually, guests, host};

fn json_of(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text} {}", String::from_utf8_lossy(&output.stderr)))
}

fn letters(redis: &TestRedis) -> Value {
    json_of(&host(redis, &["dead", "list", "--json"]))
}

/// Kills the worker when the task runs, and starts it again, so many times.
fn kill_in(redis: &TestRedis, worker: &mut TestHost, id: &str, times: usize) {
    for _ in 0..times {
        eventually("the task runs", || redis.stored(id).filter(|answer| answer.status == "PROGRESS"));
        worker.kill_9();
        redis.ask::<u64>(&["DEL", &format!("celery-task-meta-{id}")]);
        worker.start_again();
    }
}

#[test]
fn a_task_that_kills_its_worker_again_and_again_is_given_up_and_innocents_beside_it_are_not() {
    let redis = TestRedis::start();
    let plugins = [("observe", guests::OBSERVE)];
    let mut worker = TestHost::start_with(&redis, &plugins, &["-c", "20"]);
    let poison = redis.send(&Task::new("observe.report", json!(["PROGRESS", null, 100])));
    let innocents: Vec<_> = (0..5).map(|_| Task::new("observe.sleep_for", json!([3]))).collect();
    redis.send_all(&innocents);
    kill_in(&redis, &mut worker, &poison, 3);
    let answer = redis.answer(&poison).to_string();
    assert_eq!(
        answer,
        "FAILURE billiard.exceptions.WorkerLostError: \
         Worker exited prematurely: 3 workers ended while running this task."
    );
    redis.wait_for_all(&innocents);
    for innocent in &innocents {
        assert_eq!(redis.answer(innocent.id()).to_string(), "SUCCESS 3.0");
    }
    let letters = letters(&redis);
    assert_eq!(letters.as_array().unwrap().len(), 1, "{letters}");
    assert_eq!((&letters[0]["task_id"], &letters[0]["attempts"]), (&json!(poison), &json!(3)));
}

#[test]
fn dead_letters_can_be_listed_shown_sent_again_and_dropped() {
    let redis = TestRedis::start();
    let worker = TestHost::start_with(&redis, &[("observe", guests::OBSERVE)], &["--park-unknown", "0"]);
    let id = redis.send(&Task::new("app.divide", json!([1, 2])));
    redis.send(&Task::new("app.nothing", json!(["x"])));
    redis.push("celery", b"no message at all");
    let listed = eventually("all are dead", || {
        Some(letters(&redis)).filter(|letters| letters.as_array().unwrap().len() == 3)
    });
    let reasons: Vec<_> =
        listed.as_array().unwrap().iter().map(|letter| letter["reason"].to_string()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("NotRegistered('app.divide')")), "{reasons:?}");

    let letter = |task: Value| {
        let letters = listed.as_array().unwrap();
        letters.iter().find(|letter| letter["task"] == task).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let (divide, nothing, unreadable) =
        (letter(json!("app.divide")), letter(json!("app.nothing")), letter(Value::Null));
    let shown = json_of(&host(&redis, &["dead", "show", &divide, "--json"]));
    assert_eq!((&shown["task_id"], &shown["queue"]), (&json!(id), &json!("celery")));
    assert!(shown["message"].as_str().unwrap().contains(&id), "{shown}");
    let table = host(&redis, &["dead", "show", &nothing]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("('x',)"), "{table:?}");
    assert_eq!(host(&redis, &["dead", "show", "no-such-id"]).status.code(), Some(69));

    // Once its plugin is there, it only has to be sent again.
    worker.put("app", &std::fs::read(guests::DIVIDE).unwrap());
    eventually("the plugin is there", || worker.output().contains("added").then_some(()));
    assert_eq!(json_of(&host(&redis, &["dead", "replay", &divide, "--json"])), json!({"replayed": 1}));
    eventually("it has run", || redis.stored(&id).filter(|answer| answer.to_string() == "SUCCESS 0.5"));
    assert_eq!(host(&redis, &["dead", "replay", &divide]).status.code(), Some(69), "it is gone");
    let refused = host(&redis, &["dead", "replay", &unreadable]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not a task message"), "{refused:?}");

    assert_eq!(json_of(&host(&redis, &["dead", "drop", &nothing, "--json"])), json!({"dropped": 1}));
    assert_eq!(json_of(&host(&redis, &["dead", "drop", "--all", "--json"])), json!({"dropped": 1}));
    assert_eq!(letters(&redis), json!([]));
}
