//! Held against traffic recorded from real Celery clients and workers, in `tests/fixtures/celery`.

use std::{fs, path::PathBuf};

use serde::Deserialize;

use super::*;
use crate::task::{Limits, TaskName};

/// The recorded messages that are refused, by case, and in which words.
const REFUSED: &[(&str, &str)] = &[
    (
        "content-type-pickle",
        "Refusing to deserialize untrusted content of type pickle (application/x-python-serialize)",
    ),
    ("raw-bad-eta", "eta is \"tomorrow\", but must be a time such as \"2030-01-31T12:00:00+00:00\""),
    ("raw-bad-json-body", "body is not JSON: key must be a string at line 1 column 2"),
    ("raw-no-id-header", "message has no id, under which to store a result"),
    ("raw-no-task-header", "message does not say which task to run"),
];

/// One message that was pushed to a queue.
pub struct Recorded {
    pub case: String,
    /// As it lay in the queue.
    pub message: String,
    /// Its body, unless that was not JSON.
    body: Option<Value>,
}

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    commands: Vec<Command>,
}

#[derive(Deserialize)]
struct Command {
    cmd: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Argument {
    /// The recording has one or the other.
    #[serde(alias = "json")]
    envelope: Box<RawValue>,
    body_decoded: Option<Value>,
    case: Option<String>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/celery")
}

/// Every message that a recorded client or worker pushed to a queue of tasks.
pub fn messages() -> Vec<Recorded> {
    let mut found = Vec::new();
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "json")) {
        let case: Case = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        for Command { cmd } in case.commands {
            let word =
                |at: usize| cmd.get(at).map(|word| value(word).as_str().unwrap_or_default().to_owned());
            let pushes = matches!(word(0).as_deref(), Some("LPUSH" | "RPUSH"));
            if pushes && !word(1).unwrap().contains("pidbox") {
                found.push(recorded(&file.file_stem().unwrap().to_string_lossy(), cmd[2].get()));
            }
        }
    }
    for line in fs::read_to_string(folder().join("messages.jsonl")).unwrap().lines() {
        found.push(recorded("", line));
    }
    assert!(found.len() >= 150, "only {} recorded messages were found", found.len());
    found
}

fn recorded(case: &str, json: &str) -> Recorded {
    let argument: Argument = serde_json::from_str(json).unwrap();
    let case = argument.case.unwrap_or_else(|| case.to_owned());
    Recorded { case, message: argument.envelope.get().to_owned(), body: argument.body_decoded }
}

#[test]
fn every_recorded_message_decodes_or_is_refused_as_listed() {
    let mut refused = Vec::new();
    for Recorded { case, message, body } in messages() {
        let envelope: Value = serde_json::from_str(&message).unwrap();
        let headers = &envelope["headers"];
        match decoded(message.as_bytes()) {
            Err(refusal) => {
                assert_eq!(refusal.id.as_ref().map(|id| id.as_str()), headers["id"].as_str(), "{case}");
                assert_eq!(
                    refusal.task.as_ref().map(|task| task.as_str()),
                    headers["task"].as_str(),
                    "{case}"
                );
                refused.push((case, refusal.to_string()));
            }
            Ok(request) => {
                // Bodies that were compressed or plain are not in the recording; both are of `add(1, 2)`.
                let body = body.unwrap_or_else(|| json!([[1, 2], {}, {}]));
                // In protocol 1 all is in the body.
                let (from, args, kwargs) = match &body {
                    Value::Object(_) => (&body, &body["args"], &body["kwargs"]),
                    _ => (headers, &body[0], &body[1]),
                };
                assert_eq!(request.id.as_str(), from["id"], "{case}");
                assert_eq!(request.task.as_str(), from["task"], "{case}");
                assert_eq!(value(&request.args), *args, "{case}");
                assert_eq!(value(&request.kwargs), *kwargs, "{case}");
                assert_eq!(request.retries, from["retries"].as_u64().unwrap_or(0) as u32, "{case}");
                assert_eq!(request.group_id.as_ref().map(|id| id.as_str()), from["group"].as_str(), "{case}");
                assert_eq!(
                    request.parent_id.as_ref().map(|id| id.as_str()),
                    from["parent_id"].as_str(),
                    "{case}"
                );
                assert_eq!(request.root_id.as_str(), from["root_id"].as_str().unwrap_or(request.id.as_str()));
                assert_eq!(request.eta.is_some(), !from["eta"].is_null(), "{case}");
                assert_eq!(request.expires.is_some(), !from["expires"].is_null(), "{case}");
                assert_eq!(request.redelivered, headers["redelivered"] == true, "{case}");
                assert_eq!(value(&request.headers), *headers, "{case}");
                assert_eq!(value(&request.properties), envelope["properties"], "{case}");
            }
        }
    }
    refused.sort();
    refused.dedup();
    let expected: Vec<_> = REFUSED.iter().map(|(case, text)| (case.to_string(), text.to_string())).collect();
    assert_eq!(refused, expected);
}

#[test]
fn recorded_options_are_read() {
    let recorded = find("v57-task-options");
    let request = decoded(recorded.message.as_bytes()).unwrap();
    assert_eq!(request.shadow.as_deref(), Some("shown.name"));
    let seconds = |n| Some(std::time::Duration::from_secs(n));
    assert_eq!(request.limits, Limits { hard: seconds(30), soft: seconds(20) });
    assert_eq!(request.expires, Some("2026-11-23T06:34:28.311037Z".parse().unwrap()));
    assert_eq!((request.args.get(), request.kwargs.get()), ("[1]", "{\"y\": 2}"));
    assert!(decoded(find("task-ignore-result-arg").message.as_bytes()).unwrap().ignore_result);
}

#[test]
fn what_we_send_is_what_a_python_client_sends() {
    for case in ["task-success", "v57-task-success", "task-options", "v57-task-options", "task-countdown"] {
        let recorded = find(case);
        let theirs: Value = serde_json::from_str(&recorded.message).unwrap();
        let request = decoded(recorded.message.as_bytes()).unwrap();
        let properties = &theirs["properties"];
        let submission = Submission {
            priority: properties["priority"].as_u64().unwrap() as u8,
            eta: request.eta,
            expires: request.expires,
            limits: request.limits,
            ..Submission::new(
                request.id,
                request.task,
                request.args,
                request.kwargs,
                "celery".parse().unwrap(),
            )
        };
        let tag = properties["delivery_tag"].as_str().unwrap();
        let origin = theirs["headers"]["origin"].as_str().unwrap();
        let ours: Value =
            serde_json::from_slice(&encode(&submission, jiff::Timestamp::now(), tag, origin)).unwrap();

        // What that client could say and a `Submission` cannot, and what a worker on Redis has no use for.
        let theirs = without(theirs, &[("headers", "shadow"), ("headers", "x-my")]);
        let theirs = without(theirs, &[("properties", "expiration"), ("properties", "reply_to")]);
        // And when it was sent, which no client says.
        let ours = without(ours, &[("headers", "shadow"), ("headers", "host"), ("properties", "reply_to")]);
        // As text, so that the order of keys counts too.
        assert_eq!(ours.to_string(), theirs.to_string(), "{case}");
    }
}

#[test]
fn a_message_is_marked_as_kombu_marks_it() {
    let pushed: Vec<Recorded> = messages().into_iter().filter(|m| m.case == "raw-no-id-header").collect();
    let marked = mark_redelivered(pushed[0].message.as_bytes()).unwrap();
    let marked: Value = serde_json::from_slice(&marked).unwrap();
    let theirs: Value = serde_json::from_str(&pushed[1].message).unwrap();
    assert_eq!(marked.to_string(), theirs.to_string());
}

#[test]
fn a_message_is_retried_as_python_retries_it() {
    let mut retries = 0;
    for case in ["task-retry", "task-retry-maxexceeded", "v57-task-retry"] {
        let pushed: Vec<Recorded> = messages().into_iter().filter(|m| m.case == case).collect();
        for (tried, retry) in pushed.iter().zip(&pushed[1..]) {
            let request = decoded(tried.message.as_bytes()).unwrap();
            let next = decoded(retry.message.as_bytes()).unwrap();
            // What follows the last retry of a case is the same message again, from another file of the recording.
            if next.retries != request.retries + 1 {
                continue;
            }
            let eta = next.eta.unwrap();
            let theirs: Value = serde_json::from_str(&retry.message).unwrap();
            let tag = theirs["properties"]["delivery_tag"].as_str().unwrap();
            let id = request.id.as_str();
            let ours =
                retried(tried.message.as_bytes(), id, request.retries + 1, eta, tag, &Default::default())
                    .unwrap();
            let ours: Value = serde_json::from_slice(&ours).unwrap();
            // Python says twice who sent the first message: in a property too, which nobody reads.
            let without_origin = |message| without(message, &[("properties", "origin")]);
            assert_eq!(without_origin(ours).to_string(), without_origin(theirs).to_string(), "{case}");
            retries += 1;
        }
    }
    assert!(retries >= 4, "only {retries} recorded retries were found");
}

#[test]
fn recorded_stamps_are_read() {
    let request = decoded(find("stamped").message.as_bytes()).unwrap();
    let stamp = |name: &str, values: &[&str]| {
        (name.to_owned(), values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(stamps(&request.headers), [stamp("stamp2", &["a", "b"]), stamp("stamp1", &["v1"])]);
    assert_eq!(stamps(&decoded(find("task-success").message.as_bytes()).unwrap().headers), []);
}

#[test]
fn recorded_messages_of_protocol_1_are_not_retried() {
    let recorded = find("raw-proto1");
    let request = decoded(recorded.message.as_bytes()).unwrap();
    let now = jiff::Timestamp::UNIX_EPOCH;
    assert_eq!(
        retried(recorded.message.as_bytes(), request.id.as_str(), 1, now, "tag", &Default::default()),
        None
    );
}

#[test]
fn what_is_encoded_decodes_to_the_same() {
    let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
    let sent = Submission {
        priority: 9,
        eta: Some("2030-01-31T12:00:00.000001Z".parse().unwrap()),
        expires: Some("2030-01-31T13:00:00Z".parse().unwrap()),
        limits: Limits { hard: Some(std::time::Duration::from_millis(1500)), soft: None },
        retries: 3,
        ignore_result: true,
        root_id: "r".parse().unwrap(),
        parent_id: Some("p".parse().unwrap()),
        group_id: Some("g".parse().unwrap()),
        ..Submission::new(
            "i \"quoted\"".parse().unwrap(),
            TaskName::new("app.füge_hinzu").unwrap(),
            raw(r#"[1e2, "\ud800", "é"]"#),
            raw(r#"{"k": 123456789012345678901234567890}"#),
            "celery".parse().unwrap(),
        )
    };
    let now = "2029-12-31T23:00:00Z".parse().unwrap();
    let request = decoded(&encode(&sent, now, "tag", "gen1@host1")).unwrap();
    assert_eq!((&request.id, &request.task), (&sent.id, &sent.task));
    assert_eq!((request.args.get(), request.kwargs.get()), (sent.args.get(), sent.kwargs.get()));
    assert_eq!((request.eta, request.expires, request.limits), (sent.eta, sent.expires, sent.limits));
    assert_eq!((request.retries, request.ignore_result, request.notes.sent), (3, true, Some(now)));
    assert_eq!(
        (request.root_id, request.parent_id, request.group_id),
        (sent.root_id, sent.parent_id, sent.group_id)
    );
    assert_eq!(value(&request.properties)["priority"], 9);
    assert_eq!(value(&request.headers)["argsrepr"], r"(100.0, '\ud800', 'é')");
}

fn find(case: &str) -> Recorded {
    messages().into_iter().find(|recorded| recorded.case == case).unwrap()
}

fn without(mut message: Value, places: &[(&str, &str)]) -> Value {
    for (part, key) in places {
        message[part].as_object_mut().unwrap().shift_remove(*key);
    }
    message
}
