//! Kombu's markers: `{"__type__": "date", "__value__": "2024-01-02"}` is a date to a Python client.
//!
//! A client that meets a marker of an unknown type, or one whose value its type cannot be made of, raises in every access
//! to the result, even to its state. So both are refused before they are stored.

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::civil;
use serde_json::value::RawValue;

use super::parts::{entries, string};

/// Whether Kombu's decoder can make a value of the marker with this `__type__` and `__value__`.
pub fn is_readable(of: &RawValue, value: &RawValue) -> bool {
    let (Some(of), text) = (string(of), string(value)) else { return false };
    match (&*of, text.as_deref()) {
        ("bytes", text) => text.is_some(),
        ("base64", Some(text)) => BASE64_STANDARD.decode(text).is_ok(),
        ("date", Some(text)) => is_date(text),
        ("time", Some(text)) => is_time(text),
        ("datetime", Some(text)) => {
            text.split_once('T').is_some_and(|(date, time)| is_date(date) && is_time(time))
        }
        ("decimal", Some(text)) => is_decimal(text),
        ("uuid", None) => is_uuid(value),
        _ => false,
    }
}

/// `2024-01-02`
fn is_date(text: &str) -> bool {
    has_shape(text, "0000-00-00") && !text.starts_with("0000") && text.parse::<civil::Date>().is_ok()
}

/// `12:34:56`, `12:34:56.000789`, either with an offset such as `+01:00`; as `isoformat` writes it.
fn is_time(text: &str) -> bool {
    let clock_length = text.find(['+', '-']).unwrap_or(text.len());
    let (clock, offset) = text.split_at(clock_length);
    let clock_fits = has_shape(clock, "00:00:00") || has_shape(clock, "00:00:00.000000");
    let offset_fits = match offset.get(1..) {
        None => true,
        Some(offset) => has_shape(offset, "00:00") && in_range(offset),
    };
    clock_fits && in_range(clock) && offset_fits
}

/// Whether hours, minutes and seconds, as far as given, are below 24, 60 and 60.
fn in_range(clock: &str) -> bool {
    let parts = clock.split(['.']).next().unwrap_or_default().split(':');
    parts.zip([24, 60, 60]).all(|(part, limit)| part.parse::<u8>().is_ok_and(|part| part < limit))
}

/// A number with or without a fraction and an exponent of at most four digits.
fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    !(whole.is_empty() && fraction.is_empty())
        && digits(whole)
        && digits(fraction)
        && (1..=4).contains(&exponent.len())
        && digits(exponent)
}

/// `{"hex": "..."}` with 32 hexadecimal digits
fn is_uuid(value: &RawValue) -> bool {
    if !value.get().starts_with('{') {
        return false;
    }
    let hex = |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match entries(value).as_slice() {
        [(key, item)] => string(key).as_deref() == Some("hex") && string(item).is_some_and(|text| hex(&text)),
        _ => false,
    }
}

/// Whether `text` has digits where `shape` has zeros and is like it elsewhere.
fn has_shape(text: &str, shape: &str) -> bool {
    let fits = |(byte, shape): (u8, u8)| if shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_taken_only_if_python_can_make_a_value_of_them() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        for (of, good, bad) in [
            ("bytes", &[r#""text""#, r#""""#][..], &["{}", "5", "null"][..]),
            ("base64", &[r#""/w==""#], &[r#""/w""#, r#""*""#, "1"]),
            (
                "date",
                &[r#""2024-02-29""#],
                &[r#""2023-02-29""#, r#""0000-01-01""#, r#""2024-1-1""#, r#""x""#],
            ),
            (
                "time",
                &[r#""12:34:56""#, r#""23:59:59.000001""#, r#""00:00:00+05:30""#],
                &[r#""24:00:00""#, r#""12:60:00""#, r#""12:34""#, r#""12:34:56Z""#, r#""12:34:56+25:00""#],
            ),
            (
                "datetime",
                &[r#""2024-01-02T03:04:05""#, r#""2024-01-02T03:04:05.678900+00:00""#],
                &[r#""2024-01-02""#, r#""2024-01-02T""#, r#""T03:04:05""#, r#""junk""#, "5"],
            ),
            (
                "decimal",
                &[r#""1""#, r#""-1.50""#, r#"".5""#, r#""1E+10""#],
                &[r#""""#, r#"".""#, r#""1e""#, r#""x""#, r#""1E99999""#, "1"],
            ),
            (
                "uuid",
                &[r#"{"hex": "0123456789abcdef0123456789ABCDEF"}"#],
                &["5", r#"{"hex": "01"}"#, r#"{"int": 1}"#, r#"{"hex": 1}"#, "{}", r#""01""#],
            ),
            ("set", &[], &["[]", r#""x""#]),
        ] {
            let of = raw(&format!("{of:?}"));
            for value in good {
                assert!(is_readable(&of, &raw(value)), "{of} {value}");
            }
            for value in bad {
                assert!(!is_readable(&of, &raw(value)), "{of} {value}");
            }
        }
        assert!(!is_readable(&raw("5"), &raw("5")));
    }
}
