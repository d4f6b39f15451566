//! A connection that is opened when it is first needed, shared by all callers, and opened anew after it broke.
//!
//! Every call ends within the connect timeout plus the response timeout. Nothing is tried twice here but a script that
//! the server had forgotten, because only then is it certain that nothing was done.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, PushInfo, Value};
use tokio::{sync::Mutex, time::timeout};

use super::{Options, address::Address, script::Call};
use crate::store::StoreError;

/// One connection to one database.
pub struct Connection {
    client: redis::Client,
    config: AsyncConnectionConfig,
    address: Address,
    greeting: Option<Cmd>,
    connect_timeout: Duration,
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
            slot: Mutex::default(),
        })
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

    /// Calls scripts in one round trip, or in two if the server has forgotten them.
    pub async fn call<T: FromRedisValue>(&self, calls: &[Call]) -> Result<Vec<T>, StoreError> {
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
        answers.into_iter().map(|answer| self.read(answer)).collect()
    }

    /// Subscribes to a channel; returns once the server has confirmed it.
    pub async fn subscribe(&self, channel: &str) -> Result<(), StoreError> {
        let (mut connection, generation) = self.current().await?;
        let answer = connection.subscribe(channel).await;
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
        for command in commands {
            pipeline.add_command(command);
        }
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let (mut connection, generation) = self.current().await?;
        let answer = connection.send_packed_commands(&pipeline, 0, pipeline.len()).await;
        self.checked(answer, generation).await
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
            let open = slot.open.clone().expect("it was opened just now");
            Ok((open, slot.generation))
        };
        match timeout(self.connect_timeout, attempt).await {
            Ok(opened) => opened.map_err(|error| self.error(error)),
            Err(elapsed) => Err(self.unreachable(elapsed)),
        }
    }

    async fn checked<T>(
        &self,
        answer: Result<T, redis::RedisError>,
        generation: u64,
    ) -> Result<T, StoreError> {
        match answer.map_err(|error| self.error(error)) {
            // After a failover the name may lead to another server, so not only broken connections are given up.
            Err(error) if error.is_transient() => {
                let mut slot = self.slot.lock().await;
                if slot.generation == generation {
                    slot.open = None;
                }
                Err(error)
            }
            answer => answer,
        }
    }

    /// Reads one answer of several of different kinds.
    pub fn read<T: FromRedisValue>(&self, value: Value) -> Result<T, StoreError> {
        let converted = value.extract_error().and_then(|value| Ok(redis::from_redis_value(value)?));
        converted.map_err(|error| self.error(error))
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
    error.code().is_some_and(|code| PASSING.contains(&code))
        || error.detail().is_some_and(|detail| detail.contains("max number of clients reached"))
}
