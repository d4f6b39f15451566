//! `host result`: what is known of a task.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Exit, print};
use crate::{
    client::Client,
    config::{self, StoreArgs},
    protocol::{repr, result::StoredMeta},
    store,
    task::{State, TaskId, Tenant},
};

/// Show the state and result of a task
#[derive(Debug, Args)]
pub struct ResultOf {
    /// The task's id, as `host call` printed it
    id: TaskId,

    /// The tenant whose task it is
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,

    #[command(flatten)]
    store: StoreArgs,

    #[command(flatten)]
    answer: AnswerArgs,
}

/// How a result is asked for and shown.
#[derive(Debug, Args)]
pub(super) struct AnswerArgs {
    /// Wait until the task has ended, and print its result
    #[arg(short, long)]
    pub wait: bool,

    /// Give up waiting after this many seconds
    #[arg(long, value_name = "SECONDS", requires = "wait", value_parser = config::seconds)]
    timeout: Option<Duration>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl AnswerArgs {
    /// Waits for the end of a task and shows it.
    pub async fn wait_for(&self, client: &Client, tenant: &Tenant, id: &TaskId) -> anyhow::Result<Exit> {
        Ok(show(&client.wait(tenant, id, self.timeout).await?, self.json))
    }
}

impl ResultOf {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let store = self.store.open(store::Options::default()).await?;
        let client = Client::new(store);
        let tenant = self.tenant.unwrap_or_default();
        if self.answer.wait {
            return self.answer.wait_for(&client, &tenant, &self.id).await;
        }
        match client.result(&tenant, &self.id).await? {
            Some(meta) => Ok(show(&meta, self.answer.json)),
            None => {
                match self.answer.json {
                    true => {
                        print::json(&json!({"task_id": self.id.as_str(), "status": State::Pending.as_str()}))
                    }
                    false => print::line(State::Pending.as_str()),
                }
                Ok(Exit::Unavailable)
            }
        }
    }
}

/// Prints a result: `SUCCESS 0.5`, or `FAILURE ZeroDivisionError('division by zero')` with the traceback on standard error.
fn show(meta: &StoredMeta, json: bool) -> Exit {
    if json {
        print::json(&json!({
            "task_id": meta.id.as_str(),
            "status": meta.state.as_str(),
            "result": meta.result,
            "traceback": meta.traceback,
            "date_done": meta.date_done,
        }));
    } else {
        match &meta.exception {
            Some(exception) => {
                print::line(format!("{} {}", meta.state.as_str(), repr::exception(exception)));
                if let Some(traceback) = &meta.traceback {
                    print::aside(traceback.trim_end());
                }
            }
            None => print::line(format!("{} {}", meta.state.as_str(), meta.result)),
        }
    }
    match meta.state {
        State::Success => Exit::Success,
        State::Failure | State::Revoked => Exit::Failure,
        _ => Exit::Unavailable,
    }
}
