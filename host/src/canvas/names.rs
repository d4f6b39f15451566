//! Which tasks a signature can have run.

use serde_json::Value;

use super::{InvalidCanvas, Raw, signature::parse};

/// The names of all tasks that `signature` calls by itself, after others or instead of them. Rather one too many than one too
/// few: in what Celery's own tasks are given, whatever looks like a signature counts as one.
pub fn tasks_of(signature: &Raw) -> Result<Vec<String>, InvalidCanvas> {
    let value = parse(signature).ok_or_else(|| InvalidCanvas::signature(signature, "it is no JSON"))?;
    let mut names = Vec::new();
    if !collect(&value, &mut names) {
        return Err(InvalidCanvas::signature(signature, "it names no task"));
    }
    Ok(names)
}

/// Adds the names in `value`; whether it is a signature.
fn collect(value: &Value, names: &mut Vec<String>) -> bool {
    let field = |name| value.get(name).filter(|value: &&Value| !value.is_null());
    let task = field("task").and_then(Value::as_str);
    let kind = field("subtask_type");
    if task.is_none() && kind.is_none() {
        return false;
    }
    let known = names.len();
    // What a call is sent with can name callbacks, errbacks, a chord's body and the rest of a chain.
    field("options").into_iter().for_each(|options| collect_all(options, names));
    let is_celerys = task.is_none_or(|task| task.starts_with("celery."));
    if is_celerys || kind.is_some() {
        ["args", "kwargs"].into_iter().filter_map(field).for_each(|within| collect_all(within, names));
    }
    match task {
        Some(task) if !is_celerys || names.len() == known => names.push(task.to_owned()),
        _ => {}
    }
    true
}

/// Adds the names of all signatures anywhere in `value`.
fn collect_all(value: &Value, names: &mut Vec<String>) {
    if collect(value, names) {
        return;
    }
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect_all(value, names)),
        Value::Object(fields) => fields.values().for_each(|value| collect_all(value, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::signature::raw, *};

    #[test]
    fn every_task_that_a_signature_can_call_is_named() {
        let a = json!({"task": "a"});
        for (signature, expected) in [
            (a.clone(), vec!["a"]),
            (json!({"task": "a", "args": [{"task": "data"}]}), vec!["a"]),
            (
                json!({"task": "a", "options": {"link": [{"task": "b"}], "link_error": {"task": "c"}}}),
                vec!["b", "c", "a"],
            ),
            (
                json!({"task": "a", "options": {"chain": [{"task": "b"}], "chord": {"task": "c"}}}),
                vec!["b", "c", "a"],
            ),
            (json!({"subtask_type": "chain", "kwargs": {"tasks": [a, {"task": "b"}]}}), vec!["a", "b"]),
            (
                json!({"task": "celery.chord", "subtask_type": "chord", "kwargs": {
                    "header": {"task": "celery.group", "subtask_type": "group", "kwargs": {"tasks": [a]}}, "body": {"task": "b"}}}),
                vec!["a", "b"],
            ),
            (json!({"task": "celery.map", "kwargs": {"task": {"task": "b"}, "it": [1]}}), vec!["b"]),
            (json!({"task": "x", "subtask_type": "xmap", "kwargs": {"task": {"task": "b"}}}), vec!["b", "x"]),
            (json!({"task": "celery.group", "args": [[{"task": "b"}]]}), vec!["b"]),
            (json!({"task": "celery.accumulate", "args": [1]}), vec!["celery.accumulate"]),
        ] {
            assert_eq!(tasks_of(&raw(&signature)).unwrap(), expected, "{signature}");
        }
        for bad in [json!(1), json!({}), json!({"task": 3}), json!([a])] {
            assert!(tasks_of(&raw(&bad)).is_err(), "{bad}");
        }
    }
}
