//! What has become of a task.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::{
        App,
        access::Caller,
        input::Parameters,
        problem::{Problem, named},
    },
    client::ClientError,
    protocol::result::StoredMeta,
    task::{State as TaskState, TaskId},
};

/// The longest wait for an end.
const LONGEST_WAIT: f64 = 60.0;

/// How a task is asked about.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatusQuery {
    /// The tenant; for the operator's tokens
    tenant: Option<String>,
    /// Answer once it has ended, or after so many seconds, 60 at most; the server may be set to answer earlier
    #[param(minimum = 0, maximum = 60)]
    wait: Option<f64>,
}

/// What is known of a task
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskStatus {
    /// Its id
    #[schema(value_type = String)]
    pub id: TaskId,
    /// Celery's states: `PENDING`, `STARTED`, `RETRY`, `SUCCESS`, `FAILURE`, `REVOKED`, or one that the task made up. `PENDING` is
    /// also what is said of a task that nobody knows
    pub state: String,
    /// What it returned, or what it tells of its progress
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub result: Option<Box<RawValue>>,
    /// Why it failed
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
    /// When it ended
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<String>,
    /// What its run took, and where it was: `task`, `worker`, `plugin` (the SHA-256 of the code), `runtime`, `cputime` and `waited` in
    /// seconds, `memory` in bytes. Python workers store nothing of the kind
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::HashMap<String, serde_json::Value>>)]
    pub receipt: Option<Box<RawValue>>,
}

/// Why a task failed
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskError {
    /// The class of the exception: `ZeroDivisionError`
    #[serde(rename = "type")]
    kind: String,
    /// What it says
    message: String,
    /// Where it came from, as Python would print it
    #[serde(skip_serializing_if = "Option::is_none")]
    traceback: Option<String>,
}

impl TaskStatus {
    /// What is stored of a task, or that nothing is.
    pub fn of(id: &TaskId, stored: Option<StoredMeta>) -> Self {
        let Some(stored) = stored else {
            let state = TaskState::Pending.as_str().to_owned();
            return Self { id: id.clone(), state, result: None, error: None, done: None, receipt: None };
        };
        let error = stored.exception.as_ref().map(|exception| TaskError {
            kind: exception.class.clone(),
            message: exception.message(),
            traceback: stored.traceback.clone(),
        });
        Self {
            id: id.clone(),
            state: stored.state.as_str().to_owned(),
            result: error.is_none().then_some(stored.result),
            error,
            done: stored.date_done,
            receipt: stored.host,
        }
    }
}

/// Show the state and result of a task
#[utoipa::path(
    get, path = "/v1/tasks/{id}", tag = "tasks", security(("token" = ["tasks:read"])),
    params(StatusQuery, ("id" = String, Path, description = "The task's id")),
    responses((status = OK, body = TaskStatus)),
)]
pub async fn status(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Parameters(query): Parameters<StatusQuery>,
) -> Result<Json<TaskStatus>, Problem> {
    let tenant = caller.tenant(query.tenant.as_deref())?;
    let id: TaskId = named("id", &id)?;
    let stored = match query.wait {
        None => app.client.result(&tenant, &id).await?,
        Some(wait) if (0.0..=LONGEST_WAIT).contains(&wait) => {
            let wait = Duration::from_secs_f64(wait).min(app.options.longest_wait);
            let ended = app.client.wait(&tenant, &id, Some(wait));
            let ended = tokio::select! {
                ended = ended => Some(ended),
                () = app.ending.cancelled() => None,
            };
            match ended {
                Some(Ok(stored)) => Some(stored),
                Some(Err(ClientError::Timeout { .. })) | None => app.client.result(&tenant, &id).await?,
                Some(Err(error)) => return Err(error.into()),
            }
        }
        Some(_) => return Err(Problem::invalid("wait", "wait is a number of seconds, 0 to 60")),
    };
    Ok(Json(TaskStatus::of(&id, stored)))
}
