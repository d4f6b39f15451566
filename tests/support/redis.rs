//! A Redis server of the test's own, and what a test asks it.

use std::{fs, net::TcpListener, process::Command};

use redis::{Connection, FromRedisValue};
use serde_json::Value;
use tempfile::TempDir;

use super::{Answer, Task, eventually, machine::Turn, process::Process};

/// A Redis server on a free port of this machine. It ends with the test.
pub struct TestRedis {
    server: Process,
    port: u16,
    folder: TempDir,
    flags: Vec<String>,
    _turn: Turn,
}

impl TestRedis {
    /// For a test that runs beside others.
    pub fn start() -> Self {
        Self::start_in(Turn::shared(), &[])
    }

    /// For a test that measures: no other runs meanwhile.
    pub fn start_alone() -> Self {
        Self::start_in(Turn::alone(), &[])
    }

    /// With more flags, as `redis-server` takes them.
    pub fn start_with(flags: &[&str]) -> Self {
        Self::start_in(Turn::shared(), flags)
    }

    fn start_in(turn: Turn, flags: &[&str]) -> Self {
        let flags: Vec<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let folder = tempfile::tempdir().expect("there is room for a folder");
        loop {
            // Between choosing a port and using it another process may take it; then the server ends at once.
            let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
            let port = listener.local_addr().expect("it is bound").port();
            drop(listener);
            if let Some(server) = serve(port, &folder, &flags) {
                return Self { server, port, folder, flags, _turn: turn };
            }
        }
    }

    pub fn url(&self) -> String {
        url(self.port)
    }

    /// Where it listens: host and port.
    pub fn address(&self) -> (&'static str, u16) {
        ("127.0.0.1", self.port)
    }

    /// Stops the server; what it holds is saved.
    pub fn stop(&mut self) {
        let _: Result<(), _> = redis::cmd("SHUTDOWN").arg("SAVE").query(&mut self.connection());
        self.server.wait();
    }

    /// Ends the server in the middle of whatever it does; what it holds is what it wrote to disk.
    pub fn kill_9(&mut self) {
        self.server.kill();
    }

    /// Starts the stopped server again, on the same port and with what it held.
    pub fn start_again(&mut self) {
        self.server = serve(self.port, &self.folder, &self.flags).expect("its port is still free");
    }

    /// Stops answering, as a machine does that hangs; connections stay.
    pub fn freeze(&self) {
        self.server.signal("STOP");
    }

    pub fn thaw(&self) {
        self.server.signal("CONT");
    }

    /// Its number among the processes.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything that it holds, as it would be on the disk; texts are as they are.
    pub fn dump(&self) -> Vec<u8> {
        self.ask::<()>(&["CONFIG", "SET", "rdbcompression", "no"]);
        self.ask::<()>(&["SAVE"]);
        fs::read(self.folder.path().join("dump.rdb")).expect("it was saved there")
    }

    pub fn connection(&self) -> Connection {
        connect(self.port).expect("the server answers")
    }

    /// Runs one command: `redis.ask(&["LLEN", "celery"])`.
    #[track_caller]
    pub fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        redis::cmd(command[0])
            .arg(&command[1..])
            .query(&mut self.connection())
            .expect("a command that Redis takes")
    }

    /// Sends a task as a client does and returns its id.
    pub fn send(&self, task: &Task) -> String {
        self.push(&task.list(), task.message().as_bytes());
        task.id().to_owned()
    }

    /// Sends many tasks in one go.
    pub fn send_all(&self, tasks: &[Task]) {
        for some in tasks.chunks(1_000) {
            let mut pipe = redis::pipe();
            for task in some {
                pipe.lpush(task.list(), task.message()).ignore();
            }
            pipe.exec(&mut self.connection()).expect("Redis takes messages");
        }
    }

    /// Puts any bytes where messages are.
    pub fn push(&self, list: &str, message: &[u8]) {
        redis::cmd("LPUSH")
            .arg(list)
            .arg(message)
            .exec(&mut self.connection())
            .expect("Redis takes messages");
    }

    /// What is stored as the task's result, now.
    pub fn stored(&self, id: &str) -> Option<Answer> {
        let text: Option<String> = self.ask(&["GET", &key(id)]);
        text.map(|text| Answer::parse(&text))
    }

    /// Waits until the task is ready, and returns its result.
    #[track_caller]
    pub fn answer(&self, id: &str) -> Answer {
        eventually("the task is ready", || self.stored(id).filter(Answer::is_ready))
    }

    /// Sends a task, waits until it is ready, and returns its result.
    #[track_caller]
    pub fn run(&self, name: &str, args: Value) -> Answer {
        self.answer(&self.send(&Task::new(name, args)))
    }

    /// How many of the tasks are ready.
    pub fn ready(&self, tasks: &[Task]) -> usize {
        let mut ready = 0;
        for some in tasks.chunks(1_000) {
            let keys: Vec<_> = some.iter().map(|task| task.tenant() + &key(task.id())).collect();
            let texts: Vec<Option<String>> =
                redis::cmd("MGET").arg(keys).query(&mut self.connection()).expect("Redis answers");
            ready += texts.iter().flatten().filter(|text| Answer::parse(text).is_ready()).count();
        }
        ready
    }

    /// Waits until all the tasks are ready.
    #[track_caller]
    pub fn wait_for_all(&self, tasks: &[Task]) {
        for some in tasks.chunks(1_000) {
            eventually("all tasks are ready", || (self.ready(some) == some.len()).then_some(()));
        }
    }

    /// Waits until no message waits in a queue or is held by a worker.
    #[track_caller]
    pub fn wait_until_idle(&self) {
        eventually("no message is left", || {
            let left: u64 = self.ask::<u64>(&["LLEN", "celery"]) + self.ask::<u64>(&["HLEN", "unacked"]);
            (left == 0).then_some(())
        });
    }
}

/// Where the result of a task is stored, and announced.
fn key(id: &str) -> String {
    format!("celery-task-meta-{id}")
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}/0")
}

fn connect(port: u16) -> redis::RedisResult<Connection> {
    redis::Client::open(url(port))?.get_connection()
}

/// Starts a server and waits until it answers. `None` when it ended instead.
fn serve(port: u16, folder: &TempDir, flags: &[String]) -> Option<Process> {
    let mut server = Process::start(
        Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()])
            .arg("--dir")
            .arg(folder.path())
            .args(flags),
        "run `tests/setup`, which installs it",
    );
    eventually("Redis answers", || match server.status() {
        Some(_) => Some(None),
        None => {
            let pong: redis::RedisResult<String> =
                connect(port).and_then(|mut c| redis::cmd("PING").query(&mut c));
            pong.is_ok().then_some(Some(()))
        }
    })
    .map(|()| server)
}
