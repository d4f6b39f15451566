//! Whose turn it is to compile.

use std::{
    collections::HashSet,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::task::Tenant;

/// How many compilers there may be at once. Each has its memory limit, so this bounds what they take together; and as a tenant
/// has one, nobody waits until so many tenants compile.
const MOST: usize = 4;

/// Lets each tenant have one compiler, and all together a few.
#[derive(Default)]
pub(super) struct Turns {
    compiling: Mutex<HashSet<Tenant>>,
    ended: Condvar,
}

/// A tenant's turn; it lasts until this is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    tenant: Tenant,
}

impl Turns {
    /// Waits until it is the tenant's turn. What waits for the tenant's own other file takes nobody's place.
    pub(super) fn wait_for(&self, tenant: &Tenant) -> Turn<'_> {
        let must_wait =
            |compiling: &mut HashSet<Tenant>| compiling.contains(tenant) || compiling.len() >= MOST;
        let compiling = self.ended.wait_while(self.compiling(), must_wait);
        compiling.unwrap_or_else(PoisonError::into_inner).insert(tenant.clone());
        Turn { turns: self, tenant: tenant.clone() }
    }

    fn compiling(&self) -> MutexGuard<'_, HashSet<Tenant>> {
        // It is whole after every change, so a poisoned lock is as good as another.
        self.compiling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.compiling().remove(&self.tenant);
        self.turns.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn a_tenant_waits_for_itself_and_for_nobody_else() {
        let turns = Turns::default();
        let [acme, other] = ["acme", "other"].map(|name| Tenant::new(name).unwrap());
        let first = turns.wait_for(&acme);
        drop(turns.wait_for(&other));
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let _second = turns.wait_for(&acme);
                tell.send("second").unwrap();
            });
            tell.send("first").unwrap();
            drop(first);
        });
        assert_eq!([told.recv().unwrap(), told.recv().unwrap()], ["first", "second"]);
    }

    #[test]
    fn all_together_have_a_few() {
        let turns = Turns::default();
        let tenants: Vec<_> = (0..=MOST).map(|n| Tenant::new(&format!("t{n}")).unwrap()).collect();
        let mut running: Vec<_> = tenants[..MOST].iter().map(|tenant| turns.wait_for(tenant)).collect();
        thread::scope(|scope| {
            let last = scope.spawn(|| drop(turns.wait_for(&tenants[MOST])));
            assert_eq!(turns.compiling().len(), MOST);
            running.pop();
            last.join().unwrap();
        });
    }
}
