//! What a task's result becomes as a whole: a value, an exception, or too large.

use super::*;

/// The exception that an error of type `ty` becomes.
fn raised(ty: &str, error: Option<Val>) -> String {
    let signature = signature(&format!("() -> result<u8, {ty}>"));
    told(result(&signature, &[Val::Result(Err(error.map(Box::new)))], MOST).unwrap_err())
}

#[test]
fn the_ok_of_a_result_is_the_tasks_result() {
    for (ty, value, expected) in [
        ("result<u8, string>", Some(Val::U8(1)), "1"),
        ("result<option<u8>>", Some(Val::Option(None)), "null"),
        ("result<_, string>", None, "null"),
        ("result", None, "null"),
        ("result<result<u8>>", Some(Val::Result(Ok(Some(Box::new(Val::U8(1)))))), r#"{"ok":1}"#),
    ] {
        let value = Val::Result(Ok(value.map(Box::new)));
        assert_eq!(given(ty, value).as_deref(), Ok(expected), "{ty}");
    }
}

#[test]
fn a_task_error_becomes_the_exception_it_names() {
    let error = |kind, message| Some(record(&[("kind", string(kind)), ("message", string(message))]));
    for (kind, message, expected) in [
        ("ZeroDivisionError", "division by zero", "ZeroDivisionError: division by zero"),
        ("CardDeclined", "no money", "host.guest.CardDeclined: no money"),
        ("SystemExit", "1", "host.guest.SystemExit: 1"),
        ("os.system", "rm", "host.guest.TaskError: rm"),
    ] {
        assert_eq!(raised("task-error", error(kind, message)), expected);
    }
}

#[test]
fn other_errors_become_an_exception_named_by_their_type_or_case() {
    let item = record(&[("price", Val::Float64(1.0)), ("item-no", Val::Option(None))]);
    for (ty, error, expected) in [
        ("string", string("no luck"), "RuntimeError: no luck"),
        ("json", string("{not json"), "RuntimeError: {not json"),
        ("u8", Val::U8(7), "RuntimeError: 7"),
        ("item", item.clone(), r#"host.guest.Item: {"price":1.0,"item_no":null}"#),
        ("problem", case("not-found", None), "host.guest.NotFound: not found"),
        ("problem", case("value-error", Some(string("bad"))), "ValueError: bad"),
        ("problem", case("too-big", Some(item)), r#"host.guest.TooBig: {"price":1.0,"item_no":null}"#),
        ("refusal", Val::Enum("card-declined".to_owned()), "host.guest.CardDeclined: card declined"),
        ("access", Val::Flags(vec!["may-read".to_owned()]), r#"host.guest.Access: ["may_read"]"#),
    ] {
        assert_eq!(raised(ty, Some(error)), expected, "{ty}");
    }
    let bare = result(&signature("() -> result<u8>"), &[Val::Result(Err(None))], MOST).unwrap_err();
    assert_eq!(told(bare), "RuntimeError: task returned an error");
}

#[test]
fn long_messages_are_cut_with_a_mark() {
    let message = raised("string", Some(string(&"é".repeat(8 << 10))));
    assert_eq!(message, format!("RuntimeError: {}…[cut: 8192 bytes]", "é".repeat(4 << 10)));
}

#[test]
fn a_result_over_the_limit_is_refused_with_both_numbers_and_the_setting() {
    let message = |size: usize| {
        format!(
            "kombu.exceptions.EncodeError: the result takes at least {size} bytes and --max-result-size is 100"
        )
    };
    let text = |length| string(&"a".repeat(length));
    let bytes = |length| Val::List(vec![Val::U8(0); length]);
    for (ty, fits, over, size) in [
        ("string", text(98), text(99), 101),
        ("json", string(&"1".repeat(100)), string(&"1".repeat(101)), 101),
        ("list<bool>", Val::List(vec![Val::Bool(true); 19]), Val::List(vec![Val::Bool(true); 21]), 101),
        ("list<u8>", bytes(0), bytes(101), 101),
        ("tuple<json, json>", Val::Tuple(vec![text_json(48); 2]), Val::Tuple(vec![text_json(49); 2]), 101),
    ] {
        let signature = signature(&format!("() -> {ty}"));
        assert!(result(&signature, &[fits], 100).is_ok(), "{ty}");
        assert_eq!(told(result(&signature, &[over], 100).unwrap_err()), message(size), "{ty}");
    }
}

fn text_json(length: usize) -> Val {
    string(&"1".repeat(length))
}
