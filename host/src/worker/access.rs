//! What each plugin may reach: what it asks for, cut down to what its tenant may have.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, Weak},
};

use futures_util::FutureExt;

use crate::{
    plugin::Plugin,
    sandbox::{self, Access, Refusals},
    store::KeyValue,
    task::{Bucket, Grants, Tenant},
};

/// The accesses of all plugins that have run. Asked for each task, so it is found, not made.
pub(super) struct Accesses {
    entries: Arc<dyn KeyValue>,
    refusals: Refusals,
    made: RwLock<Made>,
}

/// By the plugins' addresses, which nothing else gets as long as somebody remembers the plugin.
type Made = HashMap<usize, (Weak<Plugin>, Arc<Access>)>;

impl Accesses {
    pub fn new(entries: Arc<dyn KeyValue>) -> Self {
        Self { entries, refusals: Refusals::default(), made: RwLock::default() }
    }

    /// What runs of this plugin may reach.
    pub fn of(&self, tenant: &Tenant, plugin: &Arc<Plugin>) -> Arc<Access> {
        let address = Arc::as_ptr(plugin) as usize;
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, access)) = made.get(&address) {
            return access.clone();
        }
        drop(made);
        let granted = self.granted(tenant, &plugin.grants);
        let keyvalue = keyvalue(self.entries.clone(), tenant.clone(), granted.keyvalue);
        let access = Access::new(tenant.clone(), &plugin.name, granted, &self.refusals);
        let access = Arc::new(access.with_keyvalue(keyvalue));
        let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
        made.retain(|_, (plugin, _)| plugin.strong_count() > 0);
        made.insert(address, (Arc::downgrade(plugin), access.clone()));
        access
    }

    /// The plugins of the default tenant are the operator's own, and get what they ask for.
    fn granted(&self, tenant: &Tenant, asked: &Grants) -> Grants {
        if tenant.is_default() { asked.clone() } else { asked.within(&Grants::default()) }
    }
}

/// What answers the plugins of a tenant: buckets of no other tenant can be named.
fn keyvalue(entries: Arc<dyn KeyValue>, tenant: Tenant, quota: u64) -> sandbox::KeyValue {
    Arc::new(move |name, query| {
        let (entries, bucket) = (entries.clone(), Bucket { tenant: tenant.clone(), name });
        async move {
            entries.keyvalue(&bucket, quota, &query).await.map_err(|error| {
                tracing::warn!(%error, "what a guest keeps was not reached");
                "the store was not reached".to_owned()
            })
        }
        .boxed()
    })
}
