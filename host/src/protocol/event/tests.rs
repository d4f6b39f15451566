//! Against what a Python worker told.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;

const EVENTS: &str = include_str!("../../../../tests/fixtures/celery/events.jsonl");
const STARTUP: &str = include_str!("../../../../tests/fixtures/celery/worker-startup.json");

/// The recorded events by their types, each with the routing key and whether it was one of many.
fn recorded() -> Vec<(Value, String, bool)> {
    let read = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let channel = line["channel"].as_str().unwrap();
        let routing_key = channel.split_once('/').unwrap().1.split_once('/').unwrap().1.to_owned();
        (line["event"].clone(), routing_key, line["batched"].as_bool().unwrap())
    };
    EVENTS.lines().map(read).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn optional(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// The event that says the same, but for the software, which is ours.
fn same(event: &Value) -> Option<What> {
    let pulse = || Pulse {
        freq: event["freq"].as_f64().unwrap(),
        active: event["active"].as_u64().unwrap(),
        processed: event["processed"].as_u64().unwrap(),
        loadavg: serde_json::from_value(event["loadavg"].clone()).unwrap(),
        sw_ident: "py-celery",
        sw_ver: "5.4.0",
        sw_sys: "Linux",
    };
    let uuid = || text(&event["uuid"]);
    Some(match event["type"].as_str().unwrap() {
        "worker-online" => What::WorkerOnline(pulse()),
        "worker-heartbeat" => What::WorkerHeartbeat(pulse()),
        "worker-offline" => What::WorkerOffline(pulse()),
        "task-received" => What::TaskReceived {
            uuid: uuid(),
            name: text(&event["name"]),
            args: text(&event["args"]),
            kwargs: text(&event["kwargs"]),
            root_id: text(&event["root_id"]),
            parent_id: optional(&event["parent_id"]),
            retries: 0,
            eta: optional(&event["eta"]),
            expires: optional(&event["expires"]),
        },
        "task-started" => What::TaskStarted { uuid: uuid() },
        "task-succeeded" => What::TaskSucceeded {
            uuid: uuid(),
            result: text(&event["result"]),
            runtime: event["runtime"].as_f64().unwrap(),
            host: None,
        },
        "task-failed" => What::TaskFailed {
            uuid: uuid(),
            exception: text(&event["exception"]),
            traceback: optional(&event["traceback"]),
            host: None,
        },
        "task-retried" => What::TaskRetried {
            uuid: uuid(),
            exception: text(&event["exception"]),
            traceback: optional(&event["traceback"]),
            host: None,
        },
        "task-revoked" => What::TaskRevoked { uuid: uuid(), terminated: false, signum: None, expired: false },
        "task-rejected" => What::TaskRejected { uuid: uuid(), requeue: false },
        "task-sent" => return None,
        other => panic!("{other} is not known"),
    })
}

/// The body of a message, and the envelope without it.
fn opened(message: &[u8]) -> (Value, Value) {
    let mut envelope: Value = serde_json::from_slice(message).unwrap();
    let body = envelope.as_object_mut().unwrap().remove("body").unwrap();
    (serde_json::from_slice(&STANDARD.decode(body.as_str().unwrap()).unwrap()).unwrap(), envelope)
}

#[test]
fn every_event_is_told_as_a_python_worker_tells_it() {
    let mut told_types = 0;
    for (event, routing_key, batched) in recorded() {
        let Some(what) = same(&event) else { continue };
        let teller =
            Teller { hostname: text(&event["hostname"]), pid: event["pid"].as_u64().unwrap() as u32 };
        let ours = Event {
            clock: event["clock"].as_u64().unwrap(),
            timestamp: event["timestamp"].as_f64().unwrap(),
            what,
        };
        let told = match batched {
            true => encode_many(&[ours.clone(), ours], &teller, "tag"),
            false => encode(&ours, &teller, "tag"),
        };
        assert_eq!(told.routing_key, routing_key);
        let (body, envelope) = opened(&told.message);
        let expected = if batched { Value::from(vec![event.clone(), event.clone()]) } else { event.clone() };
        assert_eq!(body, expected);
        assert_eq!(envelope["headers"], serde_json::json!({"hostname": teller.hostname}));

        let heard = decode(&told.message, &MessageLimits::default()).unwrap();
        assert_eq!(heard.len(), if batched { 2 } else { 1 });
        assert_eq!(heard[0].kind, text(&event["type"]));
        assert_eq!(heard[0].hostname, teller.hostname);
        assert_eq!(heard[0].uuid(), event["uuid"].as_str());
        told_types += 1;
    }
    assert_eq!(told_types, 10, "each type but task-sent");
}

#[test]
fn the_envelope_is_that_of_a_python_worker() {
    let startup: Value = serde_json::from_str(STARTUP).unwrap();
    let recorded = startup["commands"].as_array().unwrap().iter().find_map(|command| {
        (command["cmd"][1] == "/4.celeryev/worker.online").then(|| command["cmd"][2]["envelope"].clone())
    });
    let recorded = recorded.unwrap();
    let bytes = serde_json::to_vec(&recorded).unwrap();
    let heard = decode(&bytes, &MessageLimits::default()).unwrap().remove(0);
    assert_eq!((heard.kind.as_str(), heard.hostname.as_str(), heard.clock), ("worker-online", "c@host1", 1));
    let event = opened(&bytes).0;
    let ours = Event { clock: 1, timestamp: heard.timestamp, what: same(&event).unwrap() };
    let teller = Teller { hostname: heard.hostname, pid: 18659 };
    let tag = recorded["properties"]["delivery_tag"].as_str().unwrap();
    assert_eq!(opened(&encode(&ours, &teller, tag).message), opened(&bytes));
}

#[test]
fn what_is_no_event_is_left_out_or_refused() {
    let envelope = |body: &str| {
        serde_json::json!({"body": body, "content-type": "application/json", "headers": null}).to_string()
    };
    let event = r#"{"type": "task-x", "hostname": "h", "timestamp": NaN"#;
    for (body, count) in [
        ("[]", 0),
        ("[1, null, {}, \"x\"]", 0),
        (r#"[{"type": "a", "hostname": "h", "timestamp": 1}, {"type": "b"}]"#, 1),
        (r#"{"type": "a", "hostname": "h", "timestamp": 1.5, "runtime": NaN}"#, 1),
        (r#"{"type": 5, "hostname": "h", "timestamp": 1}"#, 0),
    ] {
        let heard = decode(envelope(body).as_bytes(), &MessageLimits::default()).unwrap();
        assert_eq!(heard.len(), count, "{body}");
    }
    let deep = "[".repeat(100) + &"]".repeat(100);
    for message in ["", "[]", "null", &envelope(""), &envelope("{"), &envelope(event), &envelope(&deep)] {
        assert!(decode(message.as_bytes(), &MessageLimits::default()).is_err(), "{message}");
    }
}
