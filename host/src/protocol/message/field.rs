//! One value of a message (a header, a property), read as what it should be. Absent, `null` and, where Python does not
//! tell it from those, empty are the same; any other surprise is refused with the field's name and value.

use std::{borrow::Cow, str::FromStr, time::Duration};

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::refusal::{Reason, quoted};
use crate::{
    protocol::time,
    task::{InvalidName, Limits},
};

/// The longest time limit that is accepted, a hundred years: larger ones overflow in deadlines.
const LONGEST_LIMIT: f64 = 100.0 * 365.25 * 86_400.0;

/// A field: its name and, unless that is `null`, its value.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    name: &'static str,
    value: Option<&'a RawValue>,
}

impl<'a> Field<'a> {
    /// The field `name` with this value.
    pub fn new(name: &'static str, value: Option<&'a RawValue>) -> Self {
        Self { name, value }
    }

    /// Text; empty text counts as absent.
    pub fn text(self) -> Result<Option<Cow<'a, str>>, Reason> {
        let Some(value) = self.value else { return Ok(None) };
        let text = text(value).ok_or_else(|| self.invalid("a string"))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// An identifier; empty text counts as absent.
    pub fn identifier<T: FromStr<Err = InvalidName>>(self) -> Result<Option<T>, Reason> {
        let Some(text) = self.text()? else { return Ok(None) };
        text.parse().map(Some).map_err(|error| Reason::Invalid(format!("{}: {error}", self.name)))
    }

    /// A point in time.
    pub fn time(self) -> Result<Option<Timestamp>, Reason> {
        let Some(value) = self.value else { return Ok(None) };
        match text(value).and_then(|text| time::read(&text)) {
            Some(time) => Ok(Some(time)),
            None => Err(self.invalid("a time such as \"2030-01-31T12:00:00+00:00\"")),
        }
    }

    /// True or false; absent is false.
    pub fn flag(self) -> Result<bool, Reason> {
        match self.value.map(RawValue::get) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(self.invalid("true or false")),
        }
    }

    /// A number of times; absent is 0.
    pub fn count(self) -> Result<u32, Reason> {
        let Some(value) = self.value else { return Ok(0) };
        value.get().parse().map_err(|_| self.invalid("a whole number from 0 to 4294967295"))
    }

    /// A place among others.
    pub fn place(self) -> Result<Option<i64>, Reason> {
        let Some(value) = self.value else { return Ok(None) };
        value.get().parse().map(Some).map_err(|_| self.invalid("a whole number"))
    }

    /// 0 to 9; what is less or more counts as the nearest, and what is no whole number as 0 (celery-protocol.md, 2.1).
    pub fn priority(self) -> u8 {
        let asked = self.value.and_then(|value| value.get().parse::<i64>().ok()).unwrap_or(0);
        u8::try_from(asked.clamp(0, 9)).unwrap_or(0)
    }

    /// `[hard, soft]` in seconds, each perhaps `null`. Zero is no limit, as in Python.
    pub fn limits(self) -> Result<Limits, Reason> {
        let Some(value) = self.value else { return Ok(Limits::default()) };
        let pair: Option<(Option<f64>, Option<f64>)> = serde_json::from_str(value.get()).ok();
        let limit = |seconds: Option<f64>| match seconds {
            None => Ok(None),
            Some(0.0) => Ok(None),
            Some(seconds) if seconds > 0.0 && seconds <= LONGEST_LIMIT => {
                Ok(Some(Duration::from_secs_f64(seconds)))
            }
            Some(_) => Err(self.invalid("limits of more than 0 seconds and less than 100 years")),
        };
        let (hard, soft) = pair.ok_or_else(|| self.invalid("[hard, soft] in seconds"))?;
        Ok(Limits { hard: limit(hard)?, soft: limit(soft)? })
    }

    fn invalid(self, expected: &str) -> Reason {
        let value = self.value.map_or("null", RawValue::get);
        Reason::Invalid(format!("{} is {}, but must be {expected}", self.name, quoted(value)))
    }
}

/// The text that a JSON string stands for. `None` if it is no string, or has half a surrogate pair in it.
pub fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let json = value.get();
    let inside = json.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inside))
    }
}

/// What kind of JSON value this is, in words.
pub fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a string",
        Some(b'n') => "null",
        Some(b't' | b'f') => "true or false",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskId;

    fn field(json: &str) -> Field<'_> {
        Field::new("f", Some(serde_json::from_str(json).unwrap()))
    }

    fn refused<T: std::fmt::Debug>(result: Result<T, Reason>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn absent_fields_have_defaults() {
        let absent = Field::new("f", None);
        assert_eq!(absent.text().unwrap(), None);
        assert_eq!(absent.identifier::<TaskId>().unwrap(), None);
        assert_eq!(absent.time().unwrap(), None);
        assert!(!absent.flag().unwrap());
        assert_eq!(absent.count().unwrap(), 0);
        assert_eq!(absent.limits().unwrap(), Limits::default());
        assert_eq!(field(r#""""#).text().unwrap(), None);
    }

    #[test]
    fn text_is_unescaped_and_borrowed_where_it_can_be() {
        assert!(matches!(field(r#""plain""#).text().unwrap(), Some(Cow::Borrowed("plain"))));
        assert_eq!(field(r#""\u0061\"\/""#).text().unwrap().as_deref(), Some("a\"/"));
        assert_eq!(refused(field(r#""\ud800""#).text()), r#"f is "\ud800", but must be a string"#);
        assert_eq!(refused(field("5").text()), "f is 5, but must be a string");
    }

    #[test]
    fn identifiers_are_checked() {
        assert_eq!(field(r#""a-b""#).identifier::<TaskId>().unwrap().unwrap().as_str(), "a-b");
        assert_eq!(
            refused(field(r#""a\u0000b""#).identifier::<TaskId>()),
            r#"f: task id "a\0b" is not usable: it has control characters in it"#
        );
    }

    #[test]
    fn limits_are_seconds_hard_first() {
        let seconds = |n| Some(Duration::from_secs_f64(n));
        let cases = [
            ("[null, null]", None, None),
            ("[30, 20]", seconds(30.0), seconds(20.0)),
            ("[0.5, null]", seconds(0.5), None),
            ("[0, 0.0]", None, None),
            ("[null, 1e-3]", None, seconds(0.001)),
        ];
        for (json, hard, soft) in cases {
            assert_eq!(field(json).limits().unwrap(), Limits { hard, soft }, "{json}");
        }
        let bad =
            ["[-1, null]", "[null, -0.001]", "[1e300, 1]", "[1]", "[1, 2, 3]", "30", "{}", r#"["1", "2"]"#];
        for json in bad {
            let text = refused(field(json).limits());
            assert!(text.starts_with(&format!("f is {json}, but must be ")), "{text}");
        }
    }

    #[test]
    fn flags_and_counts_are_strict() {
        assert!(field("true").flag().unwrap());
        assert!(!field("false").flag().unwrap());
        assert_eq!(refused(field("1").flag()), "f is 1, but must be true or false");
        assert_eq!(field("7").count().unwrap(), 7);
        for json in ["-1", "1.0", "4294967296", "true", r#""1""#, "[]"] {
            assert!(field(json).count().is_err(), "{json}");
        }
    }
}
