//! Commits how deliveries end. Everything that is ready goes in one round trip: alone when the worker is idle, by the
//! hundred when it is busy. A commit is tried until the store has answered, or until a cold shutdown; then the
//! delivery stays on the broker's record and another worker restores it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{Outage, Shutdown};
use crate::{
    fail_point,
    store::{Broker, Settled, Settlement},
};

/// The most settlements in one round trip.
const MOST_AT_ONCE: usize = 256;

/// So many are told of their commits here: to wake another thread for them takes longer.
const FEW: usize = 8;

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

/// A settlement, and what is to be done once it is known what became of it.
type Waiting = (Settlement, Then);

/// Told what the store has answered, or nothing when a cold shutdown came first.
type Then = Box<dyn FnOnce(Option<Settled>) + Send>;

impl Settler {
    /// A settler and what drives it.
    pub fn new() -> (Self, Commits) {
        let (queue, waiting) = mpsc::channel(MOST_AT_ONCE);
        (Self { queue }, Commits { waiting })
    }

    /// Hands over a settlement; waits while too many are waiting already. `then`, which must not block, is called with what the
    /// store has answered, or with nothing when a cold shutdown came first.
    pub async fn submit(&self, settlement: Settlement, then: impl FnOnce(Option<Settled>) + Send + 'static) {
        if let Err(mpsc::error::SendError((_, then))) = self.queue.send((settlement, Box::new(then))).await {
            then(None);
        }
    }

    /// Hands over a settlement and waits for the answer.
    pub async fn settle(&self, settlement: Settlement) -> Option<Settled> {
        let (answer, answered) = oneshot::channel();
        // Whoever asked may have gone; the commit stands.
        self.submit(settlement, |settled| drop(answer.send(settled))).await;
        answered.await.ok().flatten()
    }
}

impl Commits {
    /// Commits what is handed over, until there is no settler any more or a cold shutdown finds the store away. When much
    /// follows a commit, `guests` does it.
    pub async fn run(mut self, broker: Arc<dyn Broker>, shutdown: Shutdown, guests: Handle) {
        let mut outage = Outage::new("store results");
        while let Some(batch) = self.next_batch().await {
            let (settlements, then): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            fail_point::reach("settle:before");
            let settled = loop {
                match broker.settle(&settlements).await {
                    Ok(settled) => break settled,
                    Err(error) if shutdown.is_cold() => {
                        tracing::error!(%error, "what is not stored is left for another worker to restore");
                        then.into_iter().for_each(|then| then(None));
                        return self.give_up();
                    }
                    Err(error) => outage.wait(&error, &shutdown).await,
                }
            };
            outage.over();
            fail_point::reach("settle:after");
            let is_little = then.len() <= FEW;
            let tell = || then.into_iter().zip(settled).for_each(|(then, settled)| tell(then, settled));
            if is_little {
                tell();
            } else {
                guests.spawn(async { tell() });
            }
        }
    }

    /// Nothing more is committed.
    fn give_up(&mut self) {
        self.waiting.close();
        while let Ok((_, then)) = self.waiting.try_recv() {
            then(None);
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

/// A bug in what follows a commit concerns the one task only: it has ended well.
fn tell(then: Then, settled: Settled) {
    if catch_unwind(AssertUnwindSafe(|| then(Some(settled)))).is_err() {
        tracing::error!("a bug in host: a task has ended, and nobody is told how");
    }
}
