//! `host plugin`: plugins that are uploaded while workers run.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Exit, actor, print};
use crate::{
    config::StoreArgs,
    store::{self, Store},
    task::Tenant,
    uploads::{UploadError, UploadErrorKind, Uploaded, Uploads, Version},
};

mod canary;
mod change;
mod look;
mod push;
mod sign;

/// Upload plugins to all workers, and choose which of their versions are run
#[derive(Debug, Args)]
pub struct Plugin {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Push(push::Push),
    List(look::List),
    Show(look::Show),
    Activate(change::Activate),
    Rollback(change::Rollback),
    Canary(canary::CanaryVerbs),
    Approve(change::Approve),
    Rm(change::Rm),
    Keygen(sign::Keygen),
    Sign(sign::Sign),
}

/// Whose plugins, and where they are.
#[derive(Debug, Args)]
struct Place {
    /// Whose plugin it is [default: the tenant without a name]
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,

    #[command(flatten)]
    store: StoreArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Plugin {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let done = match self.verb {
            Verb::Push(push) => push.execute().await,
            Verb::List(list) => list.execute().await,
            Verb::Show(show) => show.execute().await,
            Verb::Activate(activate) => activate.execute().await,
            Verb::Rollback(rollback) => rollback.execute().await,
            Verb::Canary(canary) => canary.execute().await,
            Verb::Approve(approve) => approve.execute().await,
            Verb::Rm(rm) => rm.execute().await,
            Verb::Keygen(keygen) => keygen.execute(),
            Verb::Sign(sign) => sign.execute(),
        };
        match done {
            Err(error) if is_missing(&error) => {
                print::aside(format!("{error:#}"));
                Ok(Exit::Unavailable)
            }
            done => done,
        }
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<UploadError>().is_some_and(|error| error.kind() == UploadErrorKind::NotFound)
}

impl Place {
    async fn uploads(&self) -> anyhow::Result<Uploads> {
        Ok(Uploads::new(&self.open().await?))
    }

    async fn open(&self) -> anyhow::Result<Store> {
        Ok(self.store.open(store::Options::default()).await?)
    }

    fn tenant(&self) -> Tenant {
        self.tenant.clone().unwrap_or_default()
    }

    /// A plugin of this tenant as operators see it.
    fn shown(&self, plugin: &str) -> String {
        format!("{}{plugin}", self.tenant().prefix())
    }

    /// Tells how a plugin is now.
    fn tell(&self, plugin: &str, uploaded: &Uploaded) -> Exit {
        if self.json {
            print::json(&as_json(plugin, uploaded));
            return Exit::Success;
        }
        let active = uploaded.active.as_deref().map_or("no version", brief);
        let canary = uploaded.canary.as_ref().map_or(String::new(), |canary| {
            format!(", and {} of 100 calls go to {}", canary.share, brief(&canary.digest))
        });
        print::line(format!("{}: {active} is active{canary}", self.shown(plugin)));
        Exit::Success
    }
}

/// As much of a digest as people need.
fn brief(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn as_json(plugin: &str, uploaded: &Uploaded) -> Value {
    let Uploaded { versions, active, before, canary } = uploaded;
    let canary = canary
        .as_ref()
        .map(|canary| json!({"digest": canary.digest, "share": canary.share, "since": canary.since}));
    json!({
        "plugin": plugin,
        "active": active,
        "before": before,
        "canary": canary,
        "versions": versions.iter().map(version_as_json).collect::<Vec<_>>(),
    })
}

fn version_as_json(version: &Version) -> Value {
    let Version { digest, code, size, at, by, key, grants, held, failed } = version;
    let held = held.as_ref().map(|held| &held.asks);
    json!({
        "digest": digest, "code": code, "size": size, "at": at, "by": by, "key": key,
        "grants": grants, "held": held, "failed": failed,
    })
}
