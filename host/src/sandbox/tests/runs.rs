//! Runs: what comes of them, and how they are stopped.

use super::*;

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
    let program = sandbox.load(&Tenant::DEFAULT, "app.wasm", &wasm).unwrap();
    let mut spinning = Box::pin(program.run(0, call(json!([]))));
    assert!(tokio::time::timeout(SHORT, &mut spinning).await.is_err(), "it holds the only slot now");
    let waited = program.run(1, call_within(SHORT)).await;
    assert_eq!(exception(&waited), "billiard.exceptions.TimeLimitExceeded: 0.1");
    assert_eq!(waited.wall, Duration::ZERO);

    drop(spinning);
    value(&program.run(1, call(json!([]))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_run_ends_a_guest_that_computes() {
    let sandbox = Sandbox::new(Options { slots: 1, ..Options::default() }).unwrap();
    let wasm =
        wat::parse_str(r#"(module (func (export "spin") (loop (br 0))) (func (export "f")))"#).unwrap();
    let program = sandbox.load(&Tenant::DEFAULT, "app.wasm", &wasm).unwrap();
    for _ in 0..5 {
        let (cancel, cancelled) = tokio::sync::oneshot::channel::<()>();
        let spinning = program.clone();
        // The run and what ends it are polled by one task, as in a worker that is told to terminate the run.
        let run = tokio::spawn(async move {
            tokio::select! {
                run = spinning.run(0, call(json!([]))) => panic!("it spins: {:?}", run.outcome),
                _ = cancelled => {}
            }
        });
        while program.loaded.sandbox.slots.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        cancel.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(5), run).await.expect("it ends promptly").unwrap();
        value(&program.run(1, call(json!([]))).await);
    }
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
async fn a_call_may_allow_less_memory_than_the_sandbox_but_not_more() {
    let grow =
        r#"(module (memory 1) (func (export "f") (param i32) (result i32) (memory.grow (local.get 0))))"#;
    let program = load(grow);
    for (memory, pages, expected) in [
        (None, 2047, 1),
        (None, 2048, -1),
        (Some(2 << 20), 31, 1),
        (Some(2 << 20), 32, -1),
        (Some(1 << 30), 2047, 1),
        (Some(1 << 30), 2048, -1),
    ] {
        let run = program.run(0, Call { memory, ..call(json!([pages])) }).await;
        assert_eq!(value(&run), json!(expected), "{pages} pages more, {memory:?}");
    }
    let run = program.run(0, Call { memory: Some(1), ..call(json!([0])) }).await;
    assert!(exception(&run).contains("MemoryError"), "it begins with more: {}", exception(&run));
}
