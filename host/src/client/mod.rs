//! Sends tasks and reads their results, as Celery's client does.

use std::time::Duration;

use crate::{
    protocol::{
        message::{self, Submission},
        result::{self, StoredMeta},
    },
    store::{Store, StoreError},
    task::TaskId,
};

/// Sends tasks and reads their results.
pub struct Client {
    store: Store,
}

/// Why a result could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored is not a result.
    #[error("read the result of task {id}")]
    Invalid {
        /// The task.
        id: TaskId,
        /// What is wrong with it.
        #[source]
        source: result::InvalidMeta,
    },
    /// The task did not end in time.
    #[error("task {id} did not end within {} s", .waited.as_secs_f64())]
    Timeout {
        /// The task.
        id: TaskId,
        /// How long was waited.
        waited: Duration,
    },
}

impl Client {
    /// A client of this store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Puts a task on its queue.
    pub async fn send(&self, submission: &Submission) -> Result<(), ClientError> {
        let tag = uuid::Uuid::new_v4().to_string();
        let host = hostname::get().unwrap_or_default();
        let origin = format!("gen{}@{}", std::process::id(), host.to_string_lossy());
        let message = message::encode(submission, &tag, &origin);
        Ok(self.store.broker.publish(&submission.queue, submission.priority, &message).await?)
    }

    /// What is known of a task now; `None` when nothing is, which Celery calls PENDING.
    pub async fn result(&self, id: &TaskId) -> Result<Option<StoredMeta>, ClientError> {
        self.store.backend.get(id).await?.map(|text| decode(id, &text)).transpose()
    }

    /// Waits until the task ends; for ever if `patience` is `None`.
    pub async fn wait(&self, id: &TaskId, patience: Option<Duration>) -> Result<StoredMeta, ClientError> {
        let is_final = |text: &str| result::decode(text).is_ok_and(|meta| meta.state.is_ready());
        let end = self.store.backend.wait(id, &is_final);
        let text = match patience {
            Some(waited) => match tokio::time::timeout(waited, end).await {
                Ok(text) => text?,
                Err(_) => return Err(ClientError::Timeout { id: id.clone(), waited }),
            },
            None => end.await?,
        };
        decode(id, &text)
    }
}

fn decode(id: &TaskId, text: &str) -> Result<StoredMeta, ClientError> {
    result::decode(text).map_err(|source| ClientError::Invalid { id: id.clone(), source })
}
