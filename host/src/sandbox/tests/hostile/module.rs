//! The older WASI, which core modules import: its functions are those that the linker offers.

use std::fmt::Write;

use wasmtime::{Extern, Store};

use super::*;
use crate::sandbox::{
    guest::{Deadlines, Guest, Shown, Stdio},
    output::Capture,
};

/// Each function that the linker offers, with its type in WebAssembly's text format, and how many parameters of how many bits it has.
fn offered(sandbox: &Sandbox) -> Vec<(String, String, Vec<u32>)> {
    let call = call_within(PLENTY);
    let deadlines = Deadlines::from_now(call.limits);
    let stdio = Stdio { stdin: bytes::Bytes::new(), stdout: Capture::new(0), stderr: Capture::new(0) };
    let mut store: Store<Guest> = Guest::store(&sandbox.inner, call, deadlines, Shown::default(), stdio);
    let offered: Vec<_> = sandbox
        .inner
        .linkers
        .module
        .iter(&mut store)
        .map(|(module, name, item)| {
            assert_eq!(module, "wasi_snapshot_preview1");
            (name.to_owned(), item)
        })
        .collect();
    let mut functions: Vec<_> = offered
        .into_iter()
        .map(|(name, item)| {
            let Extern::Func(function) = item else { panic!("{name} is no function") };
            let ty = function.ty(&store);
            let types = |types: &mut dyn Iterator<Item = wasmtime::ValType>| {
                types.map(|ty| ty.to_string()).collect::<Vec<_>>().join(" ")
            };
            let text = format!("(param {}) (result {})", types(&mut ty.params()), types(&mut ty.results()));
            let bits = ty.params().map(|ty| if ty.is_i64() { 64 } else { 32 }).collect();
            (name, text, bits)
        })
        .collect();
    functions.sort();
    functions
}

/// A core module that has a task for each of these functions, which calls it `times` times.
fn module(functions: &[(String, String, Vec<u32>)], times: u32) -> String {
    let mut text = "(module\n".to_owned();
    for (name, ty, _) in functions {
        writeln!(text, r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} {ty}))"#).unwrap();
    }
    // A place that is a vector of one buffer, and a subscription that ends at the end of time.
    text += r#"(memory (export "memory") 512)
        (data (i32.const 1024) "\00\10\00\00\10\00\00\00")
        (data (i32.const 65544) "\00\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\ff\ff\ff\ff\ff\ff\ff\7f")
        (data (i32.const 4096) "../../etc/passwd")"#;
    for (name, ty, bits) in functions {
        let arguments: String = (0..bits.len()).map(|place| format!(" (local.get {place})")).collect();
        let call = format!("(call ${name}{arguments})");
        let call = if ty.ends_with("(result )") { format!("{call} (i32.const 0)") } else { call };
        let params = ty.split_once(" (result").unwrap().0;
        writeln!(
            text,
            r#"(func (export "{name}") {params} (result i32) (local $n i32) (local $errno i32)
                (loop
                    (local.set $errno {call})
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if 0 (i32.lt_u (local.get $n) (i32.const {times}))))
                (local.get $errno))"#
        )
        .unwrap();
    }
    text + ")"
}

/// The number as a signed one of so many bits, as tasks take them.
fn signed(number: u64, bits: u32) -> i64 {
    if bits == 32 { i64::from(number as u32 as i32) } else { number as i64 }
}

async fn take(program: &Program, name: &str, arguments: Value, limit: Duration) -> Run {
    let function = program.functions().iter().position(|function| function.name() == name).unwrap();
    let limits = TimeLimits { hard: limit, soft: None, cpu: limit * 10 };
    program.run(function, Call { limits, ..call(arguments) }).await
}

#[tokio::test]
async fn no_call_of_the_older_wasi_harms_the_host() {
    if !is_alone("module::no_call_of_the_older_wasi_harms_the_host") {
        return;
    }
    let sandbox = sandbox();
    let functions = offered(&sandbox);
    assert!(functions.len() >= 45, "it has {}", functions.len());
    let once =
        sandbox.load(&Tenant::DEFAULT, "once.wasm", &wat::parse_str(module(&functions, 1)).unwrap()).unwrap();
    let soak = sandbox
        .load(&Tenant::DEFAULT, "soak.wasm", &wat::parse_str(module(&functions, MANY)).unwrap())
        .unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    let before = resident();
    for (name, _, bits) in &functions {
        let all = |number: u64| -> Vec<i64> { bits.iter().map(|bits| signed(number, *bits)).collect() };
        let mut calls: Vec<_> = NUMBERS.iter().map(|number| all(*number)).collect();
        calls.extend((0..20).map(|_| {
            bits.iter().map(|bits| signed(*random.choice(NUMBERS).unwrap(), *bits)).collect::<Vec<_>>()
        }));
        for first in 0..6 {
            let places = [first, 1024, 1, 2048, 1, 8, 2048, 8, 2048];
            calls.push(bits.iter().zip(places).map(|(bits, number)| signed(number, *bits)).collect());
        }
        for arguments in calls {
            let run = take(&once, name, json!(arguments), LIMIT).await;
            check(&format!("{name} {arguments:?}"), &run);
        }
        let places = [1, 1024, 1, 2048, 1, 8, 2048, 8, 2048];
        let places: Vec<_> = bits.iter().zip(places).map(|(bits, number)| signed(number, *bits)).collect();
        check(name, &take(&soak, name, json!(places), PLENTY).await);
        let grown = resident().saturating_sub(before) >> 20;
        assert!(grown < 128, "{grown} MiB are held after {name}");
    }
    for (name, arguments, class) in [
        ("poll_oneoff", json!([65_536, 131_072, 1, 2048]), "TimeLimitExceeded"),
        ("random_get", json!([0, -1]), "RuntimeError"),
        ("proc_exit", json!([0]), "RuntimeError"),
    ] {
        let run = take(&once, name, arguments, LIMIT).await;
        check(name, &run);
        assert_eq!(failure(&run).exception.class, class, "{name}: {}", exception(&run));
    }
    const NOMEM: u64 = 48;
    let many = take(&once, "poll_oneoff", json!([131_072, 131_072, 500_000, 2048]), LIMIT).await;
    assert_eq!(value(&many), json!(NOMEM), "500,000 subscriptions");
    for (name, arguments) in [
        ("path_open", json!([3, 0, 4096, 16, 0, 0, 0, 0, 2048])),
        ("fd_prestat_get", json!([3, 2048])),
        ("path_unlink_file", json!([3, 4096, 16])),
        ("sock_accept", json!([3, 0, 2048])),
    ] {
        assert_ne!(value(&take(&once, name, arguments, LIMIT).await), json!(0), "{name} is refused");
    }
    let clock = take(&once, "clock_time_get", json!([0, 0, 2048]), PLENTY).await;
    assert_eq!(value(&clock), json!(0), "the next run succeeds");
}
