//! Kombu's markers: `{"__type__": "date", "__value__": "2024-01-02"}` is a date to a Python client.
//!
//! A client that meets a marker it does not know, or a value nested too deep, raises in every access to the result, even to
//! its state. So what a task returns is looked at before it is stored. Markers themselves are never made here nor changed.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::scan;
use crate::task::Exception;

/// The types that Kombu's JSON decoder knows.
const TYPES: &[&str] = &["datetime", "date", "time", "decimal", "uuid", "bytes", "base64"];

/// How deep a result may nest: far less than the 1000 levels at which Python's decoder gives up, and the 128 of ours.
const DEEPEST: usize = 100;

/// Checks a value that a task returned; the exception is what its caller gets in place of one that no client could read.
pub fn check(value: &RawValue) -> Result<(), Exception> {
    let json = value.get();
    let refused = |text: String| Exception::new("kombu.exceptions", "EncodeError", vec![text.into()]);
    let depth = scan::depth(json);
    if depth > DEEPEST {
        return Err(refused(format!("result nests {depth} levels deep; {DEEPEST} are allowed")));
    }
    // Nearly all results end here; an underscore can also be written as an escape.
    if !json.contains("__type__") && !json.contains("\\u005") {
        return Ok(());
    }
    match serde_json::from_str::<Part>(json) {
        Ok(_) => Ok(()),
        Err(error) => Err(refused(format!("result cannot be read by clients: {error}"))),
    }
}

/// A value, as far as it matters: text may name a type. Reading one fails at a marker of unknown type.
enum Part {
    Text(String),
    Other,
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part, A::Error> {
        let (mut kind, mut has_value, mut has_more) = (None, false, false);
        while let Some((key, part)) = map.next_entry::<String, Part>()? {
            match key.as_str() {
                "__type__" => kind = Some(part),
                "__value__" => has_value = true,
                _ => has_more = true,
            }
        }
        match kind {
            Some(kind) if has_value && !has_more => match kind {
                Part::Text(name) if TYPES.contains(&name.as_str()) => Ok(Part::Other),
                Part::Text(name) => Err(de::Error::custom(format!("no client knows the __type__ {name:?}"))),
                Part::Other => Err(de::Error::custom("the __type__ of an object is not text")),
            },
            _ => Ok(Part::Other),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Part, A::Error> {
        while list.next_element::<Part>()?.is_some() {}
        Ok(Part::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Part, E> {
        Ok(Part::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Part, E> {
        Ok(Part::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Part, E> {
        Ok(Part::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Part, E> {
        Ok(Part::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Part, E> {
        Ok(Part::Other)
    }

    fn visit_unit<E>(self) -> Result<Part, E> {
        Ok(Part::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(json: &str) -> Result<(), String> {
        check(serde_json::from_str(json).unwrap()).map_err(|exception| exception.message())
    }

    #[test]
    fn values_that_clients_can_read_pass() {
        let cases = [
            "null",
            r#"{"__type__": "date", "__value__": "2024-01-02"}"#,
            r#"[{"__type__": "uuid", "__value__": {"hex": "00000000000000000000000000000007"}}, 1, -1, 1.5, true, null]"#,
            // Only an object with exactly the two keys is a marker.
            r#"{"__type__": "anything"}"#,
            r#"{"__type__": "anything", "__value__": 1, "more": 2}"#,
            r#""\ud800""#,
            r#"["__type__", "__value__"]"#,
        ];
        for json in cases {
            assert_eq!(checked(json), Ok(()), "{json}");
        }
        assert_eq!(checked(&format!("{}{}", "[".repeat(100), "]".repeat(100))), Ok(()));
    }

    #[test]
    fn values_that_would_poison_the_result_are_refused() {
        let cases = [
            (r#"{"__type__": "os.system", "__value__": "x"}"#, "no client knows the __type__ \"os.system\""),
            (r#"[1, {"a": {"__value__": 1, "__type__": "Date"}}]"#, "no client knows the __type__ \"Date\""),
            (r#"{"\u005f_type__": "x", "_\u005Fvalue__": 1}"#, "no client knows the __type__ \"x\""),
            (r#"{"__type__": [], "__value__": 1}"#, "the __type__ of an object is not text"),
            (
                r#"{"__type__": "date", "__type__": "x", "__value__": 1}"#,
                "no client knows the __type__ \"x\"",
            ),
        ];
        for (json, expected) in cases {
            let text = checked(json).unwrap_err();
            assert!(text.contains(expected), "{json}: {text}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(checked(&deep).unwrap_err(), "result nests 100000 levels deep; 100 are allowed");
    }
}
