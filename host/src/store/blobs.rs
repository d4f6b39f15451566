//! Code that was uploaded, and how often it was run.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::StoreError;

/// Code that was uploaded, by its digest: written once, never changed.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Keeps these bytes under their SHA-256 in hexadecimal. What is there already stays, and counts as put just now. A record
    /// that names them is written after them.
    async fn put_blob(&self, digest: &str, bytes: &Bytes) -> Result<(), StoreError>;

    /// The bytes. Whoever runs them looks first whether they have this digest.
    async fn blob(&self, digest: &str) -> Result<Option<Bytes>, StoreError>;

    /// All digests, sorted, with the number of bytes.
    async fn blobs(&self) -> Result<Vec<(String, u64)>, StoreError>;

    /// Drops those of these that nobody has put for so long, and answers how many.
    async fn drop_blobs(&self, digests: &[String], unused: Duration) -> Result<u64, StoreError>;
}

/// How often something was called, and how often that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Count {
    /// What is counted.
    pub name: String,
    /// How often it was called.
    pub calls: u64,
    /// How many of the calls have failed.
    pub failures: u64,
}

/// Numbers that all workers add to. What nobody has added to for a week is forgotten.
#[async_trait]
pub trait Counts: Send + Sync + 'static {
    /// Adds these, all in one step. After an error they may have been added or not.
    async fn count(&self, counts: &[Count]) -> Result<(), StoreError>;

    /// What the counts of these names are, in their order; 0 if nobody has counted.
    async fn counted(&self, names: &[String]) -> Result<Vec<Count>, StoreError>;
}
