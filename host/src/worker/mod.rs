//! The worker: takes messages, runs tasks, records results.
//!
//! - `execute`: the life of one task, top to bottom. `end`: how it can end, and what is committed then.
//! - `work`: what a message needs done. `access`, `secrets`: what its plugin may reach. `follow`, `chords`: what comes after a task, and after the last part of a chord.
//! - `events`: telling those who watch. `control`: what it is asked and told from outside, and `pool`, `autoscale`, `queues`
//!   and `time_limits`, which that can change. `tenants`: whose tasks it runs. `tally`, `machine`: numbers for those who ask.
//! - `uploads`: versions of plugins that come and go by the store.
//! - `running`: what runs now, and stopping it. `revoked`: what must not run. `last_try`: what runs for the last time.
//! - `paused`: queues that nothing is taken from. `parking`: messages that wait for a plugin. `rate_limit`: messages that wait for
//!   their turn. `clock`: the store's time.
//! - `shares`: how tenants share the worker; `terms`: on what terms they do.
//! - `settle`: commits results and acknowledgements, many in one round trip.
//! - `lease`: tells the other workers that this one lives, and restores what dead ones held.
//! - `shutdown`: warm and cold.
//! - `outage`: waiting for the store to come back.
//!
//! What it takes from a queue it holds in the broker's record until the result is stored. It never throws a message away
//! without either a result or a dead letter.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, oneshot},
    task::JoinHandle,
};
use tokio_util::task::TaskTracker;

use crate::{
    fail_point,
    plugin::Registry,
    protocol::message::MessageLimits,
    store::{Report, Store, StoreError, Taken},
    task::{QueueName, Tenant},
    tenant::MasterKey,
    uploads::Following,
};

mod access;
mod autoscale;
mod chords;
mod clock;
mod control;
mod end;
mod events;
mod execute;
mod follow;
mod last_try;
mod lease;
mod machine;
mod outage;
mod parking;
mod paused;
mod pool;
mod queues;
mod rate_limit;
mod revoked;
mod running;
mod secrets;
mod settle;
mod shares;
mod shutdown;
mod tally;
mod tenants;
mod terms;
mod time_limits;
mod uploads;
mod work;

use access::Accesses;
use autoscale::Autoscale;
pub use autoscale::Bounds;
use clock::Clock;
use events::Events;
use last_try::LastTries;
use lease::Lease;
use outage::Outage;
use pool::Pool;
use queues::Queues;
use rate_limit::Limits;
use revoked::Revoked;
use running::Running;
use secrets::KnownSecrets;
use settle::{Commits, Settler};
use shares::{Shares, Slot};
pub use shutdown::Shutdown;
use tally::Tally;
use tenants::Tenants;
use terms::Settings;
use time_limits::TimeLimits;

/// What a worker is told to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The worker's name among the workers: `celery@box`.
    pub node: String,
    /// The queues it takes from at first, as each tenant calls them.
    pub queues: Vec<QueueName>,
    /// The tenants that it serves; if there are none, the default tenant and all that it knows.
    pub tenants: Option<Vec<Tenant>>,
    /// How many tasks may run at once at first. Tasks that wait cost little; those that compute share the processor.
    pub concurrency: usize,
    /// How many tasks can run at once at most: the sandbox has room for so many.
    pub room: usize,
    /// Between what bounds the number of tasks that may run at once follows the demand; if there are none, it does not.
    pub autoscale: Option<Bounds>,
    /// Whether events of tasks are told from the start on, rather than once somebody asks for them.
    pub task_events: bool,
    /// Whether it is told of every task that it runs, as state STARTED.
    pub track_started: bool,
    /// Every task is stopped after this time; a message can only ask for less.
    pub time_limit: Duration,
    /// Every task is asked to end after this time; a message can only ask for less.
    pub soft_time_limit: Option<Duration>,
    /// Every task is stopped when it has computed for this time; a plugin can only ask for less.
    pub cpu_limit: Duration,
    /// How long a message waits for a plugin that offers its task; zero is not at all.
    pub park: Duration,
    /// A message is given up when this many workers have died running it.
    pub most_deaths: u32,
    /// How much memory one task may use, in bytes.
    pub memory: u64,
    /// What messages are accepted.
    pub messages: MessageLimits,
    /// Where tasks are sent that say nothing of a queue, as each tenant calls it.
    pub default_queue: QueueName,
    /// What opens tenants' secrets; without it they stay shut.
    pub secret_key: Option<MasterKey>,
    /// What else was set, for those who ask: name, value and default.
    pub settings: Vec<(&'static str, serde_json::Value, serde_json::Value)>,
}

/// A worker with all its parts.
pub struct Worker {
    options: Options,
    store: Store,
    registry: Arc<Registry>,
    uploads: Arc<Following>,
    accesses: Accesses,
    secrets: Arc<KnownSecrets>,
    shutdown: Shutdown,
    settler: Settler,
    lease: Lease,
    pool: Pool,
    autoscale: Option<Autoscale>,
    tenants: Tenants,
    queues: Queues,
    shares: Arc<Shares>,
    settings: Settings,
    events: Events,
    time_limits: TimeLimits,
    tally: Tally,
    running: Running,
    revoked: Revoked,
    clock: Clock,
    limits: Limits,
    last_tries: LastTries,
}

/// How long a worker that starts waits at most until it knows what the others know. Should the store be away, it starts all the
/// same: what must not be lost is not told that way.
const LONGEST_GREETING: Duration = Duration::from_secs(2);

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
        uploads: Arc<Following>,
        shutdown: Shutdown,
        guests: Handle,
        on_ready: impl FnOnce(),
    ) -> Result<(), StoreError> {
        let (settler, commits) = Settler::new();
        let (events, waiting) = Events::new(options.task_events);
        let tenants = Tenants::new(options.tenants.clone(), registry.clone());
        let secrets = Arc::new(KnownSecrets::new(options.secret_key.clone()));
        let worker = Self {
            pool: Pool::new(options.concurrency, options.room),
            autoscale: options.autoscale.map(Autoscale::new),
            queues: Queues::new(options.queues.clone(), tenants.served()),
            tenants,
            settings: Settings::default(),
            shares: Arc::new(Shares::new(guests.metrics().num_workers())),
            events,
            time_limits: TimeLimits::default(),
            tally: Tally::new(),
            options,
            accesses: Accesses::new(store.keyvalue.clone(), secrets.clone()),
            secrets,
            store,
            registry,
            uploads,
            shutdown,
            settler,
            lease: Lease::default(),
            running: Running::default(),
            revoked: Revoked::default(),
            clock: Clock::default(),
            limits: Limits::default(),
            last_tries: LastTries::default(),
        };
        lease::announce(&worker).await?;
        access::catch_up(&worker).await?;
        worker.uploads.look().await?;
        worker.queues.serve(worker.tenants.served());
        terms::learn(&worker).await?;
        let worker = Arc::new(worker);
        let (greeted, has_greeted) = oneshot::channel();
        let telling = worker.clone();
        let telling = tokio::spawn(essential(async move { events::tell(&telling, waiting).await }));
        let services = worker.start_services(commits, &guests, greeted);
        // That nobody was there to be greeted is well as well.
        let _ = tokio::time::timeout(LONGEST_GREETING, has_greeted).await;
        worker.events.online(&worker);
        on_ready();
        worker.take_and_run(&guests).await;
        services.into_iter().for_each(|service| service.abort());
        worker.events.close();
        // A bug in it has been told already, and ended the process.
        let _ = telling.await;
        if let Err(error) = worker.store.bus.unbind(&worker.options.node).await {
            tracing::debug!(%error, "this worker stays on the list of those that listen");
        }
        fail_point::reach("leave:before");
        if let Err(error) = worker.store.broker.leave().await {
            tracing::warn!(%error, "the heartbeat stays until it expires");
        }
        Ok(())
    }

    /// Takes messages and runs them until a shutdown is requested and all that was taken has ended.
    async fn take_and_run(self: &Arc<Self>, guests: &Handle) {
        let lives = TaskTracker::new();
        let mut outage = Outage::new("take messages");
        while let Some(mut slots) = self.free_slots().await {
            fail_point::reach("take:before");
            let queues = self.queues.now();
            let plan = self.shares.plan(&queues, slots.num_permits(), self.pool.size());
            let taken = match &plan {
                None => self.store.broker.take(&queues, slots.num_permits()).await,
                Some(plan) => self.store.broker.take_portions(&plan.portions(), plan.most).await,
            };
            match taken {
                Ok(Taken { deliveries, more, revision, now }) => {
                    outage.over();
                    let more = match &plan {
                        Some(plan) => self.shares.took(plan, &deliveries, more),
                        None => more,
                    };
                    if !deliveries.is_empty() {
                        self.clock.set(now);
                    }
                    if !self.learn_what_is_revoked(revision).await {
                        break;
                    }
                    let is_alone = deliveries.len() == 1 && self.running.len() == 0;
                    for delivery in deliveries {
                        let slot =
                            slots.split(1).expect("no more messages are taken than there are free slots");
                        let slot = match plan.as_ref().and_then(|plan| plan.seat(&delivery.queue)) {
                            Some(seat) => Slot::shared(slot, self.shares.clone(), seat),
                            None => Slot::alone(slot),
                        };
                        // A life is large; boxed where it begins, it is not moved again on its way to the scheduler.
                        let mut life =
                            Box::pin(execute::execute(self.clone(), delivery, slot, lives.token()));
                        // One that comes when there is nothing else is begun here, for a tick at most: to wake another thread
                        // takes longer than a short task does.
                        let is_over = is_alone && life.as_mut().now_or_never().is_some();
                        if !is_over {
                            guests.spawn(life);
                        }
                    }
                    drop(slots);
                    if !more {
                        tokio::select! {
                            () = self.store.broker.arrival() => {}
                            () = self.queues.changed() => {}
                            () = self.shares.freed(plan.as_ref()) => {}
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
        lives.close();
        lives.wait().await;
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
    fn start_services(
        self: &Arc<Self>,
        commits: Commits,
        guests: &Handle,
        greeted: oneshot::Sender<()>,
    ) -> [JoinHandle<()>; 15] {
        let commits = commits.run(
            self.store.broker.clone(),
            self.shutdown.clone(),
            self.shares.clone(),
            guests.clone(),
        );
        let [
            beating,
            restoring,
            revoking,
            releasing,
            finishing,
            limiting,
            scaling,
            serving,
            pausing,
            granting,
            uploading,
            counting,
            setting,
            answering,
        ] = std::array::from_fn(|_| self.clone());
        [
            tokio::spawn(essential(commits)),
            tokio::spawn(essential(async move { lease::beat(&beating).await })),
            tokio::spawn(essential(async move { lease::restore(&restoring).await })),
            tokio::spawn(essential(async move { revoked::follow(&revoking).await })),
            tokio::spawn(essential(async move { parking::release(&releasing).await })),
            tokio::spawn(essential(async move { chords::follow(&finishing).await })),
            tokio::spawn(essential(async move { rate_limit::release(&limiting).await })),
            tokio::spawn(essential(async move { autoscale::scale(&scaling).await })),
            tokio::spawn(essential(async move { tenants::follow(&serving).await })),
            tokio::spawn(essential(async move { paused::follow(&pausing).await })),
            tokio::spawn(essential(async move { access::follow(&granting).await })),
            tokio::spawn(essential(async move { uploads::follow(&uploading).await })),
            tokio::spawn(essential(async move { uploads::report(&counting).await })),
            tokio::spawn(essential(async move { terms::follow(&setting).await })),
            tokio::spawn(essential(control::serve(answering, greeted))),
        ]
    }

    /// What the heartbeat tells.
    fn report(&self) -> Report {
        Report {
            node: self.options.node.clone(),
            pid: std::process::id(),
            active: self.running.len() as u64,
            processed: self.tally.runs(),
            tenants: self.shares.loads(),
        }
    }

    /// Waits for a free slot and takes all that are free then; `None` once a shutdown is requested.
    async fn free_slots(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            // A cold shutdown frees slots, and what is taken for them would go back to the queue in front of what ran.
            biased;
            () = self.shutdown.requested() => None,
            slots = self.pool.free(MOST_AT_ONCE) => Some(slots),
        }
    }
}

/// Ends the process when `service` panics. A worker that beats but does not settle would hold its messages for ever; one
/// that is gone gives them back.
async fn essential(service: impl Future<Output = ()>) {
    if AssertUnwindSafe(service).catch_unwind().await.is_err() {
        tracing::error!(
            "a bug in host: a part that the worker cannot be without has failed; the process ends"
        );
        // Another thread writes the log. It has this moment and no more, because whoever reads the log may hang, and this process
        // must end; and nothing else is done here meanwhile, not even a heartbeat.
        std::thread::sleep(Duration::from_millis(100));
        std::process::exit(1);
    }
}
