//! Messages made to break a worker, or merely broken: each is refused in one line, and says whose it is if that can be told.

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;

/// Asserts that each message is refused with this class of exception and its own text, and that the refusal names the task
/// `f` and its id `i` if it can.
fn assert_refused(is_named: bool, class: &str, cases: Vec<(Vec<u8>, &str)>) {
    let module = if class == "ValueError" { "builtins" } else { "kombu.exceptions" };
    for (message, text) in cases {
        let refusal = decoded(&message).expect_err(text);
        assert_eq!(refusal.to_string(), text);
        let exception = refusal.exception();
        assert_eq!((exception.module.as_str(), exception.class.as_str()), (module, class), "{text}");
        assert_eq!(exception.args, [text], "{text}");
        assert_eq!(refusal.id.as_ref().map(|id| id.as_str()), is_named.then_some("i"), "{text}");
        if is_named {
            assert_eq!(refusal.task.as_ref().map(|task| task.as_str()), Some("f"), "{text}");
        }
    }
}

#[test]
fn what_is_no_message_is_refused() {
    let headers = |headers: &str| format!(r#"{{"headers": {headers}}}"#).into_bytes();
    let cases = vec![
        (text(""), "message is not JSON: EOF while parsing a value at line 1 column 0"),
        (text("nope"), "message is not JSON: expected ident at line 1 column 2"),
        (b"{\"\xff\"}".to_vec(), "message is not UTF-8: invalid utf-8 sequence of 1 bytes from index 2"),
        (text("[]"), "message is a list, not an object"),
        (text("null"), "message is null, not an object"),
        (text("{}"), "body in the envelope is null, not text"),
        (text(&nested(100_000)), "message is a list, not an object"),
        (
            text(&"[{\"a\":".repeat(100_000)),
            "message is not JSON: EOF while parsing a value at line 1 column 600000",
        ),
        (headers(r#"["f", "i"]"#), "headers is a list, not an object"),
        (headers(r#""f""#), "headers is a string, not an object"),
        (
            headers(r#"{"id": "i", "id": "j"}"#),
            "headers cannot be read: duplicate field `id` at line 1 column 16",
        ),
    ];
    assert_refused(false, "DecodeError", cases);
}

#[test]
fn a_message_without_a_usable_id_is_refused() {
    let cases = vec![
        (plain(json!({ "task": "f" }), BODY), "message has no id, under which to store a result"),
        (plain(json!({ "task": "f", "id": "" }), BODY), "message has no id, under which to store a result"),
        (plain(json!({ "task": "f", "id": 7 }), BODY), "id is 7, but must be a string"),
        (
            plain(json!({ "task": "f", "id": "a\0b" }), BODY),
            "id: task id \"a\\0b\" is not usable: it has control characters in it",
        ),
    ];
    assert_refused(false, "ValueError", cases);
}

#[test]
fn content_of_other_types_is_disallowed_in_kombus_words() {
    let typed = |content_type: &str| {
        let headers = json!({ "task": "f", "id": "i" });
        json!({ "headers": headers, "content-type": content_type, "body": "" }).to_string().into_bytes()
    };
    let cases = vec![
        (
            typed("application/x-python-serialize"),
            "Refusing to deserialize untrusted content of type pickle (application/x-python-serialize)",
        ),
        (
            typed("application/x-yaml"),
            "Refusing to deserialize untrusted content of type yaml (application/x-yaml)",
        ),
        (
            typed("application/x-msgpack"),
            "Refusing to deserialize untrusted content of type msgpack (application/x-msgpack)",
        ),
        (typed("a\nb"), "Refusing to deserialize untrusted content of type a b (a b)"),
        (
            with_header("compression", json!("application/x-bz2")),
            "Refusing to decompress content of type application/x-bz2; use zlib",
        ),
    ];
    assert_refused(true, "ContentDisallowed", cases);
}

#[test]
fn a_body_that_cannot_be_decoded_is_refused() {
    let encoded = |encoding: &str, body: &str| {
        let properties = json!({ "body_encoding": encoding });
        json!({ "headers": { "task": "f", "id": "i" }, "properties": properties, "body": body })
            .to_string()
            .into_bytes()
    };
    let headers = r#""headers": {"task": "f", "id": "i"}"#;
    let special = r#"{"headers": {"task": "f", "id": "i", "x": NaN}, "body": "[[], {}, {}]"}"#;
    let cases = vec![
        (encoded("base64", "W1s*"), "body is not base64: Invalid symbol 42, offset 3."),
        (encoded("rot13", ""), "body_encoding rot13 is not known; use base64"),
        (
            encoded("base64", &STANDARD.encode(b"[[\"\xff\"], {}, {}]")),
            "body is not UTF-8: invalid utf-8 sequence of 1 bytes from index 3",
        ),
        (with_header("compression", json!("zlib")), "body is not zlib data: corrupt deflate stream"),
        (
            text(&format!(r#"{{{headers}, "properties": [], "body": ""}}"#)),
            "properties is a list, not an object",
        ),
        (text(&format!(r#"{{{headers}, "body": [[], {{}}]}}"#)), "body in the envelope is a list, not text"),
        (with_body(""), "body is not JSON: EOF while parsing a value at line 1 column 0"),
        (with_body("[[1, 2], {}"), "body is not JSON: EOF while parsing a list at line 1 column 11"),
        (with_body("[[NaN], {}, {}]"), "Out of range float values are not JSON compliant: NaN"),
        (
            with_body("[[\"NaN\", -Infinity], {}, {}]"),
            "Out of range float values are not JSON compliant: -Infinity",
        ),
        (text(special), "Out of range float values are not JSON compliant: NaN"),
        (with_body("[1, {}, {}]"), "args is a number, not a list"),
        (with_body("[{}, {}, {}]"), "args is an object, not a list"),
        (with_body("[[], [], {}]"), "kwargs is a list, not an object"),
        (with_body("[[], null, {}]"), "kwargs is null, not an object"),
        (with_body(r#"[[], {}, "x"]"#), "embed is a string, not an object"),
        (with_body("[[], {}]"), "body is a list, but not of three: args, kwargs and embed"),
        (with_body("[[], {}, {}, {}]"), "body is a list, but not of three: args, kwargs and embed"),
        (with_body("{}"), "body is an object, not a list of args, kwargs and embed"),
        // Protocol 1 has all in the body.
        (plain(json!({}), r#"{"task": "f", "id": "i", "args": 1}"#), "args is a number, not a list"),
        (plain(Value::Null, r#"{"task": "f", "id": "i", "kwargs": []}"#), "kwargs is a list, not an object"),
    ];
    assert_refused(true, "DecodeError", cases);
}

#[test]
fn a_header_that_cannot_be_is_refused() {
    let range = "but must be limits of more than 0 seconds and less than 100 years";
    let negative = format!("timelimit is [-1,null], {range}");
    let huge = format!("timelimit is [1e+300,null], {range}");
    let cases = vec![
        (
            with_header("expires", json!(60)),
            "expires is 60, but must be a time such as \"2030-01-31T12:00:00+00:00\"",
        ),
        (with_header("timelimit", json!([-1, null])), &negative),
        (with_header("timelimit", json!([1e300, null])), &huge),
        (
            with_header("retries", json!(1e9)),
            "retries is 1000000000.0, but must be a whole number from 0 to 4294967295",
        ),
        (with_header("ignore_result", json!("no")), "ignore_result is \"no\", but must be true or false"),
        (
            with_header("group", json!("g\n")),
            "group: task id \"g\\n\" is not usable: it has control characters in it",
        ),
    ];
    assert_refused(true, "ValueError", cases);
}

#[test]
fn what_is_too_large_or_too_deep_is_refused() {
    let with_deep = |part: &str| {
        let deep = nested(100_000);
        let headers = if part == "headers" { deep.as_str() } else { "0" };
        let properties = if part == "properties" { deep.as_str() } else { "0" };
        let headers = format!(r#"{{"x": {headers}, "task": "f", "id": "i"}}"#);
        format!(
            r#"{{"headers": {headers}, "properties": {{"x": {properties}}}, "body": "[[], {{}}, {{}}]"}}"#
        )
        .into_bytes()
    };
    let large = with_body(&" ".repeat(50 << 20));
    let too_large = format!(
        "message is {} bytes long; 8388608 are allowed; store large data elsewhere and send its address",
        large.len()
    );
    let cases = vec![
        (large, too_large.as_str()),
        (
            bomb(),
            "body decompresses to more than the 8388608 bytes that are allowed; store large data elsewhere and \
             send its address",
        ),
        (with_body(&nested(100_000)), "nesting of body is 100000 levels deep; 64 are allowed"),
        (
            with_body(&format!("[{}, {{}}, {{}}]", nested(64))),
            "nesting of body is 65 levels deep; 64 are allowed",
        ),
        (with_deep("headers"), "nesting of headers is 100001 levels deep; 64 are allowed"),
        (with_deep("properties"), "nesting of properties is 100001 levels deep; 64 are allowed"),
    ];
    assert_refused(true, "DecodeError", cases);
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// A hundred kilobytes that decompress to a hundred megabytes.
fn bomb() -> Vec<u8> {
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&vec![b' '; 100 << 20]).unwrap();
    json!({
        "headers": { "task": "f", "id": "i", "compression": "application/x-gzip" },
        "properties": { "body_encoding": "base64" },
        "body": STANDARD.encode(packer.finish().unwrap()),
    })
    .to_string()
    .into_bytes()
}

#[test]
fn a_message_at_the_limits_is_taken() {
    let deepest = format!("[{}, {{}}, {{}}]", nested(63));
    assert!(decoded(&with_body(&deepest)).is_ok());

    let message = with_body(BODY);
    let limits = |bytes| MessageLimits { bytes, ..MessageLimits::default() };
    assert!(decode(&message, Tenant::DEFAULT, &limits(message.len())).is_ok());
    assert!(decode(&message, Tenant::DEFAULT, &limits(message.len() - 1)).is_err());
}

#[test]
fn what_a_refusal_quotes_is_one_short_line() {
    let long = format!("tomorrow\n{}\u{9b}", "x".repeat(100_000));
    let refusal = decoded(&with_header("eta", json!(long))).unwrap_err().to_string();
    assert!(refusal.len() < 200 && !refusal.contains(char::is_control), "{refusal}");
    let refusal = decoded(&with_header("compression", json!("a\nb\u{9b}"))).unwrap_err().to_string();
    assert_eq!(refusal, "Refusing to decompress content of type a b ; use zlib");
}

#[test]
fn damaged_messages_never_panic() {
    let mut random = XorShift(0x9e37_79b9_7f4a_7c15);
    let mut taken = 0;
    for recorded in recorded::messages() {
        for _ in 0..1000 {
            let mut message = recorded.message.clone().into_bytes();
            for _ in 0..=random.below(3) {
                damage(&mut message, &mut random);
            }
            taken += usize::from(decoded(&message).is_ok());
            mark_redelivered(&message);
        }
    }
    assert!(taken > 0, "some damage is harmless, so if nothing was taken then nothing was tested");
}

fn damage(message: &mut Vec<u8>, random: &mut XorShift) {
    if message.is_empty() {
        return;
    }
    let at = random.below(message.len());
    match random.below(4) {
        0 => message.truncate(at),
        1 => message[at] ^= 1 << random.below(8),
        2 => message[at] = b"[]{}\",:\\0-eN"[random.below(12)],
        _ => {
            message.remove(at);
        }
    }
}

/// A fixed sequence of numbers that look random, so that a failure can be repeated.
struct XorShift(u64);

impl XorShift {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
