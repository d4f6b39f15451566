//! Stamps: names and values that a sender put on a message, by which it can be revoked together with others.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// The stamps in a message's headers, as Celery sees them: those that `stamped_headers` names, with their values out of
/// `stamps`. A value that is no text is given as JSON; what is anything else than Celery writes counts as nothing.
pub fn stamps(headers: &RawValue) -> Vec<(String, Vec<String>)> {
    #[derive(Deserialize)]
    struct Headers {
        stamped_headers: Option<Value>,
        stamps: Option<Value>,
    }
    let Ok(Headers { stamped_headers: Some(Value::Array(names)), stamps: Some(Value::Object(stamps)) }) =
        serde_json::from_str(headers.get())
    else {
        return Vec::new();
    };
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for name in names.iter().filter_map(Value::as_str) {
        // A list that named the same stamp over and over would copy its values over and over.
        if let Some(value) = stamps.get(name)
            && !found.iter().any(|(known, _)| known == name)
        {
            found.push((name.to_owned(), values(value)));
        }
    }
    found
}

/// One value, or the values in a list.
fn values(stamp: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match stamp {
        Value::Array(values) => values.iter().filter_map(text).collect(),
        one => text(one).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_celery_would_take_for_a_stamp_is_one() {
        for (headers, expected) in [
            (r#"{"stamped_headers": ["a"], "stamps": {"a": "x", "b": "y"}}"#, "a=x"),
            (r#"{"stamped_headers": ["a", "b"], "stamps": {"b": ["x", "y"], "a": ["z"]}}"#, "a=z b=x,y"),
            (r#"{"stamped_headers": ["a", "a"], "stamps": {"a": "x"}}"#, "a=x"),
            (r#"{"stamped_headers": ["a"], "stamps": {"a": [1, true, null, {}, "x"]}}"#, "a=1,true,x"),
            (r#"{"stamped_headers": ["a"], "stamps": {"a": null}}"#, "a="),
            (r#"{"stamped_headers": ["a", 5, null], "stamps": {}}"#, ""),
            (r#"{"stamped_headers": null, "stamps": {"a": "x"}}"#, ""),
            (r#"{"stamped_headers": "a", "stamps": {"a": "x"}}"#, ""),
            (r#"{"stamped_headers": ["a"], "stamps": ["x"]}"#, ""),
            (r#"{"stamped_headers": ["a"], "stamps": {"a": "\ud800"}}"#, ""),
            (r#"{"x": 1}"#, ""),
            ("null", ""),
            ("[]", ""),
        ] {
            let headers = RawValue::from_string(headers.to_owned()).unwrap();
            let found: Vec<String> = stamps(&headers)
                .iter()
                .map(|(name, values)| format!("{name}={}", values.join(",")))
                .collect();
            assert_eq!(found.join(" "), expected, "{headers}");
        }
    }
}
