//! How a plugin's record is changed: read, changed, and written if nobody has changed it meanwhile; else all of it again.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Facts, Runs, UploadError, Uploaded, Uploads, Usage,
    record::{USAGE, key, shown, version_key},
};
use crate::{
    store::{Change, Entry, Table},
    task::Tenant,
};

/// How often it is tried against others that change the same record, or the tenant's other plugins, at once.
const TRIES: u32 = 50;

/// What is changed, and who does it.
pub(super) struct Changing<'a> {
    pub tenant: &'a Tenant,
    pub plugin: &'a str,
    pub actor: &'a str,
}

/// What there is to say of a change.
#[derive(Default)]
pub(super) struct Step {
    /// What was done: `plugin.activate`.
    pub action: &'static str,
    /// With which version.
    pub digest: Option<String>,
    /// What else there is to say of it.
    pub detail: Option<String>,
    /// What is new of a version.
    pub facts: Option<Facts>,
}

impl Uploads {
    /// Changes a plugin's record by `make`, which may be asked more than once; without a step nothing is changed. A plugin that is not
    /// there begins as nothing, and one that has no versions any more goes. `allow` says whether the tenant may have as much
    /// as it would have.
    pub(super) async fn change(
        &self,
        of: &Changing<'_>,
        allow: impl Fn(&Usage) -> Result<(), UploadError>,
        mut make: impl FnMut(&mut Uploaded) -> Result<Option<Step>, UploadError>,
    ) -> Result<Uploaded, UploadError> {
        let key = key(of.tenant, of.plugin);
        for attempt in 0..TRIES {
            let found = self.records.record(Table::Plugins, &key).await?;
            let was = found.as_ref().map(|record| record.revision);
            let before = found.as_ref().map(Uploaded::read).transpose()?.unwrap_or_default();
            let mut uploaded = before.clone();
            let Some(step) = make(&mut uploaded)? else { return Ok(before) };
            self.begin_trial(of, &before, &mut uploaded).await?;

            let is_there = !uploaded.versions.is_empty();
            let value = is_there.then(|| json(&uploaded));
            let mut changes = vec![Change { table: Table::Plugins, key: key.clone(), was, value }];
            changes.extend(self.changes_of_versions(of, &before, &uploaded, step.facts).await?);
            changes.extend(self.change_of_usage(of.tenant, &before, &uploaded, &allow).await?);
            let entry = Entry {
                at: Timestamp::now(),
                actor: of.actor.to_owned(),
                action: step.action.to_owned(),
                tenant: of.tenant.clone(),
                subject: of.plugin.to_owned(),
                digest: step.digest,
                detail: step.detail,
            };
            if self.records.change(&changes, &entry).await?.is_some() {
                return Ok(uploaded);
            }
            // Whoever was faster may try again at once, too.
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=u64::from(attempt) * 2 + 5))).await;
        }
        Err(UploadError::conflict("too many others change it at once; try again"))
    }

    /// The same for a plugin that must be there, and gets no larger by it.
    pub(super) async fn change_known(
        &self,
        of: &Changing<'_>,
        mut make: impl FnMut(&mut Uploaded) -> Result<Option<Step>, UploadError>,
    ) -> Result<Uploaded, UploadError> {
        let make = |uploaded: &mut Uploaded| match uploaded.versions.is_empty() {
            true => Err(UploadError::NoPlugin { plugin: shown(of.plugin) }),
            false => make(uploaded),
        };
        self.change(of, |_| Ok(()), make).await
    }

    /// Where a canary is put beside an active version, what was counted of both until then does not count.
    async fn begin_trial(
        &self,
        of: &Changing<'_>,
        before: &Uploaded,
        uploaded: &mut Uploaded,
    ) -> Result<(), UploadError> {
        let Some(canary) = &mut uploaded.canary else { return Ok(()) };
        let known = before.canary.as_ref().map(|canary| &canary.digest);
        if known == Some(&canary.digest) && before.active == uploaded.active {
            return Ok(());
        }
        let active = uploaded.active.as_deref().unwrap_or_default();
        let names = [active, &canary.digest].map(|digest| version_key(of.tenant, of.plugin, digest));
        let counted = self.counts.counted(&names).await?;
        if let [active, own] = &counted[..] {
            canary.begin = [active, own].map(Runs::from);
        }
        canary.since = Timestamp::now();
        Ok(())
    }

    /// What was known of versions that are gone goes with them; what is new of one is added.
    async fn changes_of_versions(
        &self,
        of: &Changing<'_>,
        before: &Uploaded,
        uploaded: &Uploaded,
        facts: Option<Facts>,
    ) -> Result<Vec<Change>, UploadError> {
        let mut changes = Vec::new();
        let is_in = |uploaded: &Uploaded, digest: &str| {
            uploaded.versions.iter().any(|version| version.digest == digest)
        };
        let gone = before.versions.iter().filter(|version| !is_in(uploaded, &version.digest));
        let gone = gone.map(|version| (&version.digest, None));
        let added = uploaded.versions.iter().filter(|version| !is_in(before, &version.digest));
        let added = added.map(|version| (&version.digest, facts.as_ref().map(json)));
        for (digest, value) in gone.chain(added) {
            let (table, key) = (Table::Versions, version_key(of.tenant, of.plugin, digest));
            // Nobody changes it but together with the plugin's record, so what is read here still holds if that does.
            let was = self.records.record(table, &key).await?.map(|record| record.revision);
            if was.is_some() || value.is_some() {
                changes.push(Change { table, key, was, value });
            }
        }
        Ok(changes)
    }

    /// How much the tenant has is counted in one record, so that of two that would be too much together one is refused.
    async fn change_of_usage(
        &self,
        tenant: &Tenant,
        before: &Uploaded,
        uploaded: &Uploaded,
        allow: &impl Fn(&Usage) -> Result<(), UploadError>,
    ) -> Result<Option<Change>, UploadError> {
        let of = |uploaded: &Uploaded| Usage {
            plugins: u64::from(!uploaded.versions.is_empty()),
            bytes: uploaded.size(),
        };
        let (before, after) = (of(before), of(uploaded));
        if before == after {
            return Ok(None);
        }
        let (usage, was) = self.usage_record(tenant).await?;
        let usage = Usage {
            plugins: (usage.plugins + after.plugins).saturating_sub(before.plugins),
            bytes: (usage.bytes + after.bytes).saturating_sub(before.bytes),
        };
        if after.bytes > before.bytes || after.plugins > before.plugins {
            allow(&usage)?;
        }
        let value = (usage != Usage::default()).then(|| json(&usage));
        Ok(Some(Change { table: Table::Plugins, key: key(tenant, USAGE), was, value }))
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("records are made of texts and numbers")
}
