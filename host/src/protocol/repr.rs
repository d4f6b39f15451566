//! Values as Python's `repr` prints them, for the headers `argsrepr` and `kwargsrepr`, for logs and for events.
//!
//! As in Celery, three levels are shown, deeper ones as `[...]`, and what is longer than 1024 characters is cut; neither
//! depth nor size of a value can make this slow or large. Unlike Celery's own, strings are escaped as `repr` does it,
//! so that the result is always one line.

use std::{fmt::Write, str::Chars};

use serde_json::{Value, value::RawValue};

use super::scan;
use crate::task::{Exception, Request};

/// Celery's `argsrepr_maxsize`, in characters.
const LONGEST: usize = 1024;
/// Celery's `maxlevels`.
const LEVELS: usize = 3;

/// Positional arguments, the text of a JSON array, as a tuple: `(1, 'two')`, `(1,)`.
pub fn args(json: &RawValue) -> String {
    Printer::new(json.get(), Brackets::Tuple).print()
}

/// The positional and keyword arguments of a request: as its sender printed them, who may have left out a secret, or else
/// as they are.
pub fn arguments(request: &Request) -> (String, String) {
    #[derive(serde::Deserialize, Default)]
    struct Printed {
        argsrepr: Option<String>,
        kwargsrepr: Option<String>,
    }
    // A header of another type is no reason to print nothing.
    let printed: Printed = serde_json::from_str(request.headers.get()).unwrap_or_default();
    let cut = |text: String| text.chars().take(LONGEST).collect();
    (
        printed.argsrepr.map_or_else(|| args(&request.args), cut),
        printed.kwargsrepr.map_or_else(|| value(&request.kwargs), cut),
    )
}

/// Any JSON value: `{'y': [1.5, True, None]}`.
pub fn value(json: &RawValue) -> String {
    Printer::new(json.get(), Brackets::Plain).print()
}

/// An exception: `ZeroDivisionError('division by zero')`.
pub fn exception(exception: &Exception) -> String {
    let args = Value::from(exception.args.as_slice()).to_string();
    exception.class.clone() + &Printer::new(&args, Brackets::Call).print()
}

/// How the outermost list is written.
#[derive(Clone, Copy, PartialEq)]
enum Brackets {
    /// `[1]`
    Plain,
    /// `(1,)`
    Tuple,
    /// `(1)`
    Call,
}

/// Prints a JSON text while walking over it, once.
struct Printer<'a> {
    json: &'a str,
    at: usize,
    outermost: Brackets,
    out: String,
    /// How many more characters may be printed.
    left: usize,
    open: Vec<Open>,
}

/// A list or object that is being printed.
struct Open {
    closing: char,
    /// Where its inside begins in the output.
    inside: usize,
    commas: usize,
}

impl<'a> Printer<'a> {
    fn new(json: &'a str, outermost: Brackets) -> Self {
        Self { json, at: 0, outermost, out: String::new(), left: LONGEST, open: Vec::new() }
    }

    fn print(mut self) -> String {
        while let Some(byte) = self.json.as_bytes().get(self.at).copied() {
            let adds = !matches!(byte, b']' | b'}') && !byte.is_ascii_whitespace();
            if self.left == 0 && adds {
                let separator = if self.out.ends_with([' ', '(', '[', '{']) { "" } else { ", " };
                self.out.extend([separator, "..."]);
                self.out.extend(self.open.iter().rev().map(|open| open.closing));
                break;
            }
            match byte {
                b'[' | b'{' => self.open(byte),
                b']' | b'}' => self.close(),
                b',' => self.comma(),
                b':' => self.token(": ", 1),
                b'"' => self.string(),
                b't' => self.token("True", "true".len()),
                b'f' => self.token("False", "false".len()),
                b'n' => self.token("None", "null".len()),
                b'-' | b'0'..=b'9' => self.number(),
                _ => self.at += 1,
            }
        }
        self.out
    }

    fn open(&mut self, byte: u8) {
        let (opening, closing) = match byte {
            b'{' => ('{', '}'),
            _ if self.open.is_empty() && self.outermost != Brackets::Plain => ('(', ')'),
            _ => ('[', ']'),
        };
        if self.open.len() == LEVELS {
            let length = scan::bracketed(&self.json[self.at..]);
            self.token(&format!("{opening}...{closing}"), length);
            return;
        }
        self.token(opening.encode_utf8(&mut [0; 4]), 1);
        self.open.push(Open { closing, inside: self.out.len(), commas: 0 });
    }

    fn close(&mut self) {
        self.at += 1;
        let Some(open) = self.open.pop() else { return };
        let is_single = open.commas == 0 && self.out.len() > open.inside;
        if open.closing == ')' && self.outermost == Brackets::Tuple && is_single {
            self.out.push(',');
        }
        self.out.push(open.closing);
    }

    fn comma(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.commas += 1;
        }
        self.token(", ", 1);
    }

    fn number(&mut self) {
        let rest = &self.json[self.at..];
        let length = rest.find([',', ']', '}', ' ', '\n', '\r', '\t']).unwrap_or(rest.len());
        let text = &rest[..length];
        if text == "-0" {
            self.token("0", length);
        } else if text.contains(['.', 'e', 'E']) {
            self.token(&text.parse().map_or_else(|_| text.to_owned(), float), length);
        } else {
            self.token(text, length);
        }
    }

    fn string(&mut self) {
        let length = scan::string(&self.json[self.at..]);
        let mut points = CodePoints::of(&self.json[self.at + 1..self.at + length - 1]);
        let shown: Vec<u32> = points.by_ref().take(self.left).collect();
        let is_cut = points.next().is_some();

        let has = |quote: char| shown.contains(&u32::from(quote));
        let quote = if has('\'') && !has('"') { '"' } else { '\'' };
        self.out.push(quote);
        for point in &shown {
            write_escaped(&mut self.out, *point, quote);
        }
        self.out.push_str(if is_cut { "..." } else { "" });
        self.out.push(quote);
        self.left = if is_cut { 0 } else { self.left.saturating_sub(shown.len() + 2) };
        self.at += length;
    }

    /// Prints `text`, as much of it as may be, for the next `length` bytes of JSON.
    fn token(&mut self, text: &str, length: usize) {
        self.at += length;
        match text.char_indices().nth(self.left) {
            None => {
                self.left -= text.chars().count();
                self.out.push_str(text);
            }
            // Half a separator would look like a mistake.
            Some(_) if text.ends_with(' ') => {
                self.left = 0;
                self.out.push_str(text);
            }
            Some((end, _)) => {
                self.left = 0;
                self.out.extend([&text[..end], "..."]);
            }
        }
    }
}

/// A float as Python prints it: the shortest digits that read back the same, with an exponent when it is below -4 or above 15.
fn float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        // An infinity: JSON can say `1e999`.
        return scientific;
    };
    let exponent: i32 = exponent.parse().expect("the exponent of a float is a small number");
    if (-4..16).contains(&exponent) {
        let text = value.to_string();
        return if text.contains('.') { text } else { text + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Writes one code point as it stands in a Python string literal with these quotes.
fn write_escaped(out: &mut String, point: u32, quote: char) {
    let written = match char::from_u32(point) {
        Some('\n') => write!(out, "\\n"),
        Some('\r') => write!(out, "\\r"),
        Some('\t') => write!(out, "\\t"),
        Some(c) if c == '\\' || c == quote => write!(out, "\\{c}"),
        Some(c) if is_printable(c) => write!(out, "{c}"),
        _ if point <= 0xff => write!(out, "\\x{point:02x}"),
        _ if point <= 0xffff => write!(out, "\\u{point:04x}"),
        _ => write!(out, "\\U{point:08x}"),
    };
    written.expect("writing to a string does not fail");
}

/// Python's `str.isprintable`. Rust's `escape_debug` goes by the same Unicode categories, but also escapes a combining
/// character at the beginning of a text; so it is asked about the second of two.
fn is_printable(c: char) -> bool {
    let mut text = [b'x'; 5];
    let end = 1 + c.encode_utf8(&mut text[1..]).len();
    let text = std::str::from_utf8(&text[..end]).expect("a letter and a character are UTF-8");
    matches!(c, '\'' | '"') || text.escape_debug().count() == 2
}

/// The code points of a JSON string. As in Python, half a surrogate pair is one of its own, so these are no `char`s.
struct CodePoints<'a> {
    chars: Chars<'a>,
}

impl<'a> CodePoints<'a> {
    /// `inside` is what stands between the quotes.
    fn of(inside: &'a str) -> Self {
        Self { chars: inside.chars() }
    }

    /// The number in the next `\u` escape, if that is what comes next.
    fn escaped_unit(chars: &mut Chars<'a>) -> Option<u32> {
        let digits = chars.as_str().strip_prefix("\\u")?.get(..4)?;
        *chars = chars.as_str()[6..].chars();
        u32::from_str_radix(digits, 16).ok()
    }
}

impl Iterator for CodePoints<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if let Some(unit) = Self::escaped_unit(&mut self.chars) {
            let mut ahead = self.chars.clone();
            let low = Self::escaped_unit(&mut ahead).filter(|low| (0xdc00..0xe000).contains(low));
            return Some(match low {
                Some(low) if (0xd800..0xdc00).contains(&unit) => {
                    self.chars = ahead;
                    0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                }
                _ => unit,
            });
        }
        let c = match self.chars.next()? {
            '\\' => match self.chars.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            },
            other => other,
        };
        Some(c.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn arguments_are_printed_as_their_sender_did_or_else_as_they_are() {
        for (headers, expected) in [
            (r#""argsrepr": "(<a secret>,)", "kwargsrepr": "{...}""#, ("(<a secret>,)", "{...}")),
            (r#""argsrepr": null"#, ("(1,)", "{'k': None}")),
            (r#""argsrepr": 5, "kwargsrepr": "x""#, ("(1,)", "{'k': None}")),
            (r#""x": 1"#, ("(1,)", "{'k': None}")),
        ] {
            let message = format!(
                r#"{{"body": "[[1], {{\"k\": null}}, {{}}]", "headers": {{"id": "i", "task": "f", {headers}}}}}"#
            );
            let request =
                crate::protocol::message::decode(message.as_bytes(), Default::default(), &Default::default())
                    .unwrap();
            let (args, kwargs) = arguments(&request);
            assert_eq!((args.as_str(), kwargs.as_str()), expected, "{headers}");
        }
    }

    #[test]
    fn values_are_printed_as_python_prints_them() {
        let cases = [
            ("null", "None"),
            (" [true ,\n false]", "[True, False]"),
            (r#"{"y": 2, "z":{}}"#, "{'y': 2, 'z': {}}"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("[0, -0, -0.0, -7]", "[0, 0, -0.0, -7]"),
            ("[1.5, 100.0, 0.1, 1E2]", "[1.5, 100.0, 0.1, 100.0]"),
            ("[1e15, 1e16, 123456789012345680.0]", "[1000000000000000.0, 1e+16, 1.2345678901234568e+17]"),
            ("[0.0001, 0.00001, 5e-324, 1e999, -1e999]", "[0.0001, 1e-05, 5e-324, inf, -inf]"),
            (r#""it's""#, r#""it's""#),
            (r#""say \"hi\"""#, r#"'say "hi"'"#),
            (r#""both ' and \"""#, r#"'both \' and "'"#),
            (r#""\n\t\r\\\/\b\f\u0000\u007f""#, r"'\n\t\r\\/\x08\x0c\x00\x7f'"),
            ("\"é😀e\u{301}\"", "'é😀e\u{301}'"),
            ("\"\u{301}\"", "'\u{301}'"),
            ("\"\u{200b}\u{a0}\u{ad}\u{2028}\u{e000}\u{10ffff}\"", r"'\u200b\xa0\xad\u2028\ue000\U0010ffff'"),
            (r#""\u00e9\ud83d\ude00""#, "'é😀'"),
            (r#""\ud800\ud800\udc00\udc00x""#, r"'\ud800𐀀\udc00x'"),
            ("[[[[1]], {}]]", "[[[[...]], {}]]"),
            ("[[[{\"a\": \"]\"}, 1]]]", "[[[{...}, 1]]]"),
        ];
        for (json, expected) in cases {
            assert_eq!(value(raw(json)), expected, "{json}");
        }
    }

    #[test]
    fn positional_arguments_are_a_tuple() {
        let cases = [
            ("[]", "()"),
            ("[1]", "(1,)"),
            ("[1, 2]", "(1, 2)"),
            ("[[]]", "([],)"),
            ("[[1], {\"a\": [[5]]}]", "([1], {'a': [[...]]})"),
        ];
        for (json, expected) in cases {
            assert_eq!(args(raw(json)), expected, "{json}");
        }
    }

    #[test]
    fn long_values_are_cut_where_celery_cuts_them() {
        let x = "x".repeat(3000);
        let list: Vec<u32> = (0..3000).collect();
        let cases = [
            (format!("[\"{x}\", 1]"), format!("('{}...', ...)", &x[..1023])),
            (format!("[\"{x}\"]"), format!("('{}...',)", &x[..1023])),
            (format!("[1{}]", "0".repeat(5000)), format!("(1{}...,)", "0".repeat(1022))),
        ];
        for (json, expected) in cases {
            assert_eq!(args(raw(&json)), expected);
        }
        let cut = value(raw(&format!("{{\"a\": [{list:?}]}}")));
        assert!(cut.starts_with("{'a': [[0, 1, 2, ") && cut.ends_with("...]]}"), "{cut}");
        assert!(cut.len() < 1050, "{}", cut.len());
    }

    #[test]
    fn depth_and_size_cost_nothing() {
        let deep = format!("[{}1{}]", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(args(raw(&deep)), "([[[...]]],)");
        let escapes = format!("[\"{}\"]", r"\udbff\udfff".repeat(100_000));
        assert!(args(raw(&escapes)).len() < 11_000);
    }

    #[test]
    fn exceptions_are_printed_with_their_arguments() {
        let cases = [
            (
                Exception::builtin("ZeroDivisionError", "division by zero"),
                "ZeroDivisionError('division by zero')",
            ),
            (Exception::new("m", "MyErr", vec!["boom".into(), 1.into()]), "MyErr('boom', 1)"),
            (
                Exception::new("billiard.exceptions", "SoftTimeLimitExceeded", vec![]),
                "SoftTimeLimitExceeded()",
            ),
            (Exception::builtin("KeyError", "it's\n"), "KeyError(\"it's\\n\")"),
        ];
        for (given, expected) in cases {
            assert_eq!(exception(&given), expected);
        }
    }
}
