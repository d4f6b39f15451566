//! What the runs of one plugin may reach, and through whom. Made once for a plugin, not for a run.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::BoxFuture;

use super::refusals::{OfTenant, Refusals};
use crate::task::{Grants, KeyValueAnswer, KeyValueQuery, Secret, Tenant};

/// Asks the store about a bucket of the plugin's tenant, or says why that cannot be done.
pub type KeyValue =
    Arc<dyn Fn(String, KeyValueQuery) -> BoxFuture<'static, Result<KeyValueAnswer, String>> + Send + Sync>;

/// Secrets by their names.
pub type Secrets = BTreeMap<String, Secret>;

/// The tenant's secrets as they are now, or why they cannot be known.
pub type SecretSource = Arc<dyn Fn() -> Result<Arc<Secrets>, String> + Send + Sync>;

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
    pub(super) keyvalue: Option<KeyValue>,
    pub(super) secrets: Option<SecretSource>,
}

impl Access {
    /// What `grants` says; what is refused is counted in `refusals`.
    pub fn new(tenant: Tenant, plugin: &str, grants: Grants, refusals: &Refusals) -> Self {
        let refused = refusals.of(&tenant);
        Self { tenant, plugin: plugin.to_owned(), grants, refused, keyvalue: None, secrets: None }
    }

    /// Nothing besides sending tasks.
    pub fn none(tenant: Tenant, plugin: &str, refusals: &Refusals) -> Self {
        Self::new(tenant, plugin, Grants::default(), refusals)
    }

    /// With what keeps entries, if that is granted.
    pub fn with_keyvalue(self, keyvalue: KeyValue) -> Self {
        Self { keyvalue: (self.grants.keyvalue > 0).then_some(keyvalue), ..self }
    }

    /// With what knows secrets, if any are granted.
    pub fn with_secrets(self, secrets: SecretSource) -> Self {
        Self { secrets: (!self.grants.secrets.is_empty()).then_some(secrets), ..self }
    }
}
