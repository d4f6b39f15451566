//! Code that is uploaded while workers run: whose it is, which versions of it there are, and which of them is run.
//!
//! # Layout
//!
//! - `record`: what is known of a plugin and its versions. `change`: how that is changed. `digest`: how versions are named.
//! - `push`: a version comes. `live`: which one is run. `diff`: what it would change. `canary`: when one goes by itself.
//! - `signature`: who may upload in a tenant's name. `clean_up`: what nobody needs any more.
//! - `following`: a worker runs what the records say.
//!
//! # What always holds
//!
//! - A record names only code that is stored. It changes with its audit entry, in one step, as the one who changes it has seen it.
//! - A version that asks for more than was granted is not run before an admin has approved it.
//! - What is asked of one tenant tells nothing of another.
//! - The folder is the operator's word: where it and an upload offer a plugin of one name to one tenant, the folder's is run.

mod canary;
mod change;
mod clean_up;
mod diff;
mod digest;
mod error;
mod following;
mod live;
mod push;
mod record;
mod signature;

pub use diff::Diff;
pub use digest::sha256;
pub use error::{UploadError, UploadErrorKind};
pub use following::Following;
pub use push::{Prepared, Upload};
pub use record::{Canary, Facts, Held, Live, Runs, Uploaded, Version};
pub use signature::SigningKey;

use std::{sync::Arc, time::Duration};

use crate::{
    store::{Blobs, Counts, Records, Store, Table},
    task::Tenant,
    tenant::TenantRecord,
};

/// The uploaded plugins of all tenants.
#[derive(Clone)]
pub struct Uploads {
    records: Arc<dyn Records>,
    blobs: Arc<dyn Blobs>,
    counts: Arc<dyn Counts>,
    /// How long code is kept that no version names.
    grace: Duration,
}

/// How much a tenant has uploaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Plugins.
    pub plugins: u64,
    /// Bytes of all their versions.
    pub bytes: u64,
}

impl Uploads {
    /// Those in this store.
    pub fn new(store: &Store) -> Self {
        Self {
            records: store.records.clone(),
            blobs: store.blobs.clone(),
            counts: store.counts.clone(),
            grace: clean_up::GRACE,
        }
    }

    /// The plugins of a tenant, by name.
    pub async fn list(&self, tenant: &Tenant) -> Result<Vec<(String, Uploaded)>, UploadError> {
        let (_, records) = self.records.records(Table::Plugins).await?;
        let own = records.iter().filter_map(|record| {
            let (owner, plugin) = record::of_key(&record.key)?;
            (owner == *tenant).then(|| Ok((plugin.to_owned(), Uploaded::read(record)?)))
        });
        own.collect()
    }

    /// One plugin.
    pub async fn show(&self, tenant: &Tenant, plugin: &str) -> Result<Uploaded, UploadError> {
        let record = self.records.record(Table::Plugins, &record::key(tenant, plugin)).await?;
        let record = record.filter(|_| plugin != record::USAGE);
        let record = record.ok_or_else(|| UploadError::NoPlugin { plugin: record::shown(plugin) })?;
        Uploaded::read(&record)
    }

    /// What a version of a plugin is made of.
    pub async fn facts(&self, tenant: &Tenant, plugin: &str, digest: &str) -> Result<Facts, UploadError> {
        let key = record::version_key(tenant, plugin, digest);
        let record = self.records.record(Table::Versions, &key).await?;
        let record = record.ok_or_else(|| UploadError::NoVersion { digest: record::shown(digest) })?;
        serde_json::from_str(&record.value).map_err(|error| UploadError::unreadable(&key, &error))
    }

    /// How often each of a plugin's versions was called lately, in the order of its record.
    pub async fn runs(
        &self,
        tenant: &Tenant,
        plugin: &str,
        uploaded: &Uploaded,
    ) -> Result<Vec<Runs>, UploadError> {
        let name = |version: &Version| record::version_key(tenant, plugin, &version.digest);
        let names: Vec<_> = uploaded.versions.iter().map(name).collect();
        Ok(self.counts.counted(&names).await?.iter().map(Runs::from).collect())
    }

    /// How much a tenant has uploaded.
    pub async fn usage(&self, tenant: &Tenant) -> Result<Usage, UploadError> {
        self.usage_record(tenant).await.map(|(usage, _)| usage)
    }

    async fn usage_record(&self, tenant: &Tenant) -> Result<(Usage, Option<u64>), UploadError> {
        let key = record::key(tenant, record::USAGE);
        match self.records.record(Table::Plugins, &key).await? {
            None => Ok((Usage::default(), None)),
            Some(record) => serde_json::from_str(&record.value)
                .map(|usage| (usage, Some(record.revision)))
                .map_err(|error| UploadError::unreadable(&key, &error)),
        }
    }

    /// What is set for a tenant.
    async fn tenant(&self, tenant: &Tenant) -> Result<TenantRecord, UploadError> {
        let key = TenantRecord::key(tenant);
        match self.records.record(Table::Tenants, key).await? {
            None => Ok(TenantRecord::unset(tenant)),
            Some(record) => TenantRecord::parse(tenant, &record.value)
                .map_err(|error| UploadError::unreadable(key, &error)),
        }
    }
}

#[cfg(test)]
mod tests;
