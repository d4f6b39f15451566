//! One test for each row of the table.

use super::*;

#[test]
fn row_bool() {
    row(
        "bool",
        &[("true", Val::Bool(true)), ("false", Val::Bool(false))],
        &[(Val::Bool(true), "true")],
        &[("1", "TypeError: ' must be bool, not int"), ("null", "TypeError: ' must be bool, not NoneType")],
    );
}

#[test]
fn row_integers() {
    for (ty, least, most, below, above) in [
        ("u8", Val::U8(0), Val::U8(255), "-1", "256"),
        ("u16", Val::U16(0), Val::U16(65_535), "-1", "65536"),
        ("u32", Val::U32(0), Val::U32(u32::MAX), "-1", "4294967296"),
        ("u64", Val::U64(0), Val::U64(u64::MAX), "-1", "18446744073709551616"),
        ("s8", Val::S8(-128), Val::S8(127), "-129", "128"),
        ("s16", Val::S16(i16::MIN), Val::S16(i16::MAX), "-32769", "32768"),
        ("s32", Val::S32(i32::MIN), Val::S32(i32::MAX), "-2147483649", "2147483648"),
        ("s64", Val::S64(i64::MIN), Val::S64(i64::MAX), "-9223372036854775809", "9223372036854775808"),
    ] {
        for value in [least, most] {
            let text = given(ty, value.clone()).unwrap();
            assert_eq!(taken(ty, &text), Ok(value));
        }
        for text in [below, above, "1000000000000000000000000000000000000000000"] {
            let message = format!("OverflowError: f() argument 'x' is out of range for {ty}: {text}");
            assert_eq!(taken(ty, text), Err(message));
        }
    }
    row(
        "u8",
        &[("true", Val::U8(1)), ("false", Val::U8(0)), ("-0", Val::U8(0))],
        &[],
        &[
            ("2.0", "TypeError: ' must be int, not float"),
            ("1e2", "TypeError: ' must be int, not float"),
            (r#""1""#, "TypeError: ' must be int, not str"),
            ("[1]", "TypeError: ' must be int, not list"),
        ],
    );
    assert_eq!(given("u64", Val::U64(u64::MAX)).unwrap(), "18446744073709551615");
}

#[test]
fn row_floats() {
    let huge = format!("1{}", "0".repeat(308));
    let too_huge = format!("1{}", "0".repeat(309));
    row(
        "f64",
        &[
            ("2.5", Val::Float64(2.5)),
            ("2", Val::Float64(2.0)),
            ("-1e-3", Val::Float64(-0.001)),
            ("true", Val::Float64(1.0)),
            ("9007199254740993", Val::Float64(9_007_199_254_740_992.0)),
            (&huge, Val::Float64(1e308)),
        ],
        &[
            (Val::Float64(2.0), "2.0"),
            (Val::Float64(0.1), "0.1"),
            (Val::Float64(-0.0), "-0.0"),
            (Val::Float64(1.0 / 3.0), "0.3333333333333333"),
        ],
        &[
            (r#""2.5""#, "TypeError: ' must be float, not str"),
            ("1e400", "OverflowError: ' is out of range for f64: 1e400"),
            (&too_huge, &format!("OverflowError: ' is out of range for f64: 1{}...", "0".repeat(79))),
        ],
    );
    row(
        "f32",
        &[("0.1", Val::Float32(0.1)), ("false", Val::Float32(0.0))],
        &[(Val::Float32(0.1), "0.1"), (Val::Float32(3.0), "3.0")],
        &[("1e39", "OverflowError: ' is out of range for f32: 1e39")],
    );
    for value in [1e21, 1e-7, 1e300, f64::MIN_POSITIVE, f64::MAX] {
        let text = given("f64", Val::Float64(value)).unwrap();
        assert_eq!(text.parse(), Ok(value));
        assert!(text.contains(['.', 'e']), "{text} would be an int in Python");
    }
}

#[test]
fn row_floats_that_are_not_finite() {
    let refused = "kombu.exceptions.EncodeError: Out of range float values are not JSON compliant: ";
    for (ty, value, name) in [
        ("f64", Val::Float64(f64::NAN), "nan"),
        ("f64", Val::Float64(f64::INFINITY), "inf"),
        ("f32", Val::Float32(f32::NEG_INFINITY), "-inf"),
        ("option<f64>", some(Val::Float64(f64::NAN)), "nan"),
        ("list<f32>", Val::List(vec![Val::Float32(f32::NAN)]), "nan"),
        ("result<f64>", Val::Result(Ok(Some(Box::new(Val::Float64(f64::NAN))))), "nan"),
    ] {
        assert_eq!(given(ty, value), Err(format!("{refused}{name}")));
    }
}

#[test]
fn row_char() {
    row(
        "char",
        &[(r#""ß""#, Val::Char('ß')), (r#""\ud83d\ude00""#, Val::Char('😀'))],
        &[(Val::Char('"'), r#""\"""#)],
        &[
            (r#""ab""#, "TypeError: ' must be a single character, not a str of length 2"),
            (r#""""#, "TypeError: ' must be a single character, not a str of length 0"),
            ("97", "TypeError: ' must be str, not int"),
        ],
    );
}

#[test]
fn row_string() {
    row(
        "string",
        &[(r#""""#, string("")), (r#""a\n\u00e9\"""#, string("a\né\""))],
        &[(string("a\né\"\u{0}"), r#""a\né\"\u0000""#)],
        &[
            ("1", "TypeError: ' must be str, not int"),
            (r#"{"a": 1}"#, "TypeError: ' must be str, not dict"),
            (r#"{"__type__": "uuid", "__value__": {"hex": "0"}}"#, "TypeError: ' must be str, not UUID"),
            (
                r#"{"__type__": "datetime", "__value__": "2026-01-01"}"#,
                "TypeError: ' must be str, not datetime.datetime",
            ),
            (r#""\ud800""#, "ValueError: ' has a lone surrogate in it, which is no text"),
            (r#""a\udc00b""#, "ValueError: ' has a lone surrogate in it, which is no text"),
        ],
    );
}

#[test]
fn row_json() {
    for text in ["null", "1e400", r#"{"b": [1, 2.0], "a": "\ud800"}"#, "123456789012345678901234567890"] {
        assert_eq!(taken("json", text), Ok(string(text)), "untouched");
        assert_eq!(given("json", string(text)).as_deref(), Ok(text), "untouched");
    }
    assert_eq!(given("list<json>", Val::List(vec![string(" {} "), string("1")])).as_deref(), Ok("[{},1]"));
    let broken = given("list<option<json>>", Val::List(vec![some(string("{"))])).unwrap_err();
    assert!(broken.starts_with("kombu.exceptions.EncodeError: the task gave text that is not JSON"));
}

#[test]
fn row_bytes() {
    let bytes = |bytes: &[u8]| Val::List(bytes.iter().map(|byte| Val::U8(*byte)).collect());
    row(
        "list<u8>",
        &[
            ("[0, 255]", bytes(&[0, 255])),
            ("[]", bytes(&[])),
            (r#""é""#, bytes("é".as_bytes())),
            (r#"{"__type__": "bytes", "__value__": "hi\n"}"#, bytes(b"hi\n")),
            (r#"{"__type__": "base64", "__value__": "//4="}"#, bytes(&[255, 254])),
        ],
        &[
            (bytes(b"hi\n"), r#"{"__type__":"bytes","__value__":"hi\n"}"#),
            (bytes(&[255, 254]), r#"{"__type__":"base64","__value__":"//4="}"#),
        ],
        &[
            ("[1, 256]", "OverflowError: [1]' is out of range for u8: 256"),
            ("1.5", "TypeError: ' must be bytes, not float"),
            (r#"{"a": 1}"#, "TypeError: ' must be bytes, not dict"),
            (
                r#"{"__type__": "decimal", "__value__": "1"}"#,
                "TypeError: ' must be bytes, not decimal.Decimal",
            ),
            (r#"{"__type__": "base64", "__value__": "!"}"#, "ValueError: ' is marked as base64 and is not"),
        ],
    );
}

#[test]
fn row_list() {
    row(
        "list<s8>",
        &[("[1, -2]", Val::List(vec![Val::S8(1), Val::S8(-2)])), ("[]", Val::List(vec![]))],
        &[(Val::List(vec![Val::S8(1), Val::S8(-2)]), "[1,-2]"), (Val::List(vec![]), "[]")],
        &[
            (r#"[1, "2"]"#, "TypeError: [1]' must be int, not str"),
            ("{}", "TypeError: ' must be list, not dict"),
        ],
    );
}

#[test]
fn row_tuple() {
    let pair = Val::Tuple(vec![Val::Bool(true), string("a")]);
    row(
        "tuple<bool, string>",
        &[(r#"[true, "a"]"#, pair.clone())],
        &[(pair, r#"[true,"a"]"#)],
        &[
            ("[true]", "ValueError: ' must have 2 items, not 1"),
            ("[true, 1]", "TypeError: [1]' must be str, not int"),
            ("true", "TypeError: ' must be tuple, not bool"),
        ],
    );
}

#[test]
fn row_option() {
    row(
        "option<f64>",
        &[("null", Val::Option(None)), ("1", some(Val::Float64(1.0)))],
        &[(Val::Option(None), "null"), (some(Val::Float64(1.0)), "1.0")],
        &[(r#""a""#, "TypeError: ' must be float, not str")],
    );
}

#[test]
fn row_result() {
    let ok = |value: Option<Val>| Val::Result(Ok(value.map(Box::new)));
    let err = |value: Option<Val>| Val::Result(Err(value.map(Box::new)));
    row(
        "tuple<result<u8, string>>",
        &[
            (r#"[{"ok": 1}]"#, Val::Tuple(vec![ok(Some(Val::U8(1)))])),
            (r#"[{"err": "e"}]"#, Val::Tuple(vec![err(Some(string("e")))])),
        ],
        &[
            (Val::Tuple(vec![ok(Some(Val::U8(1)))]), r#"[{"ok":1}]"#),
            (Val::Tuple(vec![err(Some(string("e")))]), r#"[{"err":"e"}]"#),
        ],
        &[
            (r#"[{"err": 1}]"#, "TypeError: [0].err' must be str, not int"),
            ("[{}]", "ValueError: [0]' must have one of the keys 'ok' and 'err' and no other"),
            (r#"[{"no": 1}]"#, "ValueError: [0]' must be one of 'ok', 'err', not 'no'"),
            ("[1]", "TypeError: [0]' must be dict, not int"),
        ],
    );
    row(
        "tuple<result>",
        &[(r#"[{"ok": null}]"#, Val::Tuple(vec![ok(None)]))],
        &[(Val::Tuple(vec![err(None)]), r#"[{"err":null}]"#)],
        &[(r#"[{"ok": 1}]"#, "TypeError: [0].ok' must be None, not int")],
    );
}

#[test]
fn row_record() {
    let item = record(&[("price", Val::Float64(1.0)), ("item-no", some(Val::U32(7)))]);
    let plain = record(&[("price", Val::Float64(1.0)), ("item-no", Val::Option(None))]);
    row(
        "item",
        &[
            (r#"{"item_no": 7, "price": 1}"#, item.clone()),
            (r#"{"price": 1}"#, plain.clone()),
            (r#"{"price": "repeated", "price": 1, "item_no": null}"#, plain.clone()),
        ],
        &[(item, r#"{"price":1.0,"item_no":7}"#), (plain, r#"{"price":1.0,"item_no":null}"#)],
        &[
            ("{}", "TypeError: ' is missing the key 'price'"),
            (r#"{"price": 1, "item-no": 7}"#, "TypeError: ' has an unexpected key 'item-no'"),
            (r#"{"price": null}"#, "TypeError: .price' must be float, not NoneType"),
            ("[1]", "TypeError: ' must be dict, not list"),
            (r#"{"\ud800": 1}"#, "ValueError: ' has a lone surrogate in it, which is no text"),
        ],
    );
    row(
        "order",
        &[],
        &[],
        &[(
            r#"{"items": [{"price": 1}, {"price": 1}, {"price": "1"}]}"#,
            "TypeError: .items[2].price' must be float, not str",
        )],
    );
}

#[test]
fn row_variant() {
    row(
        "shape",
        &[
            (r#""unit_square""#, case("unit-square", None)),
            (r#"{"circle": 2}"#, case("circle", Some(Val::Float64(2.0)))),
        ],
        &[
            (case("unit-square", None), r#""unit_square""#),
            (case("poly-line", Some(Val::List(vec![Val::S8(1)]))), r#"{"poly_line":[1]}"#),
        ],
        &[
            (
                r#""square""#,
                "ValueError: ' must be one of 'unit_square', 'circle', 'poly_line', not 'square'",
            ),
            (r#""circle""#, "TypeError: ' must be {'circle': ...}, a case that carries a value"),
            (r#"{"unit_square": 1}"#, "TypeError: ' must be just 'unit_square', a case that carries nothing"),
            (r#"{"poly_line": [1, "a"]}"#, "TypeError: .poly_line[1]' must be int, not str"),
            ("{}", "ValueError: ' must have one key, the name of its case"),
            ("1", "TypeError: ' must be str or dict, not int"),
        ],
    );
}

#[test]
fn row_enum() {
    row(
        "colour",
        &[(r#""dark_red""#, Val::Enum("dark-red".to_owned()))],
        &[(Val::Enum("dark-red".to_owned()), r#""dark_red""#)],
        &[
            (r#""dark-red""#, "ValueError: ' must be one of 'dark_red', 'blue', not 'dark-red'"),
            ("0", "TypeError: ' must be str, not int"),
        ],
    );
}

#[test]
fn row_flags() {
    let both = Val::Flags(vec!["may-write".to_owned(), "may-read".to_owned()]);
    row(
        "access",
        &[(r#"["may_write", "may_read", "may_write"]"#, both.clone()), ("[]", Val::Flags(vec![]))],
        &[(both, r#"["may_write","may_read"]"#)],
        &[
            (r#"["fly"]"#, "ValueError: [0]' must be one of 'may_read', 'may_write', not 'fly'"),
            ("[1]", "TypeError: [0]' must be str, not int"),
            (r#""may_read""#, "TypeError: ' must be list, not str"),
        ],
    );
}

#[test]
fn row_no_result() {
    assert_eq!(result(&signature("()"), &[], MOST).unwrap().get(), "null");
}

#[test]
fn memory_for_arguments_is_bounded_although_short_text_stands_for_many_values() {
    let fields: String = (0..1000).map(|i| format!("field{i}: option<u8>,")).collect();
    let world = format!("record wide {{ {fields} }} export f: func(x: list<wide>);");
    let signature = super::super::super::signature::tests::exports(&world).functions.remove(0).signature;
    let objects = format!("[[{}{{}}]]", "{},".repeat(1000));
    let refused = arguments(&signature, &json(&objects), &json("{}")).unwrap_err();
    let told = told(refused);
    assert!(told.starts_with("ValueError: f() argument 'x["), "{told}");
    assert!(told.ends_with("brings the arguments to more than 64 MiB in memory"), "{told}");
}
