//! `host control`: tells workers, those of Python among them, what to do.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    Exit,
    ask::{AskArgs, one_line, plain},
    print,
};
use crate::{
    config,
    task::{QueueName, RateLimit, TaskId, TaskName},
};

/// Tell workers what to do; exit code 69 if none replies
#[derive(Debug, Args)]
#[command(mut_args(|argument| argument.global(true)))]
pub struct Control {
    #[command(flatten)]
    ask: AskArgs,

    #[command(subcommand)]
    method: Method,
}

/// What is to be done, by Celery's names.
#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
enum Method {
    /// Limit how often a task is begun
    RateLimit {
        /// The task
        task: TaskName,

        /// Runs per second, or 10/m, 100/h; 0 is no limit
        #[arg(value_parser = rate)]
        rate: String,
    },
    /// Limit how long a task may run
    TimeLimit {
        /// The task
        task: TaskName,

        /// It is asked to end after this many seconds
        #[arg(value_parser = config::seconds)]
        soft: Duration,

        /// It is stopped after this many seconds
        #[arg(value_parser = config::seconds)]
        hard: Option<Duration>,
    },
    /// Take from one more queue
    AddConsumer {
        /// The queue
        queue: QueueName,

        /// Its exchange, for Python workers [default: the queue's name]
        #[arg(long)]
        exchange: Option<String>,

        /// The exchange's type, for Python workers
        #[arg(long, value_name = "TYPE")]
        exchange_type: Option<String>,

        /// Its routing key, for Python workers [default: the queue's name]
        #[arg(long, value_name = "KEY")]
        routing_key: Option<String>,
    },
    /// Take from a queue no more
    CancelConsumer {
        /// The queue
        queue: QueueName,
    },
    /// Run more tasks at once
    PoolGrow {
        /// How many more
        #[arg(default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
        n: u32,
    },
    /// Run fewer tasks at once
    PoolShrink {
        /// How many fewer
        #[arg(default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
        n: u32,
    },
    /// Set between what bounds a worker with --autoscale chooses how many tasks it runs at once
    Autoscale {
        /// At most
        max: u32,

        /// At least
        #[arg(default_value = "0")]
        min: u32,
    },
    /// Start the pool of a Python worker anew
    PoolRestart {
        /// The Python modules to load
        modules: Vec<String>,

        /// Load them anew if they are loaded already
        #[arg(long)]
        reload: bool,
    },
    /// Keep tasks from running. Only workers that live now hear of it: `host revoke` tells later ones too
    Revoke {
        #[command(flatten)]
        which: Which,

        /// Stop them where they run already
        #[arg(long)]
        terminate: bool,

        /// With --terminate, to Python workers: the signal that stops them
        #[arg(long, value_name = "NAME", requires = "terminate", default_value = "SIGTERM")]
        signal: String,
    },
    /// Stop tasks where they run
    Terminate {
        #[command(flatten)]
        which: Which,

        /// To Python workers: the signal that stops them
        #[arg(long, value_name = "NAME", default_value = "SIGTERM")]
        signal: String,
    },
    /// Keep tasks that carry these stamps from running
    RevokeByStampedHeaders {
        /// The stamps
        #[arg(value_name = "NAME=VALUE", required = true, value_parser = stamp)]
        stamps: Vec<(String, String)>,

        /// Stop them where they run already
        #[arg(long)]
        terminate: bool,

        /// With --terminate, to Python workers: the signal that stops them
        #[arg(long, value_name = "NAME", requires = "terminate", default_value = "SIGTERM")]
        signal: String,
    },
    /// Tell of each task what happens to it
    EnableEvents,
    /// Tell it no more
    DisableEvents,
    /// Send a heartbeat event at once
    Heartbeat,
    /// Shut down warmly: what runs may end. Nobody replies to this
    Shutdown,
}

/// Single tasks.
#[derive(Debug, Args)]
struct Which {
    /// The tasks' ids
    #[arg(required = true)]
    ids: Vec<TaskId>,
}

impl Control {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let control = self.ask.control().await?;
        let (name, arguments) = self.method.command();
        if matches!(self.method, Method::Shutdown) {
            control.tell(self.ask.question(name, arguments)).await?;
            match self.ask.json {
                true => print::json(&json!({})),
                false => print::line("told; workers shut down once what they run has ended"),
            }
            return Ok(Exit::Success);
        }
        let replies = self.ask.ask(&control, name, arguments).await?;
        Ok(replies.show(self.ask.json, show))
    }
}

fn show(replies: &[(&str, &Value)]) {
    let said = |(node, reply): &(&str, &Value)| match reply.get("ok") {
        Some(said) => [plain(node), one_line(said)],
        None if reply.is_null() => [plain(node), "done".to_owned()],
        None => [plain(node), one_line(reply)],
    };
    print::table(&replies.iter().map(said).collect::<Vec<_>>());
}

impl Method {
    /// The method's name and arguments on the wire (celery-protocol.md, 8.7).
    fn command(&self) -> (&'static str, Value) {
        let seconds = |time: &Duration| Value::from(time.as_secs_f64());
        match self {
            Self::RateLimit { task, rate } => {
                ("rate_limit", json!({"task_name": task.as_str(), "rate_limit": rate}))
            }
            Self::TimeLimit { task, soft, hard } => {
                let (soft, hard) = (seconds(soft), hard.as_ref().map(seconds));
                ("time_limit", json!({"task_name": task.as_str(), "soft": soft, "hard": hard}))
            }
            Self::AddConsumer { queue, exchange, exchange_type, routing_key } => {
                let arguments = json!({
                    "queue": queue.as_str(),
                    "exchange": exchange,
                    "exchange_type": exchange_type,
                    "routing_key": routing_key,
                });
                ("add_consumer", without_nulls(arguments))
            }
            Self::CancelConsumer { queue } => ("cancel_consumer", json!({"queue": queue.as_str()})),
            Self::PoolGrow { n } => ("pool_grow", json!({"n": n})),
            Self::PoolShrink { n } => ("pool_shrink", json!({"n": n})),
            Self::Autoscale { max, min } => ("autoscale", json!({"max": max, "min": min})),
            Self::PoolRestart { modules, reload } => {
                let modules = (!modules.is_empty()).then_some(modules);
                ("pool_restart", json!({"modules": modules, "reload": reload}))
            }
            Self::Revoke { which, terminate, signal } => {
                ("revoke", json!({"task_id": which.ids, "terminate": terminate, "signal": signal}))
            }
            Self::Terminate { which, signal } => {
                ("terminate", json!({"task_id": which.ids, "signal": signal}))
            }
            Self::RevokeByStampedHeaders { stamps, terminate, signal } => {
                let mut headers = Map::new();
                for (name, value) in stamps {
                    let values = headers.entry(name.clone()).or_insert_with(|| json!([]));
                    values.as_array_mut().expect("it was put there as a list").push(json!(value));
                }
                let arguments = json!({"headers": headers, "terminate": terminate, "signal": signal});
                ("revoke_by_stamped_headers", arguments)
            }
            Self::EnableEvents => ("enable_events", json!({})),
            Self::DisableEvents => ("disable_events", json!({})),
            Self::Heartbeat => ("heartbeat", json!({})),
            Self::Shutdown => ("shutdown", json!({})),
        }
    }
}

fn without_nulls(arguments: Value) -> Value {
    match arguments {
        Value::Object(object) => object.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        arguments => arguments,
    }
}

fn rate(text: &str) -> Result<String, String> {
    RateLimit::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn stamp(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a stamp is written NAME=VALUE".to_owned()),
    }
}
