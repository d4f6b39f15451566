//! Where the time of a task goes.

use std::{hint::black_box, time::Instant};

use host::{
    protocol::{
        message::{self, MessageLimits},
        result::{Meta, MetaResult, encode},
    },
    task::{Outcome, State},
};
use serde_json::json;

use crate::{
    drain,
    measure::median,
    sandbox,
    support::{Task, TestHost, TestRedis, guests},
    table::Line,
};

const CALLS: usize = 20_000;

/// What each stage takes of the processor while a queue is drained, as far as it can be told apart.
pub fn lines(rounds: usize) -> Vec<Line> {
    let text = Task::new("app.divide", json!([1, 2])).message();
    let request = message::decode(text.as_bytes(), &MessageLimits::default()).expect("it is a message");
    let decode =
        each(rounds, || drop(black_box(message::decode(text.as_bytes(), &MessageLimits::default()))));
    let (program, runtime) = (sandbox::load(guests::DIVIDE), sandbox::runtime(1));
    let shared = std::sync::Arc::new(request);
    let run = each(rounds, || drop(runtime.block_on(program.run(0, sandbox::call(&shared)))));
    let Outcome::Success(value) = runtime.block_on(program.run(0, sandbox::call(&shared))).outcome else {
        panic!("1 / 2 can be said")
    };
    let encode = each(rounds, || {
        let result = MetaResult::Value(&value);
        drop(black_box(encode(&Meta {
            id: &shared.id,
            state: &State::Success,
            result,
            traceback: None,
            children: &[],
            date_done: Some(jiff::Timestamp::now()),
            group_id: None,
            parent_id: None,
        })));
    });

    let redis = TestRedis::start();
    let host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-l", "warning"]);
    drain::warm_up(&redis);
    let costs = || drain::rate_and_costs(&redis, drain::COUNT, [host.pid(), redis.pid()]).1;
    let costs: Vec<_> = (0..rounds).map(|_| costs()).collect();
    let [of_host, of_redis] = [0, 1].map(|n| median(costs.iter().map(|costs| costs[n])));
    [
        ("decode", decode),
        ("sandbox: instantiate, call, give back", run),
        ("encode", encode),
        ("the rest of the worker: take, settle, turn by turn", of_host - decode - run - encode),
        ("Redis: take and settle", of_redis),
    ]
    .map(|(what, figure)| Line::told(&format!("stage: {what}"), figure, "us"))
    .into()
}

/// How many microseconds something takes.
fn each(rounds: usize, mut thing: impl FnMut()) -> f64 {
    median((0..rounds).map(|_| {
        let begin = Instant::now();
        (0..CALLS).for_each(|_| thing());
        begin.elapsed().as_secs_f64() * 1e6 / CALLS as f64
    }))
}
