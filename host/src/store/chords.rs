//! Chords whose parts have all ended. Counting parts is part of settling them ([`super::Settlement::groups`]); here is what
//! comes after the last one, in a second step that survives whoever counted it.

use std::time::Duration;

use async_trait::async_trait;

use super::{Publication, Settled, StoreError, StoredResult};
use crate::task::{CompleteChord, GroupChange, TaskId, Tenant};

/// How long a complete chord is left to the worker whose task completed it, before others take it for forgotten.
pub const LEFT_ALONE: Duration = Duration::from_secs(5);

/// What comes after the last part of a chord.
#[derive(Debug, Clone, Default)]
pub struct Finish {
    /// What to store as results.
    pub results: Vec<StoredResult>,
    /// What becomes known of groups, in order.
    pub groups: Vec<(TaskId, GroupChange)>,
    /// What to send: to queues of the chord's own tenant, and to no others.
    pub sends: Vec<Publication>,
}

/// Chords whose parts have all ended. Several workers share them.
#[async_trait]
pub trait Chords: Send + Sync + 'static {
    /// The chords that are complete and not finished: those whose last part was settled here, and those that others have
    /// left for some seconds. Some of them, when there are many.
    async fn complete(&self) -> Result<Vec<CompleteChord>, StoreError>;

    /// Finishes a tenant's chord, wholly or not at all; one worker of any number that try does. [`Settled::NotHeld`] if it was finished
    /// before. After an error it may have been; asking again is safe.
    async fn finish(&self, tenant: &Tenant, group: &TaskId, finish: &Finish) -> Result<Settled, StoreError>;

    /// Waits until there may be a complete chord. May be cancelled at any time. Returns early now and then, so that the caller
    /// looks again for what others have left. Meant for one caller.
    async fn chord_news(&self);
}
