//! Messages that no client should send neither stop the worker nor block the queue.
//!
//! Each ends as a FAILURE where an id is readable, else among the dead letters, with its reason.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use crate::support::{Task, TestHost, TestRedis, eventually, guests};

#[test]
fn a_message_without_a_readable_id_becomes_a_dead_letter_and_the_next_task_runs() {
    let redis = TestRedis::start();
    let mut host = TestHost::start(&redis, &[("app", guests::DIVIDE)]);
    let without_id = changed(|message| drop(message["headers"].as_object_mut().unwrap().remove("id")));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", b"".to_vec()),
        ("not JSON", b"hello".to_vec()),
        ("not UTF-8", vec![0xff, 0xfe, 0x00, 0x80]),
        ("half a message", Task::new("app.divide", json!([1, 2])).message().into_bytes()[..200].to_vec()),
        ("a list", b"[]".to_vec()),
        ("a number", b"1e999".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("no id", without_id),
        ("an id that is a number", changed(|message| message["headers"]["id"] = json!(7))),
        ("an id that is no key", changed(|message| message["headers"]["id"] = json!("a\u{0}b"))),
        ("an id without end", changed(|message| message["headers"]["id"] = json!("x".repeat(1 << 20)))),
        ("no headers", changed(|message| message["headers"] = json!(null))),
        ("headers that are a list", changed(|message| message["headers"] = json!([1, 2]))),
        ("deep nesting", "[".repeat(1_000_000).into_bytes()),
        ("50 MB of nothing", vec![b'x'; 50 << 20]),
    ];
    for (count, (what, message)) in cases.iter().enumerate() {
        redis.push("celery", message);
        assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5", "after {what}");
        let letters = eventually("it is a dead letter", || {
            let letters = dead_letters(&redis);
            (letters.len() > count).then_some(letters)
        });
        let reason = letters[0]["cause"]["reason"].as_str().unwrap_or_default();
        assert!(!reason.is_empty(), "{what}: {}", letters[0]);
        let told = || host.output().matches("moved a message to the dead letters: ").count();
        eventually("the log tells of it", || (told() == count + 1).then_some(()));
    }
    redis.wait_until_idle();
    assert!(host.lives());
}

#[test]
fn a_message_that_cannot_be_run_but_has_an_id_fails_and_the_next_task_runs() {
    let redis = TestRedis::start();
    let mut host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["--park-unknown", "0"]);
    let decode_error = "FAILURE kombu.exceptions.DecodeError:";
    let refused = |kind| {
        format!(
            "FAILURE kombu.exceptions.ContentDisallowed: Refusing to deserialize untrusted content of type {kind}"
        )
    };
    let pickle = refused("pickle (application/x-python-serialize)");
    let yaml = refused("yaml (application/x-yaml)");
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("bad base64", changed(|m| m["body"] = json!("%%%")), decode_error),
        (
            "a body that is not UTF-8",
            changed(|m| m["body"] = json!(BASE64.encode([0xff, 0xfe]))),
            decode_error,
        ),
        ("a body that is not JSON", changed(|m| m["body"] = json!(BASE64.encode("[1, 2"))), decode_error),
        ("a deep body", changed(|m| m["body"] = json!(BASE64.encode(&deep))), decode_error),
        ("arguments that are no list", changed(|m| m["body"] = body("[7, {}, {}]")), decode_error),
        ("a number JSON has no word for", changed(|m| m["body"] = body("[[NaN, 1], {}, {}]")), decode_error),
        (
            "a number beyond all numbers",
            changed(|m| m["body"] = body(r#"[[1e999, 1], {}, {"errbacks": [{"task": "x", "args": []}]}]"#)),
            "FAILURE builtins.",
        ),
        (
            "half a character",
            changed(|m| m["body"] = body(r#"[["\ud800"], {}, {"errbacks": [{"task": "x", "args": []}]}]"#)),
            "FAILURE builtins.",
        ),
        (
            "pickle",
            changed(|m| {
                m["content-type"] = json!("application/x-python-serialize");
                m["content-encoding"] = json!("binary");
            }),
            &pickle,
        ),
        ("yaml", changed(|m| m["content-type"] = json!("application/x-yaml")), &yaml),
        (
            "a compression that is none",
            changed(|m| m["headers"]["compression"] = json!("application/x-gzip")),
            decode_error,
        ),
        (
            "an ETA that is no time",
            changed(|m| m["headers"]["eta"] = json!("tomorrow")),
            "FAILURE builtins.ValueError:",
        ),
        (
            "a name that is no task",
            changed(|m| m["headers"]["task"] = json!("os.system")),
            "FAILURE celery.exceptions.",
        ),
    ];
    for (what, message, expected) in cases {
        let id =
            serde_json::from_slice::<Value>(&message).unwrap()["headers"]["id"].as_str().unwrap().to_owned();
        redis.push("celery", &message);
        let answer = redis.answer(&id).to_string();
        assert!(answer.starts_with(expected), "{what}: {answer}");
        assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5", "after {what}");
    }
    redis.wait_until_idle();
    assert!(host.lives());
}

/// Everything that a message can say: where, and under which name.
const FIELDS: &[(&str, &[&str])] = &[
    ("", &["headers", "properties", "body", "content-type", "content-encoding"]),
    (
        "headers",
        &[
            "task",
            "id",
            "shadow",
            "eta",
            "expires",
            "group",
            "group_index",
            "replaced_task_nesting",
            "retries",
            "timelimit",
            "root_id",
            "parent_id",
            "redelivered",
            "host",
            "compression",
            "argsrepr",
            "kwargsrepr",
            "origin",
            "lang",
            "stamps",
            "stamped_headers",
            "taskset",
        ],
    ),
    (
        "properties",
        &[
            "body_encoding",
            "priority",
            "delivery_info",
            "reply_to",
            "correlation_id",
            "delivery_tag",
            "delivery_mode",
        ],
    ),
    ("embed", &["callbacks", "errbacks", "chain", "chord"]),
];

/// What no field should have for a value, as JSON or nearly.
fn bad_values() -> Vec<String> {
    let values = [
        "null",
        "false",
        "-1",
        "1e999",
        "NaN",
        r#""""#,
        r#""a\u0000b""#,
        r#""\ud800""#,
        r#""../../x""#,
        r#""acme/celery""#,
        "[]",
        "[null]",
        "{}",
        r#"{"a": {"b": [1]}}"#,
        r#"{"deaths": 4294967295, "begun": true}"#,
        r#"[{"task": 1}]"#,
        r#"{"task": "celery.chain", "args": [], "kwargs": {"tasks": [7]}, "options": {"task_id": []}}"#,
    ];
    let mut values = values.map(str::to_owned).to_vec();
    values.push(format!("\"{}\"", "x".repeat(100_000)));
    values.push("[".repeat(200) + &"]".repeat(200));
    values
}

#[test]
fn each_field_with_each_bad_value_ends_its_own_message_and_nothing_else() {
    let redis = TestRedis::start();
    let mut host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["--park-unknown", "0"]);
    let mut sent = 0;
    for (place, fields) in FIELDS {
        for field in *fields {
            for value in bad_values() {
                let mark = "0123456789-the-place";
                let spoil = |m: &mut Value| match *place {
                    "" => m[*field] = json!(mark),
                    "embed" => m["body"] = json!(mark),
                    place => m[place][*field] = json!(mark),
                };
                let value = match *place {
                    "embed" => body(&format!(r#"[[1, 2], {{}}, {{"{field}": {value}}}]"#)).to_string(),
                    _ => value,
                };
                let message = String::from_utf8(changed(spoil)).unwrap();
                redis.push("celery", message.replace(&format!("\"{mark}\""), &value).as_bytes());
                sent += 1;
            }
        }
    }
    redis.wait_until_idle();
    assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5");
    // Each ended once: as a result by its id, or as a dead letter. The last one was good.
    let ended = eventually("each has ended", || {
        let results: Vec<String> = redis.ask(&["KEYS", "celery-task-meta-*"]);
        let letters: usize = redis.ask(&["ZCARD", "host:dead:since"]);
        (results.len() + letters > sent).then_some((results.len(), letters))
    });
    assert!(ended.0 > 300 && ended.1 > 20, "(results, dead letters) = {ended:?} of {sent}");
    assert!(host.lives());
    assert!(!host.output().contains("panicked"), "{}", host.output());
}

#[test]
fn a_message_of_50_megabytes_fails_by_its_id() {
    let redis = TestRedis::start();
    let mut host = TestHost::start(&redis, &[("app", guests::DIVIDE)]);
    let task = Task::new("app.divide", json!(["x".repeat(50 << 20), 2]));
    let answer = redis.answer(&redis.send(&task)).to_string();
    assert!(answer.starts_with("FAILURE "), "{answer}");
    assert!(answer.len() < 1_000, "the message is not in the answer");
    assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5");
    assert!(host.lives());
}

#[test]
fn a_queue_that_is_no_list_is_reported_and_not_fatal() {
    let redis = TestRedis::start();
    redis.ask::<()>(&["SET", "odd", "not a list"]);
    let mut host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-Q", "odd"]);
    host.wait_for("WRONGTYPE");
    redis.ask::<()>(&["DEL", "odd"]);
    let task = redis.send(&Task::new("app.divide", json!([1, 2])).queue("odd"));
    assert_eq!(redis.answer(&task).to_string(), "SUCCESS 0.5");
}

/// A good message with one thing wrong.
fn changed(spoil: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut message = serde_json::from_str(&Task::new("app.divide", json!([1, 2])).message()).unwrap();
    spoil(&mut message);
    message.to_string().into_bytes()
}

fn body(text: &str) -> Value {
    json!(BASE64.encode(text))
}

/// What is known of the dead letters, the newest first.
fn dead_letters(redis: &TestRedis) -> Vec<Value> {
    let ids: Vec<String> = redis.ask(&["ZREVRANGE", "host:dead:since", "0", "-1"]);
    let head = |id: &String| {
        let head: String = redis.ask(&["HGET", "host:dead:letters", id]);
        serde_json::from_str(&head).expect("it is JSON")
    };
    ids.iter().map(head).collect()
}
