//! Tasks by where they are.

use std::sync::Arc;

use axum::{Json, extract::State};
use futures_util::{StreamExt, future};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::{App, access::Caller, input::Parameters, page, problem::Problem, workers},
    protocol::{
        message::{self, MessageLimits},
        result,
    },
    task::{QueueName, TaskId, Tenant},
};

/// The most that have ended on a page, and how many of their results are read at once.
const MOST_ENDED: usize = 100;
const AT_ONCE: usize = 8;

/// Which tasks are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// The tenant; for the operator's tokens
    tenant: Option<String>,
    /// Where they are; those that have ended if nothing is said
    #[serde(default)]
    #[param(inline)]
    stage: Stage,
    /// Only those in this state; of those that have ended, or tell of their progress
    state: Option<String>,
    /// Only those of this name
    task: Option<String>,
    /// About so many; of those that have ended 100 at most
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the answer before
    cursor: Option<String>,
}

/// Where tasks are
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// In their queues, those first that would be taken next
    Waiting,
    /// Waiting for their time, the next due first
    Delayed,
    /// In the hands of workers, Python's among them
    Running,
    /// With a result that is stored, in no order; one may come twice
    #[default]
    Ended,
}

/// Tasks
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskList {
    /// There may be fewer than were asked for, even none, and more to come
    tasks: Vec<Listed>,
    /// Where to go on, if there may be more. Of `waiting`, `delayed` and `running` only the first page is shown
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A task in a list
#[derive(Debug, Serialize, ToSchema)]
pub struct Listed {
    /// Its id
    id: String,
    /// Its name, where that is known: Python workers do not store it
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    /// Its state
    state: String,
    /// Its queue, while it waits or runs
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    /// The worker that runs it, or has
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    /// When it is due
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    /// When it ended
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<String>,
}

/// List tasks
///
/// By their stage: there is no table of all tasks, so each stage is looked at where it is. What waits, is delayed or runs is told of as it is now,
/// and only as many as `limit`; what has ended is told of page by page, for as long as results are kept.
#[utoipa::path(get, path = "/v1/tasks", tag = "tasks", security(("token" = ["tasks:read"])), params(ListQuery), responses((status = OK, body = TaskList)))]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<TaskList>, Problem> {
    let tenant = caller.tenant(query.tenant.as_deref())?;
    let most = page::limit_of(query.limit)?;
    let is_asked_for = |listed: &Listed| {
        query.task.as_ref().is_none_or(|task| listed.task.as_ref() == Some(task))
            && query.state.as_ref().is_none_or(|state| listed.state == *state)
    };
    let (tasks, next) = match query.stage {
        Stage::Waiting => (waiting(&app, &tenant, most).await?, None),
        Stage::Delayed => (delayed(&app, &tenant, most).await?, None),
        Stage::Running => (running(&app, &tenant).await?, None),
        Stage::Ended => ended(&app, &tenant, query.cursor.as_deref(), most).await?,
    };
    Ok(Json(TaskList { tasks: tasks.into_iter().filter(is_asked_for).collect(), next }))
}

async fn queues(app: &App, tenant: &Tenant) -> Result<Vec<QueueName>, Problem> {
    let mut queues = app.store.broker.queues().await?;
    queues.retain(|queue| queue.owner().0 == *tenant);
    Ok(queues)
}

/// What a message is about; none if nobody can read it.
fn read(queue: &QueueName, message: &[u8], tenant: &Tenant, state: &str) -> Option<Listed> {
    let request = message::decode(message, tenant.clone(), &MessageLimits::default()).ok()?;
    Some(Listed {
        id: request.id.to_string(),
        task: Some(request.task.to_string()),
        state: state.to_owned(),
        queue: Some(queue.owner().1.to_owned()),
        worker: None,
        due: request.eta.map(|eta| eta.to_string()),
        done: None,
    })
}

async fn waiting(app: &App, tenant: &Tenant, most: usize) -> Result<Vec<Listed>, Problem> {
    let queues = queues(app, tenant).await?;
    let messages = app.store.broker.peek(&queues, most).await?;
    Ok(messages.iter().filter_map(|(queue, message)| read(queue, message, tenant, "PENDING")).collect())
}

async fn delayed(app: &App, tenant: &Tenant, most: usize) -> Result<Vec<Listed>, Problem> {
    let queues = queues(app, tenant).await?;
    let scheduled = app.store.broker.scheduled(&queues, most).await?;
    let listed = scheduled.iter().filter_map(|scheduled| {
        let listed = read(&scheduled.queue, &scheduled.message, tenant, "PENDING")?;
        Some(Listed { due: Some(scheduled.due.to_string()), ..listed })
    });
    Ok(listed.collect())
}

/// Workers say what they run; the queue that a task came from tells whose it is.
async fn running(app: &App, tenant: &Tenant) -> Result<Vec<Listed>, Problem> {
    let replies = workers::ask(app, "active").await?;
    let mut running = Vec::new();
    for (worker, reply) in &replies {
        for task in reply.as_array().into_iter().flatten() {
            let text = |key: &str| task[key].as_str().map(str::to_owned);
            let queue =
                task["delivery_info"]["routing_key"].as_str().and_then(|name| QueueName::new(name).ok());
            let (Some(id), Some(queue)) = (text("id"), queue) else { continue };
            let (owner, name) = queue.owner();
            if owner == *tenant {
                running.push(Listed {
                    id,
                    task: text("name"),
                    state: "STARTED".to_owned(),
                    queue: Some(name.to_owned()),
                    worker: Some(worker.clone()),
                    due: None,
                    done: None,
                });
            }
        }
    }
    Ok(running)
}

async fn ended(
    app: &App,
    tenant: &Tenant,
    cursor: Option<&str>,
    most: usize,
) -> Result<(Vec<Listed>, Option<String>), Problem> {
    if cursor.is_some_and(|cursor| {
        cursor.is_empty() || cursor.len() > 20 || !cursor.bytes().all(|b| b.is_ascii_digit())
    }) {
        return Err(page::bad_cursor());
    }
    let (ids, next) = app.store.backend.results(tenant, cursor, most.min(MOST_ENDED)).await?;
    let listed = |id: TaskId| async move {
        // Results can be large, so no more than some are in memory at once.
        let stored = app.store.backend.get(tenant, &id).await.ok()??;
        let stored = result::decode(&stored).ok()?;
        let ran: Option<Value> =
            stored.host.as_deref().map(RawValue::get).and_then(|ran| serde_json::from_str(ran).ok());
        let told = |key: &str| ran.as_ref().and_then(|ran| ran[key].as_str()).map(str::to_owned);
        Some(Listed {
            id: stored.id.to_string(),
            task: told("task"),
            state: stored.state.as_str().to_owned(),
            queue: None,
            worker: told("worker"),
            due: None,
            done: stored.date_done,
        })
    };
    let listed = futures_util::stream::iter(ids).map(listed).buffered(AT_ONCE).filter_map(future::ready);
    Ok((listed.collect().await, next))
}
