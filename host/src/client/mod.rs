//! Sends tasks and reads their results, and steers workers, as Celery's client does.

use std::{sync::LazyLock, time::Duration};

use jiff::Timestamp;

use crate::{
    protocol::{
        message::{self, Submission},
        result::{self, StoredMeta},
    },
    store::{Once, Publication, Store, StoreError},
    task::{TaskId, Tenant},
};

mod clock;
mod control;

pub use clock::LogicalClock;
pub use control::{Control, Patience, Question};

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
    /// A dead letter is no task message.
    #[error(
        "send dead letter {id} again: it is not a task message; drop it, or look at it with `host dead show`"
    )]
    NotReplayable {
        /// The dead letter.
        id: String,
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
        self.send_all(std::slice::from_ref(submission)).await
    }

    /// Puts tasks on their queues.
    pub async fn send_all(&self, submissions: &[Submission]) -> Result<(), ClientError> {
        Ok(self.store.broker.publish(&messages(submissions)).await?)
    }

    /// Puts tasks on their queues, unless this was done under the same key before; answers what was kept under it then.
    pub async fn send_once(
        &self,
        submissions: &[Submission],
        once: &Once,
    ) -> Result<Option<String>, ClientError> {
        Ok(self.store.broker.publish_once(&messages(submissions), once).await?)
    }

    /// Sends a dead letter to its queue again, as if its task had never been tried; answers whether there was such a letter.
    pub async fn replay(&self, id: &str) -> Result<bool, ClientError> {
        let Some(letter) = self.store.dead_letters.dead_letter(id).await? else { return Ok(false) };
        let tag = uuid::Uuid::new_v4().to_string();
        let message = message::replayed(&letter.message, &tag)
            .ok_or_else(|| ClientError::NotReplayable { id: id.to_owned() })?;
        Ok(self.store.dead_letters.replay(id, &message).await?)
    }

    /// What is known of a tenant's task now; `None` when nothing is, which Celery calls PENDING.
    pub async fn result(&self, tenant: &Tenant, id: &TaskId) -> Result<Option<StoredMeta>, ClientError> {
        self.store.backend.get(tenant, id).await?.map(|text| decode(id, &text)).transpose()
    }

    /// Waits until a tenant's task ends; for ever if `patience` is `None`.
    pub async fn wait(
        &self,
        tenant: &Tenant,
        id: &TaskId,
        patience: Option<Duration>,
    ) -> Result<StoredMeta, ClientError> {
        let is_final = |text: &str| result::decode(text).is_ok_and(|meta| meta.state.is_ready());
        let end = self.store.backend.wait(tenant, id, &is_final);
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

/// An eta stands in the message: whoever takes it first, perhaps a Python worker, sees to it.
fn messages(submissions: &[Submission]) -> Vec<Publication> {
    submissions.iter().map(|submission| Publication { due: None, ..publication(submission) }).collect()
}

/// The message that a task becomes. One with an eta waits for it in the store.
pub fn publication(submission: &Submission) -> Publication {
    static ORIGIN: LazyLock<String> = LazyLock::new(|| {
        let host = hostname::get().unwrap_or_default();
        format!("gen{}@{}", std::process::id(), host.to_string_lossy())
    });
    let tag = uuid::Uuid::new_v4().to_string();
    Publication {
        queue: submission.queue.clone(),
        priority: submission.priority,
        due: submission.eta,
        message: message::encode(submission, Timestamp::now(), &tag, &ORIGIN).into(),
    }
}

fn decode(id: &TaskId, text: &str) -> Result<StoredMeta, ClientError> {
    result::decode(text).map_err(|source| ClientError::Invalid { id: id.clone(), source })
}
