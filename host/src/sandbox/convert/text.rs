//! JSON text that a guest made: taken only if every reader of a result can read it.
//!
//! The text itself is passed on unchanged. Readers are Python's `json` with Kombu's object hook, which raises in the
//! caller's face, long after the task, for what is refused here.

use serde_json::value::RawValue;

use super::{
    marker,
    parts::{entries, items, string},
    value::shortened,
};
use crate::task::{Exception, Json};

/// The deepest nesting that is passed on; readers recurse.
const DEEPEST: usize = 64;

/// The longest integer that Python reads (`sys.get_int_max_str_digits()`).
const MOST_DIGITS: usize = 4300;

/// Takes a guest's own JSON text of at most `most` bytes: a command's output, a value of type `json`. What no
/// reader could read is an `EncodeError`, as it would be in a Python worker.
pub fn json_text(text: &str, most: usize) -> Result<Json, Exception> {
    if text.len() > most {
        return Err(too_large(text.len(), most));
    }
    readable(text).map(ToOwned::to_owned)
}

/// The text without surrounding space, if it is JSON that every reader can read.
pub fn readable(text: &str) -> Result<&RawValue, Exception> {
    scan(text)?;
    let raw: &RawValue = serde_json::from_str(text)
        .map_err(|error| encode_error(format!("the task gave text that is not JSON: {error}")))?;
    // Escapes can spell the key too. Most texts have neither.
    if (text.contains("__type__") || text.contains("\\u00"))
        && let Some(marker) = unreadable_marker(raw)
    {
        return Err(encode_error(format!(
            "the task gave JSON with the __type__ {}, which Python's decoder does not know or cannot read",
            shortened(marker.get())
        )));
    }
    Ok(raw)
}

/// The exception of a result that JSON or its readers cannot take.
pub fn encode_error(message: impl Into<String>) -> Exception {
    Exception::new("kombu.exceptions", "EncodeError", vec![message.into().into()])
}

/// The exception of a result that has `size` bytes or more.
pub fn too_large(size: usize, most: usize) -> Exception {
    encode_error(format!("the result takes at least {size} bytes and --max-result-size is {most}"))
}

/// Looks for nesting and integers beyond what readers take. Does not recurse, and comes before all that does.
fn scan(text: &str) -> Result<(), Exception> {
    let (mut depth, mut digits) = (0_usize, 0_usize);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next().filter(|byte| *byte != b'"') {
                    if byte == b'\\' {
                        bytes.next();
                    }
                }
            }
            _ => {}
        }
        if depth > DEEPEST {
            return Err(encode_error(format!("the task gave JSON nested more than {DEEPEST} levels deep")));
        }
        if digits > MOST_DIGITS {
            return Err(encode_error(format!(
                "the task gave JSON with a number of more than {MOST_DIGITS} digits"
            )));
        }
    }
    Ok(())
}

/// The `__type__` of the first object that Kombu takes for a marker and cannot read.
fn unreadable_marker(raw: &RawValue) -> Option<&RawValue> {
    match raw.get().bytes().next() {
        Some(b'[') => items(raw).into_iter().find_map(unreadable_marker),
        Some(b'{') => {
            let (mut of, mut value, mut more) = (None, None, false);
            for (key, item) in entries(raw) {
                match string(key).as_deref() {
                    Some("__type__") => of = Some(item),
                    Some("__value__") => value = Some(item),
                    _ => more = true,
                }
                if let Some(unreadable) = unreadable_marker(item) {
                    return Some(unreadable);
                }
            }
            match (of, value) {
                (Some(of), Some(value)) if !more && !marker::is_readable(of, value) => Some(of),
                _ => None,
            }
        }
        _ => None,
    }
}
