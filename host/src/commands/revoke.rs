//! `host revoke`: tells all workers, also those that are not there now, that tasks must not run.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::{Exit, print};
use crate::{
    config::{self, StoreArgs},
    store::{self, Revocation, Target},
    task::{TaskId, Tenant},
};

/// Revoke tasks: those that wait are not run, those that run are stopped with --terminate
#[derive(Debug, Args)]
pub struct Revoke {
    /// The tasks' ids, as `host call` printed them
    #[arg(required_unless_present = "stamps")]
    ids: Vec<TaskId>,

    /// The tenant whose tasks they are
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,

    #[command(flatten)]
    store: StoreArgs,

    /// Revoke all tasks that carry this stamp
    #[arg(long = "stamp", value_name = "NAME=VALUE", value_parser = stamp)]
    stamps: Vec<Target>,

    /// Stop them where they run already
    #[arg(long)]
    terminate: bool,

    /// How many seconds this is remembered; a task that waits longer runs all the same
    #[arg(long, value_name = "SECONDS", default_value = "2592000", value_parser = config::seconds)]
    remember: Duration,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Revoke {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let store = self.store.open(store::Options::default()).await?;
        let until = Timestamp::now() + self.remember;
        let targets = self.ids.iter().cloned().map(Target::Task).chain(self.stamps.clone());
        let tenant = self.tenant.clone().unwrap_or_default();
        let revocations: Vec<_> = targets
            .map(|target| Revocation { tenant: tenant.clone(), target, terminate: self.terminate, until })
            .collect();
        store.revocations.revoke(&revocations).await?;
        match self.json {
            true => print::json(&json!({"revoked": revocations})),
            false => revocations.iter().for_each(|revocation| match &revocation.target {
                Target::Task(id) => print::line(format!("revoked {id}")),
                Target::Stamp { name, value } => print::line(format!("revoked all stamped {name}={value}")),
            }),
        }
        Ok(Exit::Success)
    }
}

fn stamp(text: &str) -> Result<Target, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Target::Stamp { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err("a stamp is written NAME=VALUE".to_owned()),
    }
}
