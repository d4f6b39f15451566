//! Messages as they come: recorded from real Celery, made by hand, and hostile.

mod fields;
mod hostile;
mod recorded;

use serde_json::{Value, json, value::RawValue};

use super::*;
use crate::task::{Request, Tenant};

/// The body of a call `f(1, 2)`.
const BODY: &str = "[[1, 2], {}, {}]";

fn decoded(message: &[u8]) -> Result<Request, Refusal> {
    decode(message, Tenant::DEFAULT, &MessageLimits::default())
}

/// A message with the given headers and a body that is not encoded.
fn plain(headers: Value, body: &str) -> Vec<u8> {
    json!({ "body": body, "content-type": "application/json", "headers": headers, "properties": {} })
        .to_string()
        .into_bytes()
}

/// A message for the task `f` with the id `i`, and this body.
fn with_body(body: &str) -> Vec<u8> {
    plain(json!({ "task": "f", "id": "i" }), body)
}

/// A message for the task `f` with the id `i`, and one more header.
fn with_header(name: &str, value: Value) -> Vec<u8> {
    plain(json!({ "task": "f", "id": "i", name: value }), BODY)
}

fn value(json: &RawValue) -> Value {
    serde_json::from_str(json.get()).unwrap()
}

#[test]
fn an_id_and_a_task_are_enough() {
    let request = decoded(&with_body(BODY)).unwrap();
    assert_eq!((request.id.as_str(), request.task.as_str()), ("i", "f"));
    assert_eq!((request.args.get(), request.kwargs.get()), ("[1, 2]", "{}"));
    assert_eq!(request.root_id, request.id);
    assert_eq!((request.retries, request.ignore_result, request.redelivered), (0, false, false));
    assert_eq!((request.eta, request.expires, request.parent_id, request.group_id), (None, None, None, None));
    assert_eq!(request.properties.get(), "{}");
}

#[test]
fn null_headers_are_as_good_as_missing_ones() {
    let names = [
        "shadow",
        "eta",
        "expires",
        "group",
        "retries",
        "timelimit",
        "root_id",
        "parent_id",
        "ignore_result",
        "redelivered",
        "compression",
        "stamps",
    ];
    let mut headers = json!({ "task": "f", "id": "i" });
    for name in names {
        headers[name] = Value::Null;
    }
    let request = decoded(&plain(headers, BODY)).unwrap();
    assert_eq!(request.root_id, request.id);
    let no_properties =
        br#"{"headers": {"task": "f", "id": "i"}, "body": "[[], {}, null]", "properties": null}"#;
    assert_eq!(decoded(no_properties).unwrap().properties.get(), "{}");
}

#[test]
fn what_the_sender_wrote_reaches_the_task_unchanged() {
    let args = r#"[1e2, 1.50, 123456789012345678901234567890, "\ud800", {"__type__": "date", "__value__": "2024-01-02"}]"#;
    let kwargs = r#"{"b": 1,  "a": 2, "b": 3}"#;
    let request = decoded(&with_body(&format!("[{args}, {kwargs}, {{}}]"))).unwrap();
    assert_eq!((request.args.get(), request.kwargs.get()), (args, kwargs));

    let headers = r#"{"task":"f", "id":"i", "x-big": 123456789012345678901234567890, "x": "\udc00"}"#;
    let message =
        format!(r#"{{"headers": {headers}, "properties": {{"priority":  7}}, "body": "[[], {{}}, {{}}]"}}"#);
    let request = decoded(message.as_bytes()).unwrap();
    assert_eq!((request.headers.get(), request.properties.get()), (headers, r#"{"priority":  7}"#));
}

#[test]
fn a_message_that_came_back_says_so() {
    assert!(decoded(&with_header("redelivered", json!(true))).unwrap().redelivered);
    let in_properties = json!({
        "headers": { "task": "f", "id": "i" }, "body": BODY, "properties": { "delivery_info": { "redelivered": true } },
    });
    assert!(decoded(in_properties.to_string().as_bytes()).unwrap().redelivered);

    let marked = mark_redelivered(&with_body(BODY)).unwrap();
    let request = decoded(&marked).unwrap();
    assert!(request.redelivered);
    assert_eq!(value(&request.properties), json!({ "delivery_info": { "redelivered": true } }));
    assert_eq!(mark_redelivered(&marked), Some(marked));
}

#[test]
fn marking_keeps_every_other_value_to_the_byte() {
    let message =
        br#"{"z": 1.50, "headers": {"x": "\ud800", "n": 1e400}, "body": "\u0041", "properties": null}"#;
    let expected = br#"{"z":1.50,"headers":{"x":"\ud800","n":1e400,"redelivered":true},"body":"\u0041","properties":{"delivery_info":{"redelivered":true}}}"#;
    assert_eq!(mark_redelivered(message).as_deref(), Some(&expected[..]));
    for broken in
        [&b""[..], b"[]", b"nope", br#"{"headers": []}"#, br#"{"properties": {"delivery_info": 1}}"#, b"\xff"]
    {
        assert_eq!(mark_redelivered(broken), None);
    }
}

#[test]
fn line_breaks_in_base64_are_skipped_as_python_skips_them() {
    let message = json!({
        "headers": { "task": "f", "id": "i" },
        "properties": { "body_encoding": "base64" },
        "body": "W1sxLCAy\nXSwge30s\r\nIHt9XQ==\n",
    });
    assert_eq!(decoded(message.to_string().as_bytes()).unwrap().args.get(), "[1, 2]");
}
