//! Commits how deliveries end. Everything that is ready goes in one round trip: alone when the worker is idle, by the
//! hundred when it is busy. A commit is tried until the store has answered, or until a cold shutdown; then the
//! delivery stays on the broker's record and another worker restores it.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{Outage, Shares, Shutdown, shares};
use crate::{
    fail_point,
    store::{Broker, Settled, Settlement},
    tenant::Seat,
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
    queue: mpsc::Sender<Owned>,
}

/// The other end of a [`Settler`], to be driven by [`Commits::run`].
pub(super) struct Commits {
    waiting: mpsc::Receiver<Owned>,
    /// What was received and is not committed, where tenants share: they take turns.
    lines: VecDeque<(Seat, VecDeque<Waiting>)>,
}

/// A settlement, and what is to be done once it is known what became of it.
type Waiting = (Settlement, Then);

/// Whose it is, where tenants share.
type Owned = (Option<Seat>, Waiting);

/// Told what the store has answered, or nothing when a cold shutdown came first.
type Then = Box<dyn FnOnce(Option<Settled>) + Send>;

impl Settler {
    /// A settler and what drives it.
    pub fn new() -> (Self, Commits) {
        let (queue, waiting) = mpsc::channel(MOST_AT_ONCE);
        (Self { queue }, Commits { waiting, lines: VecDeque::new() })
    }

    /// Hands over a settlement; waits while too many are waiting already. `then`, which must not block, is called with what the
    /// store has answered, or with nothing when a cold shutdown came first. Where tenants share, no `owner` waits for the
    /// settlements of another.
    pub async fn submit(
        &self,
        owner: Option<Seat>,
        settlement: Settlement,
        then: impl FnOnce(Option<Settled>) + Send + 'static,
    ) {
        let waiting: Waiting = (settlement, Box::new(then));
        if let Err(mpsc::error::SendError((_, (_, then)))) = self.queue.send((owner, waiting)).await {
            then(None);
        }
    }

    /// Hands over a settlement and waits for the answer.
    pub async fn settle(&self, settlement: Settlement) -> Option<Settled> {
        let (answer, answered) = oneshot::channel();
        // Whoever asked may have gone; the commit stands.
        self.submit(None, settlement, |settled| drop(answer.send(settled))).await;
        answered.await.ok().flatten()
    }
}

impl Commits {
    /// Commits what is handed over, until there is no settler any more or a cold shutdown finds the store away. When much
    /// follows a commit, `guests` does it.
    pub async fn run(
        mut self,
        broker: Arc<dyn Broker>,
        shutdown: Shutdown,
        shares: Arc<Shares>,
        guests: Handle,
    ) {
        let mut outage = Outage::new("store results");
        let most = || if shares.are_crowded() { shares::MOST_AT_ONCE } else { MOST_AT_ONCE };
        while let Some(batch) = self.next_batch(most()).await {
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
        let lines = self.lines.drain(..).flat_map(|(_, line)| line);
        let received: Vec<_> = lines.collect();
        let rest = std::iter::from_fn(|| self.waiting.try_recv().ok()).map(|(_, waiting)| waiting);
        received.into_iter().chain(rest).for_each(|(_, then)| then(None));
    }

    /// Waits for a settlement and adds what else is there. Where tenants share, they take turns.
    async fn next_batch(&mut self, most: usize) -> Option<Vec<Waiting>> {
        let size = |(settlement, _): &Waiting| {
            settlement.results.iter().map(|result| result.meta.len()).sum::<usize>()
        };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut next = if self.lines.is_empty() { Some(self.waiting.recv().await?) } else { None };
        let mut in_line: usize = self.lines.iter().map(|(_, line)| line.len()).sum();
        loop {
            match next.take() {
                Some((None, waiting)) => {
                    bytes += size(&waiting);
                    batch.push(waiting);
                }
                Some((Some(owner), waiting)) => {
                    in_line += 1;
                    match self.lines.iter_mut().find(|(seat, _)| *seat == owner) {
                        Some((_, line)) => line.push_back(waiting),
                        None => self.lines.push_back((owner, VecDeque::from([waiting]))),
                    }
                }
                None => {}
            }
            // A line may be longer than a batch: who comes behind it has a line of its own.
            if batch.len() >= most || bytes >= LARGEST_AT_ONCE || in_line >= MOST_AT_ONCE {
                break;
            }
            let Ok(more) = self.waiting.try_recv() else { break };
            next = Some(more);
        }
        while batch.len() < most && bytes < LARGEST_AT_ONCE {
            let Some((owner, mut line)) = self.lines.pop_front() else { break };
            if let Some(waiting) = line.pop_front() {
                bytes += size(&waiting);
                batch.push(waiting);
            }
            if !line.is_empty() {
                self.lines.push_back((owner, line));
            }
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
