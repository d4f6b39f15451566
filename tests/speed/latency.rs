//! How long one task takes, from the moment that it is sent until its client can read the result.

use std::{
    collections::HashMap,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    bare, drain,
    measure::{median, percentile},
    support::{Random, Task, TestHost, TestRedis, guests},
    table::Line,
};

/// How many tasks are sent in one round.
const COUNT: usize = 1_000;

/// When there is nothing else to do.
pub fn idle(rounds: usize) -> Vec<Line> {
    let redis = TestRedis::start();
    let _host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-l", "warning"]);
    let bare_redis = TestRedis::start();
    let _bare = bare::serve(&bare_redis);
    let mut seen = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (seen, redis) in seen.iter_mut().zip([&redis, &bare_redis]) {
            let times = one_after_the_other(redis, COUNT);
            seen.push([50, 99].map(|percent| percentile(times.iter().copied(), percent)));
        }
    }
    let figure = |which: usize, n: usize| median(seen[which].iter().map(|percentiles| percentiles[n]));
    let line = |n: usize, name: &str, target: f64| {
        let what = format!("a task when there is nothing else, {name}");
        Line::at_most_times(&what, [figure(0, n), figure(1, n)], "ms", "bare loop", target)
    };
    vec![line(0, "p50", 1.2), line(1, "p99", 2.0)]
}

/// Sends tasks, each a moment after the last has ended, and gives how many milliseconds each took.
pub fn one_after_the_other(redis: &TestRedis, count: usize) -> Vec<f64> {
    let mut random = Random(0x5eed);
    let mut connection = redis.connection();
    let mut listener = redis.connection();
    let mut results = listener.as_pubsub();
    results.psubscribe("celery-task-meta-*").expect("Redis takes listeners");
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let task = Task::new("app.divide", json!([1, 2]));
        let mut send = redis::cmd("LPUSH");
        send.arg("celery").arg(task.message());
        // So that whoever waits has gone to sleep.
        thread::sleep(Duration::from_micros(500 + random.below(1_000)));
        let begin = Instant::now();
        send.exec(&mut connection).expect("Redis takes messages");
        let told = results.get_message().expect("the result is told");
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        assert!(told.get_channel_name().ends_with(task.id()), "it is this task's");
    }
    times
}

/// When half as much comes as could be done, whether or not what came before has ended.
pub fn open_loop(rounds: usize) -> Vec<Line> {
    let redis = TestRedis::start();
    let _host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-l", "warning"]);
    drain::warm_up(&redis);
    let drained = median((0..3).map(|_| drain::rate(&redis, 20_000, || ())));
    let rate = drained / 2.0;
    let p99 = median((0..rounds).map(|_| percentile(at_a_rate(&redis, rate), 99)));
    vec![Line::at_most(&format!("p99 at {rate:.0} tasks a second, half the drain"), p99, "ms", 10.0)]
}

/// Sends tasks at a rate for two seconds, and gives how many milliseconds each took from when it was due to be sent.
fn at_a_rate(redis: &TestRedis, rate: f64) -> Vec<f64> {
    let tasks: Vec<_> = (0..(rate * 2.0) as usize).map(|_| Task::new("app.divide", json!([1, 2]))).collect();
    let messages: Vec<_> = tasks.iter().map(Task::message).collect();
    let (count, mut listener) = (tasks.len(), redis.connection());
    let (listens, listening) = mpsc::channel();
    let listener = thread::spawn(move || {
        let mut results = listener.as_pubsub();
        results.psubscribe("celery-task-meta-*").expect("Redis takes listeners");
        listens.send(()).expect("somebody waits for it");
        let arrival = |_| {
            let told = results.get_message().expect("the result is told");
            (told.get_channel_name().trim_start_matches("celery-task-meta-").to_owned(), Instant::now())
        };
        (0..count).map(arrival).collect::<HashMap<_, _>>()
    });
    listening.recv().expect("it listens");
    let begin = Instant::now();
    let due = |n: usize| begin + Duration::from_secs_f64(n as f64 / rate);
    let mut connection = redis.connection();
    let mut sent = 0;
    while sent < count {
        let ready = ((begin.elapsed().as_secs_f64() * rate) as usize + 1).min(count);
        if ready > sent {
            let mut pipe = redis::pipe();
            for message in &messages[sent..ready] {
                pipe.lpush("celery", message).ignore();
            }
            pipe.exec(&mut connection).expect("Redis takes messages");
            sent = ready;
        }
        thread::sleep(Duration::from_micros(200));
    }
    let arrivals = listener.join().expect("all results were told");
    let took = |(n, task): (usize, &Task)| arrivals[task.id()].duration_since(due(n)).as_secs_f64() * 1e3;
    tasks.iter().enumerate().map(took).collect()
}
