//! Whether a task costs the same when there is much more of everything.

use serde_json::json;

use crate::{
    drain,
    measure::{cpu, median},
    support::{Task, TestHost, TestRedis, eventually, guests},
    table::Line,
};

/// How much more a task may cost. Caches of the processor account for some of it.
const FLAT: f64 = 1.5;

pub fn lines(rounds: usize) -> Vec<Line> {
    let what = "processor time of a task";
    let redis = TestRedis::start();
    let host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-l", "warning"]);
    drain::warm_up(&redis);
    let cost = |count: usize, rounds: usize| {
        median((0..rounds).map(|_| drain::rate_and_costs(&redis, count, [host.pid()]).1[0]))
    };
    let few = cost(10_000, rounds);
    let many = cost(1_000_000, 1);
    let mut lines = vec![Line::at_most_times(
        &format!("{what}, a million queued"),
        [many, few],
        "us",
        "ten thousand",
        FLAT,
    )];

    let redis = TestRedis::start();
    let names: Vec<_> = (0..1_000).map(|n| format!("app_{n}")).collect();
    let plugins: Vec<_> = names.iter().map(|name| (name.as_str(), guests::NUMBERS)).collect();
    let cost_of = |plugins: &[(&str, &str)]| {
        let host = TestHost::start_with(&redis, plugins, &["-l", "warning"]);
        median((0..rounds).map(|_| {
            let tasks = (0..10_000)
                .map(|n| Task::new(&format!("{}.add", plugins[n % plugins.len()].0), json!([1, 2])));
            let tasks: Vec<_> = tasks.collect();
            let before = cpu(host.pid());
            redis.send_all(&tasks);
            redis.wait_for_all(&tasks);
            (cpu(host.pid()) - before).as_secs_f64() * 1e6 / tasks.len() as f64
        }))
    };
    let [one, thousand] = [&plugins[..1], &plugins[..]].map(cost_of);
    lines.push(Line::at_most_times(
        &format!("{what}, 1,000 plugins"),
        [thousand, one],
        "us",
        "one plugin",
        FLAT,
    ));

    let redis = TestRedis::start();
    let cost_in_flight = |count: usize| {
        // One worker has at most 5,000.
        let hosts: Vec<_> = (0..2)
            .map(|n| {
                let flags = ["-l", "warning", "-c", "5000", "-n", &format!("w{n}@%h")];
                TestHost::start_with(&redis, &[("observe", guests::OBSERVE)], &flags)
            })
            .collect();
        median((0..rounds).map(|_| {
            let spent = || hosts.iter().map(|host| cpu(host.pid()).as_secs_f64()).sum::<f64>();
            let before = spent();
            // Long enough for all to be there at once.
            let tasks: Vec<_> = (0..count).map(|_| Task::new("observe.sleep_for", json!([3.0]))).collect();
            redis.send_all(&tasks);
            eventually("all run", || (redis.ask::<usize>(&["HLEN", "unacked"]) == count).then_some(()));
            redis.wait_for_all(&tasks);
            redis.ask::<()>(&["FLUSHDB"]);
            (spent() - before) * 1e6 / count as f64
        }))
    };
    let [few, many] = [1_000, 10_000].map(cost_in_flight);
    lines.push(Line::at_most_times(
        &format!("{what}, 10,000 in flight"),
        [many, few],
        "us",
        "a thousand",
        FLAT,
    ));
    lines
}
