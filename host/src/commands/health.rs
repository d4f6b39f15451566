//! `host health`: whether the broker answers and workers live. For probes: all is in the exit code.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{Exit, print};
use crate::{
    config::{self, StoreArgs},
    store::{self, Report},
};

/// Check that the broker answers and that workers live; exit code 0, or 1 without a broker, or 69 without a worker
#[derive(Debug, Args)]
pub struct Health {
    #[command(flatten)]
    store: StoreArgs,

    /// Ask for the worker of this name only, such as celery@web1
    #[arg(short, long, value_name = "NAME")]
    node: Option<String>,

    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = config::seconds)]
    timeout: Duration,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Health {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let started = Instant::now();
        let asked = tokio::time::timeout(self.timeout, self.ask()).await;
        let (broker, workers) = asked.with_context(|| {
            format!("the broker did not answer within {} s", self.timeout.as_secs_f64())
        })??;
        let millis = started.elapsed().as_secs_f64() * 1e3;
        if self.json {
            print::json(&json!({"broker": broker, "milliseconds": millis, "workers": workers}));
        } else {
            print::line(format!("broker {broker} answers in {millis:.1} ms"));
            for worker in &workers {
                let Report { node, pid, active, processed, .. } = worker;
                print::line(format!(
                    "worker {node} (pid {pid}) lives: {active} running, {processed} processed"
                ));
            }
            if workers.is_empty() {
                let which =
                    self.node.as_deref().map_or("no worker".to_owned(), |node| format!("no worker {node}"));
                print::line(format!("{which} lives"));
            }
        }
        Ok(if workers.is_empty() { Exit::Unavailable } else { Exit::Success })
    }

    /// Where the broker is, and the workers that were asked for.
    async fn ask(&self) -> anyhow::Result<(String, Vec<Report>)> {
        let store = self.store.open(store::Options::default()).await?;
        let mut workers = store.broker.workers().await?;
        workers.retain(|worker| self.node.as_ref().is_none_or(|node| *node == worker.node));
        workers.sort_by(|a, b| a.node.cmp(&b.node));
        Ok((store.broker_address, workers))
    }
}
