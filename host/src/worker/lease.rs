//! The worker's lease on what it holds: a heartbeat in the store, renewed while the process lives. Messages of workers
//! whose heartbeat has stopped are put back to the head of their queues.

use std::{sync::Arc, time::Duration};

use super::{Outage, Worker};
use crate::store::StoreError;

/// How often the heartbeat is renewed and dead workers are looked for.
const BEAT: Duration = Duration::from_secs(2);

/// How long a heartbeat counts. Three beats may be late before a worker is taken for dead; with the next look of another
/// worker its messages are back within ten seconds.
const LEASE: Duration = Duration::from_secs(7);

/// The first heartbeat. It fails if the store cannot be reached.
pub(super) async fn announce(worker: &Worker) -> Result<(), StoreError> {
    worker.store.broker.beat(LEASE, &[]).await
}

/// Beats and restores until aborted.
pub(super) async fn keep(worker: Arc<Worker>) {
    let mut outage = Outage::new("renew the heartbeat");
    loop {
        match beat(&worker).await {
            Ok(()) => {
                outage.over();
                tokio::time::sleep(BEAT).await;
            }
            Err(error) => outage.wait(&error, &worker.shutdown).await,
        }
    }
}

async fn beat(worker: &Worker) -> Result<(), StoreError> {
    worker.store.broker.beat(LEASE, &worker.held.tags()).await?;
    let restored = worker.store.broker.restore().await?;
    if restored > 0 {
        tracing::warn!("put back {restored} messages that dead workers held");
    }
    Ok(())
}
