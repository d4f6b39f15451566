//! Very many tasks with an eta: they cost the worker no memory while they wait, and each runs once, in the order in which
//! they are due.
//!
//! `HOST_TEST_DELAYED=1000000 cargo test --release -p host --test e2e delayed -- --nocapture` does it with a million and
//! says how fast they went and what the worker's memory was. A million take some six minutes, and 1 GB for Redis.

use std::{
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::json;

use crate::support::{Answer, PATIENCE, Task, TestHost, TestRedis, eventually, guests};

const USUAL: usize = 20_000;

/// At least so many can be sent and laid aside in a second, also on a slow and busy machine.
const LAID_ASIDE_PER_SECOND: usize = 5_000;

/// So many fall due in a second: more than a worker can run, so that they leave as fast as they can.
const DUE_PER_SECOND: usize = 20_000;

/// How much a worker may grow, in KiB: it takes some 4 MiB more when it is at full speed for long, and 20,000 messages would
/// take at least 16 MiB.
const GROWTH: u64 = 8 * 1024;

/// A task with its time.
struct Delayed {
    id: String,
    due: Timestamp,
}

#[test]
fn very_many_delayed_tasks_run_once_in_order_and_wait_outside_the_workers_memory() {
    let count = std::env::var("HOST_TEST_DELAYED").map_or(USUAL, |text| text.parse().expect("a number"));
    let redis = TestRedis::start_alone();
    // The log tells what ran how often. For a million of tasks it would be too long to keep.
    let level = if count > USUAL { "warning" } else { "info" };
    let host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-l", level]);

    // What a worker needs once it has worked is no growth.
    let first = Timestamp::now() + Duration::from_secs(3);
    let early = send(&redis, 10_000, first);
    finish(&redis, early.len());
    redis.ask::<()>(&["FLUSHDB"]);
    let before = host.resident_memory();

    let lead = Duration::from_secs_f64(5.0 + count as f64 / LAID_ASIDE_PER_SECOND as f64);
    let (first, begin) = (Timestamp::now() + lead, Instant::now());
    let tasks = send(&redis, count, first);
    let sent = begin.elapsed();
    progress("all wait", || messages(&redis)[0], count);
    let laid_aside = begin.elapsed();
    assert!(Timestamp::now() < first, "all wait before the first is due");
    assert_eq!(messages(&redis), [count, 0, 0]);
    let meanwhile = host.resident_memory();

    thread::sleep(first.duration_since(Timestamp::now()).unsigned_abs());
    finish(&redis, count);
    let after = host.resident_memory();
    let done = when_done(&redis, &tasks);
    let last = *done.iter().max().expect("there are tasks");
    let seconds = last.duration_since(first).as_secs_f64();
    eprintln!(
        "{count} delayed tasks: sent in {sent:.1?}, laid aside in {laid_aside:.1?}, left in {seconds:.1} s ({:.0}/s); \
         memory of the worker {before} KiB before, {meanwhile} KiB while all waited, {after} KiB after",
        count as f64 / seconds
    );

    for (task, done) in tasks.iter().zip(&done) {
        assert!(*done >= task.due, "{} was due at {} and done at {done}", task.id, task.due);
    }
    assert_order(&done);
    if level == "info" {
        let received_to_run = || {
            let log = host.output();
            let [received, waited] =
                ["received", "waits until"].map(|what| log.matches(&format!("] {what}")).count());
            received - waited
        };
        let sent = early.len() + count;
        eventually("the log is written", || (received_to_run() >= sent).then_some(()));
        assert_eq!(received_to_run(), sent, "each ran once");
    }
    for (now, when) in [(meanwhile, "while all waited"), (after, "after all had run")] {
        assert!(now <= before + GROWTH, "{before} KiB before, {now} KiB {when}");
    }
}

/// Sends so many tasks that fall due one after the other from `first` on. They are sent in another order.
fn send(redis: &TestRedis, count: usize, first: Timestamp) -> Vec<Delayed> {
    let mut sent: Vec<Option<Delayed>> = Vec::new();
    sent.resize_with(count, || None);
    // A step that shares no factor with the count comes by every number once.
    let step = (count / 3..).find(|step| gcd(*step, count) == 1).expect("there is a prime");
    let mut places = (0..count).map(|n| n * step % count).peekable();
    while places.peek().is_some() {
        let some = places.by_ref().take(1_000).map(|place| {
            let due = first + Duration::from_secs_f64(place as f64 / DUE_PER_SECOND as f64);
            let task = Task::new("app.divide", json!([1, 2])).header("eta", json!(due.to_string()));
            sent[place] = Some(Delayed { id: task.id().to_owned(), due });
            task
        });
        redis.send_all(&some.collect::<Vec<_>>());
    }
    sent.into_iter().map(|task| task.expect("every place was filled")).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Waits until so many tasks have ended and nothing is left of their messages.
#[track_caller]
fn finish(redis: &TestRedis, count: usize) {
    let left = || messages(redis).iter().sum();
    progress("all have left", || count.saturating_sub(left()), count);
    assert_eq!(redis.ask::<usize>(&["HLEN", "host:delayed:messages"]), 0);
}

/// How many messages wait for their time, are in the queue, and are held by the worker: at one moment.
fn messages(redis: &TestRedis) -> [usize; 3] {
    redis::pipe()
        .atomic()
        .cmd("ZCARD")
        .arg("host:delayed")
        .cmd("LLEN")
        .arg("celery")
        .cmd("HLEN")
        .arg("unacked")
        .query(&mut redis.connection())
        .expect("Redis answers")
}

/// Waits until there are `all`, however long it takes, as long as they become more.
#[track_caller]
fn progress(what: &str, count: impl Fn() -> usize, all: usize) {
    let (mut most, mut since) = (0, Instant::now());
    loop {
        let now = count();
        if now == all {
            return;
        }
        if now > most {
            (most, since) = (now, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "waited in vain until {what}: {now} of {all}");
        // Rarely, since Redis is what limits the rate that is measured.
        thread::sleep(Duration::from_millis(100));
    }
}

/// When each task was done. Fails unless all have succeeded.
fn when_done(redis: &TestRedis, tasks: &[Delayed]) -> Vec<Timestamp> {
    let mut done = Vec::with_capacity(tasks.len());
    for some in tasks.chunks(1_000) {
        let keys: Vec<_> = some.iter().map(|task| format!("celery-task-meta-{}", task.id)).collect();
        let texts: Vec<Option<String>> =
            redis::cmd("MGET").arg(keys).query(&mut redis.connection()).expect("Redis answers");
        for text in texts {
            let answer = Answer::parse(&text.expect("every task has a result"));
            assert_eq!(answer.to_string(), "SUCCESS 0.5");
            done.push(answer.meta["date_done"].as_str().expect("a time").parse().expect("a time"));
        }
    }
    done
}

/// Holds that the tasks ended in the order in which they were due, but for a tenth of all to either side, and for one in a
/// hundred: they run side by side, and on a busy machine one of them may be held up.
fn assert_order(done: &[Timestamp]) {
    let mut order: Vec<usize> = (0..done.len()).collect();
    order.sort_by_key(|n| done[*n]);
    let tenth = done.len() / 10;
    let far: Vec<_> = order.iter().enumerate().filter(|(place, n)| place.abs_diff(**n) > tenth).collect();
    assert!(
        far.len() * 100 <= done.len(),
        "{} tasks ended far from where their due time puts them, the first ones (place, number): {:?}",
        far.len(),
        &far[..far.len().min(10)]
    );
}
