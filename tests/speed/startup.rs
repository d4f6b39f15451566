//! From nothing to the first result, and what a worker costs that has nothing to do.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    measure::median,
    support::{Task, TestHost, TestRedis, guests},
    table::Line,
};

/// A worker with twenty plugins that were compiled before, until it has done a task that waited for it.
pub fn start(rounds: usize) -> Vec<Line> {
    let redis = TestRedis::start();
    let mut host = with_twenty_plugins(&redis);
    let mut times = Vec::new();
    for _ in 0..rounds {
        host.kill_9();
        redis.ask::<()>(&["FLUSHDB"]);
        let id = redis.send(&Task::new("app_7.divide", json!([1, 2])));
        let begin = Instant::now();
        host.start_again();
        while redis.stored(&id).is_none() {
            thread::sleep(Duration::from_micros(500));
        }
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    vec![Line::at_most("start with 20 compiled plugins to the first result", median(times), "ms", 100.0)]
}

/// What it costs while there is nothing to do.
pub fn at_rest(_rounds: usize) -> Vec<Line> {
    let redis = TestRedis::start();
    let mut host = with_twenty_plugins(&redis);
    host.kill_9();
    host.start_again();
    redis.run("app_7.divide", json!([1, 2]));
    let seconds = 10;
    let asked = commands(&redis, Duration::from_secs(seconds));
    let memory = host.resident_memory() as f64 / 1024.0;
    vec![
        Line::at_most("memory at rest, 20 plugins", memory, "MiB", 40.0),
        Line::at_most("Redis commands at rest", asked as f64 / seconds as f64, "/s", 5.0),
    ]
}

/// A plugin that no worker has seen before, of a megabyte, until it has done its first task.
pub fn drop_in(rounds: usize) -> Vec<Line> {
    let redis = TestRedis::start();
    let host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-l", "warning"]);
    let mut times = Vec::new();
    for round in 0..rounds {
        let wasm = unseen(&fs::read(guests::DIVIDE).expect("it is built"), 1 << 20);
        let begin = Instant::now();
        host.put(&format!("new_{round}"), &wasm);
        assert_eq!(redis.run(&format!("new_{round}.divide"), json!([1, 2])).to_string(), "SUCCESS 0.5");
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    vec![Line::at_most("drop of a new plugin of 1 MiB to its first result", median(times), "ms", 500.0)]
}

fn with_twenty_plugins(redis: &TestRedis) -> TestHost {
    let names: Vec<_> = (0..20).map(|n| format!("app_{n}")).collect();
    let plugins: Vec<_> = names.iter().map(|name| (name.as_str(), guests::DIVIDE)).collect();
    let host = TestHost::start_with(redis, &plugins, &["-l", "warning"]);
    // Each has code of its own.
    for name in &names {
        host.put(name, &unseen(&fs::read(guests::DIVIDE).expect("it is built"), 0));
    }
    for name in &names {
        redis.run(&format!("{name}.divide"), json!([1, 2]));
    }
    host
}

/// The same plugin with a custom section of random content and so many bytes, so that it has never been compiled.
fn unseen(wasm: &[u8], size: usize) -> Vec<u8> {
    let mut content = b"\x06unseen".to_vec();
    content.extend(uuid::Uuid::new_v4().as_bytes());
    content.resize(content.len().max(size.saturating_sub(wasm.len())), 0);
    let mut wasm = wasm.to_vec();
    wasm.push(0);
    let mut length = content.len();
    while length >= 0x80 {
        wasm.push(length as u8 | 0x80);
        length >>= 7;
    }
    wasm.push(length as u8);
    wasm.extend(content);
    wasm
}

/// How many commands come to the server in this time, without those that scripts call.
fn commands(redis: &TestRedis, time: Duration) -> usize {
    let mut monitor = TcpStream::connect(redis.address()).expect("Redis listens");
    monitor.write_all(b"MONITOR\r\n").expect("Redis reads");
    thread::sleep(time);
    monitor.shutdown(Shutdown::Write).expect("it is open");
    let mut seen = String::new();
    monitor.read_to_string(&mut seen).expect("it is text");
    // The first line says that all is well; of a script's commands it is said that they are.
    seen.lines().skip(1).filter(|line| !line.contains(" lua] ")).count()
}
