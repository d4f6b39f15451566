//! The queues that the worker takes from, which can change while it works.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::task::QueueName;

/// The queues.
pub(super) struct Queues {
    queues: ArcSwap<Vec<QueueName>>,
    changed: Notify,
}

impl Queues {
    /// These queues.
    pub fn new(queues: Vec<QueueName>) -> Self {
        Self { queues: ArcSwap::from_pointee(queues), changed: Notify::new() }
    }

    /// The queues now.
    pub fn now(&self) -> Arc<Vec<QueueName>> {
        self.queues.load_full()
    }

    /// Takes from this queue too.
    pub fn add(&self, queue: &QueueName) {
        self.queues.rcu(|queues| {
            let mut queues = Vec::clone(queues);
            if !queues.contains(queue) {
                queues.push(queue.clone());
            }
            queues
        });
        self.changed.notify_one();
    }

    /// Takes from this queue no more.
    pub fn remove(&self, queue: &QueueName) {
        self.queues.rcu(|queues| queues.iter().filter(|known| *known != queue).cloned().collect::<Vec<_>>());
        self.changed.notify_one();
    }

    /// Waits until the queues may have changed. For one caller.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
