//! The table of limits that people read (`host/docs/limits.md`), line by line: each limit is run into, and what comes is what the
//! table says.

use std::{collections::BTreeMap, fs, io::Write, path::Path, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use flate2::{Compression, write::ZlibEncoder};
use host::{
    plugin::Plugin,
    protocol::message::{self, MessageLimits},
    sandbox::{Access, Call, CompileLimits, Compilers, Options, Outbox, Refusals, Run, Sandbox, TimeLimits},
    task::{Outcome, SharedJson, Tenant},
};
use serde_json::{Value, json};

use crate::support::Task;

/// The limits by their names, each with what is seen.
fn table() -> BTreeMap<String, String> {
    let text = include_str!("../host/docs/limits.md");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| limit "));
    rows.map(|row| {
        let mut cells = row.split('|').map(str::trim).filter(|cell| !cell.is_empty());
        let (Some(limit), Some(seen)) = (cells.next(), cells.next_back()) else { panic!("{row}") };
        let seen = seen.strip_prefix('`').and_then(|seen| seen.strip_suffix('`'));
        (limit.replace('`', ""), seen.unwrap_or_else(|| panic!("no text in {row}")).to_owned())
    })
    .collect()
}

type Check = fn() -> String;

/// How each limit is run into. What comes back is what is seen.
const CHECKS: &[(&str, Check)] = &[
    ("size of a plugin", || refused(&vec![0; (32 << 20) + 1])),
    ("time to compile it", || {
        bomb(CompileLimits { time: Duration::from_secs(1), ..CompileLimits::default() })
    }),
    ("memory to compile it", || bomb(CompileLimits { memory: 300 << 20, ..CompileLimits::default() })),
    ("functions", || refusal(&format!("(module {})", "(func)".repeat(100_001)))),
    ("bytes of one function", || refusal(&format!("(module (func {}))", "nop ".repeat(1 << 20)))),
    ("locals of one function", || refusal(&format!("(module (func (local {})))", "i32 ".repeat(5_001)))),
    ("locals of all functions", || {
        refusal(&format!("(module {})", format!("(func (local {}))", "i32 ".repeat(5_000)).repeat(101)))
    }),
    ("parameters of one function", || refusal(&format!("(module (func (param {})))", "i32 ".repeat(101)))),
    ("blocks within blocks", || {
        refusal(&format!("(module (func {} {}))", "block ".repeat(5_001), "end ".repeat(5_001)))
    }),
    ("targets of one br_table", || {
        refusal(&format!("(module (func (br_table {} (i32.const 0))))", "0 ".repeat(10_002)))
    }),
    ("types", || refusal(&format!("(module {})", "(type (func))".repeat(10_001)))),
    ("imports", || refusal(&format!("(module {})", r#"(import "a" "b" (func))"#.repeat(20_001)))),
    ("exports", || {
        let export = |n| format!(r#"(export "{n}" (func 0))"#);
        refusal(&format!("(module (func) {})", (0..20_001).map(export).collect::<String>()))
    }),
    ("globals", || refusal(&format!("(module {})", "(global i32 (i32.const 0))".repeat(20_001)))),
    ("segments of data and elements", || {
        refusal(&format!("(module (memory 1) {})", r#"(data "")"#.repeat(10_001)))
    }),
    ("elements of a table at first", || refusal("(module (table 20001 funcref))")),
    ("memory at first", || refusal("(module (memory 4096))")),
    ("components within components", || {
        refusal(&(0..5).fold("(component)".to_owned(), |inner, _| format!("(component {inner})")))
    }),
    ("instances within it", || {
        refusal(&format!("(component (component) {})", "(instance (instantiate 0))".repeat(201)))
    }),
    ("name of an export", || refusal(&format!(r#"(module (func (export "{}")))"#, "x".repeat(201)))),
    ("strings in UTF-16", || {
        refusal(
            r#"(component
                (core module $m (memory (export "m") 1)
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
                    (func (export "f") (param i32 i32)))
                (core instance $i (instantiate $m))
                (func (export "f") (param "s" string) (canon lift (core func $i "f")
                    (memory $i "m") (realloc (func $i "realloc")) string-encoding=utf16)))"#,
        )
    }),
    ("size of a manifest", || {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let file = folder.path().join("app.wasm");
        fs::write(&file, wasm(r#"(module (func (export "f")))"#)).expect("the folder takes files");
        fs::write(file.with_extension("toml"), "#".repeat(65_537)).expect("the folder takes files");
        Plugin::load(&sandbox(Options::default()), Tenant::DEFAULT, &file)
            .err()
            .expect("it is too large")
            .to_string()
    }),
    ("time of a run", || run(SPIN, json!([]), limits(|limits| limits.hard = SHORT))),
    ("time until it is asked to end", || run(SPIN, json!([]), limits(|limits| limits.soft = Some(SHORT)))),
    ("time that a run computes", || run(SPIN, json!([]), limits(|limits| limits.cpu = SHORT))),
    ("memory of a run", || {
        run_of("(if (i32.eq (memory.grow (i32.const 3000)) (i32.const -1)) (then unreachable))")
    }),
    ("elements of its tables", || {
        run_of(
            "(if (i32.eq (table.grow (ref.null func) (i32.const 20000)) (i32.const -1)) (then unreachable))",
        )
    }),
    ("stack", || run(r#"(module (func $f (export "f") (call $f)))"#, json!([]), limits(|_| ()))),
    ("calls of host functions", || command("(loop (drop (call $yield)) (br 0))")),
    ("bytes handed over in one call", || {
        run(
            r#"(component
                (core module $m (memory (export "m") 100) (func (export "f") (result i32)
                    (i32.store (i32.const 4) (i32.const 5000000)) (i32.const 0)))
                (core instance $i (instantiate $m))
                (func (export "f") (result (list u8)) (canon lift (core func $i "f") (memory $i "m"))))"#,
            json!([]),
            limits(|_| ()),
        )
    }),
    ("streams and pollables held", || {
        run(
            r#"(component
                (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
                (alias export $poll "pollable" (type $pollable))
                (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
                    (alias outer 1 $pollable (type $p)) (export "pollable" (type $px (eq $p)))
                    (export "subscribe-duration" (func (param "when" u64) (result (own $px))))))
                (core func $wait (canon lower (func $clock "subscribe-duration")))
                (core module $m (import "host" "wait" (func $wait (param i64) (result i32)))
                    (func (export "f") (loop (drop (call $wait (i64.const 1))) (br 0))))
                (core instance $i (instantiate $m (with "host" (instance (export "wait" (func $wait))))))
                (func (export "f") (canon lift (core func $i "f"))))"#,
            json!([]),
            limits(|_| ()),
        )
    }),
    ("random bytes of one call", || command("(drop (call $random (i32.const 0) (i32.const 65537)))")),
    ("output that is kept", || {
        let print = "(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 65000))
            (loop (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if 0 (i32.lt_u (local.get $n) (i32.const 100))))";
        let task = Task::new("app", json!([]));
        let run = start(&in_command(print), &task, limits(|_| ()), Options::default());
        assert!(run.output.dropped > 6_000_000, "the rest is counted");
        format!("{} bytes are kept", run.output.tail.replace('␀', "0").len())
    }),
    ("text of an exception", || {
        let text = format!("thread 'main' panicked at src/lib.rs:1:1:\\0a{}\\0a", "x".repeat(20_000));
        writes(2, &text, "unreachable")
    }),
    ("arguments of a call", || {
        run(r#"(module (func (export "f") (param i32)))"#, json!(vec![1; 1_001]), limits(|_| ()))
    }),
    ("size of a result", || printed(&format!("\\22{}\\22", "x".repeat(1 << 20)))),
    ("nesting of a result", || printed(&("[".repeat(65) + &"]".repeat(65)))),
    ("digits of a number in a result", || printed(&"1".repeat(4_301))),
    ("size of a message", || unread(Task::new("app.f", json!(["x".repeat(9 << 20)])).message().as_bytes())),
    ("size of its body when inflated", || {
        let task = Task::new("app.f", json!([])).header("compression", json!("application/x-gzip"));
        let mut message: Value = serde_json::from_str(&task.message()).expect("it is JSON");
        message["body"] = json!(deflated_spaces(10 << 20));
        unread(message.to_string().as_bytes())
    }),
    ("nesting of its body", || {
        let deep = (0..65).fold(json!(1), |inner, _| json!([inner]));
        unread(Task::new("app.f", json!([deep])).message().as_bytes())
    }),
    ("id", || {
        let task = Task::new("app.f", json!([])).header("id", json!("i".repeat(256)));
        unread(task.message().as_bytes())
    }),
    ("name of a task", || unread(Task::new(&"n".repeat(256), json!([])).message().as_bytes())),
];

#[test]
fn every_limit_is_hit_as_the_table_says() {
    let mut table = table();
    let mut wrong = Vec::new();
    for (limit, check) in CHECKS {
        let expected = table.remove(*limit).unwrap_or_else(|| panic!("the table has no line {limit:?}"));
        let seen = check();
        let shown: String = seen.chars().take(400).collect();
        if !seen.contains(&expected) {
            wrong.push(format!("{limit}: not {expected:?} but {shown:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(table.is_empty(), "no check for {:?}", table.keys());
}

const SHORT: Duration = Duration::from_millis(50);
const SPIN: &str = r#"(module (func (export "f") (loop (br 0))))"#;

fn wasm(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).expect("it is WebAssembly")
}

fn sandbox(options: Options) -> Sandbox {
    Sandbox::new(Options { slots: 1, ..options }).expect("there is room for one")
}

fn refused(wasm: &[u8]) -> String {
    let refusal = sandbox(Options::default()).load(&Tenant::DEFAULT, "app.wasm", wasm);
    refusal.expect_err("it is over the limit").to_string()
}

fn refusal(wat: &str) -> String {
    refused(&wasm(wat))
}

/// What takes long and much to compile.
fn bomb(compile: CompileLimits) -> String {
    let compilers = Compilers::start(Path::new(env!("CARGO_BIN_EXE_host"))).expect("the binary is built");
    let sandbox = sandbox(Options { compile, compilers: Some(compilers), ..Options::default() });
    let loops = "(loop (br_if 0 (i32.const 0)))".repeat(60_000);
    let calls = "(call 0)".repeat(250_000);
    let both = format!(r#"(module (func) (func (export "f") {calls}) (func {loops}))"#);
    let refusal = sandbox.load(&Tenant::DEFAULT, "app.wasm", &wasm(&both));
    refusal.expect_err("it takes more").to_string()
}

fn limits(change: impl FnOnce(&mut TimeLimits)) -> TimeLimits {
    let plenty = Duration::from_secs(60);
    let mut limits = TimeLimits { hard: plenty, soft: None, cpu: plenty };
    change(&mut limits);
    limits
}

/// Runs a function `f` that does this.
fn run_of(body: &str) -> String {
    let wat = format!(r#"(module (memory 1) (table 1 funcref) (func (export "f") {body}))"#);
    run(&wat, json!([]), limits(|_| ()))
}

/// Runs a command that does this.
fn command(body: &str) -> String {
    let options = Options { host_calls: 1_000, ..Options::default() };
    seen(start(&in_command(body), &Task::new("app", json!([])), limits(|_| ()), options))
}

/// Runs a command that prints this.
fn printed(text: &str) -> String {
    writes(1, text, "")
}

/// Runs a command that writes this to a stream and then does that.
fn writes(stream: u8, text: &str, then: &str) -> String {
    let pages = text.len() / 65_536 + 2;
    let length = wasm_length(text);
    let wat = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") {pages}) (data (i32.const 64) "{text}")
            (func (export "_start")
                (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {length}))
                (loop
                    (drop (call $write (i32.const {stream}) (i32.const 0) (i32.const 1) (i32.const 8)))
                    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 8))))
                    (i32.store (i32.const 4) (i32.sub (i32.load (i32.const 4)) (i32.load (i32.const 8))))
                    (br_if 0 (i32.load (i32.const 4)))) {then}))"#
    );
    seen(start(&wat, &Task::new("app", json!([])), limits(|_| ()), Options::default()))
}

/// How many bytes a text of the text format stands for; the only escapes here are quotes and line feeds.
fn wasm_length(text: &str) -> usize {
    text.replace("\\22", "\"").replace("\\0a", "\n").len()
}

fn in_command(body: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 4)
            (func (export "_start") (local $n i32) {body}))"#
    )
}

fn run(wat: &str, args: Value, limits: TimeLimits) -> String {
    seen(start(wat, &Task::new("app.f", args), limits, Options::default()))
}

/// Runs the only function of `wat`.
fn start(wat: &str, task: &Task, limits: TimeLimits, options: Options) -> Run {
    let program = sandbox(options).load(&Tenant::DEFAULT, "app.wasm", &wasm(wat)).expect("it is a plugin");
    let request = message::decode(task.message().as_bytes(), Tenant::DEFAULT, &MessageLimits::default());
    let call = Call {
        request: Arc::new(request.expect("it is a message")),
        limits,
        memory: None,
        progress: Arc::new(|_, _| Box::pin(async { Ok(()) })),
        outbox: Arc::new(Nowhere),
        access: Arc::new(Access::none(Tenant::DEFAULT, "app", &Refusals::default())),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("there are threads").block_on(program.run(0, call))
}

fn seen(run: Run) -> String {
    match run.outcome {
        Outcome::Failure(failure) => {
            let exception = &failure.exception;
            format!("{}.{}: {}", exception.module, exception.class, exception.message())
        }
        other => format!("no failure: {other:?}"),
    }
}

fn unread(message: &[u8]) -> String {
    message::decode(message, Tenant::DEFAULT, &MessageLimits::default())
        .expect_err("it is over the limit")
        .to_string()
}

/// What a body is that was compressed very well, as it stands in a message.
fn deflated_spaces(count: usize) -> String {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&vec![b' '; count]).expect("memory takes it");
    BASE64.encode(packed.finish().expect("memory takes it"))
}

/// Takes nothing.
struct Nowhere;

impl Outbox for Nowhere {
    fn send(&self, _: SharedJson) -> Result<String, String> {
        Err("nothing can be sent from here".to_owned())
    }

    fn tasks(&self, _: &SharedJson) -> Result<Vec<String>, String> {
        Err("nothing can be sent from here".to_owned())
    }

    fn replace(&self, _: SharedJson) -> Result<(), String> {
        Err("nothing can be replaced here".to_owned())
    }
}
