//! A connection that is opened when it is first needed, shared by all callers, and opened anew after it broke.
//!
//! Every call ends within the connect timeout plus the response timeout, plus the time that it takes to send what is large.
//! A patient connection doubles the response timeout with each answer that comes too late, up to [`MOST_PATIENCE`] times the
//! usual, until one comes in time: a large answer must get over a slow link at last, while a server that has silently gone
//! is noticed at the first.
//!
//! Nothing is tried twice here but a script that the server had forgotten, because only then is it certain that nothing was
//! done. Calls that go in one round trip take effect in their order; only if a server forgets the scripts, and another client
//! teaches them to it in the middle of a round trip, those before that moment take effect after those that follow it. What is
//! put back or sent then may be in another order, and nothing is lost or done twice.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use redis::{AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, PushInfo, Value};
use tokio::{sync::Mutex, time::timeout};

use super::{Options, address::Address, script::Call};
use crate::store::StoreError;

/// How many times the usual time a patient connection waits for an answer at most.
const MOST_PATIENCE: u32 = 16;

/// The answers to several calls, each a value or the error of its own that will not pass.
pub type Answers<T> = Vec<Result<T, StoreError>>;

/// One connection to one database.
pub struct Connection {
    client: redis::Client,
    config: AsyncConnectionConfig,
    address: Address,
    greeting: Option<Cmd>,
    connect_timeout: Duration,
    response_timeout: Duration,
    /// How many times the usual time an answer may take now, and at most.
    patience: AtomicU32,
    most_patience: u32,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    /// Counts the connections that were opened, so that an error is blamed on the one it came from.
    generation: u64,
    open: Option<redis::aio::MultiplexedConnection>,
}

impl Connection {
    /// A connection to be opened later.
    pub fn new(address: &Address, options: &Options) -> Result<Self, StoreError> {
        let client = redis::Client::open(address.info().clone())
            .map_err(|error| StoreError::Url { url: address.to_string(), reason: error.to_string() })?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.response_timeout));
        Ok(Self {
            client,
            config,
            address: address.clone(),
            greeting: None,
            connect_timeout: options.connect_timeout,
            response_timeout: options.response_timeout,
            patience: AtomicU32::new(1),
            most_patience: 1,
            slot: Mutex::default(),
        })
    }

    /// Waits longer for the answer after one that came too late.
    pub fn patient(mut self) -> Self {
        self.most_patience = MOST_PATIENCE;
        self
    }

    /// Sends `greeting` first on each connection that is opened.
    pub fn greet(mut self, greeting: Cmd) -> Self {
        self.greeting = Some(greeting);
        self
    }

    /// Gives what the server pushes, and the news of a connection's end, to `listener`, which must not block.
    pub fn on_push(mut self, listener: impl Fn(PushInfo) + Send + Sync + 'static) -> Self {
        self.config = self.config.set_push_sender(move |push| {
            listener(push);
            Ok::<(), redis::aio::SendError>(())
        });
        self
    }

    /// Opens the connection unless it is open.
    pub async fn open(&self) -> Result<(), StoreError> {
        self.current().await.map(drop)
    }

    /// Sends one command.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let (mut connection, generation) = self.current().await?;
        let answer = connection.send_packed_command(command).await;
        let answer =
            answer.and_then(Value::extract_error).and_then(|value| Ok(redis::from_redis_value(value)?));
        self.checked(answer, generation).await
    }

    /// Sends several commands in one round trip. An error that answers any of them is the answer to all.
    pub async fn ask_all<T: FromRedisValue>(&self, commands: Vec<Cmd>) -> Result<Vec<T>, StoreError> {
        let answers = self.send(commands).await?;
        answers.into_iter().map(|answer| self.read(answer)).collect()
    }

    /// As [`Self::ask_all`], but an error that will not pass is the answer to its command only.
    pub async fn ask_each<T: FromRedisValue>(&self, commands: Vec<Cmd>) -> Result<Answers<T>, StoreError> {
        self.send(commands).await?.into_iter().map(|answer| self.read_alone(answer)).collect()
    }

    /// Calls scripts in one round trip, or in two if the server has forgotten them. An error that answers any of them is the
    /// answer to all.
    pub async fn call<T: FromRedisValue>(&self, calls: &[Call]) -> Result<Vec<T>, StoreError> {
        self.run(calls).await?.into_iter().map(|answer| self.read(answer)).collect()
    }

    /// As [`Self::call`], but an error that will not pass is the answer to its call only.
    pub async fn call_each<T: FromRedisValue>(&self, calls: &[Call]) -> Result<Answers<T>, StoreError> {
        self.run(calls).await?.into_iter().map(|answer| self.read_alone(answer)).collect()
    }

    /// Reads one of several answers; what will pass concerns them all.
    fn read_alone<T: FromRedisValue>(&self, answer: Value) -> Result<Result<T, StoreError>, StoreError> {
        match self.read(answer) {
            Err(error) if error.is_transient() => Err(error),
            answer => Ok(answer),
        }
    }

    async fn run(&self, calls: &[Call]) -> Result<Vec<Value>, StoreError> {
        let mut answers = self.send(calls.iter().map(Call::by_hash)).await?;
        let forgotten =
            |answer: &Value| matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT");
        if answers.iter().any(forgotten) {
            let again = calls.iter().zip(&answers).filter(|(_, answer)| forgotten(answer));
            let mut second = self.send(again.map(|(call, _)| call.by_text())).await?.into_iter();
            for answer in answers.iter_mut().filter(|answer| forgotten(answer)) {
                *answer = second.next().unwrap_or(Value::Nil);
            }
        }
        Ok(answers)
    }

    /// Subscribes to a channel; returns once the server has confirmed it.
    pub async fn subscribe(&self, channel: &str) -> Result<(), StoreError> {
        let (mut connection, generation) = self.current().await?;
        let answer = connection.subscribe(channel).await;
        self.checked(answer, generation).await
    }

    /// Subscribes to all channels of a pattern; returns once the server has confirmed it.
    pub async fn psubscribe(&self, pattern: &str) -> Result<(), StoreError> {
        let (mut connection, generation) = self.current().await?;
        let answer = connection.psubscribe(pattern).await;
        self.checked(answer, generation).await
    }

    /// Ends the subscription to a channel.
    pub async fn unsubscribe(&self, channel: &str) -> Result<(), StoreError> {
        let (mut connection, generation) = self.current().await?;
        let answer = connection.unsubscribe(channel).await;
        self.checked(answer, generation).await
    }

    /// Sends commands in one round trip, with server errors among the answers.
    async fn send(&self, commands: impl IntoIterator<Item = Cmd>) -> Result<Vec<Value>, StoreError> {
        let mut pipeline = Pipeline::new();
        let mut size = 0;
        for command in commands {
            size += command.args_iter().map(size_of).sum::<usize>();
            pipeline.add_command(command);
        }
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let (mut connection, generation) = self.current().await?;
        connection.set_response_timeout(self.time_to_answer() + time_to_send(size));
        let answer = connection.send_packed_commands(&pipeline, 0, pipeline.len()).await;
        let answers = self.checked(answer, generation).await?;
        let is_moved =
            |answer: &Value| matches!(answer, Value::ServerError(error) if MOVED.contains(&error.code()));
        if answers.iter().any(is_moved) {
            self.give_up(generation).await;
        }
        Ok(answers)
    }

    async fn current(&self) -> Result<(redis::aio::MultiplexedConnection, u64), StoreError> {
        let attempt = async {
            let mut slot = self.slot.lock().await;
            if slot.open.is_none() {
                let mut opened =
                    self.client.get_multiplexed_async_connection_with_config(&self.config).await?;
                if let Some(greeting) = &self.greeting {
                    opened.send_packed_command(greeting).await?.extract_error()?;
                }
                slot.generation += 1;
                slot.open = Some(opened);
            }
            let mut open = slot.open.clone().expect("it was opened just now");
            open.set_response_timeout(self.time_to_answer());
            Ok((open, slot.generation))
        };
        match timeout(self.connect_timeout, attempt).await {
            Ok(opened) => opened.map_err(|error| self.error(error)),
            Err(elapsed) => Err(self.unreachable(elapsed)),
        }
    }

    fn time_to_answer(&self) -> Duration {
        self.response_timeout * self.patience.load(Ordering::Relaxed)
    }

    async fn checked<T>(
        &self,
        answer: Result<T, redis::RedisError>,
        generation: u64,
    ) -> Result<T, StoreError> {
        match &answer {
            Ok(_) => self.patience.store(1, Ordering::Relaxed),
            Err(error) if error.is_timeout() => {
                let longer = self.patience.load(Ordering::Relaxed).saturating_mul(2);
                self.patience.store(longer.min(self.most_patience), Ordering::Relaxed);
            }
            Err(_) => {}
        }
        match answer.map_err(|error| self.error(error)) {
            // After a failover the name may lead to another server, so not only broken connections are given up.
            Err(error) if error.is_transient() => {
                self.give_up(generation).await;
                Err(error)
            }
            answer => answer,
        }
    }

    async fn give_up(&self, generation: u64) {
        let mut slot = self.slot.lock().await;
        if slot.generation == generation {
            slot.open = None;
        }
    }

    /// Reads one answer of several of different kinds.
    pub fn read<T: FromRedisValue>(&self, value: Value) -> Result<T, StoreError> {
        let converted = value.extract_error().and_then(|value| Ok(redis::from_redis_value(value)?));
        converted.map_err(|error| self.error(error))
    }

    /// The error of a server that says so.
    pub fn refusal(&self, why: String) -> StoreError {
        StoreError::Refused { address: self.address.to_string(), source: why.into() }
    }

    fn unreachable(&self, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
        StoreError::Unreachable { address: self.address.to_string(), source: Box::new(source) }
    }

    fn error(&self, error: redis::RedisError) -> StoreError {
        let address = self.address.to_string();
        if error.kind() == ErrorKind::Io {
            self.unreachable(error)
        } else if is_passing(&error) {
            StoreError::NotReady { address, source: Box::new(error) }
        } else {
            StoreError::Refused { address, source: Box::new(error) }
        }
    }
}

fn size_of(argument: redis::Arg<&[u8]>) -> usize {
    match argument {
        redis::Arg::Simple(bytes) => bytes.len(),
        _ => 0,
    }
}

/// How long so many bytes may be on their way, over a link of 2 MiB/s. What is small needs no time of its own.
fn time_to_send(size: usize) -> Duration {
    Duration::from_millis((size >> 20) as u64 * 500)
}

/// The errors of a server that is not, or not yet, the one to talk to.
const MOVED: &[&str] = &["LOADING", "READONLY", "MASTERDOWN"];

/// Whether the server answers so in a condition that passes: it loads its data, is a replica during a failover, has no
/// memory or disk left, runs a long script, or has too many clients.
fn is_passing(error: &redis::RedisError) -> bool {
    const PASSING: &[&str] = &[
        "LOADING",
        "READONLY",
        "MASTERDOWN",
        "OOM",
        "BUSY",
        "MISCONF",
        "NOREPLICAS",
        "TRYAGAIN",
        "CLUSTERDOWN",
        "UNBLOCKED",
    ];
    let says = |text: &str| error.detail().is_some_and(|detail| detail.contains(text));
    error.code().is_some_and(|code| PASSING.contains(&code))
        || says("max number of clients reached")
        // What happened in a script Redis 6 tells in the text of an error of the script.
        || (says("user_script") && PASSING.iter().any(|code| says(&format!("-{code} "))))
}

#[cfg(test)]
mod tests {
    use super::is_passing;

    #[test]
    fn a_condition_that_passes_is_told_from_a_refusal_also_in_scripts() {
        for (code, detail, passing) in [
            ("OOM", "command not allowed when used memory > 'maxmemory'", true),
            (
                "ERR",
                "Error running script (call to f_0): @user_script:3: @user_script: 3: -OOM command not",
                true,
            ),
            ("ERR", "max number of clients reached", true),
            ("ERR", "wrong: -OOM in a name", false),
            ("WRONGTYPE", "Operation against a key holding the wrong kind of value", false),
        ] {
            let error = redis::make_extension_error(code.to_owned(), Some(detail.to_owned()));
            assert_eq!(is_passing(&error), passing, "{code} {detail}");
        }
    }
}
