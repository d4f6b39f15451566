//! One call of a task, as its message asks for it.

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;

use super::{Json, OwnedTask, Pins, TaskId, TaskName, Tenant};

/// One call of a task.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose it is: that of the queue it came from, whatever the message says.
    pub tenant: Tenant,
    /// Names the call and its result.
    pub id: TaskId,
    /// What to run.
    pub task: TaskName,
    /// The name to show instead of `task`, when the sender gave one.
    pub shadow: Option<String>,
    /// Positional arguments: the text of a JSON array.
    pub args: Json,
    /// Keyword arguments: the text of a JSON object.
    pub kwargs: Json,
    /// What is to be called when the task has ended (callbacks, chain, chord): the text of a JSON object.
    pub embed: Json,
    /// How often the task was retried before.
    pub retries: u32,
    /// Not to be run before.
    pub eta: Option<Timestamp>,
    /// Not to be run after.
    pub expires: Option<Timestamp>,
    /// What the sender allows the run to take.
    pub limits: Limits,
    /// Whether the caller wants no result stored.
    pub ignore_result: bool,
    /// The first task of the workflow.
    pub root_id: TaskId,
    /// The task that sent this one.
    pub parent_id: Option<TaskId>,
    /// The group or chord it is part of.
    pub group_id: Option<TaskId>,
    /// Where in the group it is.
    pub group_index: Option<i64>,
    /// How often a task has handed its place to another before this one had it.
    pub replaced_task_nesting: u32,
    /// 0 to 9, 0 the most urgent.
    pub priority: u8,
    /// Whether the message was delivered before and came back.
    pub redelivered: bool,
    /// What workers of `host` noted of the message before.
    pub notes: Notes,
    /// All headers of the message: the text of a JSON object.
    pub headers: Json,
    /// All properties of the message: the text of a JSON object.
    pub properties: Json,
}

impl Request {
    /// The task among those of all tenants.
    pub fn owned_task(&self) -> OwnedTask {
        OwnedTask { tenant: self.tenant.clone(), task: self.task.clone() }
    }

    /// The task's name as operators see it, or the one that the sender gave to be shown instead.
    pub fn shown_name(&self) -> Cow<'_, str> {
        self.tenant.shown(self.shadow.as_deref().unwrap_or(self.task.as_str()))
    }

    /// The task's id as operators see it: no other tenant's task has the same.
    pub fn shown_id(&self) -> Cow<'_, str> {
        self.tenant.shown(self.id.as_str())
    }
}

/// Time limits; `None` leaves the choice to the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// The task is stopped after this time.
    pub hard: Option<Duration>,
    /// The task is asked to end after this time.
    pub soft: Option<Duration>,
}

/// What workers of `host` note in a message that comes back to its queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notes {
    /// How many workers have died that may have been running it.
    pub deaths: u32,
    /// Its task was begun by a worker, which holds it or has died.
    pub running: bool,
    /// Its task was begun by a worker that has died.
    pub begun: bool,
    /// It was set aside because of its task's rate limit, and its turn has come since.
    pub admitted: bool,
    /// Until when it waits, or has waited, for a plugin that offers its task.
    pub parked_until: Option<Timestamp>,
    /// When it was sent, if the sender was `host`: Celery's clients do not say.
    pub sent: Option<Timestamp>,
    /// On which versions of plugins it stays.
    pub pins: Pins,
}
