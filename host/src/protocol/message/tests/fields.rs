//! Every header and property that is read, with every kind of value that it should not have. Which ones are read is taken from
//! the source, so that a new one is tested from its first day.

use super::*;

/// Values in JSON, or almost: right for one field, wrong for most.
fn values() -> Vec<String> {
    let fixed = [
        "null",
        "true",
        "false",
        "0",
        "-1",
        "3.5",
        "1e999",
        "-1e999",
        "NaN",
        "Infinity",
        "-Infinity",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        r#""""#,
        r#"" ""#,
        r#""a\u0000b""#,
        r#""a\nb""#,
        r#""\ud800""#,
        r#""\ud800\udc00""#,
        r#""\u202e evil""#,
        r#""../../etc/passwd""#,
        r#""acme/celery""#,
        r#""celery\u0006\u00163""#,
        r#""2024-13-45T99:99:99""#,
        r#""-9999-01-01T00:00:00Z""#,
        r#""9999-12-31T23:59:59.999999Z""#,
        r#""os.system""#,
        "[]",
        "{}",
        "[null]",
        "[null, null]",
        "[-1, -1]",
        "[1e308, 1e308]",
        r#"["a", "b"]"#,
        r#"[1, 2, 3]"#,
        r#"{"a": {"b": [1]}}"#,
        r#"{"deaths": -1}"#,
        r#"{"deaths": 4294967295, "running": true, "begun": true}"#,
        r#"{"parked_until": "never"}"#,
        r#"{"__type__": "datetime", "__value__": 7}"#,
    ];
    let mut values: Vec<_> = fixed.map(str::to_owned).to_vec();
    values.push(format!(r#""{}""#, "x".repeat(256)));
    values.push(format!(r#""{}""#, "é".repeat(100_000)));
    values.push(nested(70));
    values.push(nested(100_000));
    values.push(format!("{}1{}", r#"{"a":"#.repeat(70), "}".repeat(70)));
    values.push("9".repeat(100_000));
    values
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// The fields of a struct of the reader.
fn fields_of(name: &str) -> Vec<&'static str> {
    let source = include_str!("../decode.rs");
    let body = source.split_once(&format!("struct {name}<'a> {{")).unwrap().1.split_once("\n}").unwrap().0;
    let fields: Vec<_> =
        body.lines().filter_map(|line| line.trim().strip_suffix(": Option<&'a RawValue>,")).collect();
    assert!(fields.len() > 2, "{name}: {fields:?}");
    fields
}

/// A good message whose headers, properties or body have one more field.
fn with(place: &str, field: &str, value: &str) -> Vec<u8> {
    let [headers, properties] = ["headers", "properties"].map(|part| {
        let own: &[(&str, &str)] =
            if part == "headers" { &[("task", r#""f""#), ("id", r#""i""#)] } else { &[] };
        let own = own.iter().filter(|(name, _)| place != part || *name != field);
        let fields: Vec<_> = own.map(|(name, value)| format!(r#""{name}": {value}"#)).collect();
        let more = (place == part).then(|| format!(r#""{field}": {value}"#));
        format!("{{{}}}", fields.into_iter().chain(more).collect::<Vec<_>>().join(", "))
    });
    format!(r#"{{"headers": {headers}, "properties": {properties}, "body": "[[], {{}}, {{}}]"}}"#)
        .into_bytes()
}

/// The same message in Celery's old form, with the field in the body.
fn old(field: &str, value: &str) -> Vec<u8> {
    let own = [("task", r#""f""#), ("id", r#""i""#)].into_iter().filter(|(name, _)| *name != field);
    let fields: Vec<_> =
        own.chain([(field, value)]).map(|(name, value)| format!(r#""{name}": {value}"#)).collect();
    let body = serde_json::to_string(&format!("{{{}}}", fields.join(", "))).unwrap();
    format!(r#"{{"headers": {{}}, "properties": {{}}, "body": {body}}}"#).into_bytes()
}

/// Asserts that a message is taken, or refused in one short line by an exception of its own; and by its id, if that `is_readable`.
fn check(what: &str, is_readable: bool, message: &[u8]) -> bool {
    for mark in [mark_redelivered, mark_lost, mark_running, mark_requeued, mark_admitted] {
        if let Some(marked) = mark(message) {
            assert!(marked.len() < message.len() + 1_000, "{what}");
        }
    }
    let refusal = match decoded(message) {
        Ok(request) => {
            assert!(request.id.as_str().len() <= 255 && request.task.as_str().len() <= 255, "{what}");
            return true;
        }
        Err(refusal) => refusal,
    };
    let text = refusal.to_string();
    assert!(text.len() < 400 && !text.chars().any(char::is_control), "{what}: {text:?}");
    let class = refusal.exception().class;
    assert!(["ValueError", "DecodeError", "ContentDisallowed"].contains(&class.as_str()), "{what}: {class}");
    assert!(!is_readable || refusal.id.is_some(), "{what}: nobody would be told that {text}");
    false
}

#[test]
fn every_field_with_every_bad_value_is_taken_or_refused_by_the_tasks_id() {
    let mut taken = [0, 0];
    for (place, structure) in [("headers", "Headers"), ("properties", "Properties")] {
        for field in fields_of(structure) {
            for value in values() {
                let what = format!("{place}.{field} = {}", value.chars().take(60).collect::<String>());
                taken[usize::from(check(&what, field != "id", &with(place, field, &value)))] += 1;
            }
        }
    }
    assert!(taken[0] > 200 && taken[1] > 200, "[refused, taken] = {taken:?}");
}

#[test]
fn every_field_of_the_old_form_too() {
    for field in fields_of("Headers") {
        for value in values() {
            let what = format!("old {field} = {}", value.chars().take(60).collect::<String>());
            // In a body that is no JSON, or too deep, nothing is read, and so not the id.
            let is_deep = value.contains(&nested(70)) || value.contains(r#"{"a":{"a":"#);
            let is_readable = !is_deep && serde_json::from_str::<Value>(&value).is_ok();
            check(&what, is_readable && field != "id", &old(field, &value));
        }
    }
}
