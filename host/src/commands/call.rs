//! `host call`: sends a task, and on request waits for its result.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use jiff::Timestamp;
use serde_json::{json, value::RawValue};

use super::{Exit, print, result};
use crate::{
    client::Client,
    config::{self, StoreArgs},
    protocol::message::Submission,
    store,
    task::{Json, Limits, QueueName, TaskId, TaskName, Tenant},
};

/// Send a task to a queue
#[derive(Debug, Args)]
pub struct Call {
    /// The task's name, such as app.divide
    task: TaskName,

    /// Its positional arguments, each as JSON; what is not JSON is taken as text
    #[arg(allow_negative_numbers = true)]
    arguments: Vec<String>,

    #[command(flatten)]
    store: StoreArgs,

    /// Positional arguments as one JSON array
    #[arg(short, long, value_name = "JSON", conflicts_with = "arguments")]
    args: Option<String>,

    /// Keyword arguments as a JSON object
    #[arg(short, long, value_name = "JSON", default_value = "{}")]
    kwargs: String,

    /// The tenant whose task it is
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,

    /// The queue to send to, as the tenant calls it
    #[arg(short = 'Q', long, value_name = "NAME", default_value = "celery")]
    queue: QueueName,

    /// 0 to 9; 0 is taken first
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: u8,

    /// Run it this many seconds from now
    #[arg(long, value_name = "SECONDS", value_parser = config::seconds)]
    countdown: Option<Duration>,

    /// Do not run it later than this many seconds from now
    #[arg(long, value_name = "SECONDS", value_parser = config::seconds)]
    expires: Option<Duration>,

    /// Stop it after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = config::seconds)]
    time_limit: Option<Duration>,

    #[command(flatten)]
    answer: result::AnswerArgs,
}

impl Call {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let submission = self.submission()?;
        let id = submission.id.clone();
        let store = self.store.open(store::Options::default()).await?;
        let client = Client::new(store);
        client.send(&submission).await?;
        if self.answer.wait {
            return self.answer.wait_for(&client, &self.tenant(), &id).await;
        }
        match self.answer.json {
            true => print::json(&json!({"task_id": id.as_str()})),
            false => print::line(id),
        }
        Ok(Exit::Success)
    }

    fn tenant(&self) -> Tenant {
        self.tenant.clone().unwrap_or_default()
    }

    fn submission(&self) -> anyhow::Result<Submission> {
        let queue = self.tenant().queue(&self.queue).context("name the tenant with --tenant")?;
        let now = Timestamp::now();
        let args = self.positional()?;
        let kwargs = json_of(&self.kwargs, '{').context("--kwargs must be a JSON object")?;
        Ok(Submission {
            priority: self.priority,
            eta: self.countdown.map(|after| now + after),
            expires: self.expires.map(|after| now + after),
            limits: Limits { hard: self.time_limit, soft: None },
            ..Submission::new(TaskId::random(), self.task.clone(), args, kwargs, queue)
        })
    }

    fn positional(&self) -> anyhow::Result<Json> {
        if let Some(args) = &self.args {
            return json_of(args, '[').context("--args must be a JSON array");
        }
        let each = |text: &String| {
            serde_json::from_str::<Json>(text).or_else(|_| serde_json::value::to_raw_value(text))
        };
        let values = self.arguments.iter().map(each).collect::<Result<Vec<Json>, _>>()?;
        Ok(serde_json::value::to_raw_value(&values)?)
    }
}

/// JSON text that begins with `first`.
fn json_of(text: &str, first: char) -> anyhow::Result<Json> {
    let value = RawValue::from_string(text.trim().to_owned())?;
    if !value.get().starts_with(first) {
        bail!("got {text:?}");
    }
    Ok(value)
}
