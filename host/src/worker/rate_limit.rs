//! Tasks that may not be run as often as they are called: each message asks for its turn; one that has to wait is set aside in
//! the store, where it holds no slot and is in nobody's way, and is put back when its turn comes.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep};

use super::{Outage, Worker, end::End, lease::BEAT};
use crate::{
    fail_point,
    plugin::{Entry, Registry},
    protocol::message,
    store::{Admission, Candidate, Delivery, Pace, StoreError},
    task::{OwnedTask, RateLimit, Request},
};

/// The shortest pause between two looks at what is set aside: within it tokens gather, and none is lost.
const SHORTEST: Duration = Duration::from_millis(20);

/// How long a message waits before it asks again when the store can neither count it nor set it aside.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// What this worker knows of the limits of tasks.
#[derive(Default)]
pub(super) struct Limits {
    /// What was set while the worker runs; it comes before what the manifests say.
    set: RwLock<HashMap<OwnedTask, Option<RateLimit>>>,
    /// The tasks of which messages are known to be set aside.
    waiting: Mutex<HashSet<OwnedTask>>,
    changed: Notify,
}

impl Limits {
    /// Sets the limit of a task on this worker, or that it has none, until the worker ends: Celery's `rate_limit`.
    pub fn set(&self, task: OwnedTask, limit: Option<RateLimit>) {
        self.set.write().unwrap_or_else(PoisonError::into_inner).insert(task, limit);
        self.changed.notify_one();
    }

    /// The limit of a task, if it is offered here and has one.
    pub fn of(&self, task: &OwnedTask, registry: &Registry) -> Option<Option<RateLimit>> {
        let entry = registry.find_owned(task)?;
        Some(self.of_entry(&entry, || task.clone()))
    }

    /// The limit of a task that this answers, if it has one.
    fn of_entry(&self, entry: &Entry, task: impl FnOnce() -> OwnedTask) -> Option<RateLimit> {
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
        // Almost always none is set, and no name has to be put together.
        let set = if set.is_empty() { None } else { set.get(&task()).cloned() };
        set.unwrap_or_else(|| entry.options().rate_limit.clone())
    }

    /// Notes that a message was set aside. Whoever releases is told only what it does not know.
    fn note(&self, task: OwnedTask) {
        if self.waiting().insert(task) {
            self.changed.notify_one();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashSet<OwnedTask>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets a message run if its turn has come; else answers how its delivery ends. As in Celery, tasks that `celery.map` and its like
/// call are not counted: those messages are of another task.
pub(super) async fn admit(worker: &Worker, delivery: &Delivery, request: &Arc<Request>) -> Result<(), End> {
    if request.notes.admitted {
        return Ok(());
    }
    let Some(entry) = worker.registry.find(&request.tenant, &request.task) else { return Ok(()) };
    let Some(limit) = worker.limits.of_entry(&entry, || request.owned_task()) else { return Ok(()) };
    // Of what is no message nothing can be noted, but such a one does not come here.
    let Some(message) = message::mark_admitted(&delivery.message) else { return Ok(()) };
    let (tag, task, request) = (delivery.tag.clone(), request.task.clone(), request.clone());
    let candidate = Candidate { tag, task, limit, message: message.into() };
    fail_point::reach("limit:before");
    match worker.store.rate_limits.admit(&candidate).await {
        Ok(Admission::Admitted) => Ok(()),
        Ok(Admission::SetAside) => {
            fail_point::reach("limit:aside");
            worker.limits.note(request.owned_task());
            Err(End::SetAside { request })
        }
        Ok(Admission::NotHeld) => Err(End::Lost { request }),
        Ok(Admission::Refused(why)) => {
            tracing::error!("cannot count the runs of {}, so it waits: {why}", request.owned_task());
            Err(End::Delayed { request, until: worker.clock.after(REFUSED_PAUSE) })
        }
        Err(error) => {
            tracing::warn!(%error, "cannot ask whether a limited task may run, so it does not");
            Err(End::Interrupted { request })
        }
    }
}

/// Puts back what was set aside, each in its turn, for ever. While nothing is, the store is asked every now and then, for another
/// worker may have set aside what is offered here.
pub(super) async fn release(worker: &Worker) {
    let mut outage = Outage::new("put back messages of limited tasks");
    let mut changes = worker.registry.changes();
    let mut turns = Turns::default();
    loop {
        match turns.give(worker).await {
            Ok(pause) => {
                outage.over();
                tokio::select! {
                    () = changes.next() => turns.look_again(),
                    () = worker.limits.changed.notified() => turns.look_again(),
                    () = sleep(pause) => {}
                }
            }
            Err(error) => {
                turns.look_again();
                outage.wait(&error, &worker.shutdown).await;
            }
        }
    }
}

/// When messages of which tasks have their turn.
#[derive(Default)]
struct Turns {
    tasks: HashMap<OwnedTask, Instant>,
    /// When to ask of which tasks messages are set aside.
    next_look: Option<Instant>,
}

impl Turns {
    fn look_again(&mut self) {
        self.next_look = None;
    }

    /// Releases what has its turn now; answers when to come again.
    async fn give(&mut self, worker: &Worker) -> Result<Duration, StoreError> {
        let now = Instant::now();
        if self.next_look.is_none_or(|look| look <= now) {
            // What is set aside after this is told, and what was before is found.
            worker.limits.waiting().clear();
            let found = worker.store.rate_limits.set_aside().await?;
            self.tasks = found.into_iter().map(|(task, _)| (task, now)).collect();
            worker.limits.waiting().extend(self.tasks.keys().cloned());
            self.next_look = Some(now + BEAT);
        }
        let due: Vec<_> =
            self.tasks.iter().filter(|(_, turn)| **turn <= now).map(|(task, _)| task.clone()).collect();
        for task in due {
            let pace = pace(worker, &task);
            let released = worker.store.rate_limits.release_set_aside(&task, &pace).await?;
            if released.count > 0 {
                fail_point::reach("limit:released");
                tracing::debug!("put back {} messages of {task}, whose turn it is", released.count);
            }
            match released.next {
                Some(wait) => drop(self.tasks.insert(task, Instant::now() + wait.max(SHORTEST))),
                None => {
                    self.tasks.remove(&task);
                    worker.limits.waiting().remove(&task);
                }
            }
        }
        let next = self.tasks.values().copied().chain(self.next_look).min().unwrap_or(now + BEAT);
        Ok(next.saturating_duration_since(Instant::now()))
    }
}

fn pace(worker: &Worker, task: &OwnedTask) -> Pace {
    let Some(entry) = worker.tenants.find(task) else { return Pace::Abandoned };
    match worker.limits.of_entry(&entry, || task.clone()) {
        Some(limit) => Pace::Limited(limit),
        None => Pace::Unlimited,
    }
}
