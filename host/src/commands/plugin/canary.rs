//! `host plugin canary`: a version on trial.

use clap::{Args, Subcommand};

use super::{Exit, Place, actor};

/// Let a version take a share of the calls; it goes by itself if it fails more often than the active one
#[derive(Debug, Args)]
pub(super) struct CanaryVerbs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Start(Start),
    Stop(Stop),
    Promote(Promote),
}

/// Have so many calls of a hundred go to a version
#[derive(Debug, Args)]
struct Start {
    /// What the plugin is called
    plugin: String,

    /// The version, by the beginning of its digest
    version: String,

    /// How many calls of a hundred
    share: u8,

    #[command(flatten)]
    place: Place,
}

/// Have no more calls go to the canary
#[derive(Debug, Args)]
struct Stop {
    /// What the plugin is called
    plugin: String,

    #[command(flatten)]
    place: Place,
}

/// Have all calls go to the canary
#[derive(Debug, Args)]
struct Promote {
    /// What the plugin is called
    plugin: String,

    #[command(flatten)]
    place: Place,
}

impl CanaryVerbs {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Start(Start { plugin, version, share, place }) => {
                let (uploads, tenant) = (place.uploads().await?, place.tenant());
                let uploaded = uploads.start_canary(&tenant, &plugin, &version, share, &actor()).await?;
                Ok(place.tell(&plugin, &uploaded))
            }
            Verb::Stop(Stop { plugin, place }) => {
                let uploaded = place.uploads().await?.stop_canary(&place.tenant(), &plugin, &actor()).await?;
                Ok(place.tell(&plugin, &uploaded))
            }
            Verb::Promote(Promote { plugin, place }) => {
                let uploads = place.uploads().await?;
                let uploaded = uploads.promote_canary(&place.tenant(), &plugin, &actor()).await?;
                Ok(place.tell(&plugin, &uploaded))
            }
        }
    }
}
