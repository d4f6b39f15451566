//! What this worker knows of revoked tasks: a copy of the store's facts. A message is run only when the copy is as new as
//! the take that brought it, so what was revoked before a worker took it never runs.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;

use super::{Outage, Worker};
use crate::{
    protocol::message,
    store::{Revocation, StoreError, Target},
    task::{Request, Tenant},
};

/// The signal by which a task is stopped when whoever revoked it named none.
pub(super) const TERM: i32 = 15;

/// The known revocations, until when each counts.
#[derive(Default)]
pub(super) struct Revoked {
    revision: AtomicU64,
    known: Mutex<HashMap<(Tenant, Target), Timestamp>>,
    /// One at a time asks the store.
    asking: tokio::sync::Mutex<()>,
}

impl Revoked {
    /// Whether the task is revoked.
    pub fn covers(&self, request: &Request) -> bool {
        let known = self.lock();
        if known.is_empty() {
            return false;
        }
        let now = Timestamp::now();
        targets(request).any(|target| known.get(&target).is_some_and(|until| *until > now))
    }

    /// Whether this is revoked.
    pub fn knows(&self, tenant: &Tenant, target: &Target) -> bool {
        self.lock().get(&(tenant.clone(), target.clone())).is_some_and(|until| *until > Timestamp::now())
    }

    /// The ids of tasks that are revoked, as operators see them; at most so many.
    pub fn ids(&self, most: usize) -> Vec<String> {
        let now = Timestamp::now();
        let known = self.lock();
        let ids =
            known.iter().filter(|(_, until)| **until > now).filter_map(
                |((tenant, target), _)| match target {
                    Target::Task(id) => Some(tenant.shown(id.as_str()).into_owned()),
                    Target::Stamp { .. } => None,
                },
            );
        ids.take(most).collect()
    }

    /// Takes note of revocations.
    pub fn learn(&self, revocations: &[Revocation]) {
        let now = Timestamp::now();
        let mut known = self.lock();
        known.retain(|_, until| *until > now);
        for revocation in revocations {
            let Revocation { tenant, target, .. } = revocation.clone();
            let until = known.entry((tenant, target)).or_insert(revocation.until);
            *until = revocation.until.max(*until);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Tenant, Target), Timestamp>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What may be revoked to revoke this task.
fn targets(request: &Request) -> impl Iterator<Item = (Tenant, Target)> {
    let stamps = message::stamps(&request.headers).into_iter().flat_map(|(name, values)| {
        values.into_iter().map(move |value| Target::Stamp { name: name.clone(), value })
    });
    let targets = std::iter::once(Target::Task(request.id.clone())).chain(stamps);
    targets.map(|target| (request.tenant.clone(), target))
}

/// Makes sure that all is known that was revoked up to `revision`. Fails when the store does.
pub(super) async fn catch_up(worker: &Worker, revision: u64) -> Result<(), StoreError> {
    if worker.revoked.revision.load(Ordering::Acquire) >= revision {
        return Ok(());
    }
    ask(worker).await
}

/// Hears of revocations, for ever, and stops what runs and is to be terminated.
pub(super) async fn follow(worker: &Worker) {
    let mut outage = Outage::new("learn what is revoked");
    loop {
        match ask(worker).await {
            Ok(()) => {
                outage.over();
                worker.store.revocations.revoked_news().await;
            }
            Err(error) => outage.wait(&error, &worker.shutdown).await,
        }
    }
}

/// Stops what runs here of what is revoked and to be stopped, and answers which tasks that were.
pub(super) fn stop(worker: &Worker, revocations: &[Revocation], signal: i32) -> Vec<Arc<Request>> {
    let condemned = revocations.iter().filter(|revocation| revocation.terminate);
    let condemned: HashSet<_> =
        condemned.map(|revocation| (revocation.tenant.clone(), revocation.target.clone())).collect();
    if condemned.is_empty() {
        return Vec::new();
    }
    let is_condemned = |request: &Request| targets(request).any(|target| condemned.contains(&target));
    worker.running.terminate(is_condemned, signal)
}

async fn ask(worker: &Worker) -> Result<(), StoreError> {
    let revoked = &worker.revoked;
    let _turn = revoked.asking.lock().await;
    let since = revoked.revision.load(Ordering::Acquire);
    let (news, revision) = worker.store.revocations.revoked_since(since).await?;
    if !news.is_empty() {
        revoked.learn(&news);
        stop(worker, &news, TERM);
    }
    revoked.revision.store(revision, Ordering::Release);
    Ok(())
}
