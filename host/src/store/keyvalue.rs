//! Entries that guests keep, by `wasi:keyvalue`.

use async_trait::async_trait;

use super::StoreError;
use crate::task::{Bucket, KeyValueAnswer, KeyValueQuery, Tenant};

/// Entries by tenant, bucket and key. What all entries of a tenant take is counted in the step that changes them, so that no number
/// of workers together exceeds a quota.
#[async_trait]
pub trait KeyValue: Send + Sync + 'static {
    /// Answers a question or makes a change. A change after which the tenant's entries would take more than `quota` bytes, and more
    /// than before, is not made. After an error a change may have been made.
    async fn keyvalue(
        &self,
        bucket: &Bucket,
        quota: u64,
        query: &KeyValueQuery,
    ) -> Result<KeyValueAnswer, StoreError>;

    /// What the tenant's entries take, as [`Bucket::cost`] counts.
    async fn keyvalue_used(&self, tenant: &Tenant) -> Result<u64, StoreError>;

    /// Drops all entries of a tenant.
    async fn keyvalue_forget(&self, tenant: &Tenant) -> Result<(), StoreError>;
}
