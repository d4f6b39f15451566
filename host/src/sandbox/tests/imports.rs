//! What a guest can ask of the host: its facts, its soft limit, its progress.

use super::*;

/// A component that exports `f` of type `ty` and imports one function, `interface#name`, whose declaration is
/// `import`. The core module within, of which `core` is the text, knows the import as `"host" "f"`.
fn importing(import: &str, declaration: &str, core: &str, ty: &str) -> String {
    let (interface, name) = import.split_once('#').unwrap();
    format!(
        r#"(component
            (import "{interface}" (instance $i {declaration}))
            (alias export $i "{name}" (func $host))
            (core module $libc (memory (export "memory") 1) (global $next (mut i32) (i32.const 4096))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (global.get $next)
                    (global.set $next (i32.add (global.get $next) (i32.add (local.get 3) (i32.const 8))))))
            (core instance $libc (instantiate $libc))
            (core func $host (canon lower (func $host)
                (memory $libc "memory") (realloc (func $libc "realloc"))))
            (core module $m (import "libc" "memory" (memory 1)) {core})
            (core instance $m (instantiate $m (with "libc" (instance $libc))
                (with "host" (instance (export "f" (func $host))))))
            (func (export "f") {ty} (canon lift (core func $m "f")
                (memory $libc "memory") (realloc (func $libc "realloc")))))"#
    )
}

/// A component whose `f` returns a bool and does `core`, which may call `cancelled`.
fn asking(core: &str) -> String {
    importing(
        "host:tasks/context@0.1.0#cancelled",
        r#"(export "cancelled" (func (result bool)))"#,
        &format!(
            r#"(import "host" "f" (func $cancelled (result i32))) (func (export "f") (result i32) {core})"#
        ),
        "(result bool)",
    )
}

fn soft(soft: Duration, hard: Duration) -> Call {
    Call { limits: TimeLimits { hard, soft: Some(soft), cpu: PLENTY }, ..call(json!([])) }
}

#[tokio::test]
async fn a_run_that_asks_ends_itself_after_its_soft_limit() {
    let waits = load(&asking("(loop (br_if 0 (i32.eqz (call $cancelled)))) (i32.const 1)"));
    let run = waits.run(0, soft(SHORT, PLENTY)).await;
    assert_eq!(value(&run), json!(true));
    assert!(run.wall >= SHORT);
}

#[tokio::test]
async fn a_run_that_never_asked_ends_at_its_soft_limit() {
    let deaf = load(&asking("(loop (br 0)) (i32.const 1)"));
    let run = deaf.run(0, soft(SHORT, PLENTY)).await;
    assert_eq!(exception(&run), "billiard.exceptions.SoftTimeLimitExceeded: ");
    assert!(failure(&run).exception.args.is_empty());
}

#[tokio::test]
async fn a_run_that_asked_and_does_not_end_is_stopped_at_its_hard_limit() {
    let stubborn = load(&asking("(drop (call $cancelled)) (loop (br 0)) (i32.const 1)"));
    let run = stubborn.run(0, soft(SHORT, SHORT * 3)).await;
    assert_eq!(exception(&run), "billiard.exceptions.TimeLimitExceeded: 0.3");
    let asked_in_time = load(&asking("(call $cancelled)")).run(0, soft(PLENTY / 2, PLENTY)).await;
    assert_eq!(value(&asked_in_time), json!(false));
}

/// A component whose `f` sets the state `state` with the meta `meta` and returns whether that was refused.
fn progressing(state: &str, meta: &str) -> String {
    let (state_length, meta_length) = (state.len(), meta.len());
    let (data, meta) = (state.to_owned() + meta, 64 + state_length);
    importing(
        "host:tasks/progress@0.1.0#update",
        r#"(export "update" (func (param "state" string) (param "meta" string) (result (result (error string)))))"#,
        &format!(
            r#"(import "host" "f" (func $update (param i32 i32 i32 i32 i32)))
            (data (i32.const 64) {data:?})
            (func (export "f") (result i32)
                (call $update (i32.const 64) (i32.const {state_length}) (i32.const {meta}) (i32.const {meta_length})
                    (i32.const 16))
                (i32.load8_u (i32.const 16)))"#
        ),
        "(result bool)",
    )
}

#[tokio::test]
async fn progress_reaches_the_sink_unless_it_is_refused() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink: ProgressSink = Arc::new({
        let seen = Arc::clone(&seen);
        move |state, meta| {
            let seen = Arc::clone(&seen);
            Box::pin(async move {
                tokio::task::yield_now().await;
                let mut seen = seen.lock().unwrap();
                seen.push(format!("{state} {}", meta.get()));
                if state == "BROKEN" { Err("the store is away".to_owned()) } else { Ok(()) }
            })
        }
    });
    for (state, meta, refused) in [
        ("PROGRESS", "[1]", false),
        ("BROKEN", "[2]", true),
        ("SUCCESS", "[3]", true),
        ("PROGRESS", "[4", true),
    ] {
        let call = Call { progress: Arc::clone(&sink), ..call(json!([])) };
        let run = load(&progressing(state, meta)).run(0, call).await;
        assert_eq!(value(&run), json!(refused), "{state} {meta}");
    }
    assert_eq!(*seen.lock().unwrap(), ["PROGRESS [1]", "BROKEN [2]"]);
}

#[tokio::test]
async fn a_guest_reads_the_facts_of_its_run() {
    for (name, expected) in [("headers", json!({"lang": "py"})), ("properties", json!({"priority": 3}))] {
        let program = load(&importing(
            &format!("host:tasks/context@0.1.0#{name}"),
            &format!(r#"(export "{name}" (func (result string)))"#),
            r#"(import "host" "f" (func $get (param i32)))
            (func (export "f") (result i32) (call $get (i32.const 16)) (i32.const 16))"#,
            "(result string)",
        ));
        assert_eq!(program.imports(), ["host:tasks/context@0.1.0"]);
        let text = value(&program.run(0, call(json!([]))).await);
        assert_eq!(serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap(), expected);
    }
}

/// A component whose `f` calls `name` of `host:tasks/delivery`, of the WIT type `ty` and the core type `core`, does
/// `body`, which puts the arguments where they belong, and then fails if `fails`.
fn delivering(name: &str, ty: &str, core: &str, body: &str, fails: bool) -> String {
    let end = if fails { "unreachable" } else { "" };
    importing(
        &format!("host:tasks/delivery@0.1.0#{name}"),
        &format!(r#"(export "{name}" (func {ty}))"#),
        &format!(r#"(import "host" "f" (func $ask {core})) (func (export "f") {body} {end})"#),
        "",
    )
}

#[tokio::test]
async fn what_a_failing_run_asked_for_last_is_told() {
    let option = r#"(param "delay" (option u64)) (param "max-retries" (option u32))"#;
    let retry = |arguments: &str| {
        let body = format!("(call $ask {arguments})");
        ("retry", option, "(param i32 i64 i32 i32)", body)
    };
    let other = |name, arguments: &str, calls| match name {
        "ignore" => (name, "", "", "(call $ask)".to_owned()),
        _ => {
            let call = format!("(call $ask (i32.const {arguments}))");
            (name, r#"(param "requeue" bool)"#, "(param i32)", call + calls)
        }
    };
    let asks = |delay, max| Some(Asked::Retry { delay, max, explained: true });
    for ((name, ty, core, body), expected) in [
        (retry("(i32.const 0) (i64.const 9) (i32.const 0) (i32.const 9)"), asks(None, None)),
        (
            retry("(i32.const 1) (i64.const 1500) (i32.const 1) (i32.const 7)"),
            asks(Some(Duration::from_millis(1500)), Some(7)),
        ),
        (
            retry("(i32.const 1) (i64.const -1) (i32.const 1) (i32.const 0)"),
            asks(Some(LONGEST_DELAY), Some(0)),
        ),
        (other("ignore", "", ""), Some(Asked::Ignore)),
        (other("reject", "1", ""), Some(Asked::Reject { requeue: true })),
        (other("reject", "1", "(call $ask (i32.const 0))"), Some(Asked::Reject { requeue: false })),
    ] {
        let failed = load(&delivering(name, ty, core, &body, true)).run(0, call(json!([]))).await;
        assert_eq!(exception(&failed), "builtins.RuntimeError: unreachable code reached");
        assert_eq!(failed.asked, expected, "{name} {body}");
        let succeeded = load(&delivering(name, ty, core, &body, false)).run(0, call(json!([]))).await;
        assert_eq!(value(&succeeded), Value::Null);
        assert_eq!(succeeded.asked, None, "{name} {body}");
    }
    assert_eq!(run(&doing("unreachable"), json!([])).await.asked, None);
}

#[tokio::test]
async fn what_a_stopped_run_asked_for_is_told_too() {
    let ty = r#"(param "requeue" bool)"#;
    let body = "(call $ask (i32.const 0)) (loop (br 0))";
    let program = load(&delivering("reject", ty, "(param i32)", body, true));
    let stopped = program.run(0, call_within(SHORT)).await;
    assert_eq!(exception(&stopped), "billiard.exceptions.TimeLimitExceeded: 0.1");
    assert_eq!(stopped.asked, Some(Asked::Reject { requeue: false }));
}
