//! The body of a message: from its place in the envelope to the JSON texts of `args` and `kwargs`.

use std::{borrow::Cow, io::Read};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::value::RawValue;

use super::{
    MessageLimits,
    field::{self, kind},
    refusal::{Reason, quoted},
};
use crate::protocol::scan;

/// The positional and keyword arguments, a list and an object, and what is to be called afterwards, an object.
pub struct Arguments<'a> {
    pub args: &'a RawValue,
    pub kwargs: &'a RawValue,
    pub embed: &'a RawValue,
}

impl<'a> Arguments<'a> {
    /// Takes a list and an object, and refuses anything else by name.
    pub fn new(args: &'a RawValue, kwargs: &'a RawValue, embed: &'a RawValue) -> Result<Self, Reason> {
        if kind(args) != "a list" {
            return Err(Reason::Undecodable(format!("args is {}, not a list", kind(args))));
        }
        if kind(kwargs) != "an object" {
            return Err(Reason::Undecodable(format!("kwargs is {}, not an object", kind(kwargs))));
        }
        Ok(Self { args, kwargs, embed })
    }
}

/// Undoes what the sender did to the JSON text of the body: base64 around compression around UTF-8.
pub fn unpack<'a>(
    body: Option<&'a RawValue>,
    encoding: Option<&str>,
    compression: Option<&str>,
    limits: &MessageLimits,
) -> Result<Cow<'a, str>, Reason> {
    let body = body.unwrap_or(RawValue::NULL);
    let text = field::text(body)
        .ok_or_else(|| Reason::Undecodable(format!("body in the envelope is {}, not text", kind(body))))?;
    let packed = match encoding {
        None if compression.is_none() => return Ok(text),
        None => text.into_owned().into_bytes(),
        Some("base64") => from_base64(&text)?,
        Some(other) => {
            return Err(Reason::Undecodable(format!(
                "body_encoding {} is not known; use base64",
                quoted(other)
            )));
        }
    };
    let bytes = match compression {
        None => packed,
        // Kombu's first name for it notwithstanding, this is a zlib stream.
        Some("application/x-gzip" | "gzip" | "zlib") => inflate(&packed, limits)?,
        Some(other) => {
            let other = quoted(other);
            return Err(Reason::Disallowed(format!(
                "Refusing to decompress content of type {other}; use zlib"
            )));
        }
    };
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|error| Reason::Undecodable(format!("body is not UTF-8: {}", error.utf8_error())))
}

/// Reads a body of protocol 2: `[args, kwargs, embed]`.
pub fn arguments(text: &str) -> Result<Arguments<'_>, Reason> {
    let parts: Result<(&RawValue, &RawValue, &RawValue), _> = serde_json::from_str(text);
    let (args, kwargs, embed) = parts.map_err(|_| not_of_three(text))?;
    if !matches!(kind(embed), "an object" | "null") {
        return Err(Reason::Undecodable(format!("embed is {}, not an object", kind(embed))));
    }
    Arguments::new(args, kwargs, embed)
}

/// Refuses a text that nests too deep for what comes after.
pub fn check_depth(what: &str, text: &str, limits: &MessageLimits) -> Result<(), Reason> {
    let depth = scan::depth(text);
    if depth <= limits.depth {
        return Ok(());
    }
    let allowed = limits.depth;
    Err(Reason::Undecodable(format!("nesting of {what} is {depth} levels deep; {allowed} are allowed")))
}

/// Why a text is not JSON, with a better answer than the parser's for the floats that Python writes and JSON lacks.
pub fn not_json(what: &str, text: &str, error: &serde_json::Error) -> Reason {
    Reason::Undecodable(match scan::without_special_floats(text) {
        Some((rest, word)) if serde_json::from_str::<&RawValue>(&rest).is_ok() => {
            format!("Out of range float values are not JSON compliant: {word}")
        }
        _ => format!("{what} is not JSON: {error}"),
    })
}

fn not_of_three(text: &str) -> Reason {
    match serde_json::from_str::<&RawValue>(text) {
        Err(error) => not_json("body", text, &error),
        Ok(body) if kind(body) == "a list" => {
            Reason::Undecodable("body is a list, but not of three: args, kwargs and embed".to_owned())
        }
        Ok(body) => {
            Reason::Undecodable(format!("body is {}, not a list of args, kwargs and embed", kind(body)))
        }
    }
}

/// Decodes base64. Line breaks are skipped as Python does; several languages' encoders put them in.
fn from_base64(text: &str) -> Result<Vec<u8>, Reason> {
    let decoded = STANDARD.decode(text).or_else(|error| {
        if !text.contains(|c: char| c.is_ascii_whitespace()) {
            return Err(error);
        }
        let joined: String = text.split_ascii_whitespace().collect();
        STANDARD.decode(joined)
    });
    decoded.map_err(|error| Reason::Undecodable(format!("body is not base64: {error}")))
}

/// Decompresses at most as much as a message may have: a few kilobytes can stand for gigabytes.
fn inflate(packed: &[u8], limits: &MessageLimits) -> Result<Vec<u8>, Reason> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(limits.bytes).unwrap_or(u64::MAX).saturating_add(1);
    flate2::bufread::ZlibDecoder::new(packed)
        .take(bound)
        .read_to_end(&mut bytes)
        .map_err(|error| Reason::Undecodable(format!("body is not zlib data: {error}")))?;
    if bytes.len() > limits.bytes {
        let allowed = limits.bytes;
        let text = format!(
            "body decompresses to more than the {allowed} bytes that are allowed; store large data elsewhere and send its address"
        );
        return Err(Reason::Undecodable(text));
    }
    Ok(bytes)
}
