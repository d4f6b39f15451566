//! Against what Python's clients and workers said to each other.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::*;

const PING: &str = include_str!("../../../../tests/fixtures/celery/control-inspect-ping.json");
const NO_REPLY: &str = include_str!("../../../../tests/fixtures/celery/control-broadcast-noreply.json");
const STAMPED: &str = include_str!("../../../../tests/fixtures/celery/control-revoke-stamped-raw.json");
const HELLO: &str = include_str!("../../../../tests/fixtures/celery/worker-startup.json");

/// The recorded requests, and replies, of a case.
fn recorded(case: &str, command: &str, key: &str) -> Vec<Value> {
    let case: Value = serde_json::from_str(case).unwrap();
    let commands = case["commands"].as_array().unwrap().iter().map(|line| &line["cmd"]);
    let wanted = commands.filter(|words| words[0] == command && words[1].as_str().unwrap().ends_with(key));
    wanted.map(|words| words[2]["envelope"].clone()).collect()
}

/// An envelope with its body opened.
fn opened(message: &[u8]) -> Value {
    let mut envelope: Value = serde_json::from_slice(message).unwrap();
    let body = STANDARD.decode(envelope["body"].as_str().unwrap()).unwrap();
    envelope["body"] = serde_json::from_slice(&body).unwrap();
    envelope
}

#[test]
fn recorded_requests_are_read_and_written_the_same() {
    let mut count = 0;
    for case in [PING, NO_REPLY, STAMPED, HELLO] {
        for envelope in recorded(case, "PUBLISH", ".celery.pidbox") {
            let bytes = serde_json::to_vec(&envelope).unwrap();
            let request = Request::decode(&bytes, &MessageLimits::default()).unwrap();
            let tag = envelope["properties"]["delivery_tag"].as_str().unwrap();
            let expires = envelope["headers"]["expires"].as_f64().unwrap();
            assert_eq!(opened(&request.encode(expires, tag)), opened(&bytes));
            count += 1;
        }
    }
    assert_eq!(count, 6);
    let ping = serde_json::to_vec(&recorded(PING, "PUBLISH", ".celery.pidbox")[0]).unwrap();
    let ping = Request::decode(&ping, &MessageLimits::default()).unwrap();
    assert_eq!((ping.method.as_str(), ping.arguments, ping.clock), ("ping", json!({}), 1));
    assert!(ping.audience.includes("w1@host1") && !ping.audience.includes("w2@host1"));
    assert_eq!(ping.reply_to.unwrap().inbox, "e4980aa1-a917-35a7-9de8-a9d9574e1ccb");
}

#[test]
fn recorded_replies_are_read_and_written_the_same() {
    let mut count = 0;
    for case in [PING, STAMPED] {
        for envelope in recorded(case, "LPUSH", ".reply.celery.pidbox") {
            let bytes = serde_json::to_vec(&envelope).unwrap();
            let reply = Reply::decode(&bytes, &MessageLimits::default()).unwrap();
            let tag = envelope["properties"]["delivery_tag"].as_str().unwrap();
            let inbox = envelope["properties"]["delivery_info"]["routing_key"].as_str().unwrap();
            assert_eq!(opened(&reply.encode(inbox, tag)), opened(&bytes));
            count += 1;
        }
    }
    assert_eq!(count, 4);
    let reply = Reply::of("w1@host1", "t", 215, json!({"ok": "pong"}));
    let read = Reply::decode(&reply.encode("inbox", "tag"), &MessageLimits::default()).unwrap();
    assert_eq!(read, reply);
}

#[test]
fn hostile_requests_are_refused() {
    let envelope = |body: &str| {
        json!({"body": body, "content-type": "application/json", "headers": {"clock": 1}}).to_string()
    };
    let good = envelope(r#"{"method": "ping"}"#);
    let request = Request::decode(good.as_bytes(), &MessageLimits::default()).unwrap();
    assert_eq!((request.arguments, request.reply_to), (json!({}), None));
    let deep = format!(r#"{{"method": "ping", "arguments": {}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let large =
        envelope(&format!(r#"{{"method": "ping", "arguments": {{"x": "{}"}}}}"#, "x".repeat(9 << 20)));
    for message in [
        "",
        "\0",
        "[1]",
        "{}",
        &envelope("null"),
        &envelope("[]"),
        &envelope("{}"),
        &envelope(r#"{"method": 5}"#),
        &envelope(r#"{"method": "ping", "destination": "w1@host1"}"#),
        &envelope(r#"{"method": "ping", "destination": [5]}"#),
        &envelope(r#"{"method": "ping", "reply_to": "x"}"#),
        &envelope(r#"{"method": "ping", "ticket": {}}"#),
        &envelope(r#"{"method": "\ud800"}"#),
        &envelope(&deep),
        &large,
        &good.replace("application/json", "application/x-python-serialize"),
        &good.replace(r#""clock":1"#, r#""clock":"x""#),
    ] {
        let shown: String = message.chars().take(100).collect();
        assert!(Request::decode(message.as_bytes(), &MessageLimits::default()).is_err(), "{shown}");
    }
}
