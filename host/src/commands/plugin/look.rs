//! `host plugin list` and `host plugin show`.

use clap::Args;
use serde_json::json;

use super::{Exit, Place, as_json, brief, print};
use crate::uploads::{Runs, Uploaded, Version};

/// List the uploaded plugins of a tenant
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
}

/// Show a plugin: its versions, and what one of them is made of
#[derive(Debug, Args)]
pub(super) struct Show {
    /// What it is called
    plugin: String,

    /// The version whose tasks are shown, by the beginning of its digest [default: the active one]
    version: Option<String>,

    #[command(flatten)]
    place: Place,
}

impl List {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let uploads = self.place.uploads().await?;
        let tenant = self.place.tenant();
        let plugins = uploads.list(&tenant).await?;
        let usage = uploads.usage(&tenant).await?;
        if self.place.json {
            let plugins: Vec<_> =
                plugins.iter().map(|(plugin, uploaded)| as_json(plugin, uploaded)).collect();
            print::json(&json!({"plugins": plugins, "usage": usage}));
            return Ok(Exit::Success);
        }
        let mut rows = vec![
            ["plugin", "active", "canary", "held", "versions", "bytes", "pushed", "by"].map(str::to_owned),
        ];
        rows.extend(plugins.iter().map(|(plugin, uploaded)| self.row(plugin, uploaded)));
        print::table(&rows);
        Ok(Exit::Success)
    }

    fn row(&self, plugin: &str, uploaded: &Uploaded) -> [String; 8] {
        let or_none = |digest: Option<&str>| digest.map_or("-", brief).to_owned();
        let canary =
            uploaded.canary.as_ref().map(|canary| format!("{} {}%", brief(&canary.digest), canary.share));
        let held = uploaded.versions.iter().filter(|version| version.held.is_some()).count();
        let (at, by) = uploaded.versions.first().map_or_else(Default::default, |version| {
            (version.at.strftime("%Y-%m-%d %H:%M:%S").to_string(), version.by.clone())
        });
        [
            self.place.shown(plugin),
            or_none(uploaded.active.as_deref()),
            canary.unwrap_or_else(|| "-".to_owned()),
            held.to_string(),
            uploaded.versions.len().to_string(),
            uploaded.size().to_string(),
            at,
            by,
        ]
    }
}

impl Show {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let uploads = self.place.uploads().await?;
        let tenant = self.place.tenant();
        let uploaded = uploads.show(&tenant, &self.plugin).await?;
        let asked = self.version.as_deref().or(uploaded.active.as_deref());
        let newest = || uploaded.versions.first().map(|version| version.digest.as_str());
        let version = uploaded.version(asked.or_else(newest).unwrap_or_default())?;
        let facts = uploads.facts(&tenant, &self.plugin, &version.digest).await?;
        let runs = uploads.runs(&tenant, &self.plugin, &uploaded).await?;
        if self.place.json {
            let mut shown = as_json(&self.plugin, &uploaded);
            shown["shown"] = json!({"digest": version.digest, "facts": facts});
            let of = |(version, runs): (&Version, &Runs)| json!({"digest": version.digest, "runs": runs});
            shown["runs"] = uploaded.versions.iter().zip(&runs).map(of).collect();
            print::json(&shown);
            return Ok(Exit::Success);
        }
        let mut rows = vec![["version", "is", "bytes", "calls", "failed", "pushed", "by"].map(str::to_owned)];
        rows.extend(uploaded.versions.iter().zip(&runs).map(|(version, runs)| {
            [
                brief(&version.digest).to_owned(),
                state(&uploaded, version),
                version.size.to_string(),
                runs.calls.to_string(),
                runs.failures.to_string(),
                version.at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
                version.by.clone(),
            ]
        }));
        print::table(&rows);
        print::line(format!("\n{}  {}  sha256:{}", version.digest, facts.shape, version.code));
        facts.tasks.iter().for_each(|task| print::line(format!("  {task}")));
        facts.skipped.iter().for_each(|skipped| print::line(format!("  skipped {skipped}")));
        if !facts.imports.is_empty() {
            print::line(format!("  may use {}", facts.imports.join(", ")));
        }
        for asked in version.grants.exceeding(&crate::task::Grants::default()) {
            print::line(format!("  asks for {asked}"));
        }
        if let Some(manifest) = &facts.manifest {
            print::line(format!("\n{}", manifest.trim_end()));
        }
        Ok(Exit::Success)
    }
}

/// What a version is now.
fn state(uploaded: &Uploaded, version: &Version) -> String {
    let is = |digest: &Option<String>| digest.as_ref() == Some(&version.digest);
    match &uploaded.canary {
        Some(canary) if canary.digest == version.digest => format!("canary {}%", canary.share),
        _ if is(&uploaded.active) => "active".to_owned(),
        _ if version.held.is_some() => "held".to_owned(),
        _ if version.failed => "rolled back".to_owned(),
        _ if is(&uploaded.before) => "before".to_owned(),
        _ => "-".to_owned(),
    }
}
