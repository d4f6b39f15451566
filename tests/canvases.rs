//! Random canvases come out of `host` as they come out of a Python worker that runs the same tasks: what the caller gets, the
//! state and result of every task in it, who was sent with which arguments and how often, by which parent, in which group.
//!
//! `tests/python/canvases.py` makes the canvases, nested chains, groups, chords, maps and links with failing parts, sends
//! them with the real client and tells what it saw. What is asked of `host` is what a Python worker answered twice, with
//! different numbers of processes. A canvas is no oracle, and `host` need only bring it to an end, when
//!
//! - in Python it never ends. After a failure Celery 5.4 leaves for ever pending: a body that is itself a chord or a group or
//!   that ends in one, and what comes after a group or chord in the rest of a chain. About one in five of these canvases.
//! - the worker itself fails on it, with one of [`FLAWS`].
//! - a task is sent twice under one id, as what comes after a group in a group is. Then chance says which ends last.
//! - two parts of a chord have the same place in it. That is so in a chord that the worker sends as part of a group: all its
//!   parts get the place that the chord has in the group. Then their ids, and so chance, say in which order results come.
//! - the two runs differ.
//!
//! They come out the same when workers are killed all the while, and where Python is no oracle, `host` is its own: what
//! comes of a canvas does not hang on who dies when. In particular every body is sent once, or tells once why it is not.
//!
//! `tests/canvases` runs the long form: a thousand canvases, or as many as it is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::{
        LazyLock,
        mpsc::{self, RecvTimeoutError::Timeout},
    },
    thread,
    time::Duration,
};

use serde::Deserialize;
use serde_json::Value;

use crate::support::{Celery, PythonWorker, Random, TestHost, TestRedis, guests};

/// How many canvases, when nothing else is said by the variable `CANVASES`.
const SHORT: usize = 100;

/// How long all of them may take, in seconds, until no message is left.
const PATIENCE: usize = 300;

/// What a Python worker writes into results when it stumbles over a canvas.
const FLAWS: [&str; 2] = [
    // A link on a chain whose last element turns into a group only in the worker.
    "Cannot add link to group: use a chord",
    // A chord without an id for its body, in the body of a chord that fails.
    "task_id must not be empty. Got None instead.",
];

#[derive(Deserialize)]
struct Canvas {
    number: usize,
    shape: String,
    /// Whether its result is ready.
    end: bool,
    /// Whether chance orders the results of one of its chords.
    chance: bool,
    seen: BTreeMap<String, Value>,
}

#[test]
fn tasks_of_the_guest_give_what_the_same_tasks_give_in_python() {
    let calls = "
from canvas import add, call, fail, mul, note_error, tsum
calls = [
    add.s(2, 3), mul.s(2, 3), tsum.s([1, 2, 3]), tsum.s([]),
    call.s(), call.s(1, 'two', [3, [None, True]], label='x', b={'z': 1, 'a': []}, a=-1), call.s('long' * 200, label='y'),
    fail.s(1, label='z'), note_error.s('id', label='e'),
]
[(result.get(timeout=20) if not result.failed() else raised(result.get)) for result in
 [(result, result.get(timeout=20, propagate=False))[0] for result in [call.delay() for call in calls]]]
";
    let redis = TestRedis::start();
    let python = python(&redis, 2);
    let expected = Celery::BOTH[0].evaluate(&redis, calls);
    drop(python);
    let _host = host(&redis, "host@%h");
    assert_eq!(Celery::BOTH[0].evaluate(&redis, calls), expected);
    assert_eq!(expected[5], "x(1,two,[3,[null,true]],a=-1,b={a:[],z:1})");
    assert_eq!(expected[7], "builtins.ValueError('z')");
}

fn python(redis: &TestRedis, concurrency: u8) -> PythonWorker {
    let concurrency = format!("--concurrency={concurrency}");
    PythonWorker::start_app(Celery::BOTH[0], redis, "canvas", &[&concurrency])
}

fn host(redis: &TestRedis, name: &str) -> TestHost {
    // A task that is there each time a worker is killed is not to blame.
    let flags = ["-n", name, "-c", "4", "--max-worker-deaths", "1000"];
    TestHost::start_with(redis, &[("canvas", guests::CANVAS)], &flags)
}

#[test]
fn random_canvases_come_out_as_they_do_in_python() {
    compare(&PYTHONS, &OURS);
}

#[test]
fn random_canvases_come_out_the_same_though_workers_are_killed() {
    let killed = run_while_workers_are_killed();
    compare(&PYTHONS, &killed);
    let [first, second] = &*PYTHONS;
    let no_oracle = |n: &usize| why_no_oracle(&first[*n], &second[*n]).is_some() && !OURS[*n].chance;
    let complaints: Vec<_> =
        (0..killed.len()).filter(no_oracle).filter_map(|n| difference(&OURS[n], &killed[n])).collect();
    assert!(
        complaints.is_empty(),
        "{} differ once workers are killed:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

/// The canvases as two Python workers ran them.
static PYTHONS: LazyLock<[Vec<Canvas>; 2]> = LazyLock::new(|| {
    [2, 4].map(|concurrency| {
        let redis = TestRedis::start();
        let _python = python(&redis, concurrency);
        run(&redis)
    })
});

/// The canvases as `host` ran them, undisturbed.
static OURS: LazyLock<Vec<Canvas>> = LazyLock::new(|| {
    let redis = TestRedis::start();
    let _host = host(&redis, "host@%h");
    run(&redis)
});

fn run_while_workers_are_killed() -> Vec<Canvas> {
    let redis = TestRedis::start();
    let mut hosts = ["one@%h", "two@%h", "three@%h"].map(|name| host(&redis, name));
    let mut kills = 0;
    let killed = thread::scope(|scope| {
        // Over when it is dropped, also by a panic.
        let (_running, over) = mpsc::channel::<()>();
        let kills = &mut kills;
        scope.spawn(move || {
            let mut random = Random(0x5eed);
            // Random moments are the point here. A worker that never gets to work would be no test of one that dies at it.
            while over.recv_timeout(Duration::from_millis(random.below(3_000))) == Err(Timeout) {
                let host = &mut hosts[random.below(3) as usize];
                host.kill_9();
                host.start_again();
                host.wait_for(" ready.");
                *kills += 1;
            }
        });
        run(&redis)
    });
    eprintln!("killed a worker {kills} times");
    killed
}

fn run(redis: &TestRedis) -> Vec<Canvas> {
    let number = |name, default| env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let arguments = [number("CANVASES_FROM", 1), number("CANVASES", SHORT), PATIENCE].map(|n| n.to_string());
    let arguments = arguments.each_ref().map(String::as_str);
    Celery::BOTH[0].run(redis, "canvases.py", &arguments, &Value::Null)
}

/// Says for each canvas that came out otherwise what is different.
#[track_caller]
fn compare([first, second]: &[Vec<Canvas>; 2], ours: &[Canvas]) {
    let mut complaints = Vec::new();
    let mut no_oracles = BTreeMap::<_, usize>::new();
    for ((first, second), ours) in first.iter().zip(second).zip(ours) {
        let Canvas { number, shape, .. } = ours;
        assert!((number, shape) == (&first.number, &first.shape), "the same number gives the same canvas");
        if !ours.end {
            complaints.push(format!("{number} {shape}\n    never ends"));
        }
        let again = |(fact, times): (&String, &Value)| {
            fact.ends_with(" sent") && *times != 1 && first.seen.get(fact).is_none_or(|times| *times == 1)
        };
        complaints.extend(
            ours.seen
                .iter()
                .find(|fact| again(*fact))
                .map(|(fact, times)| format!("{number} {shape}\n    {fact} {times} times")),
        );
        match why_no_oracle(first, second) {
            Some(reason) => *no_oracles.entry(reason).or_default() += 1,
            None => complaints.extend(difference(first, ours)),
        }
    }
    eprintln!("{} canvases, of which Python is no oracle for {no_oracles:?}", ours.len());
    assert!(no_oracles.values().sum::<usize>() * 2 < ours.len(), "most of the canvases have an oracle");
    assert!(complaints.is_empty(), "{} came out otherwise:\n{}", complaints.len(), complaints.join("\n"));
}

fn why_no_oracle(first: &Canvas, second: &Canvas) -> Option<&'static str> {
    let flaw = || first.seen.values().any(|fact| FLAWS.iter().any(|flaw| fact.to_string().contains(flaw)));
    match first {
        _ if !first.end || !second.end => Some("never ends"),
        _ if flaw() => Some("fails in the worker"),
        _ if first.chance => Some("is ordered by chance"),
        _ if first.seen != second.seen => Some("differs from run to run"),
        _ => None,
    }
}

/// Whether the fact is the result of a task of which Python says nothing: after a failure, Celery leaves pending what was to
/// come after a chord or a group, though the result of it all is ready. `host` may say that it has failed.
fn is_forgotten(fact: &str, python: &Canvas) -> bool {
    let Some((label, "result" | "children" | "stored with")) = fact.split_once(' ') else { return false };
    ["sent", "result"].iter().all(|about| !python.seen.contains_key(&format!("{label} {about}")))
}

/// What came out otherwise, if anything did.
fn difference(expected: &Canvas, ours: &Canvas) -> Option<String> {
    let names: BTreeSet<_> = expected.seen.keys().chain(ours.seen.keys()).collect();
    let differs =
        |name: &&&String| expected.seen.get(**name) != ours.seen.get(**name) && !is_forgotten(name, expected);
    let fact = |canvas: &Canvas, name| canvas.seen.get(name).map_or("nothing".to_owned(), Value::to_string);
    let lines: Vec<_> = names
        .iter()
        .filter(differs)
        .map(|&name| {
            format!(
                "\n    {name}\n        wanted: {}\n        host:   {}",
                fact(expected, name),
                fact(ours, name)
            )
        })
        .collect();
    (!lines.is_empty()).then(|| format!("{} {}{}", ours.number, ours.shape, lines.concat()))
}
