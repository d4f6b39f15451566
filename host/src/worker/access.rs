//! What each plugin may reach: what it asks for, cut down to what its tenant may have.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, Weak},
};

use crate::{
    plugin::Plugin,
    sandbox::{Access, Refusals},
    task::{Grants, Tenant},
};

/// The accesses of all plugins that have run. Asked for each task, so it is found, not made.
#[derive(Default)]
pub(super) struct Accesses {
    refusals: Refusals,
    /// By the plugins' addresses, which nothing else gets as long as somebody remembers the plugin.
    made: RwLock<HashMap<usize, (Weak<Plugin>, Arc<Access>)>>,
}

impl Accesses {
    /// What runs of this plugin may reach.
    pub fn of(&self, tenant: &Tenant, plugin: &Arc<Plugin>) -> Arc<Access> {
        let address = Arc::as_ptr(plugin) as usize;
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, access)) = made.get(&address) {
            return access.clone();
        }
        drop(made);
        let granted = self.granted(tenant, &plugin.grants);
        let access = Arc::new(Access::new(tenant.clone(), &plugin.name, granted, &self.refusals));
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
