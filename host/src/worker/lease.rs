//! The worker's lease on what it holds: a heartbeat in the store, renewed while the process lives. Messages of workers
//! whose heartbeat has stopped are put back to the head of their queues.
//!
//! The heartbeat waits for nothing else. Restoring waits until this worker's own heartbeat has been unbroken for as long as a
//! lease: after an outage of the store all leases have run out, and whoever came back first would otherwise take the
//! others for dead.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{Outage, Worker};
use crate::{fail_point, store::StoreError};

/// How often the heartbeat is renewed and dead workers are looked for.
pub(super) const BEAT: Duration = Duration::from_secs(2);

/// How long a heartbeat counts. A beat may fail and be repeated within it; with the next look of another worker the messages of
/// a dead one are back within ten seconds.
const LEASE: Duration = Duration::from_secs(7);

/// Since when the heartbeat has been unbroken, if it is.
#[derive(Default)]
pub(super) struct Lease(Mutex<Option<Instant>>);

impl Lease {
    fn renewed(&self, now: Instant) {
        self.lock().get_or_insert(now);
    }

    fn broken(&self) {
        *self.lock() = None;
    }

    /// Whether every other worker that lives has had the time to renew its own lease.
    fn is_settled(&self, now: Instant) -> bool {
        self.lock().is_some_and(|since| now.duration_since(since) >= LEASE)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first heartbeat. It fails if the store cannot be reached.
pub(super) async fn announce(worker: &Worker) -> Result<(), StoreError> {
    worker.store.broker.beat(LEASE, &worker.report()).await.map(|_| worker.lease.renewed(Instant::now()))
}

/// Beats for ever.
pub(super) async fn beat(worker: &Worker) {
    let mut outage = Outage::new("renew the heartbeat");
    loop {
        fail_point::reach("beat:before");
        match worker.store.broker.beat(LEASE, &worker.report()).await {
            Ok(lost) => {
                fail_point::reach("beat:after");
                worker.running.lose(&lost);
                worker.lease.renewed(Instant::now());
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
        let settled = worker.lease.is_settled(Instant::now());
        // After that the others may have been dead for long: nobody is to wait for another whole beat.
        sleep(if settled { BEAT } else { BEAT / 10 }).await;
        if !worker.lease.is_settled(Instant::now()) {
            continue;
        }
        match worker.store.broker.restore().await {
            Ok(restored) => {
                outage.over();
                if restored > 0 {
                    fail_point::reach("restore:after");
                    tracing::warn!("put back {restored} messages that dead workers held");
                }
            }
            Err(error) => outage.wait(&error, &worker.shutdown).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_taken_for_dead_only_after_a_whole_lease_of_unbroken_beats() {
        let lease = Lease::default();
        let start = Instant::now();
        assert!(!lease.is_settled(start), "before the first beat");
        for beat in 0..3 {
            lease.renewed(start + BEAT * beat);
        }
        assert!(!lease.is_settled(start + LEASE - Duration::from_millis(1)));
        assert!(lease.is_settled(start + LEASE));

        lease.broken();
        let back = start + LEASE * 3;
        lease.renewed(back);
        assert!(!lease.is_settled(back + BEAT), "an outage begins it anew");
        assert!(lease.is_settled(back + LEASE));
    }
}
