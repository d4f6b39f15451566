//! Tasks that must not run: facts that outlive the workers that hear of them.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::task::{TaskId, Tenant};

/// The fact that something is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Whose tasks are meant.
    #[serde(default, skip_serializing_if = "Tenant::is_default")]
    pub tenant: Tenant,
    /// What is revoked.
    pub target: Target,
    /// Whether it is also stopped if it runs already.
    pub terminate: bool,
    /// Until when this is remembered.
    pub until: Timestamp,
}

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A task.
    Task(TaskId),
    /// All tasks that carry this stamp (celery-protocol.md, 6.3).
    Stamp {
        /// The stamp's name.
        name: String,
        /// One of its values.
        value: String,
    },
}

/// What is revoked. Several workers and clients share it.
#[async_trait]
pub trait Revocations: Send + Sync + 'static {
    /// Revokes, all of these in one step. What is revoked already is so until the later of the times, and is also stopped if
    /// any of them said so; either way it is news again. What is past its time already is not remembered.
    async fn revoke(&self, revocations: &[Revocation]) -> Result<(), StoreError>;

    /// All that was revoked after this revision and is still remembered, and the revision reached; 0 asks for everything.
    /// A store that has lost its memory, and so has never reached this revision, tells everything.
    async fn revoked_since(&self, revision: u64) -> Result<(Vec<Revocation>, u64), StoreError>;

    /// Waits until something may have been revoked. May be cancelled at any time. Returns early now and then, so that
    /// the caller looks again even when news was lost. Meant for one caller.
    async fn revoked_news(&self);
}
