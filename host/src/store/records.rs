//! What people set up: tenants, tokens, versions of plugins, queues that are paused. Few, small, read by every process, and
//! changed by one person at a time; with each change it is kept who made it.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::task::Tenant;

/// The most entries of the audit that are kept of all tenants together.
pub(super) const MOST_ENTRIES: usize = 10_000;

/// The most that are kept of one tenant, whatever the others do.
pub(super) const MOST_ENTRIES_OF_ONE: usize = 1_000;

/// The kinds of records. A kind's records are named by keys of its own; all are JSON, in a shape that the room which uses them
/// defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Tenants, by their names.
    Tenants,
    /// Tokens, by the SHA-256 of their secrets.
    Tokens,
    /// Which versions an uploaded plugin has and which of them is run, by `TENANT/PLUGIN`.
    Plugins,
    /// What a version is made of, by `TENANT/PLUGIN/DIGEST`.
    Versions,
    /// Queues that are paused, by their names.
    Queues,
    /// Secrets, sealed, by `TENANT/NAME`.
    Secrets,
}

impl Table {
    /// What it is called in a store.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::Tokens => "tokens",
            Self::Plugins => "plugins",
            Self::Versions => "versions",
            Self::Queues => "queues",
            Self::Secrets => "secrets",
        }
    }
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

/// The records of a kind, as far as somebody does not know them yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordNews {
    /// When they were read: what to ask with the next time.
    pub revision: u64,
    /// Those that have changed since, by their keys.
    pub changed: Vec<Record>,
    /// The keys of all that there are, sorted: what is not among them is gone.
    pub keys: Vec<String>,
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

/// Who did what.
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

/// The records, and the audit of their changes. Of the audit the newest 10,000 entries are kept, and of each tenant its newest
/// 1,000, so that nobody can hide what was done to others behind much that they do themselves.
#[async_trait]
pub trait Records: Send + Sync + 'static {
    /// Grows with each change of any record. A store that has lost its memory begins anew.
    async fn revision(&self) -> Result<u64, StoreError>;

    /// Waits until the revision may be another than `known`. Returns early now and then, so that the caller looks again even
    /// when an announcement was lost. May be cancelled at any time, and any number may wait.
    async fn records_news(&self, known: u64);

    /// What has changed among the records of a kind since this revision; 0 asks for everything. A store that has lost its memory,
    /// and so has never reached this revision, tells everything.
    async fn records_since(&self, table: Table, known: u64) -> Result<RecordNews, StoreError>;

    /// All records of a kind by their keys, and the revision at which they were read.
    async fn records(&self, table: Table) -> Result<(u64, Vec<Record>), StoreError> {
        self.records_since(table, 0).await.map(|news| (news.revision, news.changed))
    }

    /// One record.
    async fn record(&self, table: Table, key: &str) -> Result<Option<Record>, StoreError>;

    /// Makes all of these changes, each of another record, and notes who did, in one step, and answers the new revision, which
    /// is that of all that were changed; or, when one of them is not as it was, makes none, notes nothing and answers `None`.
    async fn change(&self, changes: &[Change], entry: &Entry) -> Result<Option<u64>, StoreError>;

    /// Notes who did what to something that is no record.
    async fn note(&self, entry: &Entry) -> Result<(), StoreError> {
        self.change(&[], entry).await.map(drop)
    }

    /// At most `most` of what was noted, the newest first, after the `skip` newest; of one tenant, or of all.
    async fn entries(
        &self,
        tenant: Option<&Tenant>,
        skip: usize,
        most: usize,
    ) -> Result<Vec<Entry>, StoreError>;
}
