//! Remote control while there is very much to do: it is answered at once all the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use crate::{
    control::ask,
    support::{Celery, Task, TestHost, TestRedis, eventually, guests},
};

/// How long a reply may take, in seconds.
const AT_ONCE: f64 = 0.2;

/// For the code of a test: how long a reply takes, in seconds. The first call connects, so it is not looked at.
const TOOK: &str = "
METHODS = ['ping', 'stats', 'active', 'scheduled', 'registered', 'conf', 'revoked']
def took(method):
    begin = time.monotonic()
    assert len(ask(method)) == 1
    return time.monotonic() - begin
ask('ping')
";

#[track_caller]
fn assert_at_once(celery: Celery, redis: &TestRedis, code: &str) {
    let took: Vec<f64> = serde_json::from_value(ask(celery, redis, &format!("{TOOK}\n{code}"))).unwrap();
    eprintln!("{} replies, the slowest after {:.3} s", took.len(), took.iter().copied().fold(0.0, f64::max));
    assert!(took.len() > 20 && took.iter().all(|took| *took < AT_ONCE), "{took:?}");
}

#[test]
fn every_request_is_answered_at_once_while_every_slot_is_busy() {
    let redis = TestRedis::start_alone();
    let flags = ["-c", "20", "--time-limit", "100"];
    let _host = TestHost::start_with(&redis, &[("misbehave", guests::MISBEHAVE)], &flags);
    // More than there are slots, and none of them ever lets go of its thread by itself.
    let tasks: Vec<_> = (0..200).map(|_| Task::new("misbehave.endless_loop", json!([]))).collect();
    redis.send_all(&tasks);
    eventually("all slots are busy", || (redis.ask::<u64>(&["HLEN", "unacked"]) == 20).then_some(()));
    for celery in Celery::BOTH {
        assert_at_once(celery, &redis, "[took(method) for method in METHODS * 5]");
    }
}

#[test]
fn every_request_is_answered_at_once_while_five_thousand_tasks_a_second_are_listened_to() {
    let redis = TestRedis::start_alone();
    let host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-E", "-l", "warning"]);
    let tasks: Vec<_> = (0..30_000).map(|n| Task::new("app.divide", json!([n, 1]))).collect();
    let heard = Listener::start(&redis);
    let before = host.resident_memory();
    thread::scope(|scope| {
        scope.spawn(|| {
            let begin = Instant::now();
            for (n, some) in (1..).zip(tasks.chunks(100)) {
                redis.send_all(some);
                thread::sleep((Duration::from_millis(20) * n).saturating_sub(begin.elapsed()));
            }
            redis.ask::<()>(&["SET", "over", "yes"]);
        });
        let code = "
times = []
while not celery.backend.client.exists('over'):
    times += [took(method) for method in METHODS]
times";
        assert_at_once(Celery::BOTH[0], &redis, code);
    });
    redis.wait_for_all(&tasks);
    // Of each task that it came, began and ended; beside them the worker's own.
    eventually("all events are heard", || (heard.count() >= 3 * tasks.len()).then_some(()));
    let grown = host.resident_memory().saturating_sub(before);
    eprintln!("{} events heard, the worker grew by {grown} KiB", heard.count());
    assert!(grown < 32 << 10, "the worker grew by {grown} KiB");
}

/// Listens to all events, as fast as they come.
struct Listener(Arc<AtomicUsize>);

impl Listener {
    fn start(redis: &TestRedis) -> Self {
        let (mut connection, count) = (redis.connection(), Arc::new(AtomicUsize::new(0)));
        let counter = count.clone();
        let (listens, listening) = mpsc::channel();
        // Ends with the test's Redis.
        thread::spawn(move || {
            let mut channel = connection.as_pubsub();
            channel.psubscribe("/0.celeryev/*").expect("Redis takes listeners");
            listens.send(()).expect("somebody waits for it");
            while let Ok(message) = channel.get_message() {
                let message: Value = serde_json::from_slice(message.get_payload_bytes()).expect("it is JSON");
                let body =
                    BASE64.decode(message["body"].as_str().expect("it has a body")).expect("it is base64");
                let body: Value = serde_json::from_slice(&body).expect("it is JSON");
                counter.fetch_add(body.as_array().map_or(1, Vec::len), Ordering::Relaxed);
            }
        });
        listening.recv().expect("it listens");
        Self(count)
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
