//! Messages for tasks that no plugin offers yet: laid aside, and put back as soon as one does.

use tokio::time::sleep;

use super::{Outage, Worker, lease::BEAT};
use crate::store::StoreError;

/// Releases what waits for the tasks that are offered here, whenever the plugins change and, because another worker may
/// have laid aside what this one offers, now and then; for ever.
pub(super) async fn release(worker: &Worker) {
    let mut outage = Outage::new("look for parked messages");
    let mut changes = worker.registry.changes();
    loop {
        match release_offered(worker).await {
            Ok(()) => {
                outage.over();
                tokio::select! {
                    () = changes.next() => {}
                    () = sleep(BEAT) => {}
                }
            }
            Err(error) => outage.wait(&error, &worker.shutdown).await,
        }
    }
}

async fn release_offered(worker: &Worker) -> Result<(), StoreError> {
    for (task, _) in worker.store.broker.parked().await? {
        if worker.tenants.find(&task).is_some() {
            let released = worker.store.broker.release(&task).await?;
            tracing::info!("put back {released} messages that waited for a plugin with {task}");
        }
    }
    Ok(())
}
