//! What comes after the end of a task, for those that wait for it: see `canvas`.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{Worker, end::End};
use crate::{
    canvas::{self, Builtin, Follow, InvalidCanvas, Sent, Setting, Workflow},
    sandbox::Outbox,
    task::{Exception, Failure, Outcome, Pins, Receipt, Request, SharedJson, TaskName, Tenant},
};

/// What is known of a task once its message was read.
pub(super) struct Life {
    /// What its message asks for.
    pub request: Arc<Request>,
    /// The signal that it was stopped with, if it was.
    pub signal: OnceLock<i32>,
    /// The versions on which what comes after it stays.
    pub pins: OnceLock<Pins>,
    /// What its run took, once it has run.
    pub receipt: OnceLock<Receipt>,
    workflow: Result<Workflow, InvalidCanvas>,
    sent: Arc<Mutex<Sent>>,
    /// What comes after a chord that the task has finished.
    finished: Mutex<Follow>,
}

impl Life {
    pub fn begin(request: Request) -> Self {
        let workflow = Workflow::of(&request);
        Self {
            request: Arc::new(request),
            signal: OnceLock::new(),
            pins: OnceLock::new(),
            receipt: OnceLock::new(),
            workflow,
            sent: Arc::default(),
            finished: Mutex::default(),
        }
    }

    /// A task whose workflow could not go on after it is not begun.
    pub fn cannot_go_on(&self) -> Option<Outcome> {
        let invalid = self.workflow.as_ref().err()?;
        Some(Outcome::Failure(Failure::without_traceback(invalid.exception())))
    }

    /// What is needed done, if the task is one of Celery's own.
    pub fn builtin(&self) -> Option<Builtin> {
        canvas::builtin(&self.request, &mut self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes what comes after a chord that the task finishes.
    pub fn finishes(&self, follow: Follow) {
        *self.finished.lock().unwrap_or_else(PoisonError::into_inner) = follow;
    }

    /// Where the run puts what it sends.
    pub fn outbox(&self) -> Arc<dyn Outbox> {
        self.sent.clone()
    }
}

/// The most that one run may send by itself.
const MOST_SENT: usize = 1_000;

impl Outbox for Mutex<Sent> {
    fn send(&self, signature: SharedJson) -> Result<String, String> {
        let mut sent = self.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() >= MOST_SENT {
            return Err(format!("a task may send {MOST_SENT} others; send a group"));
        }
        sent.call(&signature).map_err(|error| error.to_string())
    }

    fn tasks(&self, signature: &SharedJson) -> Result<Vec<String>, String> {
        canvas::tasks_of(signature).map_err(|error| error.to_string())
    }

    fn replace(&self, signature: SharedJson) -> Result<(), String> {
        let mut sent = self.lock().unwrap_or_else(PoisonError::into_inner);
        sent.replace(&signature).map_err(|error| error.to_string())
    }
}

/// What comes after an end. The end may be another one than it was: a task that succeeded but cannot go on has failed, and
/// one that was replaced has not ended.
pub(super) fn after(worker: &Worker, end: End, life: Option<&Life>) -> (End, Follow) {
    let Some(life) = life else { return (end, Follow::default()) };
    let (end, mut follow) = after_own(worker, end, life);
    if let Some(pins) = life.pins.get() {
        follow.sends.iter_mut().for_each(|send| send.pins = pins.clone());
    }
    follow.add(std::mem::take(&mut *life.finished.lock().unwrap_or_else(PoisonError::into_inner)));
    (end, follow)
}

fn after_own(worker: &Worker, end: End, life: &Life) -> (End, Follow) {
    let sent = std::mem::take(&mut *life.sent.lock().unwrap_or_else(PoisonError::into_inner));
    if sent.is_empty() && life.workflow.as_ref().is_ok_and(Workflow::is_nothing) {
        return (end, Follow::default());
    }
    let outcome = match &end {
        End::Finished { outcome, .. } => outcome.clone(),
        End::GivenUp { failure, .. } => Outcome::Failure(failure.clone()),
        End::Ignored { .. } => return (end, ignored(worker, life)),
        _ => return (end, Follow::default()),
    };
    let Ok(workflow) = &life.workflow else { return (end, of_unreadable(worker, life, &outcome)) };
    match setting(worker, &life.request.tenant, |setting| {
        canvas::after(&life.request, workflow, &outcome, sent, setting)
    }) {
        Ok(follow) if follow.replaced => (End::Replaced { request: life.request.clone() }, follow),
        Ok(follow) => (end, follow),
        Err(invalid) => {
            let failure = Failure::without_traceback(invalid.exception());
            let follow = failed(worker, life, &failure);
            let end = match end {
                End::Finished { request, .. } => {
                    End::Finished { request, outcome: Outcome::Failure(failure) }
                }
                end => end,
            };
            (end, follow)
        }
    }
}

/// Goes on with a workflow of a tenant from this worker.
pub(super) fn setting<T>(worker: &Worker, tenant: &Tenant, go_on: impl FnOnce(Setting<'_>) -> T) -> T {
    let takes_several = |task: &str| {
        let entry = TaskName::new(task).ok().and_then(|task| worker.registry.find(tenant, &task));
        entry.is_some_and(|entry| {
            let signature = entry.plugin.program.functions()[entry.function].signature();
            signature.rest_args || signature.params.len() > 1
        })
    };
    let (queue, now) = (&worker.options.default_queue, worker.clock.now());
    go_on(Setting { queue, now, takes_several: &takes_several })
}

/// What comes after an end that the store refuses.
pub(super) fn refused(worker: &Worker, life: Option<&Life>, why: &str) -> Follow {
    let Some(life) = life else { return Follow::default() };
    let text = format!("the store refused the end of the task: {why}");
    failed(worker, life, &Failure::without_traceback(Exception::builtin("RuntimeError", text)))
}

/// A task that is ignored has no result, and no errbacks; but what waits for it would wait for ever.
fn ignored(worker: &Worker, life: &Life) -> Follow {
    let exception = Exception::new("celery.exceptions", "Ignore", Vec::new());
    let Ok(workflow) = &life.workflow else { return Follow::default() };
    Follow::abandoned(&life.request, workflow, &Failure::without_traceback(exception), worker.clock.now())
}

/// What comes after a failure, errbacks included if they can be called.
fn failed(worker: &Worker, life: &Life, failure: &Failure) -> Follow {
    let outcome = Outcome::Failure(failure.clone());
    let Ok(workflow) = &life.workflow else { return of_unreadable(worker, life, &outcome) };
    setting(worker, &life.request.tenant, |setting| {
        canvas::after(&life.request, workflow, &outcome, Sent::default(), setting)
    })
    .unwrap_or_else(|_| Follow::abandoned(&life.request, workflow, failure, worker.clock.now()))
}

/// Of a workflow that cannot be read as a whole the chord may still be told.
fn of_unreadable(worker: &Worker, life: &Life, outcome: &Outcome) -> Follow {
    let Outcome::Failure(failure) = outcome else { return Follow::default() };
    let workflow = Workflow::chord_of(&life.request);
    Follow::abandoned(&life.request, &workflow, failure, worker.clock.now())
}
