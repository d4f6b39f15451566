//! Time limits of tasks that were set by remote control, in place of those in their plugins' manifests. As in Celery they hold
//! for this worker, and as long as it lives.

use std::collections::HashMap;

use arc_swap::ArcSwap;

use crate::task::{Limits, OwnedTask, Request};

/// The limits by task.
#[derive(Default)]
pub(super) struct TimeLimits(ArcSwap<HashMap<OwnedTask, Limits>>);

impl TimeLimits {
    /// Sets the limits of a task.
    pub fn set(&self, task: OwnedTask, limits: Limits) {
        self.0.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(task.clone(), limits);
            known
        });
    }

    /// The limits of a task, if they were set.
    pub fn of(&self, task: &OwnedTask) -> Option<Limits> {
        self.0.load().get(task).copied()
    }

    /// The limits of the task that is asked for, if they were set.
    pub fn of_request(&self, request: &Request) -> Option<Limits> {
        let limits = self.0.load();
        // Almost always there are none, and no name has to be put together.
        if limits.is_empty() { None } else { limits.get(&request.owned_task()).copied() }
    }
}
