//! Signatures are read and written as Celery's clients do.

use serde_json::{Value, json};

use crate::canvas::{Signature, signature::raw};

#[test]
fn what_is_not_understood_survives_a_round_trip() {
    for signature in [
        json!({"task": "add", "args": [1, 2.50, "x"], "kwargs": {"y": null}, "options": {"task_id": "a", "anything": ["x"]}, "subtask_type": null, "immutable": true}),
        json!({"task": "celery.map", "args": [], "kwargs": {"task": {"task": "add"}, "it": [1]}, "options": {}, "subtask_type": "xmap", "immutable": true}),
        json!({"task": "celery.chain", "args": [], "kwargs": {"tasks": [add(), add()]}, "options": {"queue": "q"}, "subtask_type": "chain", "immutable": false}),
        json!({"task": "celery.chord", "args": [], "kwargs": {"kwargs": {}, "header": {"task": "celery.group", "args": [], "kwargs": {"tasks": [add()]}, "options": {"task_id": "g"}, "subtask_type": "group", "immutable": false}, "body": add()}, "options": {}, "subtask_type": "chord", "immutable": false}),
    ] {
        let read = Signature::parse(&raw(&signature)).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), signature);
    }
}

#[test]
fn numbers_keep_their_text() {
    let text = r#"{"task":"add","args":[1e400,10000000000000000000000001,0.10],"kwargs":{},"options":{},"subtask_type":null,"immutable":false}"#;
    let signature = Signature::parse(&serde_json::from_str::<Box<_>>(text).unwrap()).unwrap();
    assert_eq!(signature.to_raw().get(), text);
}

#[test]
fn what_is_no_signature_is_refused_by_name() {
    let nested = (0..20).fold(add(), |inner, _| chain(vec![inner]));
    assert!(Signature::parse(&raw(&nested)).is_ok());
    for (signature, reason) in [
        (json!(5), "5 is no signature: it is no object"),
        (json!({"task": null}), "it names no task"),
        (json!({"args": [1]}), "it names no task"),
        (json!({"task": "a", "args": {"x": 1}}), "invalid type: map, expected a sequence"),
        (json!({"task": "a", "subtask_type": "pickle"}), "there is no subtask_type \"pickle\""),
        (json!({"task": "celery.chain", "subtask_type": "chain"}), "its kwargs have no tasks"),
        (
            json!({"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": []}}),
            "its kwargs have no body",
        ),
        (chain(vec![json!(null), json!("add")]), "null is no signature"),
    ] {
        let error = Signature::parse(&raw(&signature)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

/// `add()`
fn add() -> Value {
    json!({"task": "add", "args": [], "kwargs": {}, "options": {}, "subtask_type": null, "immutable": false})
}

fn chain(tasks: Vec<Value>) -> Value {
    json!({"task": "celery.chain", "kwargs": {"tasks": tasks}, "subtask_type": "chain"})
}
