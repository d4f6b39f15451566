//! What a guest gets when it calls what it may import in every way that makes no sense: an error, a trap, or nothing of use. The
//! host goes on, does not grow, and tells nothing of itself.

mod guest;
mod module;
mod residue;

use std::{process::Command, sync::LazyLock};

use super::*;
use guest::{Import, RESULTS, ROOM, TOLD, found_at};

/// The guest that can call everything, and what it can call.
static EVERYTHING: LazyLock<(Vec<Import>, Program)> = LazyLock::new(|| {
    let (imports, component) = guest::component();
    (imports, sandbox().load(&Tenant::DEFAULT, "everything.wasm", &component).unwrap())
});

/// Long enough for a call, and what a guest gets that waits for ever.
const LIMIT: Duration = Duration::from_millis(200);

/// How often a host function is called in one run, to see whether something of a call stays.
const MANY: u32 = 100_000;

/// Numbers that are a valid place, a handle, a length, or far from it, depending on who reads them.
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    7,
    TOLD,
    ROOM,
    65_535,
    (4 << 20) - 1,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fff0,
    0xffff_ffff,
    1 << 32,
    1 << 63,
    u64::MAX,
];

/// A step of the guest: how often it calls which function, with what.
fn step(name: &str, times: u64, arguments: &[u64]) -> Value {
    let (imports, _) = &*EVERYTHING;
    let (interface, function) = name.split_once('#').unwrap();
    let is_meant =
        |import: &Import| import.interface.split('@').next() == Some(interface) && import.name == function;
    let number = imports.iter().position(is_meant).unwrap_or_else(|| panic!("there is no {name}"));
    step_of(number, times, arguments)
}

fn step_of(number: usize, times: u64, arguments: &[u64]) -> Value {
    let head = [number as u64, times];
    // What the function takes beyond these is 0.
    json!(head.iter().chain(arguments).copied().chain([0; 20]).collect::<Vec<u64>>())
}

async fn take(steps: Vec<Value>, limit: Duration) -> Run {
    let (_, program) = &*EVERYTHING;
    let limits = TimeLimits { hard: limit, soft: None, cpu: limit * 10 };
    program.run(0, Call { limits, ..call(json!([steps])) }).await
}

/// How a guest gets a handle of a resource, if there is a way: these are the ones that need nothing that is denied.
fn producer(resource: &str) -> Option<Value> {
    Some(match resource {
        "input-stream" => step("wasi:cli/stdin#get-stdin", 1, &[]),
        "output-stream" => step("wasi:cli/stdout#get-stdout", 1, &[]),
        "pollable" => step("wasi:clocks/monotonic-clock#subscribe-duration", 1, &[]),
        "network" => step("wasi:sockets/instance-network#instance-network", 1, &[]),
        _ => return None,
    })
}

/// Asserts that a run ended in a way that is documented, and that its failure tells nothing of the host.
fn check(what: &str, run: &Run) {
    let Outcome::Failure(failure) = &run.outcome else { return };
    let Exception { module, class, .. } = &failure.exception;
    let known = ["RuntimeError", "MemoryError", "OverflowError", "TimeLimitExceeded", "TypeError"];
    assert!(known.contains(&class.as_str()), "{what}: {module}.{class}: {}", failure.exception.message());
    let told = format!("{:?}\n{}", failure.exception, failure.traceback.as_deref().unwrap_or_default());
    tells_nothing_of_the_host(what, &told);
    tells_nothing_of_the_host(what, &run.output.tail);
    assert!(told.len() < 64 << 10, "{what}: {} bytes", told.len());
}

/// Asserts that there is no address of the process, and no path or variable of the machine.
fn tells_nothing_of_the_host(what: &str, text: &str) {
    for (at, _) in text.match_indices("0x") {
        let digits = text[at + 2..].chars().take_while(char::is_ascii_hexdigit).count();
        assert!(digits <= 8, "{what}: an address: {text}");
    }
    let home = std::env::var("HOME").unwrap_or_default();
    for secret in [env!("CARGO_MANIFEST_DIR"), ".cargo", "host/src", "panicked at", "root:x:0"] {
        assert!(!text.contains(secret), "{what}: {secret} in {text}");
    }
    assert!(home.len() < 4 || !text.contains(&home), "{what}: {text}");
}

/// Runs a test in a process of its own, whose memory is that of nobody else; answers whether this is it.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "HOST_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let output = Command::new(std::env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture"])
        .env(ALONE, "1")
        // The host's own backtraces are long in the making, and every failing run would have one.
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{name}: {told}");
    false
}

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn the_guest_calls_every_package_that_a_plugin_may_import_from() {
    let (imports, _) = &*EVERYTHING;
    for package in wasi::PACKAGES {
        assert!(
            imports.iter().any(|import| import.interface.starts_with(&format!("{package}/"))),
            "nothing of {package} is called"
        );
    }
    assert!(imports.len() > 140, "WASI alone has more functions than {}", imports.len());
}

#[tokio::test]
async fn no_call_of_any_import_harms_the_host() {
    if !is_alone("no_call_of_any_import_harms_the_host") {
        return;
    }
    let (imports, _) = &*EVERYTHING;
    let mut random = fastrand::Rng::with_seed(7);
    let before = resident();
    let mut succeeded = vec![false; imports.len()];
    for (number, import) in imports.iter().enumerate() {
        let what = format!("{}#{}", import.interface, import.name);
        let count = import.params.len();
        let mut calls: Vec<Vec<u64>> = NUMBERS.iter().map(|all| vec![*all; count]).collect();
        calls.extend((0..10).map(|_| (0..count).map(|_| *random.choice(NUMBERS).unwrap()).collect()));
        calls.truncate(if count == 0 { 1 } else { calls.len() });
        for arguments in calls {
            let run = take(vec![step_of(number, 1, &arguments)], LIMIT).await;
            check(&format!("{what} {arguments:?}"), &run);
            succeeded[number] |= matches!(run.outcome, Outcome::Success(_));
            let Some(producer) = import.handle.as_deref().and_then(producer) else { continue };
            let mut with_handle = arguments.clone();
            with_handle[0] = found_at(RESULTS);
            let run = take(vec![producer.clone(), step_of(number, 1, &with_handle)], LIMIT).await;
            check(&format!("{what} of a handle, {arguments:?}"), &run);
            succeeded[number] |= matches!(run.outcome, Outcome::Success(_));
        }
        if let Some((resource, producer)) =
            import.handle.as_deref().and_then(|name| Some((name, producer(name)?)))
        {
            let drop =
                imports.iter().position(|drop| drop.name == format!("[resource-drop]{resource}")).unwrap();
            let drop = step_of(drop, 1, &[found_at(RESULTS)]);
            let use_it = step_of(number, 1, &[found_at(RESULTS), TOLD, TOLD, TOLD, TOLD]);
            let run = take(vec![producer, drop, use_it], LIMIT).await;
            let failure = failure(&run);
            check(&what, &run);
            assert_eq!(failure.exception.class, "RuntimeError", "{what} of a handle that was dropped");
        }
    }
    let grown = resident().saturating_sub(before) >> 20;
    assert!(grown < 256, "{grown} MiB are held after all calls");
    assert!(succeeded.iter().filter(|called| **called).count() > 40, "the calls come to their functions");
    let fine = take(vec![step("wasi:clocks/wall-clock#now", 1, &[TOLD])], PLENTY).await;
    assert!(matches!(fine.outcome, Outcome::Success(_)), "the next run: {:?}", fine.outcome);
}

#[tokio::test]
async fn calls_without_end_and_without_measure_end_by_their_limits() {
    let stdout = || producer("output-stream").unwrap();
    let handle = found_at(RESULTS);
    let pollable =
        |name: &str, argument| step(&format!("wasi:clocks/monotonic-clock#{name}"), 1, &[argument]);
    let block = step("wasi:io/poll#[method]pollable.block", 1, &[handle]);
    let cases = [
        (
            "sleeps until the end of time",
            vec![pollable("subscribe-instant", u64::MAX), block.clone()],
            "TimeLimitExceeded",
        ),
        ("sleeps half as long", vec![pollable("subscribe-duration", 1 << 63), block], "TimeLimitExceeded"),
        ("500,000 subscriptions", vec![step("wasi:io/poll#poll", 1, &[0, 500_000, TOLD])], "RuntimeError"),
        (
            "4 GiB of random bytes",
            vec![step("wasi:random/random#get-random-bytes", 1, &[1 << 32, TOLD])],
            "RuntimeError",
        ),
        (
            "4 GiB of other random bytes",
            vec![step("wasi:random/insecure#get-insecure-random-bytes", 1, &[1 << 32, TOLD])],
            "RuntimeError",
        ),
        ("exits", vec![step("wasi:cli/exit#exit", 1, &[1])], "RuntimeError"),
        (
            "a text longer than the memory",
            vec![step("host:tasks/workflow#send", 1, &[ROOM, 0xffff_ffff, TOLD])],
            "RuntimeError",
        ),
        (
            "a gibibyte at once",
            vec![
                stdout(),
                step("wasi:io/streams#[method]output-stream.write", 1, &[handle, 0, 1 << 30, TOLD]),
            ],
            "RuntimeError",
        ),
        (
            "20,000 handles",
            vec![step("wasi:clocks/monotonic-clock#subscribe-duration", 20_000, &[0])],
            "RuntimeError",
        ),
    ];
    for (what, steps, class) in cases {
        let run = take(steps, LIMIT).await;
        check(what, &run);
        assert_eq!(failure(&run).exception.class, class, "{what}: {}", exception(&run));
    }
}

/// What is in the guest's memory after these steps, from [`RESULTS`] on.
async fn told(steps: Vec<Value>) -> Vec<u64> {
    serde_json::from_value(value(&take(steps, PLENTY).await)).unwrap()
}

#[tokio::test]
async fn a_guest_is_told_nothing_of_the_machine() {
    let at = ((TOLD - RESULTS) / 4) as usize;
    for (name, arguments) in [
        ("wasi:cli/environment#get-environment", [TOLD, 0, 0, 0]),
        ("wasi:filesystem/preopens#get-directories", [TOLD, 0, 0, 0]),
    ] {
        let told = told(vec![step(name, 1, &arguments)]).await;
        assert_eq!(told[at + 1], 0, "{name} is empty");
    }
    for name in [
        "wasi:cli/environment#initial-cwd",
        "wasi:cli/terminal-stdin#get-terminal-stdin",
        "wasi:cli/terminal-stdout#get-terminal-stdout",
        "wasi:cli/terminal-stderr#get-terminal-stderr",
    ] {
        assert_eq!(told(vec![step(name, 1, &[TOLD])]).await[at] & 0xff, 0, "{name} is nothing");
    }
    for name in ["tcp-create-socket#create-tcp-socket", "udp-create-socket#create-udp-socket"] {
        for family in [0, 1] {
            let told = told(vec![step(&format!("wasi:sockets/{name}"), 1, &[family, TOLD])]).await;
            assert_eq!(told[at] & 0xff, 1, "{name} is denied");
        }
    }
}

#[tokio::test]
async fn very_many_calls_of_each_import_in_one_run_leave_nothing() {
    if !is_alone("very_many_calls_of_each_import_in_one_run_leave_nothing") {
        return;
    }
    let (imports, _) = &*EVERYTHING;
    let mut before = None;
    let mut many = 0;
    for (number, import) in imports.iter().enumerate() {
        let what = format!("{}#{}", import.interface, import.name);
        let arguments = |first| -> Vec<u64> { [first].into_iter().chain([TOLD; 16]).collect() };
        let handle = import.handle.as_deref().and_then(producer);
        let steps = |times| match &handle {
            Some(producer) => {
                vec![producer.clone(), step_of(number, times, &arguments(found_at(RESULTS)))]
            }
            None => vec![step_of(number, times, &arguments(TOLD))],
        };
        if !matches!(take(steps(1), LIMIT).await.outcome, Outcome::Success(_)) {
            continue;
        }
        many += 1;
        let run = take(steps(MANY.into()), PLENTY).await;
        check(&what, &run);
        // The first ones fill what is kept for the next.
        let grown = resident().saturating_sub(*before.get_or_insert_with(resident)) >> 20;
        assert!(grown < 64, "{grown} MiB are held after {what}");
    }
    assert!(many > 40, "only {many} functions can be called that often");
}
