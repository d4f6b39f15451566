//! `host purge`: throws away the messages that wait in queues.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use serde_json::json;

use super::{Exit, print};
use crate::{config::StoreArgs, store, task::QueueName};

/// Throw away all messages that wait in queues. There is no way back
#[derive(Debug, Args)]
pub struct Purge {
    #[command(flatten)]
    store: StoreArgs,

    /// The queues to purge, with commas between; acme/mail is that of a tenant
    #[arg(short = 'Q', long, value_name = "A,B", value_delimiter = ',', default_value = "celery")]
    queues: Vec<QueueName>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Purge {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let names: Vec<&str> = self.queues.iter().map(QueueName::as_str).collect();
        if !self.force && !confirmed(&names.join(", "))? {
            return Ok(Exit::Failure);
        }
        let store = self.store.open(store::Options::default()).await?;
        let mut purged = 0;
        for queue in &self.queues {
            purged += store.broker.purge(queue).await?;
        }
        match (self.json, purged) {
            (true, _) => print::json(&json!({"purged": purged})),
            (false, 0) => print::line("No messages purged."),
            (false, 1) => print::line("Purged 1 message."),
            (false, n) => print::line(format!("Purged {n} messages.")),
        }
        Ok(Exit::Success)
    }
}

/// Asks on the terminal. Without one there is nobody to ask, so nothing is done.
fn confirmed(queues: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        anyhow::bail!("refusing to purge {queues} without being asked twice: add --force");
    }
    write!(io::stderr(), "Throw away all messages in {queues}? (yes/no) ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
