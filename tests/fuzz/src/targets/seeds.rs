//! What honest clients send: where libFuzzer begins, and what the tests change a little.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use host::protocol::message::{self, MessageLimits};
use serde_json::{Value, json};

use super::tenant;

/// The largest file that libFuzzer is given: it changes small ones much faster.
const LARGEST_FILE: usize = 256 << 10;

/// Every message that was recorded from Celery.
pub fn messages(root: &Path, _: &[PathBuf]) -> Vec<Vec<u8>> {
    let envelopes = recorded(root, "envelope").into_iter();
    envelopes.map(|envelope| envelope.to_string().into_bytes()).collect()
}

/// Their bodies.
pub fn bodies(root: &Path, guests: &[PathBuf]) -> Vec<Vec<u8>> {
    let decoded = messages(root, guests).into_iter().filter_map(|message| {
        let request = message::decode(&message, tenant(), &MessageLimits::default()).ok()?;
        Some(format!("[{}, {}, {}]", request.args, request.kwargs, request.embed).into_bytes())
    });
    let own = [
        r#"[[1, 2], {"x": {"__type__": "datetime", "__value__": "2024-01-02T03:04:05Z"}}, {}]"#,
        r#"{"task": "f", "id": "i", "args": [1], "kwargs": {}, "callbacks": [], "chord": null}"#,
    ];
    decoded.chain(own.map(|text| text.as_bytes().to_vec())).collect()
}

/// The calls within their bodies.
pub fn signatures(root: &Path, guests: &[PathBuf]) -> Vec<Vec<u8>> {
    let mut found = BTreeSet::new();
    for body in bodies(root, guests) {
        let Ok(body) = serde_json::from_slice(&body) else { continue };
        visit(&body, &mut |value| {
            if value.get("task").is_some() && value.get("args").is_some() {
                found.insert(value.to_string());
            }
        });
    }
    found.into_iter().map(String::into_bytes).collect()
}

/// Types, and arguments that fit them: a parameter for each, as `there_and_back` reads them.
pub fn values(_: &Path, _: &[PathBuf]) -> Vec<Vec<u8>> {
    let cases: &[(&[u8], &str)] = &[
        (&[3, 0, 1, 6, 2], "[true, -5, 1.5]"),
        (&[3, 3, 4, 5], r#"[1e300, "é", "text \ud83d\ude00"]"#),
        (&[2, 6, 7], r#"[{"any": [1, null]}, {"__type__": "bytes", "__value__": "aGk="}]"#),
        (&[2, 8, 1, 2, 9, 1, 1, 5, 5], r#"[[1, 2, 3], ["a", "b"]]"#),
        (&[2, 10, 5, 11, 1, 5, 1, 1, 2], r#"[null, {"err": 7}]"#),
        (&[1, 12, 5, 3, 10, 0], r#"[{"field_0": "a", "field_1": 2.5}]"#),
        (&[2, 13, 1, 1, 3, 0, 0, 14, 3], r#"[{"case_0": 1}, "label_2"]"#),
        (&[1, 15, 35], r#"[["label_1", "label_34"]]"#),
        (&[1, 8, 8, 10, 13, 1, 5, 1, 8, 5, 0], r#"[[[null, {"case_0": "x"}], [{"case_1": ["y"]}]]]"#),
    ];
    cases.iter().map(|(types, args)| [types, &b"\n"[..], args.as_bytes()].concat()).collect()
}

/// Small plugins.
pub fn files(_: &Path, guests: &[PathBuf]) -> Vec<Vec<u8>> {
    let read = guests.iter().filter_map(|guest| fs::read(guest).ok());
    let mut files: Vec<_> = read.filter(|file| file.len() <= LARGEST_FILE).collect();
    files.push(b"\0asm\x01\0\0\0".to_vec());
    files.push(b"\0asm\x0d\0\x01\0".to_vec());
    files
}

/// Manifests that say much.
pub fn manifests(_: &Path, _: &[PathBuf]) -> Vec<Vec<u8>> {
    let cases = [
        "time_limit = 30\nsoft_time_limit = 2.5\nacks_late = false\nrate_limit = \"10/m\"\n",
        "autoretry_for = [\"ConnectionError\", \"a.b.C\"]\nmax_retries = \"unlimited\"\nretry_backoff = true\n",
        "[tasks.divide]\nmax_retries = 10\nretry_backoff_max = 600\n[tasks.missing]\ntrack_started = true\n",
        "ignore_result = true\nreject_on_worker_lost = true\ndefault_retry_delay = 1e3\nretry_jitter = false\n",
    ];
    cases.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// Commands, their replies, and events.
pub fn told(root: &Path, guests: &[PathBuf]) -> Vec<Vec<u8>> {
    let mut told = messages(root, guests);
    for event in recorded(root, "event") {
        for body in [event.clone(), json!([event])] {
            let envelope = json!({"headers": {}, "properties": {}, "content-type": "application/json", "body": body.to_string()});
            told.push(envelope.to_string().into_bytes());
        }
    }
    told
}

/// Every result that was recorded from Celery.
pub fn results(root: &Path, _: &[PathBuf]) -> Vec<Vec<u8>> {
    recorded(root, "value").into_iter().map(|value| value.to_string().into_bytes()).collect()
}

/// What is kept of tenants, tokens, secrets and versions.
pub fn records(_: &Path, _: &[PathBuf]) -> Vec<Vec<u8>> {
    let hash = "0".repeat(64);
    let version = json!({
        "digest": hash, "code": hash, "size": 7, "at": "2026-01-02T03:04:05Z", "by": "ops", "key": null, "held": null, "failed": false,
    });
    let cases = [
        json!({"version": 1, "weight": 3, "queues": ["celery"], "quotas": {"in_flight": 20, "queued": null}, "upload_keys": []}),
        json!({
            "id": "0123456789abcdef", "tenant": "acme", "scopes": ["tasks:read"], "label": "ci", "created": "2026-01-02T03:04:05Z",
            "secrets": [{"sha256": hash, "until": null}], "expires": null, "revoked": null,
        }),
        json!({"versions": [version], "active": hash, "before": null, "canary": {"digest": hash, "share": 10}}),
        json!("host_0123456789abcdef_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
    ];
    cases.iter().map(|record| record.to_string().into_bytes()).collect()
}

/// What is sent to the API.
pub fn requests(_: &Path, _: &[PathBuf]) -> Vec<Vec<u8>> {
    let call = json!({
        "task": "app.divide", "args": [1, 2], "kwargs": {"sleep": 0.5}, "queue": "celery", "priority": 3, "countdown": 5,
        "expires": 60, "time_limit": 10, "soft_time_limit": 5,
    });
    let cases = [
        call.clone(),
        json!({"tasks": [call]}),
        json!({"terminate": true}),
        json!({"scopes": ["tasks:read", "tasks:write"], "label": "ci", "tenant": "acme"}),
        json!({"digest": "0".repeat(64), "share": 10}),
    ];
    cases.iter().map(|body| body.to_string().into_bytes()).collect()
}

/// What stands under `key` anywhere in the recorded traffic.
fn recorded(root: &Path, key: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let folder = fs::read_dir(root.join("tests/fixtures/celery")).expect("the recorded traffic is there");
    let mut files: Vec<_> = folder.map(|entry| entry.expect("the folder can be read").path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "json" || e == "jsonl")) {
        let text = fs::read_to_string(file).expect("it is text");
        for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>().flatten() {
            visit(&value, &mut |value| {
                if let Some(value) = value.get(key).filter(|value| value.is_object())
                    && seen.insert(value.to_string())
                {
                    found.push(value.clone());
                }
            });
        }
    }
    found
}

fn visit(value: &Value, look: &mut impl FnMut(&Value)) {
    look(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| visit(item, look)),
        Value::Object(fields) => fields.values().for_each(|field| visit(field, look)),
        _ => {}
    }
}
