//! Files that take all time and memory there is to compile: each is refused in time, and nobody else notices.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use host::{
    sandbox::{CompileLimits, Compilers, LoadError, Options, Sandbox},
    task::Tenant,
};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Task, TestHost, TestRedis, eventually, guests};

/// What is costly in more than the number of its bytes: so many small loops in one function.
fn loops(count: usize) -> Vec<u8> {
    let body = "(loop (br_if 0 (i32.const 0)))".repeat(count);
    wat::parse_str(format!(r#"(module (func (export "f") {body}))"#)).expect("it is WebAssembly")
}

fn ifs(count: usize) -> Vec<u8> {
    let body = "(if (local.get 0) (then (local.set 0 (i32.const 1))))".repeat(count);
    wat::parse_str(format!(r#"(module (func (export "f") (param i32) {body}))"#)).expect("it is WebAssembly")
}

/// Small, and each another: functions of numbers with this one's number in it.
fn small(number: usize) -> Vec<u8> {
    let module = format!(r#"(module (func (export "f") (result i32) (i32.const {number})))"#);
    wat::parse_str(module).expect("it is WebAssembly")
}

fn compilers() -> Compilers {
    Compilers::start(Path::new(env!("CARGO_BIN_EXE_host"))).expect("the binary is built")
}

fn sandbox(compilers: &Compilers, compile: CompileLimits) -> (Sandbox, TempDir) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let code_cache = Some(folder.path().join("code"));
    let options =
        Options { slots: 1, compile, code_cache, compilers: Some(compilers.clone()), ..Options::default() };
    (Sandbox::new(options).expect("there is room for one"), folder)
}

#[test]
fn a_file_that_takes_too_long_or_too_much_memory_to_compile_is_refused_with_the_numbers() {
    let compilers = compilers();
    let tenant = Tenant::new("acme").expect("it is a name");
    let (sandbox, _folder) =
        sandbox(&compilers, CompileLimits { time: Duration::from_secs(2), ..CompileLimits::default() });
    for (name, bomb) in [("loops.wasm", loops(60_000)), ("ifs.wasm", ifs(40_000))] {
        let begin = Instant::now();
        let refusal = sandbox.load(&tenant, name, &bomb).expect_err("it takes a minute");
        assert_eq!(
            refusal.to_string(),
            format!("{name:?} takes more than 2 s to compile (--compile-time-limit)")
        );
        assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
        let begin = Instant::now();
        let again = sandbox.load(&tenant, "other.wasm", &bomb).expect_err("it is the same file");
        assert!(again.to_string().starts_with(r#""other.wasm" takes more than 2 s"#), "{again}");
        assert!(begin.elapsed() < Duration::from_millis(100), "it is remembered: {:?}", begin.elapsed());
    }
    let little = CompileLimits { memory: 300 << 20, ..CompileLimits::default() };
    let (sandbox, _folder) = self::sandbox(&compilers, little);
    let calls = format!(r#"(module (func) (func (export "f") {}))"#, "(call 0)".repeat(250_000));
    let refusal = sandbox.load(&tenant, "calls.wasm", &wat::parse_str(calls).expect("it is WebAssembly"));
    let refusal = refusal.expect_err("it takes more");
    assert!(matches!(refusal, LoadError::CompileMemory { limit: 314_572_800, .. }), "{refusal}");
    assert!(sandbox.load(&tenant, "small.wasm", &small(0)).is_ok());
}

#[test]
fn a_tenant_does_not_notice_what_another_compiles() {
    let compilers = compilers();
    let limits = CompileLimits { time: Duration::from_secs(8), ..CompileLimits::default() };
    let (sandbox, _folder) = sandbox(&compilers, limits);
    let [acme, other] = ["acme", "other"].map(|name| Tenant::new(name).expect("it is a name"));
    let median_of = |from: usize| {
        let mut times: Vec<_> = (from..from + 9)
            .map(|number| {
                let begin = Instant::now();
                sandbox.load(&other, "small.wasm", &small(number)).expect("it is small");
                begin.elapsed()
            })
            .collect();
        times.sort();
        times[times.len() / 2]
    };
    let alone = median_of(0);
    let bomb = loops(60_000);
    let beside = thread::scope(|scope| {
        let slow = scope.spawn(|| sandbox.load(&acme, "loops.wasm", &bomb));
        // By then it has begun, and stands behind the others.
        thread::sleep(Duration::from_millis(1_500));
        let beside = median_of(100);
        assert!(!slow.is_finished(), "it would have to be slower");
        slow.join().expect("loading does not panic").expect_err("it takes a minute");
        beside
    });
    // Who waited would wait for seconds.
    assert!(beside < alone * 3 + Duration::from_millis(100), "{alone:?} alone, {beside:?} beside a long one");
}

#[test]
fn a_worker_goes_on_while_a_file_is_compiled_that_cannot_be() {
    let redis = TestRedis::start();
    let mut host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["--compile-time-limit", "4"]);
    assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5");
    let before = host.resident_memory();
    host.put("bomb", &loops(60_001));
    let compiler = eventually("a compiler has begun", || {
        let starter = children(host.pid()).into_iter().next()?;
        children(starter).into_iter().next().filter(|pid| status(*pid, "Seccomp:") == "2")
    });
    assert_eq!(status(compiler, "NoNewPrivs:"), "1");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(status(compiler, set), "0000000000000000", "{set}");
    }
    let limits = fs::read_to_string(format!("/proc/{compiler}/limits")).expect("it runs");
    for (limit, value) in [
        ("Max cpu time", "4 "),
        ("Max file size", "0 "),
        ("Max core file size", "0 "),
        ("Max open files", "32 "),
        ("Max address space", "2147483648 "),
    ] {
        let line = limits.lines().find_map(|line| line.strip_prefix(limit)).expect("the kernel has it");
        assert!(line.trim_start().starts_with(value), "{limit}: {line}");
    }
    let environment = fs::read(format!("/proc/{compiler}/environ"));
    assert!(environment.is_err() || environment.is_ok_and(|text| text.is_empty()), "it knows nothing");

    let tasks: Vec<_> = (0..200).map(|n| Task::new("app.divide", json!([n, 2]))).collect();
    redis.send_all(&tasks);
    redis.wait_for_all(&tasks);
    assert!(!host.output().contains("bomb.wasm"), "all were done before the file was given up");
    host.wait_for(r#""bomb.wasm" takes more than 4 s to compile"#);
    let grown = host.resident_memory().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB more than before");

    let starter = children(host.pid());
    host.kill_9();
    let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}/exe")).exists();
    eventually("nothing outlives the worker", || starter.iter().all(gone).then_some(()));
}

#[test]
fn nobody_types_host_compile() {
    let help = Command::new(env!("CARGO_BIN_EXE_host")).arg("--help").output().expect("the binary is built");
    assert!(!String::from_utf8_lossy(&help.stdout).contains("compile"));
}

fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_thread =
        |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    let children: Vec<_> = threads.map(of_thread).collect();
    children.iter().flat_map(|list| list.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}

fn status(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
}
