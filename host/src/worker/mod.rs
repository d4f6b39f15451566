//! The worker: takes messages, runs tasks, records results.
//!
//! - `execute`: the life of one task, top to bottom.
//! - `settle`: commits results and acknowledgements, many in one round trip.
//! - `lease`: tells the other workers that this one lives, and restores what dead ones held.
//! - `shutdown`: warm and cold.
//! - `outage`: waiting for the store to come back.
//!
//! What it takes from a queue it holds in the broker's record until the result is stored. It never throws a message away
//! without either a result or a dead letter.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::task::TaskTracker;

use crate::{
    plugin::Registry,
    protocol::message::MessageLimits,
    store::{Store, StoreError},
    task::QueueName,
};

mod execute;
mod lease;
mod outage;
mod settle;
mod shutdown;

use outage::Outage;
use settle::{Held, Settler};
pub use shutdown::Shutdown;

/// What a worker is told to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The worker's name among the workers: `celery@box`.
    pub node: String,
    /// The queues it takes from.
    pub queues: Vec<QueueName>,
    /// How many tasks may run at once. Tasks that wait cost little; those that compute share the processor.
    pub concurrency: usize,
    /// Every task is stopped after this time; a message can only ask for less.
    pub time_limit: Duration,
    /// Every task is asked to end after this time; a message can only ask for less.
    pub soft_time_limit: Option<Duration>,
    /// What messages are accepted.
    pub messages: MessageLimits,
}

/// A worker with all its parts.
pub struct Worker {
    options: Options,
    store: Store,
    registry: Arc<Registry>,
    shutdown: Shutdown,
    settler: Settler,
    held: Arc<Held>,
    slots: Arc<Semaphore>,
}

/// The most messages taken at a time: enough to make the round trip cheap, few enough to come back in a millisecond.
const MOST_AT_ONCE: usize = 200;

impl Worker {
    /// Puts the parts together. Must be called on the runtime that is to talk to the store.
    pub fn new(options: Options, store: Store, registry: Arc<Registry>, shutdown: Shutdown) -> Self {
        let held = Arc::new(Held::default());
        let settler = Settler::start(store.broker.clone(), held.clone(), shutdown.clone());
        let slots = Arc::new(Semaphore::new(options.concurrency));
        Self { options, store, registry, shutdown, settler, held, slots }
    }

    /// Works until told to shut down, then leaves nothing behind: what was running has ended or, on a cold shutdown, is
    /// back on its queue. Guests run on `guests`, so that a flood of them delays neither the store nor the
    /// heartbeat. `on_ready` is called once, before the first message is taken.
    ///
    /// Fails only if the store cannot be reached at the start.
    pub async fn run(self, guests: Handle, on_ready: impl FnOnce()) -> Result<(), StoreError> {
        lease::announce(&self).await?;
        let worker = Arc::new(self);
        let lease = tokio::spawn(lease::keep(worker.clone()));
        let running = TaskTracker::new();
        on_ready();

        let mut outage = Outage::new("take messages");
        while !worker.shutdown.is_requested() {
            let Some(mut slots) = worker.free_slots().await else { break };
            match worker.store.broker.take(&worker.options.queues, slots.num_permits()).await {
                Ok(deliveries) if deliveries.is_empty() => {
                    outage.over();
                    drop(slots);
                    tokio::select! {
                        () = worker.store.broker.arrival() => {}
                        () = worker.shutdown.requested() => {}
                    }
                }
                Ok(deliveries) => {
                    outage.over();
                    worker.held.insert(deliveries.iter().map(|delivery| &delivery.tag));
                    for delivery in deliveries {
                        let slot =
                            slots.split(1).expect("no more messages are taken than there are free slots");
                        running.spawn_on(execute::execute(worker.clone(), delivery, slot), &guests);
                    }
                }
                Err(error) => outage.wait(&error, &worker.shutdown).await,
            }
        }

        running.close();
        running.wait().await;
        lease.abort();
        if let Err(error) = worker.store.broker.leave().await {
            tracing::warn!(%error, "the heartbeat stays until it expires");
        }
        Ok(())
    }

    /// Waits for a free slot and takes all that are free then; `None` when a shutdown is requested first.
    async fn free_slots(&self) -> Option<OwnedSemaphorePermit> {
        let mut slots = tokio::select! {
            slot = self.slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
            () = self.shutdown.requested() => return None,
        };
        let more = self.slots.available_permits().min(MOST_AT_ONCE - 1);
        if let Ok(more) = self.slots.clone().try_acquire_many_owned(more as u32) {
            slots.merge(more);
        }
        Some(slots)
    }
}
