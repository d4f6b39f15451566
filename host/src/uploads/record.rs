//! What is known of an uploaded plugin and of its versions: the JSON in the store's records.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::UploadError;
use crate::{
    store::{Count, Record},
    task::{Grants, Tenant},
};

/// How many of a plugin's newest versions are kept, besides those that are run, waited for, or rolled back to.
pub const KEPT: usize = 10;

/// An uploaded plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Uploaded {
    /// Its versions, the one that was pushed last first.
    pub versions: Vec<Version>,
    /// The digest of the version that is run.
    pub active: Option<String>,
    /// The digest of the one that was run before it: where a roll back leads.
    pub before: Option<String>,
    /// The version that takes a share of the calls.
    pub canary: Option<Canary>,
}

/// A version of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Names it: the SHA-256 of its code, or with a manifest beside it of both.
    pub digest: String,
    /// The SHA-256 of its code.
    pub code: String,
    /// The bytes of its code.
    pub size: u64,
    /// When it was pushed.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// The public key that has signed it, if one has.
    pub key: Option<String>,
    /// What it asks for; what it reads by `wasi:config` is left out.
    #[serde(default)]
    pub grants: Grants,
    /// Why an admin has to approve it before it is run, and what is done then.
    pub held: Option<Held>,
    /// It was a canary and was rolled back: nothing is run on it but by somebody's word.
    #[serde(default)]
    pub failed: bool,
}

/// A version that waits for an admin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// What it asks for beyond what was granted, an item each.
    pub asks: Vec<String>,
    /// What becomes of it once it is approved.
    pub then: Live,
}

/// What becomes of a version that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Live {
    /// All calls go to it.
    Active,
    /// So many calls of a hundred go to it.
    Canary(u8),
    /// It is there, and none go to it.
    Stored,
}

/// A version on trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// Its digest.
    pub digest: String,
    /// So many calls of a hundred go to it.
    pub share: u8,
    /// Since when.
    pub since: Timestamp,
    /// What had been counted of the active version and of this one when it began.
    pub begin: [Runs; 2],
}

/// How often a version was called, and how often that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// Calls that have ended.
    pub calls: u64,
    /// Those among them that failed.
    pub failures: u64,
}

/// What a version is made of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The manifest that was pushed with it. One that is in the code itself is not here.
    pub manifest: Option<String>,
    /// What kind of file it is.
    pub shape: String,
    /// Its tasks as they are called: `app.divide(x: f64, y: f64) -> f64`.
    pub tasks: Vec<String>,
    /// What of it is no task, and why.
    pub skipped: Vec<String>,
    /// What it may use of the host.
    pub imports: Vec<String>,
}

impl Uploaded {
    /// Reads a record. One that cannot be read was not written by this host.
    pub(super) fn read(record: &Record) -> Result<Self, UploadError> {
        serde_json::from_str(&record.value).map_err(|error| UploadError::unreadable(&record.key, &error))
    }

    /// The version of this digest, or the only one whose digest begins so.
    pub fn version(&self, digest: &str) -> Result<&Version, UploadError> {
        let mut found = self.versions.iter().filter(|version| version.digest.starts_with(digest));
        match (found.next(), found.next()) {
            (Some(version), None) if !digest.is_empty() => Ok(version),
            (Some(_), _) => Err(UploadError::Ambiguous { digest: shown(digest) }),
            (None, _) => Err(UploadError::NoVersion { digest: shown(digest) }),
        }
    }

    pub(super) fn version_mut(&mut self, digest: &str) -> Option<&mut Version> {
        self.versions.iter_mut().find(|version| version.digest == digest)
    }

    /// Has all calls go to this version.
    pub(super) fn activate(&mut self, digest: &str) {
        if self.canary.as_ref().is_some_and(|canary| canary.digest == digest) {
            self.canary = None;
        }
        if let Some(version) = self.version_mut(digest) {
            version.failed = false;
        }
        if self.active.as_deref() != Some(digest) {
            self.before = self.active.replace(digest.to_owned());
        }
    }

    /// Removes the versions that nobody needs, and answers which they were.
    pub(super) fn trim(&mut self) -> Vec<String> {
        let needed = [&self.active, &self.before].into_iter().flatten();
        let needed: Vec<_> =
            needed.chain(self.canary.as_ref().map(|canary| &canary.digest)).cloned().collect();
        let mut removed = Vec::new();
        let mut place = 0;
        self.versions.retain(|version| {
            place += 1;
            let stays = place <= KEPT
                || needed.contains(&version.digest)
                || (version.held.is_some() && place <= KEPT * 2);
            if !stays {
                removed.push(version.digest.clone());
            }
            stays
        });
        removed
    }

    /// The bytes of all its versions.
    pub fn size(&self) -> u64 {
        self.versions.iter().map(|version| version.size).sum()
    }
}

impl From<&Count> for Runs {
    fn from(count: &Count) -> Self {
        Self { calls: count.calls, failures: count.failures }
    }
}

impl Runs {
    /// What has come since `begin`. What was forgotten since does not count as less than nothing.
    pub fn since(self, begin: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(begin.calls),
            failures: self.failures.saturating_sub(begin.failures),
        }
    }
}

/// The key of a plugin's record in `Table::Plugins`.
pub(super) fn key(tenant: &Tenant, plugin: &str) -> String {
    format!("{}/{plugin}", tenant.name().unwrap_or_default())
}

/// Whose plugin a key names, and how it is called; what begins with a hyphen is no plugin's name.
pub(super) fn of_key(key: &str) -> Option<(Tenant, &str)> {
    let (tenant, plugin) = key.split_once('/')?;
    let tenant = if tenant.is_empty() { Tenant::DEFAULT } else { Tenant::new(tenant).ok()? };
    (!plugin.is_empty() && plugin != USAGE).then_some((tenant, plugin))
}

/// Stands in the place of a plugin's name for the record that all changes of a tenant's plugins change.
pub(super) const USAGE: &str = "-";

/// The name of a version: of its record in `Table::Versions`, and of the count of its calls.
pub(super) fn version_key(tenant: &Tenant, plugin: &str, digest: &str) -> String {
    format!("{}/{digest}", key(tenant, plugin))
}

/// The beginning of what somebody gave as a digest, safe to show.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(64).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
