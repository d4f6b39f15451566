//! What people set up: tenants, tokens, versions of plugins, queues that are paused. Few, small, read by every process, and
//! changed by one person at a time; with each change it is kept who made it.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::task::Tenant;

/// The kinds of records. A kind's records are named by keys of its own; all are JSON, in a shape that the room which uses them
/// defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Tenants, by their names.
    Tenants,
    /// Tokens, by the SHA-256 of their secrets.
    Tokens,
    /// What is known of an uploaded plugin, by `TENANT/PLUGIN`.
    Plugins,
    /// Queues that are paused, by their names.
    Queues,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name among its kind.
    pub key: String,
    /// Its JSON text.
    pub value: String,
    /// When it was last changed, counted by [`Records::revision`].
    pub revision: u64,
}

/// A change of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its kind.
    pub table: Table,
    /// Its name.
    pub key: String,
    /// The revision it must have for the change to be made; `None`: it must not be there.
    pub was: Option<u64>,
    /// What it becomes; `None`: it goes.
    pub value: Option<String>,
}

/// Who did what. Kept, the newest 10,000.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Who: a token's id, or the user and machine of a command line.
    pub actor: String,
    /// What: `plugin.activate`.
    pub action: String,
    /// To whom it belongs.
    pub tenant: Tenant,
    /// Of what: a plugin's name, a token's id.
    pub subject: String,
    /// The digest of the code that it concerns, if it does.
    pub digest: Option<String>,
    /// What else there is to say of it, in a line.
    pub detail: Option<String>,
}

/// The records.
#[async_trait]
pub trait Records: Send + Sync + 'static {
    /// Grows with each change of any record.
    async fn revision(&self) -> Result<u64, StoreError>;

    /// Waits until the revision may be more than `known`. Returns early now and then, so that the caller looks again even when an
    /// announcement was lost. May be cancelled at any time.
    async fn records_news(&self, known: u64);

    /// All records of a kind by their keys, and the revision at which they were read.
    async fn records(&self, table: Table) -> Result<(u64, Vec<Record>), StoreError>;

    /// One record.
    async fn record(&self, table: Table, key: &str) -> Result<Option<Record>, StoreError>;

    /// Makes all of these changes and notes who did, in one step, and answers the new revision; or, when one of them is not as it
    /// was, makes none and answers `None`.
    async fn change(&self, changes: &[Change], entry: &Entry) -> Result<Option<u64>, StoreError>;

    /// Notes who did what to something that is no record.
    async fn note(&self, entry: &Entry) -> Result<(), StoreError>;

    /// At most `most` of what was noted, the newest first, after the `skip` newest; of one tenant, or of all.
    async fn entries(
        &self,
        tenant: Option<&Tenant>,
        skip: usize,
        most: usize,
    ) -> Result<Vec<Entry>, StoreError>;
}

/// Code that was uploaded, by its digest: written once, never changed.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Keeps these bytes under their SHA-256 in hexadecimal. A record that names them is written after them.
    async fn put_blob(&self, digest: &str, bytes: &Bytes) -> Result<(), StoreError>;

    /// The bytes.
    async fn blob(&self, digest: &str) -> Result<Option<Bytes>, StoreError>;

    /// All digests, with the number of bytes and since when they are here.
    async fn blobs(&self) -> Result<Vec<(String, u64, Timestamp)>, StoreError>;

    /// Drops some of them.
    async fn drop_blobs(&self, digests: &[String]) -> Result<(), StoreError>;
}
