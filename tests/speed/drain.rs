//! How fast a full queue is emptied.
//!
//! The messages are made ready under another name, and the worker, which is up and has run tasks before, finds them all at
//! once. The time ends when all results are stored.

use std::{cell::RefCell, thread, time::Duration};

use serde_json::json;

use crate::{
    bare,
    bullmq::BullMq,
    celery::Prefork,
    measure::{cpu, median, medians, time},
    support::{Task, TestHost, TestRedis, guests},
    table::Line,
};

pub const COUNT: usize = 20_000;

/// Of Celery's own worker, which is so much slower.
const COUNT_OF_CELERY: usize = 2_000;

pub fn lines(rounds: usize) -> Vec<Line> {
    let redis = TestRedis::start();
    let host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-l", "warning"]);
    warm_up(&redis);
    let host_cpu = RefCell::new(Vec::new());
    let mut by_host = || {
        let (rate, [cost]) = rate_and_costs(&redis, COUNT, [host.pid()]);
        host_cpu.borrow_mut().push(cost);
        rate
    };

    // They take from the same list, so each has a Redis of its own.
    let bare_redis = TestRedis::start();
    let mut by_bare = || rate(&bare_redis, COUNT, || bare::drain(&bare_redis, COUNT));
    let celery_redis = TestRedis::start();
    let celery = Prefork::start(&celery_redis).inspect(|_| warm_up(&celery_redis));
    let celery_cpu = RefCell::new(Vec::new());
    let mut by_celery = || {
        let Some(celery) = &celery else { return f64::NAN };
        let (rate, [cost]) = rate_and_costs(&celery_redis, COUNT_OF_CELERY, [celery.pid()]);
        celery_cpu.borrow_mut().push(cost);
        rate
    };
    let bullmq = BullMq::find();
    let mut by_bullmq = || bullmq.as_ref().map_or(f64::NAN, |bullmq| bullmq.rate(COUNT));

    let [host, bare, celery, bullmq] =
        medians(rounds, [&mut by_host, &mut by_bare, &mut by_celery, &mut by_bullmq]);
    let what = format!("drain of {COUNT} divides");
    let peers = [
        (bare, "bare loop", 0.4),
        (celery, "Celery 5.4 prefork -c 2", 45.0),
        (bullmq, "BullMQ, no sandbox", 2.5),
    ];
    let installed = peers.into_iter().filter(|(rate, ..)| !rate.is_nan());
    let mut lines: Vec<_> = installed
        .map(|(rate, peer, target)| Line::at_least(&what, [host, rate], "/s", peer, target))
        .collect();
    lines.push(Line::at_most("processor time of a task then", median(host_cpu.into_inner()), "us", 25.0));
    if !celery.is_nan() {
        let celery_cpu = median(celery_cpu.into_inner());
        lines.push(Line::told("processor time of a task in Celery", celery_cpu, "us"));
    }
    lines
}

/// So that nothing is done for the first time when it is measured.
pub fn warm_up(redis: &TestRedis) {
    rate(redis, 200, || ());
}

/// Tasks a second, from the moment that so many are there until all their results are. `meanwhile` may do them.
pub fn rate(redis: &TestRedis, count: usize, meanwhile: impl FnOnce()) -> f64 {
    prepare(redis, count);
    release(redis, count, meanwhile)
}

/// The same, and the microseconds of processor time that a task costs each of these processes.
pub fn rate_and_costs<const N: usize>(redis: &TestRedis, count: usize, pids: [u32; N]) -> (f64, [f64; N]) {
    prepare(redis, count);
    let before = pids.map(cpu);
    let rate = release(redis, count, || ());
    let cost = |n: usize| (cpu(pids[n]) - before[n]).as_secs_f64() * 1e6 / count as f64;
    (rate, std::array::from_fn(cost))
}

/// Makes so many tasks, which nobody takes yet, in a Redis that has nothing else.
fn prepare(redis: &TestRedis, count: usize) {
    redis.ask::<()>(&["FLUSHDB"]);
    let task = || Task::new("app.divide", json!([1, 2])).queue("ready");
    // Some at a time: a million of them is much to have in memory.
    for begin in (0..count).step_by(10_000) {
        let tasks: Vec<_> = (begin..count.min(begin + 10_000)).map(|_| task()).collect();
        redis.send_all(&tasks);
    }
}

/// Lets them be taken, waits until all results are there, and gives how many there were in a second.
fn release(redis: &TestRedis, count: usize, meanwhile: impl FnOnce()) -> f64 {
    let mut connection = redis.connection();
    redis.ask::<()>(&["RENAME", "ready", "celery"]);
    let took = time(|| {
        meanwhile();
        // The few keys that a worker keeps for itself are counted with the results, and do not count for much.
        while redis::cmd("DBSIZE").query::<usize>(&mut connection).expect("Redis answers") < count {
            thread::sleep(Duration::from_millis(1));
        }
    });
    count as f64 / took.as_secs_f64()
}
