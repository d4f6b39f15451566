//! Commits how deliveries end. Everything that is ready goes in one round trip: alone when the worker is idle, by the
//! hundred when it is busy. A commit is tried until the store has answered, or until a cold shutdown; then the
//! delivery stays on the broker's record and another worker restores it.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{mpsc, oneshot};

use super::{Outage, Shutdown};
use crate::store::{Broker, Settled, Settlement, Tag};

/// The most settlements in one round trip.
const MOST_AT_ONCE: usize = 256;

/// Takes settlements and commits them together.
pub(super) struct Settler {
    queue: mpsc::Sender<Waiting>,
}

type Waiting = (Settlement, oneshot::Sender<Settled>);

impl Settler {
    /// Starts the task that commits.
    pub fn start(broker: Arc<dyn Broker>, held: Arc<Held>, shutdown: Shutdown) -> Self {
        let (queue, waiting) = mpsc::channel(MOST_AT_ONCE);
        tokio::spawn(commit_all(broker, held, shutdown, waiting));
        Self { queue }
    }

    /// Commits; answers once the store has. `None` when a cold shutdown came first.
    pub async fn commit(&self, settlement: Settlement) -> Option<Settled> {
        let (answer, answered) = oneshot::channel();
        self.queue.send((settlement, answer)).await.ok()?;
        answered.await.ok()
    }
}

async fn commit_all(
    broker: Arc<dyn Broker>,
    held: Arc<Held>,
    shutdown: Shutdown,
    mut waiting: mpsc::Receiver<Waiting>,
) {
    let mut outage = Outage::new("store results");
    let mut batch = Vec::with_capacity(MOST_AT_ONCE);
    while waiting.recv_many(&mut batch, MOST_AT_ONCE).await > 0 {
        let (settlements, answers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        let settled = loop {
            match broker.settle(&settlements).await {
                Ok(settled) => break settled,
                Err(error) if shutdown.is_cold() => {
                    let count = settlements.len();
                    tracing::error!(%error, "left {count} deliveries for another worker to restore");
                    break Vec::new();
                }
                Err(error) => outage.wait(&error, &shutdown).await,
            }
        };
        outage.over();
        held.remove(settlements.iter().map(|settlement| &settlement.tag));
        for (answer, settled) in answers.into_iter().zip(settled) {
            // Whoever asked may have gone; the commit stands.
            let _ = answer.send(settled);
        }
    }
}

/// The deliveries that this worker holds.
#[derive(Default)]
pub(super) struct Held(Mutex<HashSet<Tag>>);

impl Held {
    /// Adds deliveries that were just taken.
    pub fn insert<'a>(&self, tags: impl Iterator<Item = &'a Tag>) {
        self.lock().extend(tags.cloned());
    }

    /// The tags of all deliveries that are held now.
    pub fn tags(&self) -> Vec<Tag> {
        self.lock().iter().cloned().collect()
    }

    fn remove<'a>(&self, tags: impl Iterator<Item = &'a Tag>) {
        let mut held = self.lock();
        for tag in tags {
            held.remove(tag);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Tag>> {
        // A set is whole between calls, whatever thread has panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
