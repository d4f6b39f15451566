//! Commits how deliveries end. Everything that is ready goes in one round trip: alone when the worker is idle, by the
//! hundred when it is busy. A commit is tried until the store has answered, or until a cold shutdown; then the
//! delivery stays on the broker's record and another worker restores it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{Outage, Shutdown};
use crate::{
    fail_point,
    store::{Broker, Settled, Settlement},
};

/// The most settlements in one round trip.
const MOST_AT_ONCE: usize = 256;

/// The most bytes of results in one round trip, give or take one result: little enough to cross a slow link well within the
/// time that the store has for an answer.
const LARGEST_AT_ONCE: usize = 4 << 20;

/// Takes settlements and has them committed together.
pub(super) struct Settler {
    queue: mpsc::Sender<Waiting>,
}

/// The other end of a [`Settler`], to be driven by [`Commits::run`].
pub(super) struct Commits {
    waiting: mpsc::Receiver<Waiting>,
}

type Waiting = (Settlement, oneshot::Sender<Settled>);

impl Settler {
    /// A settler and what drives it.
    pub fn new() -> (Self, Commits) {
        let (queue, waiting) = mpsc::channel(MOST_AT_ONCE);
        (Self { queue }, Commits { waiting })
    }

    /// Hands over a settlement; waits while too many are waiting already. What comes back answers once the store has:
    /// `Err` when a cold shutdown came first.
    pub async fn submit(&self, settlement: Settlement) -> oneshot::Receiver<Settled> {
        let (answer, answered) = oneshot::channel();
        // Nobody receives after a cold shutdown; then the answer never comes.
        let _ = self.queue.send((settlement, answer)).await;
        answered
    }
}

impl Commits {
    /// Commits what is handed over, until there is no settler any more or a cold shutdown finds the store away.
    pub async fn run(mut self, broker: Arc<dyn Broker>, shutdown: Shutdown) {
        let mut outage = Outage::new("store results");
        while let Some(batch) = self.next_batch().await {
            let (settlements, answers): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            fail_point::reach("settle:before");
            let settled = loop {
                match broker.settle(&settlements).await {
                    Ok(settled) => break settled,
                    Err(error) if shutdown.is_cold() => {
                        tracing::error!(%error, "what is not stored is left for another worker to restore");
                        return;
                    }
                    Err(error) => outage.wait(&error, &shutdown).await,
                }
            };
            outage.over();
            fail_point::reach("settle:after");
            for (answer, settled) in answers.into_iter().zip(settled) {
                // Whoever asked may have gone; the commit stands.
                let _ = answer.send(settled);
            }
        }
    }

    /// Waits for a settlement and adds what else is there.
    async fn next_batch(&mut self) -> Option<Vec<Waiting>> {
        let size = |(settlement, _): &Waiting| {
            settlement.results.iter().map(|result| result.meta.len()).sum::<usize>()
        };
        let first = self.waiting.recv().await?;
        let mut bytes = size(&first);
        let mut batch = vec![first];
        while batch.len() < MOST_AT_ONCE && bytes < LARGEST_AT_ONCE {
            let Ok(next) = self.waiting.try_recv() else { break };
            bytes += size(&next);
            batch.push(next);
        }
        Some(batch)
    }
}
