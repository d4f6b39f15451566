//! Time limits of tasks that were set by remote control, in place of those in their plugins' manifests. As in Celery they hold
//! for this worker, and as long as it lives.

use std::collections::HashMap;

use arc_swap::ArcSwap;

use crate::task::{Limits, TaskName};

/// The limits by task.
#[derive(Default)]
pub(super) struct TimeLimits(ArcSwap<HashMap<TaskName, Limits>>);

impl TimeLimits {
    /// Sets the limits of a task.
    pub fn set(&self, task: TaskName, limits: Limits) {
        self.0.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(task.clone(), limits);
            known
        });
    }

    /// The limits of a task, if they were set.
    pub fn of(&self, task: &TaskName) -> Option<Limits> {
        self.0.load().get(task).copied()
    }
}
