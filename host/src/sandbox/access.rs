//! What the runs of one plugin may reach, and through whom. Made once for a plugin, not for a run.

use std::sync::Arc;

use super::refusals::{OfTenant, Refusals};
use crate::task::{Grants, Tenant};

/// What the runs of one plugin of one tenant may reach.
pub struct Access {
    /// Whose plugin it is.
    pub(super) tenant: Tenant,
    /// What it is called.
    pub(super) plugin: String,
    /// What it was granted.
    pub(super) grants: Grants,
    /// Where it is counted what it was refused.
    pub(super) refused: Arc<OfTenant>,
}

impl Access {
    /// What `grants` says; what is refused is counted in `refusals`.
    pub fn new(tenant: Tenant, plugin: &str, grants: Grants, refusals: &Refusals) -> Self {
        let refused = refusals.of(&tenant);
        Self { tenant, plugin: plugin.to_owned(), grants, refused }
    }

    /// Nothing besides sending tasks.
    pub fn none(tenant: Tenant, plugin: &str, refusals: &Refusals) -> Self {
        Self::new(tenant, plugin, Grants::default(), refusals)
    }
}
