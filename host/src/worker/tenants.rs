//! Whose tasks this worker runs: by itself those of the default tenant and of all that have plugins here or a place for them.

use std::sync::Arc;

use super::Worker;
use crate::{
    plugin::{Entry, Registry},
    task::{OwnedTask, Tenant},
};

/// The tenants that are served.
pub(super) struct Tenants {
    /// These and no others, if somebody said so.
    only: Option<Vec<Tenant>>,
    registry: Arc<Registry>,
}

impl Tenants {
    /// Only these, or whoever is known.
    pub fn new(only: Option<Vec<Tenant>>, registry: Arc<Registry>) -> Self {
        Self { only, registry }
    }

    /// The tenants that are served now.
    pub fn served(&self) -> Vec<Tenant> {
        match &self.only {
            Some(only) => only.clone(),
            None => std::iter::once(Tenant::DEFAULT).chain(self.registry.tenants()).collect(),
        }
    }

    /// What answers a task, if its tenant is served.
    pub fn find(&self, task: &OwnedTask) -> Option<Entry> {
        let is_served = self.only.as_ref().is_none_or(|only| only.contains(&task.tenant));
        self.registry.find(&task.tenant, &task.task).filter(|_| is_served)
    }
}

/// Takes from the queues of whoever comes to be known, for ever.
pub(super) async fn follow(worker: &Worker) {
    let mut changes = worker.registry.changes();
    loop {
        worker.queues.serve(worker.tenants.served());
        changes.next().await;
    }
}
