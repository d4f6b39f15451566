//! The worker: takes messages, runs tasks, records results.
//!
//! - `execute`: the life of one task, top to bottom. `end`: how it can end, and what is committed then.
//! - `work`: what a message needs done. `follow`, `chords`: what comes after a task, and after the last part of a chord.
//! - `running`: what runs now, and stopping it. `revoked`: what must not run.
//! - `parking`: messages that wait for a plugin. `rate_limit`: messages that wait for their turn. `clock`: the store's time.
//! - `settle`: commits results and acknowledgements, many in one round trip.
//! - `lease`: tells the other workers that this one lives, and restores what dead ones held.
//! - `shutdown`: warm and cold.
//! - `outage`: waiting for the store to come back.
//!
//! What it takes from a queue it holds in the broker's record until the result is stored. It never throws a message away
//! without either a result or a dead letter.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};
use tokio_util::task::TaskTracker;

use crate::{
    fail_point,
    plugin::Registry,
    protocol::message::MessageLimits,
    store::{Report, Store, StoreError, Taken},
    task::QueueName,
};

mod chords;
mod clock;
mod end;
mod execute;
mod follow;
mod lease;
mod outage;
mod parking;
mod rate_limit;
mod revoked;
mod running;
mod settle;
mod shutdown;
mod work;

use clock::Clock;
use lease::Lease;
use outage::Outage;
use rate_limit::Limits;
use revoked::Revoked;
use running::Running;
use settle::{Commits, Settler};
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
    /// How long a message waits for a plugin that offers its task; zero is not at all.
    pub park: Duration,
    /// A message is given up when this many workers have died running it.
    pub most_deaths: u32,
    /// What messages are accepted.
    pub messages: MessageLimits,
    /// Where tasks are sent that say nothing of a queue.
    pub default_queue: QueueName,
}

/// A worker with all its parts.
pub struct Worker {
    options: Options,
    store: Store,
    registry: Arc<Registry>,
    shutdown: Shutdown,
    settler: Settler,
    lease: Lease,
    slots: Arc<Semaphore>,
    running: Running,
    revoked: Revoked,
    clock: Clock,
    limits: Limits,
    /// Whoever runs a message for the last time before it is given up.
    last_try: Semaphore,
    /// How many tasks were run.
    processed: AtomicU64,
}

/// The most messages taken at a time: enough to make the round trip cheap, few enough to come back in a millisecond.
const MOST_AT_ONCE: usize = 200;

impl Worker {
    /// Works until told to shut down, then leaves nothing behind: what was running has ended or, on a cold shutdown, is
    /// back on its queue. Must be called on the runtime that is to talk to the store; guests run on `guests`, so that a flood
    /// of them delays neither the store nor the heartbeat. `on_ready` is called once, before the first message is taken.
    ///
    /// Fails only if the store cannot be reached at the start.
    pub async fn run(
        options: Options,
        store: Store,
        registry: Arc<Registry>,
        shutdown: Shutdown,
        guests: Handle,
        on_ready: impl FnOnce(),
    ) -> Result<(), StoreError> {
        let (settler, commits) = Settler::new();
        let slots = Arc::new(Semaphore::new(options.concurrency));
        let worker = Self {
            options,
            store,
            registry,
            shutdown,
            settler,
            lease: Lease::default(),
            slots,
            running: Running::default(),
            revoked: Revoked::default(),
            clock: Clock::default(),
            limits: Limits::default(),
            last_try: Semaphore::new(1),
            processed: AtomicU64::new(0),
        };
        lease::announce(&worker).await?;
        let worker = Arc::new(worker);
        let services = worker.start_services(commits);
        on_ready();
        worker.take_and_run(guests).await;
        services.into_iter().for_each(|service| service.abort());
        fail_point::reach("leave:before");
        if let Err(error) = worker.store.broker.leave().await {
            tracing::warn!(%error, "the heartbeat stays until it expires");
        }
        Ok(())
    }

    /// Takes messages and runs them until a shutdown is requested and all that was taken has ended.
    async fn take_and_run(self: &Arc<Self>, guests: Handle) {
        let running = TaskTracker::new();
        let mut outage = Outage::new("take messages");
        while let Some(mut slots) = self.free_slots().await {
            fail_point::reach("take:before");
            match self.store.broker.take(&self.options.queues, slots.num_permits()).await {
                Ok(Taken { deliveries, revision, now }) => {
                    outage.over();
                    if !deliveries.is_empty() {
                        self.clock.set(now);
                    }
                    if !self.learn_what_is_revoked(revision).await {
                        break;
                    }
                    let queues_are_empty = deliveries.is_empty();
                    for delivery in deliveries {
                        let slot =
                            slots.split(1).expect("no more messages are taken than there are free slots");
                        running.spawn_on(execute::execute(self.clone(), delivery, slot), &guests);
                    }
                    drop(slots);
                    if queues_are_empty {
                        tokio::select! {
                            () = self.store.broker.arrival() => {}
                            () = self.shutdown.requested() => {}
                        }
                    }
                }
                Err(error) => {
                    drop(slots);
                    outage.wait(&error, &self.shutdown).await;
                }
            }
        }
        running.close();
        running.wait().await;
    }

    /// What was taken is not run before all is known that was revoked until then, however long the store is away. False
    /// when a cold shutdown comes first; then what was taken is left for another worker to restore.
    async fn learn_what_is_revoked(&self, revision: u64) -> bool {
        let mut outage = Outage::new("learn what is revoked");
        while let Err(error) = revoked::catch_up(self, revision).await {
            if self.shutdown.is_cold() {
                return false;
            }
            outage.wait(&error, &self.shutdown).await;
        }
        outage.over();
        true
    }

    /// Starts what a worker cannot be without.
    fn start_services(self: &Arc<Self>, commits: Commits) -> [JoinHandle<()>; 7] {
        let commits = commits.run(self.store.broker.clone(), self.shutdown.clone());
        let [beating, restoring, revoking, releasing, finishing, limiting] =
            std::array::from_fn(|_| self.clone());
        [
            tokio::spawn(essential(commits)),
            tokio::spawn(essential(async move { lease::beat(&beating).await })),
            tokio::spawn(essential(async move { lease::restore(&restoring).await })),
            tokio::spawn(essential(async move { revoked::follow(&revoking).await })),
            tokio::spawn(essential(async move { parking::release(&releasing).await })),
            tokio::spawn(essential(async move { chords::follow(&finishing).await })),
            tokio::spawn(essential(async move { rate_limit::release(&limiting).await })),
        ]
    }

    /// What the heartbeat tells.
    fn report(&self) -> Report {
        let active = self.options.concurrency - self.slots.available_permits();
        Report {
            node: self.options.node.clone(),
            pid: std::process::id(),
            active: active as u64,
            processed: self.processed.load(Ordering::Relaxed),
        }
    }

    /// Waits for a free slot and takes all that are free then; `None` once a shutdown is requested.
    async fn free_slots(&self) -> Option<OwnedSemaphorePermit> {
        if self.shutdown.is_requested() {
            return None;
        }
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

/// Ends the process when `service` panics. A worker that beats but does not settle would hold its messages for ever; one
/// that is gone gives them back.
async fn essential(service: impl Future<Output = ()>) {
    if AssertUnwindSafe(service).catch_unwind().await.is_err() {
        tracing::error!(
            "a bug in host: a part that the worker cannot be without has failed; the process ends"
        );
        std::process::exit(1);
    }
}
