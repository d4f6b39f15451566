//! The engine on real servers: the conformance list here, `bus` for events and replies, `wire` and `keys` for what Python and operators see in Redis, `delays`
//! for delayed messages in numbers, `refusals` for settlements that are refused, `outages` for servers that fail or refuse.
//! Each test starts its own server.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Options, Redis};
use crate::store::conformance::{self, Engine};

/// A `redis-server` on a free port of the loopback address; stopped when dropped.
struct Server {
    port: u16,
    folder: tempfile::TempDir,
    process: Child,
}

impl Server {
    fn start() -> Self {
        // Another test may be given the same free port; the later server then ends at once and the next port is tried.
        loop {
            let folder = tempfile::tempdir().unwrap();
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let process = spawn(port, folder.path());
            let mut server = Self { port, folder, process };
            if server.answers() {
                return server;
            }
        }
    }

    /// Kills the server and starts an empty one on the same port.
    fn restart(&mut self) {
        self.stop();
        loop {
            self.process = spawn(self.port, self.folder.path());
            if self.answers() {
                return;
            }
        }
    }

    fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Stops the clock of the server, or lets it go on.
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Whether the server comes up, rather than ends.
    fn answers(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        let client = redis::Client::open(self.url()).unwrap();
        while self.process.try_wait().unwrap().is_none() {
            let pid = client.get_connection().and_then(|mut connection| {
                redis::cmd("INFO").arg("server").query::<redis::InfoDict>(&mut connection)
            });
            if let Ok(info) = pid {
                return info.get::<u32>("process_id") == Some(self.process.id());
            }
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    async fn connect_with(&self, options: Options) -> Redis {
        Redis::connect(&self.url(), None, options).await.unwrap()
    }

    /// A plain connection, as any other client has it.
    async fn client(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been stopped by the test.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(port: u16, folder: &std::path::Path) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--unixsocket")
        .arg(folder.join("redis.sock"))
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .expect(
            "these tests need `redis-server` 6.2 or newer on the PATH: install the package `redis-server`",
        )
}

/// Asks as another client.
macro_rules! ask {
    ($client:expr, $type:ty, $($word:expr),+ $(,)?) => {{
        let words: Vec<Vec<u8>> = vec![$(Vec::from($word)),+];
        let mut command = redis::Cmd::new();
        command.arg(words);
        command.query_async::<$type>(&mut $client).await.unwrap()
    }};
}

mod bus;
mod delays;
mod keys;
mod outages;
mod refusals;
mod wire;

impl Engine for Server {
    type Store = Redis;

    async fn start() -> Self {
        Server::start()
    }

    async fn connect(&self) -> Redis {
        self.connect_with(Options::default()).await
    }
}

mod one_database {
    super::conformance::conformance!(super::Server);
}

/// Results in another database of the server.
struct TwoDatabases(Server);

impl Engine for TwoDatabases {
    type Store = Redis;

    async fn start() -> Self {
        Self(Server::start())
    }

    async fn connect(&self) -> Redis {
        let results = format!("redis://127.0.0.1:{}/1", self.0.port);
        Redis::connect(&self.0.url(), Some(&results), Options::default()).await.unwrap()
    }
}

mod two_databases {
    super::conformance::conformance!(super::TwoDatabases);
}
