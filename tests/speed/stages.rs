//! Where the time of a task goes: what each stage takes, in time and in instructions.

use std::{
    env,
    hint::black_box,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use host::{
    protocol::{
        message::{self, MessageLimits},
        receipt::Ran,
        result::{Meta, MetaResult, encode},
    },
    sandbox::Options,
    task::{Outcome, Receipt, State},
};
use serde_json::json;

use crate::{
    drain,
    measure::median,
    sandbox,
    support::{Task, TestHost, TestRedis, guests},
    table::Line,
};

/// A stage of a task's life that can be looked at alone, by its name.
pub type Stage = (&'static str, Box<dyn FnMut()>);

/// How often a stage is gone through in one round.
const TIMES: usize = 20_000;

/// The same where instructions are counted one by one.
const COUNTED: usize = 200;

/// What each stage takes of the processor while a queue is drained, as far as it can be told apart.
pub fn lines(rounds: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut sum = 0.0;
    for (name, mut stage) in stages() {
        let time = median((0..rounds).map(|_| {
            let begin = Instant::now();
            (0..TIMES).for_each(|_| stage());
            begin.elapsed().as_secs_f64() * 1e6 / TIMES as f64
        }));
        sum += time;
        lines.push((name, time));
    }
    let redis = TestRedis::start();
    let host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-l", "warning"]);
    drain::warm_up(&redis);
    let costs = || drain::rate_and_costs(&redis, drain::COUNT, [host.pid(), redis.pid()]).1;
    let costs: Vec<_> = (0..rounds).map(|_| costs()).collect();
    let [of_host, of_redis] = [0, 1].map(|n| median(costs.iter().map(|costs| costs[n])));
    lines.push(("the rest of the worker: take, settle, turn by turn", of_host - sum));
    lines.push(("Redis: take and settle", of_redis));
    lines.into_iter().map(|(what, time)| Line::told(&format!("stage: {what}"), time, "us")).collect()
}

/// How many instructions each stage takes: a figure that does not depend on what else the machine does.
pub fn instructions(_rounds: usize) -> Vec<Line> {
    let line = |(name, _): Stage| {
        // What is done once is in both.
        let [some, more] = [COUNTED, 2 * COUNTED].map(|times| counted(name, times));
        let each = (more? - some?) / COUNTED as f64;
        Some(Line::told(&format!("instructions: {name}"), each, ""))
    };
    let lines: Option<Vec<_>> = stages().into_iter().map(line).collect();
    lines.unwrap_or_else(|| {
        eprintln!("instructions are not counted: valgrind is not installed");
        Vec::new()
    })
}

/// Goes through a stage so many times, for whoever counts.
pub fn go_through(name: &str, times: usize) {
    let stage = stages().into_iter().find(|(stage, _)| *stage == name);
    let (_, mut stage) = stage.expect("it is one of the stages");
    (0..times).for_each(|_| stage());
}

/// The instructions of a process that goes through a stage so many times; nothing without valgrind.
fn counted(stage: &str, times: usize) -> Option<f64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(env::current_exe().ok()?);
    let output = valgrind.args(["--go-through", stage, &times.to_string()]).output().ok()?;
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let count = log.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    Some(count.unwrap_or_else(|| panic!("valgrind tells the count: {log}")))
}

fn stages() -> [Stage; 3] {
    let text = Task::new("app.divide", json!([1, 2])).message();
    let request = message::decode(text.as_bytes(), Default::default(), &MessageLimits::default())
        .expect("it is a message");
    let shared = Arc::new(request);
    let decode = move || {
        drop(black_box(message::decode(text.as_bytes(), Default::default(), &MessageLimits::default())))
    };

    // Who counts instructions has no room for the addresses of more slots.
    let options = Options { slots: 1, ..Options::default() };
    let (program, runtime) = (sandbox::load_with(guests::DIVIDE, options), sandbox::runtime(1));
    let Outcome::Success(value) = runtime.block_on(program.run(0, sandbox::call(&shared))).outcome else {
        panic!("1 / 2 can be said")
    };
    let digest = program.digest().clone();
    let request = shared.clone();
    let run = move || drop(runtime.block_on(program.run(0, sandbox::call(&request))));

    let receipt = Receipt {
        wall: Duration::from_micros(11),
        cpu: Duration::from_micros(9),
        peak_memory: 1 << 20,
        waited: Some(Duration::from_micros(400)),
        digest,
    };
    let encode = move || {
        drop(black_box(encode(&Meta {
            id: &shared.id,
            state: &State::Success,
            result: MetaResult::Value(&value),
            traceback: None,
            children: &[],
            date_done: Some(jiff::Timestamp::now()),
            group_id: None,
            parent_id: None,
            ran: Some(Ran { task: "divide", worker: "celery@host", receipt: &receipt }),
        })));
    };
    [
        ("decode", Box::new(decode)),
        ("sandbox: convert, instantiate, call, give back", Box::new(run)),
        ("encode", Box::new(encode)),
    ]
}
