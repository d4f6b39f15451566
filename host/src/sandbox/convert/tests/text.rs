//! JSON text from guests.

use super::{super::json_text, *};

fn refused(text: &str) -> String {
    let message = told(json_text(text, MOST).unwrap_err());
    message.strip_prefix("kombu.exceptions.EncodeError: ").unwrap().to_owned()
}

#[test]
fn well_formed_text_is_passed_on_unchanged() {
    let deepest = format!("{}{}", "[".repeat(64), "]".repeat(64));
    for text in [
        "null",
        r#"{"b": 1, "a": [1.50, -0, 1e5]}"#,
        r#"{"brackets": "[[[[{{{{\"", "__type__": 1}"#,
        r#""\ud800""#,
        r#"{"__type__": "uuid", "__value__": {"hex": "00112233445566778899aabbccddeeff"}}"#,
        r#"{"__type__": "invented", "__value__": 1, "more": 2}"#,
        r#"{"__type__": "invented"}"#,
        r#"{"\ud800": 1, "__value__": 1, "__type__": "invented"}"#,
        &deepest,
    ] {
        assert_eq!(json_text(text, MOST).unwrap().get(), text);
    }
    assert_eq!(json_text(" 1\r\n", MOST).unwrap().get(), "1");
}

#[test]
fn text_that_is_not_json_is_refused() {
    for text in ["", "{", "nul", "NaN", "[1, Infinity]", "1 2", "{'a': 1}", "\"a", "\"\n\""] {
        assert!(refused(text).starts_with("the task gave text that is not JSON: "), "{text}");
    }
}

#[test]
fn what_pythons_decoder_would_choke_on_is_refused() {
    let unknown = r#"the task gave JSON with the __type__ "invented", which Python's decoder does not know or cannot read"#;
    for text in [
        r#"{"__type__": "invented", "__value__": 1}"#,
        r#"[{"a": {"__value__": 1, "__type__": "invented"}}]"#,
        r#"{"\u005f_type__": "invented", "__value__": 1}"#,
        r#"{"__type__": "uuid", "__value__": 1, "__type__": "invented"}"#,
        r#"{"\ud800": {"__type__": "invented", "__value__": 1}}"#,
        r#"{"__type__": "uuid", "__value__": {"__type__": "invented", "__value__": 1}}"#,
    ] {
        assert_eq!(refused(text), unknown, "{text}");
    }
    assert!(refused(r#"{"__type__": 1, "__value__": 1}"#).contains("the __type__ 1,"));
    assert_eq!(refused(&"1".repeat(4301)), "the task gave JSON with a number of more than 4300 digits");
    assert!(json_text(&"1".repeat(4300), MOST).is_ok());
}

#[test]
fn depth_is_bounded_without_recursion() {
    let deep = "the task gave JSON nested more than 64 levels deep";
    for text in ["[".repeat(65), "{\"a\":".repeat(65), "[".repeat(1_000_000)] {
        assert_eq!(refused(&text), deep);
    }
}

#[test]
fn text_over_the_limit_is_refused_before_it_is_looked_at() {
    assert!(json_text("[1]", 3).is_ok());
    assert_eq!(
        told(json_text("{{{{", 3).unwrap_err()),
        "kombu.exceptions.EncodeError: the result takes at least 4 bytes and --max-result-size is 3"
    );
}
