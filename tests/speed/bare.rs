//! A loop without a sandbox that sends Redis what `host` sends it: for each task, the message is taken from its list, recorded as
//! held, a result is stored and published, and the record goes. What it does between is to read the id and to divide.

use std::{sync::mpsc, thread};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use redis::Connection;
use serde_json::{Value, json};

use crate::support::TestRedis;

/// How many tasks are taken in one round trip.
const MOST_AT_ONCE: usize = 200;

/// Takes and does tasks until there were so many; in each round trip the end of some and the taking of others.
pub fn drain(redis: &TestRedis, count: usize) {
    let mut connection = redis.connection();
    let mut held: Vec<Vec<u8>> = Vec::new();
    let mut done = 0;
    while done < count {
        done += held.len();
        held = round_trip(&mut connection, &held, MOST_AT_ONCE);
    }
}

/// Takes and does one task after the other as it comes, until nobody wants it any more.
pub fn serve(redis: &TestRedis) -> Server {
    let mut connection = redis.connection();
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            let mut wait = redis::cmd("BRPOP");
            let taken: Option<(String, Vec<u8>)> =
                wait.arg("celery").arg(0.1).query(&mut connection).expect("Redis answers");
            if let Some((_, message)) = taken {
                round_trip(&mut connection, &[message], 0);
            }
        }
    });
    Server { _stop: stop, thread: Some(thread) }
}

/// A loop in a thread of its own.
pub struct Server {
    _stop: mpsc::Sender<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        (self._stop, _) = mpsc::channel();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it ends");
        }
    }
}

fn round_trip(connection: &mut Connection, held: &[Vec<u8>], most: usize) -> Vec<Vec<u8>> {
    let mut pipe = redis::pipe();
    for message in held {
        let (id, meta) = run(message);
        let key = format!("celery-task-meta-{id}");
        pipe.hset("unacked", &id, message).ignore();
        pipe.zadd("unacked_index", &id, 1_764_000_000.0).ignore();
        pipe.set_ex(&key, &meta, 86_400).ignore();
        pipe.publish(&key, &meta).ignore();
        pipe.zrem("unacked_index", &id).ignore();
        pipe.hdel("unacked", &id).ignore();
    }
    if most == 0 {
        pipe.exec(connection).expect("Redis answers");
        return Vec::new();
    }
    pipe.cmd("RPOP").arg("celery").arg(most);
    let (taken,): (Option<Vec<Vec<u8>>>,) = pipe.query(connection).expect("Redis answers");
    taken.unwrap_or_default()
}

/// The task's id and the meta of its result.
fn run(message: &[u8]) -> (String, String) {
    let message: Value = serde_json::from_slice(message).expect("it is JSON");
    let body = BASE64.decode(message["body"].as_str().expect("it has a body")).expect("it is base64");
    let (args, _, _): (Vec<f64>, Value, Value) = serde_json::from_slice(&body).expect("it is JSON");
    let id = message["headers"]["id"].as_str().expect("it has an id").to_owned();
    let meta = json!({
        "status": "SUCCESS", "result": args[0] / args[1], "traceback": null, "children": [],
        "date_done": "2026-01-01T00:00:00.000000+00:00", "task_id": id,
    });
    (id, meta.to_string())
}
