//! Flower, started as the tutorial starts it.

use std::{net::TcpListener, thread};

use super::{Celery, Response, TestRedis, eventually, http, process::Process};

/// A running `celery -A app.celery flower`. It ends with the test; when the test fails, what it wrote is shown.
pub struct Flower {
    process: Process,
    port: u16,
}

impl Flower {
    /// Starts it with the tutorial's app, and waits until it serves.
    #[track_caller]
    pub fn start(celery: Celery, redis: &TestRedis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let mut command = celery.tutorial("celery", redis);
        command.args(["-A", "app.celery", "flower", &format!("--port={port}")]);
        // Else its API wants somebody to log in.
        command.env("FLOWER_UNAUTHENTICATED_API", "true");
        let mut process = Process::start(&mut command, "run `tests/setup`");
        process.wait_for("Visit me at");
        let flower = Self { process, port };
        eventually("Flower serves", || http::answers(&flower.url("/healthcheck")).then_some(()));
        flower
    }

    /// Where a page or a route is.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        http::get(&self.url(path))
    }

    #[track_caller]
    pub fn post(&self, path: &str, form: &[(&str, &str)]) -> Response {
        http::post(&self.url(path), form)
    }

    #[track_caller]
    pub fn post_json(&self, path: &str, body: &serde_json::Value) -> Response {
        http::post_json(&self.url(path), body)
    }
}

impl Drop for Flower {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- what Flower wrote:\n{}---", self.process.output());
        }
    }
}
