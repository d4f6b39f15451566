//! How a delivery ended: what is committed for it, and what the log says.

use std::{fmt, sync::Arc};

use jiff::Timestamp;

use crate::{
    canvas::Follow,
    client, fail_point,
    protocol::{receipt::Ran, repr, result},
    store::{Cause, Fate, Finish, Publication, Settled, Settlement, StoredResult, Tag},
    task::{Exception, Failure, Outcome, Receipt, Request, State, TaskId, TaskName, Tenant},
};

/// How a delivery ended.
pub(super) enum End {
    /// The task has an outcome.
    Finished { request: Arc<Request>, outcome: Outcome },
    /// The task failed for good although it was tried again, or could be: its message is worth keeping.
    GivenUp { request: Arc<Request>, failure: Failure, attempts: u32 },
    /// The task failed and is sent again.
    Retried { request: Arc<Request>, failure: Failure, eta: Timestamp, again: Publication },
    /// The task has handed its place to another.
    Replaced { request: Arc<Request> },
    /// The task wants nothing to be known of it.
    Ignored { request: Arc<Request> },
    /// The task wants to be run by somebody else, or later.
    Requeued { request: Arc<Request> },
    /// The message was not one that can be run.
    Refused {
        tenant: Tenant,
        id: Option<TaskId>,
        task: Option<TaskName>,
        exception: Option<Exception>,
        reason: String,
    },
    /// The task is not to be run before this time.
    Delayed { request: Arc<Request>, until: Timestamp },
    /// No plugin offers this task yet, which the message needs.
    Parked { request: Arc<Request>, task: TaskName, until: Timestamp, message: Vec<u8> },
    /// It is not the task's turn yet: its message waits in the store already.
    SetAside { request: Arc<Request> },
    /// The worker is shutting down and the task has not ended.
    Interrupted { request: Arc<Request> },
    /// The message was given to another worker meanwhile.
    Lost { request: Arc<Request> },
}

impl End {
    /// The end of a task that was not run.
    pub fn without_run(request: Arc<Request>, outcome: Outcome) -> Self {
        Self::Finished { request, outcome }
    }

    /// The end of a task that failed for good.
    pub fn given_up(request: Arc<Request>, failure: Failure) -> Self {
        let attempts = request.retries.saturating_add(1);
        Self::GivenUp { request, failure, attempts }
    }

    /// What is committed: the result, what comes after it, and what becomes of the message. Nothing if it is not ours any
    /// more. `ran` goes with the task's own result, if it has run.
    pub fn settlement(&self, tag: Tag, follow: Follow, ran: Option<Ran<'_>>) -> Option<Settlement> {
        let now = Timestamp::now();
        let (result, fate) = match self {
            Self::Finished { request, outcome, .. } => {
                let result = result::of_outcome(request, outcome, &follow.children, ran, now);
                (stored(request, outcome.state(), result), Fate::Acknowledge)
            }
            Self::GivenUp { request, failure, attempts } => {
                let outcome = Outcome::Failure(failure.clone());
                let result = result::of_outcome(request, &outcome, &follow.children, ran, now);
                let cause = Cause {
                    task_id: Some(request.id.clone()),
                    task: Some(request.task.clone()),
                    reason: repr::exception(&failure.exception),
                    traceback: failure.traceback.clone(),
                    attempts: *attempts,
                };
                (stored(request, State::Failure, result), Fate::DeadLetter(Box::new(cause)))
            }
            Self::Retried { request, failure, .. } => {
                let result = result::of_retry(request, failure, ran);
                (stored(request, State::Retry, result), Fate::Acknowledge)
            }
            Self::Refused { id: Some(id), exception: Some(exception), .. } => {
                let meta = result::of_failure(id, exception, now);
                let result = StoredResult { id: id.clone(), state: State::Failure, meta };
                (Some(result), Fate::Acknowledge)
            }
            Self::Refused { id, task, reason, .. } => {
                let (task_id, task) = (id.clone(), task.clone());
                let cause = Cause { task_id, task, reason: reason.clone(), traceback: None, attempts: 1 };
                (None, Fate::DeadLetter(Box::new(cause)))
            }
            Self::Replaced { .. } | Self::Ignored { .. } => (None, Fate::Acknowledge),
            Self::Requeued { .. } => (None, Fate::Requeue),
            Self::Delayed { until, .. } => (None, Fate::Delay(*until)),
            Self::Parked { task, until, message, .. } => {
                let (task, message) = (task.clone(), message.clone().into());
                (None, Fate::Park { task, until: *until, message })
            }
            Self::Interrupted { .. } => (None, Fate::Restore),
            Self::SetAside { .. } | Self::Lost { .. } => return None,
        };
        let mut settlement = with(follow, tag, fate);
        settlement.results.splice(0..0, result);
        if let Self::Retried { again, .. } = self {
            settlement.sends.push(again.clone());
        }
        Some(settlement)
    }

    /// What is committed instead when the store refuses the settlement for good: the message is kept, with what the store
    /// said.
    pub fn refused_by_store(&self, tag: Tag, why: &str, follow: Follow) -> Settlement {
        let (task_id, task) = match self.request() {
            Some(request) => (Some(request.id.clone()), Some(request.task.clone())),
            None => (None, None),
        };
        let reason = format!("the store refused the end of the task: {why}");
        let cause = Cause { task_id, task, reason, traceback: None, attempts: 1 };
        with(follow, tag, Fate::DeadLetter(Box::new(cause)))
    }

    fn request(&self) -> Option<&Arc<Request>> {
        match self {
            Self::Finished { request, .. }
            | Self::GivenUp { request, .. }
            | Self::Retried { request, .. }
            | Self::Replaced { request }
            | Self::Ignored { request }
            | Self::Requeued { request }
            | Self::Delayed { request, .. }
            | Self::Parked { request, .. }
            | Self::SetAside { request }
            | Self::Interrupted { request }
            | Self::Lost { request } => Some(request),
            Self::Refused { .. } => None,
        }
    }

    /// Says in the log how it ended, in Celery's words.
    pub fn report(&self, settled: Option<&Settled>, receipt: Option<&Receipt>) {
        match settled {
            Some(Settled::Done) => {}
            Some(Settled::NotHeld) => tracing::warn!(
                "a delivery had gone to another worker before it ended here; what follows is not stored"
            ),
            Some(Settled::Refused(why)) => {
                tracing::error!("the store refused the end of a task, so its message is a dead letter: {why}")
            }
            None => {
                tracing::warn!("the store was not reached before the shutdown; what follows is not stored")
            }
        }
        let name = Name(self.request());
        match self {
            Self::Finished { outcome, .. } => {
                let seconds = receipt.map_or(0.0, |receipt| receipt.wall.as_secs_f64());
                match outcome {
                    Outcome::Success(value) => {
                        tracing::info!("{name} succeeded in {seconds:.6}s: {}", repr::value(value));
                    }
                    Outcome::Failure(failure) => {
                        tracing::error!("{name} raised unexpected: {}", told(failure))
                    }
                    Outcome::Revoked(exception) => tracing::warn!("{name} revoked: {}", exception.message()),
                }
            }
            Self::GivenUp { failure, attempts, .. } => {
                tracing::error!("{name} is a dead letter after {attempts} attempts: {}", told(failure));
            }
            Self::Retried { failure, eta, .. } => {
                tracing::info!("{name} retry at {eta}: {}", repr::exception(&failure.exception));
            }
            Self::Replaced { .. } => tracing::info!("{name} replaced by another task"),
            Self::Ignored { .. } => tracing::info!("{name} ignored"),
            Self::Requeued { .. } => tracing::info!("{name} rejected, and goes to the end of its queue"),
            Self::Refused { tenant, id: Some(id), reason, .. } => {
                tracing::error!("refused the message of task {}: {reason}", tenant.shown(id.as_str()))
            }
            Self::Refused { id: None, reason, .. } => {
                tracing::error!("moved a message to the dead letters: {reason}")
            }
            Self::Delayed { until, .. } => {
                fail_point::reach("delay:after");
                tracing::info!("{name} waits until {until}");
            }
            Self::Parked { until, .. } => {
                tracing::warn!("{name} waits for a plugin that offers it, at most until {until}")
            }
            Self::SetAside { .. } => tracing::info!("{name} waits for its turn: its rate is limited"),
            Self::Interrupted { .. } => {
                tracing::warn!("{name} goes back to its queue: the worker shuts down")
            }
            Self::Lost { .. } => {
                tracing::warn!("{name} is stopped: its message had gone to another worker")
            }
        }
    }
}

/// A task as the log calls it; written only if it is logged.
struct Name<'a>(Option<&'a Arc<Request>>);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |request| {
            write!(f, "Task {}[{}]", request.tenant.shown(request.task.as_str()), request.id)
        })
    }
}

/// A failure as the log shows it.
fn told(failure: &Failure) -> String {
    let traceback = failure.traceback.as_deref().unwrap_or("");
    format!("{}\n{traceback}", repr::exception(&failure.exception))
}

/// A settlement with what comes after an end, but without the task's own result.
fn with(follow: Follow, tag: Tag, fate: Fate) -> Settlement {
    let Finish { results, groups, sends } = finish(follow);
    Settlement { tag, results, groups, sends, fate }
}

/// What comes after an end, as the store takes it.
pub(super) fn finish(follow: Follow) -> Finish {
    let result = |(id, state, meta)| StoredResult { id, state, meta };
    Finish {
        results: follow.results.into_iter().map(result).collect(),
        groups: follow.groups,
        sends: follow.sends.iter().map(client::publication).collect(),
    }
}

fn stored(request: &Request, state: State, meta: String) -> Option<StoredResult> {
    (!request.ignore_result).then(|| StoredResult { id: request.id.clone(), state, meta })
}
