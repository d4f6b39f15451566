//! Commands: arguments on standard input, the result on standard output.

use super::*;

#[tokio::test]
async fn a_command_reads_its_arguments_and_prints_its_result() {
    let echo = command(
        "",
        "(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 9999))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $print (i32.const 1) (i32.const 1024) (i32.load (i32.const 8)))",
    );
    let sandbox = sandbox();
    let program = sandbox.load(&Tenant::DEFAULT, "make-echo.wasm", &wat::parse_str(&echo).unwrap()).unwrap();
    assert_eq!(program.shape(), Shape::Command);
    assert_eq!(program.functions()[0].signature().to_string(), "make_echo(*args, **kwargs)");
    let run = program.run(0, call_with(json!([1, "a"]), json!({"b": null}))).await;
    assert_eq!(value(&run), json!({"args": [1, "a"], "kwargs": {"b": null}}));
}

#[tokio::test]
async fn a_command_may_print_nothing_or_end_its_line_or_exit_with_zero() {
    for (data, body, expected) in [
        ("", "", Value::Null),
        ("7\\n", "(call $print (i32.const 1) (i32.const 1024) (i32.const 2))", json!(7)),
        (
            "8",
            "(call $print (i32.const 1) (i32.const 1024) (i32.const 1)) (call $exit (i32.const 0))",
            json!(8),
        ),
    ] {
        assert_eq!(value(&run(&command(data, body), json!([])).await), expected);
    }
}

#[tokio::test]
async fn a_command_that_does_not_print_json_or_exits_otherwise_fails() {
    let say = "(call $print (i32.const 2) (i32.const 1024) (i32.const 4))";
    let failed = run(&command("boo!", &format!("{say} (call $exit (i32.const 3))")), json!([])).await;
    assert_eq!(exception(&failed), "builtins.RuntimeError: exit code 3");
    let traceback = failure(&failed).traceback.as_ref().unwrap();
    assert!(traceback.contains("Captured output:\n    boo!\n"), "{traceback}");
    assert_eq!(failed.output.tail, "boo!");

    let print = "(call $print (i32.const 1) (i32.const 1024) (i32.const 4))";
    for data in ["nope", "\\ff\\ff\\ff\\ff"] {
        let garbled = run(&command(data, print), json!([])).await;
        assert!(exception(&garbled).starts_with("kombu.exceptions.EncodeError: "), "{}", exception(&garbled));
    }

    let flood = "(local $n i32) (loop
        (call $print (i32.const 1) (i32.const 1024) (i32.const 65536))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $n) (i32.const 100))))";
    let flooded = run(&command("x", flood), json!([])).await;
    assert_eq!(
        exception(&flooded),
        "kombu.exceptions.EncodeError: result of 6553600 bytes; the limit is 1048576 (--max-result-size)"
    );
}

#[tokio::test]
async fn a_command_asks_for_a_retry_by_exit_code_75() {
    let say = |text: &str| format!("(call $print (i32.const 2) (i32.const 1024) (i32.const {}))", text.len());
    for (text, code, expected) in [
        ("busy", 75, Some(Asked::Retry { delay: None, max: None, explained: true })),
        ("    ", 75, Some(Asked::Retry { delay: None, max: None, explained: false })),
        ("", 75, Some(Asked::Retry { delay: None, max: None, explained: false })),
        ("busy", 74, None),
        ("busy", 1, None),
    ] {
        let body = format!("{} (call $exit (i32.const {code}))", say(text));
        let failed = run(&command(text, &body), json!([])).await;
        assert_eq!(exception(&failed), format!("builtins.RuntimeError: exit code {code}"));
        assert_eq!(failed.asked, expected, "{text:?} {code}");
    }
    let reactor = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (func (export "f") (call $exit (i32.const 75))))"#;
    assert_eq!(run(reactor, json!([])).await.asked, None, "only a command speaks by its exit code");
}
