//! `host plugin activate`, `rollback`, `approve` and `rm`.

use clap::Args;
use serde_json::json;

use super::{Exit, Place, actor, print};

/// Have all calls go to a version
#[derive(Debug, Args)]
pub(super) struct Activate {
    /// What the plugin is called
    plugin: String,

    /// The version, by the beginning of its digest
    version: String,

    #[command(flatten)]
    place: Place,
}

/// Have all calls go to the version that was active before
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// What the plugin is called
    plugin: String,

    #[command(flatten)]
    place: Place,
}

/// Let a version be run that is held because it asks for more than was granted
#[derive(Debug, Args)]
pub(super) struct Approve {
    /// What the plugin is called
    plugin: String,

    /// The version, by the beginning of its digest
    version: String,

    #[command(flatten)]
    place: Place,
}

/// Remove a plugin with all its versions, or one version that is not run
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// What the plugin is called
    plugin: String,

    /// The version, by the beginning of its digest [default: all]
    version: Option<String>,

    #[command(flatten)]
    place: Place,
}

impl Activate {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let (uploads, tenant) = (self.place.uploads().await?, self.place.tenant());
        let uploaded = uploads.activate(&tenant, &self.plugin, &self.version, &actor()).await?;
        Ok(self.place.tell(&self.plugin, &uploaded))
    }
}

impl Rollback {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let (uploads, tenant) = (self.place.uploads().await?, self.place.tenant());
        let uploaded = uploads.roll_back(&tenant, &self.plugin, &actor()).await?;
        Ok(self.place.tell(&self.plugin, &uploaded))
    }
}

impl Approve {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let (uploads, tenant) = (self.place.uploads().await?, self.place.tenant());
        let uploaded = uploads.approve(&tenant, &self.plugin, &self.version, &actor()).await?;
        Ok(self.place.tell(&self.plugin, &uploaded))
    }
}

impl Rm {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let (uploads, tenant) = (self.place.uploads().await?, self.place.tenant());
        if let Some(version) = &self.version {
            let uploaded = uploads.remove_version(&tenant, &self.plugin, version, &actor()).await?;
            return Ok(self.place.tell(&self.plugin, &uploaded));
        }
        uploads.remove(&tenant, &self.plugin, &actor()).await?;
        match self.place.json {
            true => print::json(&json!({"removed": self.plugin})),
            false => print::line(format!("{} is removed", self.place.shown(&self.plugin))),
        }
        Ok(Exit::Success)
    }
}
