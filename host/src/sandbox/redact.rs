//! Takes secrets out of what a run leaves behind: output, failures, progress, results.
//!
//! A guest that wants to give its tenant's secret away can write it backwards; this is against accidents.

use std::borrow::Cow;

use serde_json::{Value, value::RawValue};

use super::{Output, access::Secrets, output::visible};
use crate::task::{Exception, Failure, Json, Outcome};

/// The secrets that a run has read.
pub(super) struct Redactor {
    /// What is looked for, and what stands for it; long ones first.
    needles: Vec<(String, String)>,
}

/// A shorter secret, or line of one, is found in too many texts that have nothing to do with it.
const SHORTEST: usize = 4;
const SHORTEST_LINE: usize = 8;

impl Redactor {
    pub(super) fn new(secrets: &Secrets, granted: impl Fn(&str) -> bool) -> Self {
        let mut needles = Vec::new();
        for (name, secret) in secrets.iter().filter(|(name, _)| granted(name)) {
            let mut add = |text: &str, shortest: usize| {
                if text.len() >= shortest {
                    needles.push((text.to_owned(), format!("[secret {name}]")));
                }
            };
            add(secret.as_str(), SHORTEST);
            add(&secret.as_str().chars().map(visible).collect::<String>(), SHORTEST);
            // In a traceback the lines of a text stand apart.
            secret.as_str().lines().for_each(|line| add(line.trim(), SHORTEST_LINE));
        }
        needles.sort_by_key(|(needle, _)| std::cmp::Reverse(needle.len()));
        Self { needles }
    }

    pub(super) fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for (needle, mark) in &self.needles {
            if text.contains(needle.as_str()) {
                text = Cow::Owned(text.replace(needle.as_str(), mark));
            }
        }
        text
    }

    /// The same for JSON: only texts within it are changed.
    pub(super) fn json(&self, json: &RawValue) -> Option<Json> {
        let mut rest = json.get();
        let mut changed = String::new();
        let mut is_changed = false;
        while let Some(begin) = rest.find('"') {
            let length = literal(&rest[begin..])?;
            let text = &rest[begin..begin + length];
            changed.push_str(&rest[..begin]);
            rest = &rest[begin + length..];
            let plain: Option<String> = serde_json::from_str(text).ok();
            match plain.as_deref().map(|plain| self.text(plain)) {
                Some(Cow::Owned(redacted)) => {
                    is_changed = true;
                    changed.push_str(&Value::String(redacted).to_string());
                }
                _ => changed.push_str(text),
            }
        }
        changed.push_str(rest);
        is_changed.then(|| RawValue::from_string(changed).ok()).flatten()
    }

    pub(super) fn outcome(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Success(result) => Outcome::Success(self.json(&result).unwrap_or(result)),
            Outcome::Failure(failure) => Outcome::Failure(self.failure(failure)),
            Outcome::Revoked(exception) => Outcome::Revoked(exception),
        }
    }

    fn failure(&self, failure: Failure) -> Failure {
        let Failure { exception, traceback } = failure;
        let arg = |arg| match arg {
            Value::String(text) => Value::String(self.text(&text).into_owned()),
            other => other,
        };
        let exception = Exception { args: exception.args.into_iter().map(arg).collect(), ..exception };
        Failure { exception, traceback: traceback.map(|text| self.text(&text).into_owned()) }
    }

    pub(super) fn output(&self, output: Output) -> Output {
        Output { tail: self.text(&output.tail).into_owned(), ..output }
    }
}

/// The length of the string literal that `json` begins with, quotes included.
fn literal(json: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, byte) in json.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Secret;

    fn redactor() -> Redactor {
        let secrets = [
            ("KEY", "s3cr\"et"),
            ("PIN", "123"),
            ("NUMBER", "12345"),
            ("PEM", "first line\nsecond line"),
            ("B", "other-one"),
        ];
        let secrets = secrets.map(|(name, value)| (name.to_owned(), Secret::new(value.to_owned())));
        Redactor::new(&secrets.into(), |name| name != "B")
    }

    #[test]
    fn secrets_are_found_in_texts_and_by_their_lines() {
        let redacted = |text| redactor().text(text).into_owned();
        assert_eq!(redacted("key=s3cr\"et!"), "key=[secret KEY]!");
        assert_eq!(redacted("  second line\n  first line"), "  [secret PEM]\n  [secret PEM]");
        assert_eq!(
            redacted("pin 123, other-one"),
            "pin 123, other-one",
            "too short to be told, and not granted"
        );
    }

    #[test]
    fn json_stays_json() {
        let redacted = |text: &str| {
            let json = RawValue::from_string(text.to_owned()).unwrap();
            redactor().json(&json).map(|json| json.get().to_owned())
        };
        assert_eq!(
            redacted(r#"{"a": ["s3cr\"et", 12345, "12345"]}"#).unwrap(),
            r#"{"a": ["[secret KEY]", 12345, "[secret NUMBER]"]}"#
        );
        assert_eq!(redacted(r#""s3cr\u0022et\\""#).unwrap(), r#""[secret KEY]\\""#);
        assert_eq!(redacted(r#"{"n": 12345, "x": "\"", "y": 1e99}"#), None);
    }
}
