//! The life of one task, from the bytes of its message to its stored result. Reads top to bottom.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use super::Worker;
use crate::{
    plugin::Entry,
    protocol::{
        message::{self, Refusal},
        repr, result,
    },
    sandbox::{Call, ProgressSink, Run, TimeLimits},
    store::{Delivery, Fate, Settled, Settlement, StoredResult, Tag},
    task::{Exception, Failure, Outcome, Request, State, TaskId},
};

/// Runs the task that a message asks for and settles the delivery. Every path through here ends in a settlement.
///
/// The slot is given back once the settlement is handed over, not before: when the store is slower than the guests, results do
/// not pile up in memory.
pub(super) async fn execute(worker: Arc<Worker>, delivery: Delivery, slot: OwnedSemaphorePermit) {
    let tag = delivery.tag.clone();
    let known = OnceLock::new();
    let life = async {
        let end = live(&worker, delivery, &known).await;
        (settlement(tag.clone(), &end), end)
    };
    let (settlement, end) = match AssertUnwindSafe(life).catch_unwind().await {
        Ok(settled) => settled,
        Err(_) => {
            let end = panicked(known.into_inner());
            (settlement(tag, &end), end)
        }
    };
    let answer = worker.settler.submit(settlement).await;
    drop(slot);
    report(&end, answer.await.ok());
}

/// How a delivery ended.
enum End {
    /// The task has an outcome.
    Ended { request: Arc<Request>, outcome: Outcome, wall: Duration },
    /// The message was not one that can be run.
    Refused { id: Option<TaskId>, exception: Option<Exception>, reason: String },
    /// The task is not to be run before this time.
    Delayed { request: Arc<Request>, until: Timestamp },
    /// The worker is shutting down and the task has not ended.
    Interrupted { request: Arc<Request> },
}

impl End {
    /// The end of a task that was not run.
    fn without_run(request: Arc<Request>, outcome: Outcome) -> Self {
        Self::Ended { request, outcome, wall: Duration::ZERO }
    }
}

/// From message to end, without settling. The request is put into `known` as soon as it is read.
async fn live(worker: &Arc<Worker>, delivery: Delivery, known: &OnceLock<Arc<Request>>) -> End {
    let request = match message::decode(&delivery.message, &worker.options.messages) {
        Ok(request) => known.get_or_init(|| Arc::new(request)).clone(),
        Err(refusal) => return refused(&refusal),
    };
    drop(delivery);
    tracing::info!("Task {}[{}] received", request.task, request.id);

    if let Some(outcome) = expired(&request).or_else(|| unsupported(&request)) {
        return End::without_run(request, outcome);
    }
    if let Some(until) = not_yet_due(&request) {
        return End::Delayed { request, until };
    }
    let Some(entry) = worker.registry.find(&request.task) else {
        let outcome = not_registered(&request);
        return End::without_run(request, outcome);
    };

    let Some(run) = run(worker, &entry, &request).await else {
        return End::Interrupted { request };
    };
    log_output(&request, &run);
    End::Ended { request, outcome: run.outcome, wall: run.wall }
}

/// Runs the function; `None` when a cold shutdown stopped it.
async fn run(worker: &Arc<Worker>, entry: &Entry, request: &Arc<Request>) -> Option<Run> {
    let call = Call {
        request: request.clone(),
        limits: limits(worker, request),
        progress: progress_sink(worker.clone(), request.id.clone()),
    };
    tokio::select! {
        run = entry.plugin.program.run(entry.function, call) => Some(run),
        () = worker.shutdown.cold_requested() => None,
    }
}

/// The tightest of what the worker and the message allow.
fn limits(worker: &Worker, request: &Request) -> TimeLimits {
    let options = &worker.options;
    let hard = request.limits.hard.map_or(options.time_limit, |asked| asked.min(options.time_limit));
    let soft = [options.soft_time_limit, request.limits.soft].into_iter().flatten().min();
    TimeLimits { hard, soft }
}

/// The request's eta, if it has not come yet.
fn not_yet_due(request: &Request) -> Option<Timestamp> {
    request.eta.filter(|eta| *eta > Timestamp::now())
}

fn expired(request: &Request) -> Option<Outcome> {
    let expires = request.expires?;
    let revoked = || Exception::new("celery.exceptions", "TaskRevokedError", vec!["expired".into()]);
    (Timestamp::now() > expires).then(|| Outcome::Revoked(revoked()))
}

/// A task that is one of several is refused while only single tasks are understood: run alone it would look done, and
/// the others would never come.
fn unsupported(request: &Request) -> Option<Outcome> {
    let part = message::canvas_part(&request.embed)?;
    let text = format!("host does not run canvases yet, and this message has a {part}; send the task alone");
    let exception = Exception::builtin("NotImplementedError", text);
    Some(Outcome::Failure(Failure::without_traceback(exception)))
}

fn not_registered(request: &Request) -> Outcome {
    let name = request.task.as_str().into();
    let exception = Exception::new("celery.exceptions", "NotRegistered", vec![name]);
    Outcome::Failure(Failure::without_traceback(exception))
}

fn refused(refusal: &Refusal) -> End {
    End::Refused { id: refusal.id.clone(), exception: Some(refusal.exception()), reason: refusal.to_string() }
}

/// A panic in the host ends the one task it happened in.
fn panicked(request: Option<Arc<Request>>) -> End {
    let text = "the worker failed inside while it ran this task; this is a bug in host";
    match request {
        Some(request) => {
            let exception = Exception::builtin("SystemError", text);
            let outcome = Outcome::Failure(Failure::without_traceback(exception));
            End::without_run(request, outcome)
        }
        None => End::Refused { id: None, exception: None, reason: text.to_owned() },
    }
}

/// Stores a state that the guest sets, and announces it.
fn progress_sink(worker: Arc<Worker>, id: TaskId) -> ProgressSink {
    Arc::new(move |state, meta| {
        let (worker, id) = (worker.clone(), id.clone());
        async move {
            let state = State::from(state.as_str());
            let meta = result::of_progress(&id, &state, &meta);
            let stored = StoredResult { id, state, meta };
            worker.store.backend.store(&stored).await.map_err(|error| {
                tracing::warn!(%error, "a task's progress was not stored");
                "the progress could not be stored".to_owned()
            })
        }
        .boxed()
    })
}

/// What is committed for an end: the result, and what becomes of the message.
fn settlement(tag: Tag, end: &End) -> Settlement {
    match end {
        End::Ended { request, outcome, .. } => {
            let result = (!request.ignore_result).then(|| StoredResult {
                id: request.id.clone(),
                state: outcome.state(),
                meta: result::of_outcome(request, outcome, Timestamp::now()),
            });
            Settlement { tag, result, fate: Fate::Acknowledge }
        }
        End::Refused { id: Some(id), exception: Some(exception), .. } => {
            let meta = result::of_failure(id, exception, Timestamp::now());
            let result = StoredResult { id: id.clone(), state: State::Failure, meta };
            Settlement { tag, result: Some(result), fate: Fate::Acknowledge }
        }
        End::Refused { reason, .. } => {
            Settlement { tag, result: None, fate: Fate::DeadLetter(reason.clone()) }
        }
        End::Delayed { until, .. } => Settlement { tag, result: None, fate: Fate::Delay(*until) },
        End::Interrupted { .. } => Settlement { tag, result: None, fate: Fate::Restore },
    }
}

/// Says in the log how it ended, in Celery's words.
fn report(end: &End, settled: Option<Settled>) {
    match settled {
        Some(Settled::Done) => {}
        Some(Settled::NotHeld) => {
            tracing::warn!(
                "a delivery had gone to another worker before it ended here; what follows is not stored"
            );
        }
        None => tracing::warn!("the store was not reached before the shutdown; what follows is not stored"),
    }
    match end {
        End::Ended { request, outcome, wall } => {
            let (task, id, seconds) = (&request.task, &request.id, wall.as_secs_f64());
            match outcome {
                Outcome::Success(value) => {
                    tracing::info!("Task {task}[{id}] succeeded in {seconds:.6}s: {}", repr::value(value));
                }
                Outcome::Failure(Failure { exception, traceback }) => {
                    let (exception, traceback) =
                        (repr::exception(exception), traceback.as_deref().unwrap_or(""));
                    tracing::error!("Task {task}[{id}] raised unexpected: {exception}\n{traceback}");
                }
                Outcome::Revoked(exception) => {
                    tracing::warn!("Task {task}[{id}] revoked: {}", exception.message());
                }
            }
        }
        End::Refused { id: Some(id), reason, .. } => {
            tracing::error!("refused the message of task {id}: {reason}")
        }
        End::Refused { id: None, reason, .. } => {
            tracing::error!("moved a message to the dead letters: {reason}")
        }
        End::Delayed { request, until } => {
            tracing::info!("Task {}[{}] waits until {until}", request.task, request.id);
        }
        End::Interrupted { request } => {
            tracing::warn!(
                "Task {}[{}] goes back to its queue: the worker shuts down",
                request.task,
                request.id
            );
        }
    }
}

/// The most lines that one run gets into the log.
const MOST_LOGGED_LINES: usize = 100;

/// Passes on the end of what the guest printed.
fn log_output(request: &Request, run: &Run) {
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let (task, id, output) = (&request.task, &request.id, &run.output);
    let lines: Vec<&str> = output.tail.lines().collect();
    let shown = &lines[lines.len().saturating_sub(MOST_LOGGED_LINES)..];
    if shown.len() < lines.len() || output.dropped > 0 {
        tracing::info!("{task}[{id}] printed more; this is the end of it");
    }
    for line in shown {
        tracing::info!("{task}[{id}]: {line}");
    }
}
