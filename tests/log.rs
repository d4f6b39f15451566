//! What a worker writes, and that nobody who reads it can hold the worker up.

use serde_json::json;

use crate::support::{Task, TestHost, TestRedis, guests};

#[test]
fn a_reader_that_hangs_holds_up_neither_tasks_nor_the_heartbeat() {
    let redis = TestRedis::start();
    let mut host = TestHost::start(&redis, &[("app", guests::DIVIDE)]);
    host.stop_reading();
    // Two lines each: many times what a pipe holds.
    let tasks: Vec<_> = (0..5_000).map(|_| Task::new("app.divide", json!([1, 2]))).collect();
    redis.send_all(&tasks);
    redis.wait_for_all(&tasks);
    host.signal("TERM");
    assert!(host.wait().success(), "it ends, though what it has to say is not read");
}
