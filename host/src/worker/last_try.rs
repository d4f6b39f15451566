//! Messages that are run for the last time before they are given up: of each tenant one at a time.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::task::Tenant;

/// The tenants of which a message has its last try.
#[derive(Default)]
pub(super) struct LastTries(Mutex<HashSet<Tenant>>);

/// One of them, as long as this lives.
pub(super) struct LastTry<'a> {
    tries: &'a LastTries,
    tenant: Tenant,
}

impl LastTries {
    /// Begins a last try, unless another message of the tenant has its own now.
    pub fn begin(&self, tenant: &Tenant) -> Option<LastTry<'_>> {
        self.lock().insert(tenant.clone()).then(|| LastTry { tries: self, tenant: tenant.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Tenant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LastTry<'_> {
    fn drop(&mut self) {
        self.tries.lock().remove(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_keeps_no_other_from_its_last_try() {
        let (tries, acme) = (LastTries::default(), Tenant::new("acme").unwrap());
        let first = tries.begin(&acme);
        assert!(first.is_some());
        assert!(tries.begin(&acme).is_none());
        assert!(tries.begin(&Tenant::DEFAULT).is_some());
        drop(first);
        assert!(tries.begin(&acme).is_some());
    }
}
