//! Whole runs of small guests written as WebAssembly text.

use std::sync::Mutex;

use serde_json::{Value, json, value::to_raw_value};

use super::*;
use crate::task::{Asked, Exception, Failure, LONGEST_DELAY, Limits, Notes, TaskId, TaskName, Tenant};

mod commands;
mod hostile;
mod imports;
mod runs;
mod shapes;
mod walls;

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
    sandbox().load(&Tenant::DEFAULT, "app.wasm", &wat::parse_str(wat).unwrap())
}

fn call(args: Value) -> Call {
    call_with(args, json!({}))
}

fn call_with(args: Value, kwargs: Value) -> Call {
    let json = |value: Value| to_raw_value(&value).unwrap();
    let id = TaskId::new("some-id").unwrap();
    let request = Request {
        tenant: Tenant::DEFAULT,
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
        group_index: None,
        replaced_task_nesting: 0,
        priority: 0,
        redelivered: false,
        notes: Notes::default(),
        headers: json(json!({"lang": "py"})),
        properties: json(json!({"priority": 3})),
    };
    let limits = TimeLimits { hard: PLENTY, soft: None, cpu: PLENTY };
    Call {
        request: Arc::new(request),
        limits,
        memory: None,
        progress: Arc::new(|_, _| Box::pin(async { Ok(()) })),
        outbox: Arc::new(Nowhere),
        access: Arc::new(Access::none(Tenant::DEFAULT, "app", &Refusals::default())),
    }
}

/// Takes nothing.
struct Nowhere;

impl Outbox for Nowhere {
    fn send(&self, _: SharedJson) -> Result<String, String> {
        Err("nothing can be sent from here".to_owned())
    }

    fn tasks(&self, signature: &SharedJson) -> Result<Vec<String>, String> {
        Ok(vec![signature.get().to_owned()])
    }

    fn replace(&self, _: SharedJson) -> Result<(), String> {
        Err("nothing can be sent from here".to_owned())
    }
}

fn call_within(hard: Duration) -> Call {
    Call { limits: TimeLimits { hard, soft: None, cpu: PLENTY }, ..call(json!([])) }
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
