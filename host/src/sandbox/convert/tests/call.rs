//! Binding, against what CPython 3.11 and 3.13 say of `def f(...)` with the same parameters.

use super::*;

/// Runs a call; `Ok` has the values, `Err` the message of its TypeError.
fn call(params: &str, args: &str, kwargs: &str) -> Result<Vec<Val>, String> {
    arguments(&signature(params), &json(args), &json(kwargs)).map_err(|exception| {
        assert_eq!((&*exception.module, &*exception.class), ("builtins", "TypeError"));
        exception.message()
    })
}

#[test]
fn misfitting_calls_raise_what_cpython_raises_word_for_word() {
    const X: &str = "(x: json)";
    const XY: &str = "(x: json, y: json)";
    const X_OR_Y: &str = "(x: json, y: option<json>)";
    const REST: &str = "(x: json, args: list<json>)";
    const NAMED: &str = "(x: json, kwargs: list<tuple<string, json>>)";
    for (params, args, kwargs, message) in [
        (XY, "[1]", "{}", "f() missing 1 required positional argument: 'y'"),
        (XY, "[]", "{}", "f() missing 2 required positional arguments: 'x' and 'y'"),
        (
            "(x: json, y: json, z: json)",
            "[]",
            "{}",
            "f() missing 3 required positional arguments: 'x', 'y', and 'z'",
        ),
        (
            "(w: json, x: json, y: json, z: json)",
            "[]",
            "{}",
            "f() missing 4 required positional arguments: 'w', 'x', 'y', and 'z'",
        ),
        (XY, "[1, 2, 3, 4]", "{}", "f() takes 2 positional arguments but 4 were given"),
        (X_OR_Y, "[1, 2, 3]", "{}", "f() takes from 1 to 2 positional arguments but 3 were given"),
        ("(x: option<json>)", "[1, 2]", "{}", "f() takes from 0 to 1 positional arguments but 2 were given"),
        (X, "[1, 2]", "{}", "f() takes 1 positional argument but 2 were given"),
        ("()", "[1]", "{}", "f() takes 0 positional arguments but 1 was given"),
        ("()", "[1, 2]", "{}", "f() takes 0 positional arguments but 2 were given"),
        (XY, "[1, 2]", r#"{"z": 3}"#, "f() got an unexpected keyword argument 'z'"),
        (XY, "[1]", r#"{"x": 3}"#, "f() got multiple values for argument 'x'"),
        (XY, "[]", r#"{"y": 2}"#, "f() missing 1 required positional argument: 'x'"),
        // Of two errors, the one that CPython finds first.
        (XY, "[1, 2, 3]", r#"{"z": 3}"#, "f() got an unexpected keyword argument 'z'"),
        (XY, "[1, 2, 3]", r#"{"x": 3}"#, "f() got multiple values for argument 'x'"),
        (XY, "[]", r#"{"z": 3}"#, "f() got an unexpected keyword argument 'z'"),
        (XY, "[]", r#"{"a": 1, "x": 2, "b": 2}"#, "f() got an unexpected keyword argument 'a'"),
        (REST, "[]", "{}", "f() missing 1 required positional argument: 'x'"),
        (NAMED, "[1, 2]", r#"{"z": 2}"#, "f() takes 1 positional argument but 2 were given"),
        (NAMED, "[1]", r#"{"x": 2}"#, "f() got multiple values for argument 'x'"),
        (X_OR_Y, "[]", "{}", "f() missing 1 required positional argument: 'x'"),
    ] {
        assert_eq!(
            call(params, args, kwargs),
            Err(message.to_owned()),
            "f{params} called with {args} {kwargs}"
        );
    }
}

#[test]
fn arguments_bind_by_place_and_by_name() {
    let (one, two) = (Val::U8(1), Val::U8(2));
    for (args, kwargs) in
        [("[1, 2]", "{}"), ("[1]", r#"{"how_far": 2}"#), ("[]", r#"{"how_far": 2, "x": 9, "x": 1}"#)]
    {
        assert_eq!(call("(x: u8, how-far: u8)", args, kwargs), Ok(vec![one.clone(), two.clone()]));
    }
}

#[test]
fn an_option_may_be_left_out() {
    let params = "(x: option<u8>, y: option<u8>)";
    assert_eq!(call(params, "[]", "{}"), Ok(vec![Val::Option(None), Val::Option(None)]));
    assert_eq!(call(params, "[null]", r#"{"y": 2}"#), Ok(vec![Val::Option(None), some(Val::U8(2))]));
}

#[test]
fn further_arguments_go_to_args_and_kwargs() {
    let params = "(x: u8, args: list<json>, kwargs: list<tuple<string, json>>)";
    let pair = |name, value| Val::Tuple(vec![string(name), string(value)]);
    assert_eq!(
        call(params, r#"[1, [2.0], "a"]"#, r#"{"args": null, "é\n": {"a": 1}}"#),
        Ok(vec![
            Val::U8(1),
            Val::List(vec![string("[2.0]"), string(r#""a""#)]),
            Val::List(vec![pair("args", "null"), pair("é\n", r#"{"a": 1}"#)]),
        ])
    );
    assert_eq!(call(params, "[1]", "{}"), Ok(vec![Val::U8(1), Val::List(vec![]), Val::List(vec![])]));
}

#[test]
fn hostile_calls_are_refused_with_short_messages() {
    let rest = "(args: list<json>)";
    let many = |n: usize| format!("[{}0]", "0,".repeat(n - 1));
    assert_eq!(call(rest, &many(1000), "{}").map(|values| values.len()), Ok(1));
    assert_eq!(
        call(rest, &many(1001), "{}"),
        Err("f() takes at most 1000 positional arguments but 1001 were given".to_owned())
    );
    let named: Vec<_> = (0..1001).map(|i| format!(r#""k{i}":0"#)).collect();
    assert_eq!(
        call("(kwargs: list<tuple<string, json>>)", "[]", &format!("{{{}}}", named.join(","))),
        Err("f() takes at most 1000 keyword arguments but 1001 were given".to_owned())
    );
    let long = format!(r#"{{"{}": 1}}"#, "é".repeat(10_000));
    assert_eq!(
        call("()", "[]", &long),
        Err(format!("f() got an unexpected keyword argument '{}...'", "é".repeat(80)))
    );
    assert_eq!(call("()", "1", "{}"), Err("f() argument after * must be an iterable".to_owned()));
    assert_eq!(call("()", "[]", "[]"), Err("f() argument after ** must be a mapping".to_owned()));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(call("(x: u8)", &deep, "{}"), Err("f() argument 'x' must be int, not list".to_owned()));
    let surrogate = arguments(&signature("()"), &json("[]"), &json(r#"{"\ud800": 1}"#)).unwrap_err();
    assert_eq!(told(surrogate), "ValueError: f() got a keyword argument with a lone surrogate in its name");
}

#[test]
fn the_engine_takes_the_values_that_are_made() {
    let params = "(a: bool, b: order, c: list<shape>, d: colour, e: access, f: list<u8>, g: option<f64>,
        h: tuple<result<u8, string>, result>, i: char, j: f32, k: list<s64>, args: list<json>,
        kwargs: list<tuple<string, json>>)";
    let args = r#"[true, {"items": [{"price": 1}]}, ["unit_square", {"circle": 1}], "dark_red", ["may_write"], "bytes",
        null, [{"err": "e"}, {"ok": null}], "c", 1.5, [-1], "more"]"#;
    let values = arguments(&signature(params), &json(args), &json(r#"{"name": {}}"#)).unwrap();

    let world = format!("package acme:app; world app {{ {TYPES} export f: func{params}; }}");
    let engine = wasmtime::Engine::default();
    let bytes = super::super::super::signature::tests::component(&world);
    let component = wasmtime::component::Component::new(&engine, bytes).unwrap();
    let mut store = wasmtime::Store::new(&engine, ());
    let mut linker = wasmtime::component::Linker::new(&engine);
    linker.define_unknown_imports_as_traps(&component).unwrap();
    let instance = linker.instantiate(&mut store, &component).unwrap();
    let function = instance.get_func(&mut store, "f").unwrap();
    let error = function.call(&mut store, &values, &mut []).unwrap_err();
    // The guest traps when it is entered; values of a wrong type are refused before that.
    assert_eq!(error.downcast_ref(), Some(&wasmtime::Trap::UnreachableCodeReached), "{error:?}");
}

#[test]
fn a_bad_argument_is_named() {
    let params = "(x: f64, items: list<order>, y: option<s32>)";
    for (args, kwargs, expected) in [
        (r#"["a", []]"#, "{}", Some("x")),
        (r#"[1, [{"items": [{"price": "a"}]}]]"#, "{}", Some("items[0].items[0].price")),
        ("[1, []]", r#"{"y": 1.5}"#, Some("y")),
        ("[1]", "{}", Some("items")),
        ("[]", "{}", Some("x")),
        ("[1, []]", r#"{"x": 2}"#, Some("x")),
        ("[1, []]", r#"{"z": 2}"#, Some("z")),
        ("[1, [], 1, 1]", "{}", None),
    ] {
        let bad = check(&signature(params), &json(args), &json(kwargs)).unwrap_err();
        assert_eq!(bad.parameter.as_deref(), expected, "{args} {kwargs}: {:?}", bad.exception);
    }
    assert_eq!(check(&signature(params), &json("[1, []]"), &json("{}")), Ok(()));
}
