//! Whole runs of small guests written as WebAssembly text.

use std::sync::Mutex;

use serde_json::{Value, json, value::to_raw_value};

use super::*;
use crate::task::{Exception, Failure, Limits, TaskId, TaskName};

/// Long enough for any of these guests on any machine; a test that ends by it has failed.
const PLENTY: Duration = Duration::from_secs(60);
/// The limit that guests are meant to run into.
const SHORT: Duration = Duration::from_millis(100);

fn sandbox() -> Sandbox {
    Sandbox::new(Options { slots: 4, ..Options::default() }).unwrap()
}

fn load(wat: &str) -> Program {
    try_load(wat).unwrap()
}

fn try_load(wat: &str) -> Result<Program, LoadError> {
    sandbox().load("app.wasm", &wat::parse_str(wat).unwrap())
}

fn call(args: Value) -> Call {
    call_with(args, json!({}))
}

fn call_with(args: Value, kwargs: Value) -> Call {
    let json = |value: Value| to_raw_value(&value).unwrap();
    let id = TaskId::new("some-id").unwrap();
    let request = Request {
        id: id.clone(),
        task: TaskName::new("app.f").unwrap(),
        shadow: None,
        args: json(args),
        kwargs: json(kwargs),
        embed: json(json!({})),
        retries: 2,
        eta: None,
        expires: None,
        limits: Limits::default(),
        ignore_result: false,
        root_id: id,
        parent_id: None,
        group_id: None,
        redelivered: false,
        headers: json(json!({"lang": "py"})),
        properties: json(json!({"priority": 3})),
    };
    let limits = TimeLimits { hard: PLENTY, soft: None };
    Call { request: Arc::new(request), limits, progress: Arc::new(|_, _| Box::pin(async { Ok(()) })) }
}

fn call_within(hard: Duration) -> Call {
    Call { limits: TimeLimits { hard, soft: None }, ..call(json!([])) }
}

/// Runs the only function of `wat`.
async fn run(wat: &str, args: Value) -> Run {
    load(wat).run(0, call(args)).await
}

fn value(run: &Run) -> Value {
    match &run.outcome {
        Outcome::Success(json) => serde_json::from_str(json.get()).unwrap(),
        other => panic!("not a success: {other:?}"),
    }
}

fn failure(run: &Run) -> &Failure {
    match &run.outcome {
        Outcome::Failure(failure) => failure,
        other => panic!("not a failure: {other:?}"),
    }
}

fn exception(run: &Run) -> String {
    let Exception { class, module, .. } = &failure(run).exception;
    format!("{module}.{class}: {}", failure(run).exception.message())
}

/// A function without parameters that does `body`.
fn doing(body: &str) -> String {
    format!(r#"(module (memory 1) (table 2 funcref) (func $inner {body}) (func (export "f") (call $inner)))"#)
}

/// A command that does `body`, with the functions of WASI that these tests need and a place to put strings.
fn command(data: &str, body: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff"
                (func $poll (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 4)
            (data (i32.const 1024) "{data}")
            (func $print (param $fd i32) (param $at i32) (param $length i32)
                (i32.store (i32.const 0) (local.get $at))
                (i32.store (i32.const 4) (local.get $length))
                (if (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))
                    (then unreachable)))
            (func (export "_start") {body}))"#
    )
}

#[tokio::test]
async fn a_core_module_of_numbers_offers_its_functions() {
    let program = load(
        r#"(module
            (func (export "divide") (param f64 f64) (result f64) (f64.div (local.get 0) (local.get 1)))
            (func (export "nothing"))
            (func (export "_private"))
            (func (export "no-thing"))
            (func (export "no_thing"))
            (func (export "vector") (result v128) (v128.const i64x2 0 0)))"#,
    );
    assert_eq!(program.shape(), Shape::Numbers);
    let names: Vec<&str> = program.functions().iter().map(Function::name).collect();
    assert_eq!(names, ["divide", "nothing", "no_thing"]);
    let skipped: Vec<&str> = program.skipped().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(skipped, ["_private", "no_thing", "vector"]);
    assert_eq!(program.digest().len(), 64);
    assert_eq!(value(&program.run(0, call(json!([1, 8]))).await), json!(0.125));
    assert_eq!(value(&program.run(1, call(json!([]))).await), Value::Null);
}

#[tokio::test]
async fn wrong_arguments_fail_without_running_the_guest() {
    let run = run(r#"(module (func (export "f") (param i32) unreachable))"#, json!([])).await;
    assert!(exception(&run).starts_with("builtins.TypeError: "), "{}", exception(&run));
    let traceback = failure(&run).traceback.as_ref().unwrap();
    assert_eq!(traceback.lines().count(), 3, "{traceback}");
}

#[tokio::test]
async fn a_trap_is_an_exception_with_a_traceback() {
    for (body, expected) in [
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", "ZeroDivisionError: division by zero"),
        ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", "OverflowError: integer overflow"),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "ValueError: invalid conversion to integer"),
        ("unreachable", "RuntimeError: unreachable code reached"),
        ("(call 0)", "RecursionError: maximum recursion depth exceeded"),
        ("(drop (i32.load (i32.const 65536)))", "RuntimeError: out of bounds memory access"),
        ("(call_indirect (i32.const 0))", "RuntimeError: uninitialized element"),
    ] {
        let run = run(&doing(body), json!([])).await;
        assert_eq!(exception(&run), format!("builtins.{expected}"));
        let traceback = failure(&run).traceback.as_ref().unwrap();
        let start = "Traceback (most recent call last):\n  File \"app.wasm\", in f\n";
        assert!(traceback.starts_with(start), "{traceback}");
        assert!(traceback.contains("  File \"app.wasm\", in inner\n"), "{traceback}");
        assert!(traceback.ends_with(&format!("{expected}\n")), "{traceback}");
    }
}

#[tokio::test]
async fn memory_over_the_limit_is_refused_and_called_a_memory_error() {
    let bomb =
        doing("(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable");
    let bombed = run(&bomb, json!([])).await;
    assert_eq!(exception(&bombed), "builtins.MemoryError: memory limit of 128 MiB exceeded");
    assert!(bombed.peak_memory <= 128 << 20 && bombed.peak_memory > 120 << 20, "{}", bombed.peak_memory);

    let modest = "(module (memory 1) (func (export \"f\") (result i32) (memory.grow (i32.const 4096))))";
    assert_eq!(value(&run(modest, json!([])).await), json!(-1), "a guest that takes a refusal well lives");

    let own_maximum = "(module (memory 1 2) (func (export \"f\")
        (if (i32.eq (memory.grow (i32.const 9)) (i32.const -1)) (then unreachable))))";
    let stopped = run(own_maximum, json!([])).await;
    assert_eq!(exception(&stopped), "builtins.RuntimeError: unreachable code reached");
}

#[tokio::test]
async fn a_guest_that_computes_for_ever_is_stopped_wherever_it_does() {
    let hour = "(i64.store (i32.const 24) (i64.const 3600000000000))";
    let sleep = "(drop (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200)))";
    for (what, wat) in [
        ("in a function", doing("(loop (br 0))")),
        (
            "in a start function",
            "(module (func $s (loop (br 0))) (start $s) (func (export \"f\")))".to_owned(),
        ),
        (
            "in an initializer",
            "(module (func (export \"_initialize\") (loop (br 0))) (func (export \"f\")))".to_owned(),
        ),
        ("in a tail call", "(module (func $f (export \"f\") (return_call $f)))".to_owned()),
        (
            "in a bulk operation",
            doing("(loop (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br 0))"),
        ),
        ("in a host call", command("", &format!("(i32.store8 (i32.const 8) (i32.const 0)) {hour} {sleep}"))),
        (
            "in host calls",
            command("x", "(loop (call $print (i32.const 2) (i32.const 1024) (i32.const 1)) (br 0))"),
        ),
    ] {
        let run = load(&wat).run(0, call_within(SHORT)).await;
        assert_eq!(exception(&run), "billiard.exceptions.TimeLimitExceeded: 0.1", "{what}");
        assert_eq!(failure(&run).traceback, None);
        assert!(run.wall >= SHORT);
    }
}

#[tokio::test]
async fn a_run_that_waits_uses_no_cpu_time() {
    let sleep = "(i64.store (i32.const 24) (i64.const 3600000000000))
        (drop (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200)))";
    let waited = load(&command("", sleep)).run(0, call_within(SHORT * 5)).await;
    assert!(waited.cpu < waited.wall / 2, "{:?} of {:?}", waited.cpu, waited.wall);
}

#[tokio::test]
async fn each_run_starts_from_nothing() {
    let program = load(
        r#"(module (memory 1) (global $runs (mut i32) (i32.const 0)) (func (export "f") (result i32)
            (global.set $runs (i32.add (global.get $runs) (i32.const 1)))
            (i32.store (i32.const 100) (i32.add (i32.load (i32.const 100)) (global.get $runs)))
            (i32.load (i32.const 100))))"#,
    );
    for _ in 0..10 {
        assert_eq!(value(&program.run(0, call(json!([]))).await), json!(1));
    }
}

#[tokio::test]
async fn the_wait_for_a_slot_counts_towards_the_limit() {
    let sandbox = Sandbox::new(Options { slots: 1, ..Options::default() }).unwrap();
    let wasm =
        wat::parse_str(r#"(module (func (export "spin") (loop (br 0))) (func (export "f")))"#).unwrap();
    let program = sandbox.load("app.wasm", &wasm).unwrap();
    let mut spinning = Box::pin(program.run(0, call(json!([]))));
    assert!(tokio::time::timeout(SHORT, &mut spinning).await.is_err(), "it holds the only slot now");
    let waited = program.run(1, call_within(SHORT)).await;
    assert_eq!(exception(&waited), "billiard.exceptions.TimeLimitExceeded: 0.1");
    assert_eq!(waited.wall, Duration::ZERO);

    drop(spinning);
    value(&program.run(1, call(json!([]))).await);
}

#[tokio::test]
async fn more_runs_than_slots_all_succeed() {
    let program = load(r#"(module (memory 1) (func (export "f") (result i32) (i32.const 7)))"#);
    let runs = (0..100).map(|_| {
        let program = program.clone();
        tokio::spawn(async move { value(&program.run(0, call(json!([]))).await) })
    });
    for run in runs.collect::<Vec<_>>() {
        assert_eq!(run.await.unwrap(), json!(7));
    }
}

#[tokio::test]
async fn a_command_reads_its_arguments_and_prints_its_result() {
    let echo = command(
        "",
        "(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 9999))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $print (i32.const 1) (i32.const 1024) (i32.load (i32.const 8)))",
    );
    let sandbox = sandbox();
    let program = sandbox.load("make-echo.wasm", &wat::parse_str(&echo).unwrap()).unwrap();
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
async fn a_guest_may_print_any_amount_and_the_end_is_kept() {
    let body = "(local $n i32) (loop
        (call $print (i32.const 2) (i32.const 1024) (i32.const 65536))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $n) (i32.const 100))))
        (call $print (i32.const 2) (i32.const 1024) (i32.const 3))";
    let run = run(&command("end", body), json!([])).await;
    assert_eq!(value(&run), Value::Null, "printing does not kill");
    assert!(run.output.tail.ends_with("end"));
    assert_eq!(run.output.dropped, 100 * 65536 + 3 - (64 << 10));
}

#[tokio::test]
async fn a_guest_has_no_files_no_environment_and_bounded_randomness() {
    let expect = |wrong: &str| format!("(if {wrong} (then unreachable))");
    for (what, body) in [
        ("no folder is open", expect("(i32.ne (call $prestat (i32.const 3) (i32.const 0)) (i32.const 8))")),
        (
            "the environment is empty",
            "(drop (call $environ (i32.const 0) (i32.const 4)))".to_owned()
                + &expect("(i32.load (i32.const 0))"),
        ),
        (
            "argv[0] is the task's name",
            "(drop (call $args (i32.const 0) (i32.const 100)))".to_owned()
                + &expect("(i64.ne (i64.load (i32.const 100)) (i64.const 0x662e707061))"),
        ),
        ("there is randomness", expect("(call $random (i32.const 0) (i32.const 100))")),
    ] {
        assert_eq!(value(&run(&command("", &body), json!([])).await), Value::Null, "{what}");
    }
}

#[tokio::test]
async fn a_guest_can_import_the_network_but_not_use_it() {
    let denied = run(
        r#"(component
            (import "wasi:sockets/network@0.2.0" (instance $net
                (export "network" (type (sub resource)))
                (type $e (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
                    "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit"
                    "address-not-bindable" "address-in-use" "remote-unreachable" "connection-refused"
                    "connection-reset" "connection-aborted" "datagram-too-large" "name-unresolvable"
                    "temporary-resolver-failure" "permanent-resolver-failure"))
                (export "error-code" (type (eq $e)))
                (type $f (enum "ipv4" "ipv6"))
                (export "ip-address-family" (type (eq $f)))))
            (alias export $net "network" (type $network))
            (alias export $net "error-code" (type $error))
            (alias export $net "ip-address-family" (type $family))
            (import "wasi:sockets/instance-network@0.2.0" (instance $instance-network
                (alias outer 1 $network (type $n)) (export "network" (type $nx (eq $n)))
                (export "instance-network" (func (result (own $nx))))))
            (import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "tcp-socket" (type (sub resource)))))
            (alias export $tcp "tcp-socket" (type $tcp-socket))
            (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create-tcp
                (alias outer 1 $error (type $e)) (export "error-code" (type $ex (eq $e)))
                (alias outer 1 $family (type $f)) (export "ip-address-family" (type $fx (eq $f)))
                (alias outer 1 $tcp-socket (type $s)) (export "tcp-socket" (type $sx (eq $s)))
                (export "create-tcp-socket"
                    (func (param "address-family" $fx) (result (result (own $sx) (error $ex)))))))
            (import "wasi:sockets/udp@0.2.0" (instance $udp (export "udp-socket" (type (sub resource)))))
            (alias export $udp "udp-socket" (type $udp-socket))
            (import "wasi:sockets/udp-create-socket@0.2.0" (instance $create-udp
                (alias outer 1 $error (type $e)) (export "error-code" (type $ex (eq $e)))
                (alias outer 1 $family (type $f)) (export "ip-address-family" (type $fx (eq $f)))
                (alias outer 1 $udp-socket (type $s)) (export "udp-socket" (type $sx (eq $s)))
                (export "create-udp-socket"
                    (func (param "address-family" $fx) (result (result (own $sx) (error $ex)))))))
            (import "wasi:sockets/ip-name-lookup@0.2.0" (instance $lookup
                (alias outer 1 $error (type $e)) (export "error-code" (type $ex (eq $e)))
                (alias outer 1 $network (type $n)) (export "network" (type $nx (eq $n)))
                (export "resolve-address-stream" (type $s (sub resource)))
                (export "resolve-addresses" (func (param "network" (borrow $nx)) (param "name" string)
                    (result (result (own $s) (error $ex)))))))
            (core module $libc (memory (export "memory") 1))
            (core instance $libc (instantiate $libc))
            (core func $network (canon lower (func $instance-network "instance-network")))
            (core func $tcp (canon lower (func $create-tcp "create-tcp-socket") (memory $libc "memory")))
            (core func $udp (canon lower (func $create-udp "create-udp-socket") (memory $libc "memory")))
            (core func $resolve (canon lower (func $lookup "resolve-addresses") (memory $libc "memory")))
            (core module $m
                (import "libc" "memory" (memory 1))
                (import "host" "network" (func $network (result i32)))
                (import "host" "tcp" (func $tcp (param i32 i32)))
                (import "host" "udp" (func $udp (param i32 i32)))
                (import "host" "resolve" (func $resolve (param i32 i32 i32 i32)))
                (data (i32.const 64) "localhost")
                (func $failed_with (param $code i32) (result i32)
                    (i32.and (i32.load8_u (i32.const 0))
                        (i32.eq (i32.load8_u (i32.const 4)) (local.get $code))))
                (func (export "f") (result i32)
                    (call $tcp (i32.const 0) (i32.const 0))
                    (call $failed_with (i32.const 1))
                    (call $udp (i32.const 0) (i32.const 0))
                    (i32.and (call $failed_with (i32.const 1)))
                    (call $resolve (call $network) (i32.const 64) (i32.const 9) (i32.const 0))
                    (i32.and (call $failed_with (i32.const 20)))))
            (core instance $m (instantiate $m (with "libc" (instance $libc)) (with "host" (instance
                (export "network" (func $network)) (export "tcp" (func $tcp)) (export "udp" (func $udp))
                (export "resolve" (func $resolve))))))
            (func (export "f") (result bool) (canon lift (core func $m "f"))))"#,
        json!([]),
    )
    .await;
    assert_eq!(value(&denied), json!(true), "TCP, UDP and name lookup are all refused");
}

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
    Call { limits: TimeLimits { hard, soft: Some(soft) }, ..call(json!([])) }
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

#[tokio::test]
async fn a_component_of_components_runs() {
    // The glue between the two copies a string from one memory to the other.
    let run = run(
        r#"(component
            (component $inner
                (core module $m (memory (export "memory") 1) (data (i32.const 32) "hi")
                    (func (export "get") (result i32)
                        (i32.store (i32.const 16) (i32.const 32)) (i32.store (i32.const 20) (i32.const 2))
                        (i32.const 16)))
                (core instance $m (instantiate $m))
                (func (export "get") (result string) (canon lift (core func $m "get") (memory $m "memory"))))
            (component $outer
                (import "get" (func $get (result string)))
                (core module $libc (memory (export "memory") 1)
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 256)))
                (core instance $libc (instantiate $libc))
                (core func $get (canon lower (func $get)
                    (memory $libc "memory") (realloc (func $libc "realloc"))))
                (core module $m (import "" "get" (func $get (param i32)))
                    (func (export "f") (result i32) (call $get (i32.const 16)) (i32.const 16)))
                (core instance $m (instantiate $m (with "" (instance (export "get" (func $get))))))
                (func (export "f") (result string) (canon lift (core func $m "f") (memory $libc "memory"))))
            (instance $inner (instantiate $inner))
            (instance $outer (instantiate $outer (with "get" (func $inner "get"))))
            (export "f" (func $outer "f")))"#,
        json!([]),
    )
    .await;
    assert_eq!(value(&run), json!("hi"));
}

#[tokio::test]
async fn a_core_module_with_types_becomes_a_component() {
    let mut wasm = wat::parse_str(
        r#"(module
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (memory (export "memory") 2)
            (func (export "add-up") (param i32 i32) (result i32)
                (if (call $random (i32.const 0) (i32.const 8)) (then unreachable))
                (i32.add (local.get 0) (local.get 1)))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536)))"#,
    )
    .unwrap();
    let mut wit = wit_parser::Resolve::default();
    let package = wit
        .push_str("app.wit", "package a:b; world w { export add-up: func(a: s32, b: s32) -> s32; }")
        .unwrap();
    let world = wit.select_world(&[package], None).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut wasm, &wit, world, encoding).unwrap();
    let program = sandbox().load("app.wasm", &wasm).unwrap();
    assert_eq!(program.shape(), Shape::CoreModuleWithTypes);
    assert_eq!(program.functions()[0].name(), "add_up");
    assert!(program.imports().iter().any(|import| import.starts_with("wasi:random/random@")));
    assert_eq!(value(&program.run(0, call(json!([20, 3]))).await), json!(23));
}

#[tokio::test]
async fn a_component_that_only_runs_is_a_command() {
    let component = |result: u32| {
        format!(
            r#"(component
                (core module $m (func (export "run") (result i32) (i32.const {result})))
                (core instance $m (instantiate $m))
                (func $run (result (result)) (canon lift (core func $m "run")))
                (instance $run (export "run" (func $run)))
                (export "wasi:cli/run@0.2.6" (instance $run)))"#
        )
    };
    let good = load(&component(0));
    assert_eq!(good.shape(), Shape::Command);
    assert_eq!(value(&good.run(0, call(json!([1]))).await), Value::Null);
    let bad = run(&component(1), json!([])).await;
    assert_eq!(exception(&bad), "builtins.RuntimeError: exit code 1");
}

#[test]
fn what_cannot_be_a_plugin_is_refused_with_what_to_do() {
    let refusal = |wat: &str| try_load(wat).err().unwrap().to_string();
    assert_eq!(
        refusal(r#"(module (import "env" "now" (func)) (func (export "f")))"#),
        r#""app.wasm" imports "env", which no one here offers: a plugin can import from wasi_snapshot_preview1"#
    );
    let unknown = refusal(r#"(component (import "acme:db/query@1.0.0" (instance (export "q" (func)))))"#);
    assert!(
        unknown.contains(r#"imports "acme:db/query@1.0.0""#) && unknown.contains("host:tasks"),
        "{unknown}"
    );
    let newer = refusal(
        r#"(component (import "host:tasks/context@0.1.0" (instance (export "later" (func))))
        (core module $m (func (export "f"))) (core instance $m (instantiate $m))
        (func (export "f") (canon lift (core func $m "f"))))"#,
    );
    assert!(newer.contains("cannot be linked") && newer.contains("later"), "{newer}");
    assert!(refusal("(module)").contains("offers no task"));
    assert!(refusal("(component)").contains("offers no task"));
    assert!(refusal(r#"(module (func (export "_f")))"#).contains("underscore"));
    for wat in [
        r#"(module (@custom "component-type:x" "garbage") (func (export "f")))"#,
        r#"(component (core module $m (memory 1)) (core instance (instantiate $m))
            (core instance (instantiate $m)) (core instance (instantiate $m)))"#,
    ] {
        assert_eq!(refusal(wat).lines().count(), 1);
    }
    let long = refusal(&format!(r#"(module (import "{}" "f" (func)))"#, "\\1b\\n".repeat(9_999)));
    assert!(long.len() < 2_000 && !long.contains('\x1b'), "{long}");
}

#[test]
fn a_sandbox_that_cannot_be_says_so() {
    let refusal = |slots| Sandbox::new(Options { slots, ..Options::default() }).err().unwrap().to_string();
    assert_eq!(refusal(0), "0 runs at once are not possible; choose 1 to 4294967295");
    assert!(refusal(1 << 20).contains("try fewer"), "{}", refusal(1 << 20));
}
