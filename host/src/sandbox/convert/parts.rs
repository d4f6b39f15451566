//! One level of a JSON text, taken apart; what is nested in it stays text until a type asks for it.
//!
//! Numbers stay text too, so that no digit is lost and an integer of any size is told from a float. Objects keep the
//! order of their keys and, as in Python, the last value of a repeated key.

use std::{borrow::Cow, fmt};

use indexmap::IndexMap;
use serde::{
    Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// One level of a JSON value.
pub enum Parts<'a> {
    Null,
    Bool(bool),
    /// Digits, perhaps with a minus before them.
    Int(&'a str),
    /// A number with a fraction or an exponent.
    Float(&'a str),
    String(Cow<'a, str>),
    List(Vec<&'a RawValue>),
    Object(Object<'a>),
}

/// A JSON object.
pub type Object<'a> = IndexMap<Cow<'a, str>, &'a RawValue>;

/// A string or key has the escape of half a surrogate pair in it, as Python writes text that is not Unicode.
#[derive(Debug)]
pub struct LoneSurrogate;

impl<'a> Parts<'a> {
    /// Takes `raw` apart.
    pub fn of(raw: &'a RawValue) -> Result<Self, LoneSurrogate> {
        let text = raw.get();
        Ok(match text.bytes().next() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'"') => Self::String(string(raw).ok_or(LoneSurrogate)?),
            Some(b'[') => Self::List(items(raw)),
            Some(b'{') => Self::Object(
                entries(raw)
                    .into_iter()
                    .map(|(key, value)| Ok((string(key).ok_or(LoneSurrogate)?, value)))
                    .collect::<Result<_, _>>()?,
            ),
            _ if text.contains(['.', 'e', 'E']) => Self::Float(text),
            _ => Self::Int(text),
        })
    }

    /// The name of the Python type that the sender's value had.
    pub fn python_type(&self) -> &'static str {
        match self {
            Self::Null => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::String(_) => "str",
            Self::List(_) => "list",
            Self::Object(object) => match marker(object).as_ref().map(|(of, _)| &**of) {
                Some("bytes" | "base64") => "bytes",
                Some("datetime") => "datetime.datetime",
                Some("date") => "datetime.date",
                Some("time") => "datetime.time",
                Some("decimal") => "decimal.Decimal",
                Some("uuid") => "UUID",
                _ => "dict",
            },
        }
    }
}

/// What stands behind an object that Kombu sends for a value JSON has no form for: its type and its text.
pub fn marker<'a>(object: &Object<'a>) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
    let (of, value) = (object.get("__type__")?, object.get("__value__")?);
    // The value of a UUID is an object and not text; nobody asks for it.
    (object.len() == 2).then_some((string(of)?, string(value).unwrap_or_default()))
}

/// The text of a JSON string; `None` when it is no string or has a lone surrogate in it.
pub fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(text).ok().map(Cow::Owned) } else { Some(inner.into()) }
}

/// The items of a JSON array.
pub fn items(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).expect("well-formed text that begins with a bracket is an array")
}

/// The entries of a JSON object, keys still quoted and perhaps repeated.
pub fn entries(raw: &RawValue) -> Vec<(&RawValue, &RawValue)> {
    struct Entries;

    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<(&'de RawValue, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }

    serde_json::Deserializer::from_str(raw.get())
        .deserialize_map(Entries)
        .expect("well-formed text that begins with a brace is an object")
}
