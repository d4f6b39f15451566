//! `host status`: which workers there are, those of Python among them.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{
    Exit,
    ask::{AskArgs, one_line, plain, spoken},
    print,
};

/// Show the workers that are there; exit code 69 if none is
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    ask: AskArgs,
}

impl Status {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let control = self.ask.control().await?;
        let ask = |method| self.ask.ask(&control, method, json!({}));
        let (there, stats, active) = tokio::join!(ask("ping"), ask("stats"), ask("active"));
        // Who is too busy to tell more is there all the same.
        let (there, stats, active) = (there?, stats?, active?);
        Ok(there.show(self.ask.json, |replies| {
            let mut rows =
                vec![["worker", "status", "running", "slots", "processed", "pid", "up"].map(str::to_owned)];
            for (node, _) in replies {
                let stats = stats.of(node).unwrap_or(&Value::Null);
                let running =
                    active.of(node).and_then(Value::as_array).map(|active| active.len().to_string());
                let up = stats["uptime"].as_u64().map(|uptime| spoken(Duration::from_secs(uptime)));
                rows.push([
                    plain(node),
                    "OK".to_owned(),
                    running.unwrap_or_default(),
                    one_line(&stats["pool"]["max-concurrency"]),
                    processed(stats).map(|processed| processed.to_string()).unwrap_or_default(),
                    one_line(&stats["pid"]),
                    up.unwrap_or_default(),
                ]);
            }
            print::table(&rows);
            let nodes = if replies.len() == 1 { "node" } else { "nodes" };
            print::line(format!("\n{} {nodes} online.", replies.len()));
        }))
    }
}

/// How many tasks a worker has run, by its reply to `stats`.
pub(super) fn processed(stats: &Value) -> Option<u64> {
    stats["total"].as_object().map(|total| total.values().filter_map(Value::as_u64).sum())
}
