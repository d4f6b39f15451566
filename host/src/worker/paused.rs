//! Queues that somebody has paused: that is kept in the store, and holds for every worker.

use std::collections::HashSet;

use super::{Outage, Worker};
use crate::{
    store::{StoreError, Table},
    task::QueueName,
};

/// Learns which queues are paused whenever that changes, for ever.
pub(super) async fn follow(worker: &Worker) {
    let mut outage = Outage::new("learn which queues are paused");
    loop {
        match learn(worker).await {
            Ok(revision) => {
                outage.over();
                worker.store.records.records_news(revision).await;
            }
            Err(error) => outage.wait(&error, &worker.shutdown).await,
        }
    }
}

/// Learns which queues are paused now.
pub(super) async fn learn(worker: &Worker) -> Result<u64, StoreError> {
    let (revision, records) = worker.store.records.records(Table::Queues).await?;
    // What is no queue's name is none that is taken from.
    let paused: HashSet<_> = records.iter().filter_map(|record| QueueName::new(&record.key).ok()).collect();
    worker.queues.pause(paused);
    Ok(revision)
}
