//! The worker's lease on what it holds: a heartbeat in the store, renewed while the process lives. Messages of workers
//! whose heartbeat has stopped are put back to the head of their queues.
//!
//! The heartbeat waits for nothing else. Restoring waits until this worker's own heartbeat has been unbroken for as long as a
//! lease: after an outage of the store all leases have run out, and whoever came back first would otherwise take the
//! others for dead.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Outage, Worker};
use crate::store::StoreError;

/// How often the heartbeat is renewed and dead workers are looked for.
const BEAT: Duration = Duration::from_secs(2);

/// How long a heartbeat counts. A beat may fail and be repeated within it; with the next look of another worker the messages of
/// a dead one are back within ten seconds.
const LEASE: Duration = Duration::from_secs(7);

/// Since when the heartbeat has been unbroken, if it is.
#[derive(Default)]
pub(super) struct Lease(Mutex<Option<Instant>>);

impl Lease {
    fn renewed(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }

    fn broken(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether every other worker that lives has had the time to renew its own lease.
    fn is_settled(&self) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() >= LEASE)
    }
}

/// The first heartbeat. It fails if the store cannot be reached.
pub(super) async fn announce(worker: &Worker) -> Result<(), StoreError> {
    worker.store.broker.beat(LEASE).await.inspect(|()| worker.lease.renewed())
}

/// Beats for ever.
pub(super) async fn beat(worker: &Worker) {
    let mut outage = Outage::new("renew the heartbeat");
    loop {
        match worker.store.broker.beat(LEASE).await {
            Ok(()) => {
                worker.lease.renewed();
                outage.over();
                sleep(BEAT).await;
            }
            Err(error) => {
                worker.lease.broken();
                outage.wait(&error, &worker.shutdown).await;
            }
        }
    }
}

/// Restores what dead workers held, for ever.
pub(super) async fn restore(worker: &Worker) {
    let mut outage = Outage::new("look for messages of dead workers");
    loop {
        sleep(BEAT).await;
        if !worker.lease.is_settled() {
            continue;
        }
        match worker.store.broker.restore().await {
            Ok(restored) => {
                outage.over();
                if restored > 0 {
                    tracing::warn!("put back {restored} messages that dead workers held");
                }
            }
            Err(error) => outage.wait(&error, &worker.shutdown).await,
        }
    }
}
