//! Values of a manifest's keys, by the kinds that there are.

use std::{str::FromStr, time::Duration};

use toml::Value;

use super::error::Wrong;
use crate::task::{LONGEST_DELAY, QueueName, RateLimit};

/// The longest list.
const MOST: usize = 1000;

pub(super) fn flag(value: &Value) -> Result<bool, Wrong> {
    value.as_bool().ok_or(Wrong::value("true or false"))
}

/// The time in seconds, if it is from 0 to a year.
pub(super) fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Integer(seconds) => *seconds as f64,
        Value::Float(seconds) => *seconds,
        _ => return None,
    };
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    (time <= LONGEST_DELAY).then_some(time)
}

pub(super) fn delay(value: &Value) -> Result<Duration, Wrong> {
    seconds(value).ok_or(Wrong::value("a number of seconds, from 0 to a year"))
}

pub(super) fn limit(value: &Value) -> Result<Duration, Wrong> {
    let limit = seconds(value).filter(|limit| !limit.is_zero());
    limit.ok_or(Wrong::value("a number of seconds, more than 0 and at most a year"))
}

pub(super) fn count(value: &Value) -> Result<Option<u32>, Wrong> {
    match value {
        Value::String(text) if text == "unlimited" => Ok(None),
        value => value
            .as_integer()
            .and_then(|count| u32::try_from(count).ok())
            .map(Some)
            .ok_or(Wrong::value("a whole number from 0 to 4294967295, or \"unlimited\"")),
    }
}

/// A number of bytes, from 1 to 1 TiB.
pub(super) fn bytes(value: &Value) -> Result<u64, Wrong> {
    const LARGEST: u64 = 1 << 40;
    let bytes = match value {
        Value::Integer(bytes) => u64::try_from(*bytes).ok(),
        Value::String(text) => sized(text),
        _ => None,
    };
    bytes
        .filter(|bytes| (1..=LARGEST).contains(bytes))
        .ok_or(Wrong::value("a size such as \"64MiB\", or a number of bytes, from 1 to 1TiB"))
}

/// `64MiB`, by the units of the command line's sizes.
fn sized(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
    is_number.then(|| digits.parse::<u64>().ok()?.checked_mul(unit)).flatten()
}

pub(super) fn rate_limit(value: &Value) -> Result<Option<RateLimit>, Wrong> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Integer(_) | Value::Float(_) => value.to_string(),
        _ => String::new(),
    };
    RateLimit::parse(&text)
        .map_err(|_| Wrong::value("a number of runs per second, or a text such as \"10/m\" or \"100/h\""))
}

pub(super) fn backoff(value: &Value) -> Result<Option<Duration>, Wrong> {
    match value {
        Value::Boolean(on) => Ok(on.then_some(Duration::from_secs(1))),
        // Zero is false in Python.
        value => seconds(value)
            .map(|seconds| Some(seconds).filter(|seconds| !seconds.is_zero()))
            .ok_or(Wrong::value("true, false or a number of seconds, from 0 to a year")),
    }
}

pub(super) fn exceptions(value: &Value) -> Result<Vec<String>, Wrong> {
    let name = |value: &Value| {
        let name = value.as_str()?;
        let is_identifier = |part: &str| {
            part.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        name.split('.').all(is_identifier).then(|| name.to_owned())
    };
    list(value, name).ok_or(Wrong::value("a list of names of exceptions: [\"ConnectionError\"]"))
}

/// A queue as its tenant calls it: what comes before a `/` would be another tenant.
pub(super) fn queue(value: &Value) -> Result<QueueName, Wrong> {
    let name = value.as_str().filter(|name| !name.contains('/')).and_then(|name| name.parse().ok());
    name.ok_or(Wrong::value("the name of a queue: 1 to 255 bytes of text, without a `/`"))
}

/// A list of texts, each read as what it names.
pub(super) fn all_parsed<T: FromStr>(value: &Value, expected: &str) -> Result<Vec<T>, Wrong> {
    list(value, |value| value.as_str()?.parse().ok()).ok_or_else(|| Wrong::value(expected))
}

fn list<T>(value: &Value, each: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    value.as_array().filter(|list| list.len() <= MOST)?.iter().map(each).collect()
}
