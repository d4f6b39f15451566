//! Messages that wait for a plugin that offers their task.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    access::Caller,
    audit::entry,
    input::Parameters,
    problem::{Problem, named},
    tasks::Whose,
};
use crate::task::OwnedTask;

/// The tasks that nobody offers yet
#[derive(Debug, Serialize, ToSchema)]
pub struct ParkedList {
    parked: Vec<Parked>,
}

/// A task that nobody offers yet
#[derive(Debug, Serialize, ToSchema)]
pub struct Parked {
    /// Whose it is; the default tenant is the empty text
    tenant: String,
    /// What its owner calls it
    task: String,
    /// How many messages wait for it
    messages: u64,
}

/// What was put back
#[derive(Debug, Serialize, ToSchema)]
pub struct Released {
    /// How many messages
    released: u64,
}

/// List what waits for a plugin
#[utoipa::path(get, path = "/v1/parked", tag = "queues", security(("token" = ["queues:read"])), params(Whose), responses((status = OK, body = ParkedList)))]
pub async fn list_parked(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(whose): Parameters<Whose>,
) -> Result<Json<ParkedList>, Problem> {
    let tenant = caller.tenant_or_all(whose.tenant.as_deref())?;
    let parked = app.store.broker.parked().await?;
    let own =
        parked.into_iter().filter(|(task, _)| tenant.as_ref().is_none_or(|tenant| *tenant == task.tenant));
    let told = |(task, messages): (OwnedTask, u64)| Parked {
        tenant: task.tenant.name().unwrap_or_default().to_owned(),
        task: task.task.to_string(),
        messages,
    };
    Ok(Json(ParkedList { parked: own.map(told).collect() }))
}

/// Put back what waits for a plugin with this task
///
/// To the head of its queue. If still nobody offers the task, it comes back here.
#[utoipa::path(post, path = "/v1/parked/{task}/release", tag = "queues", security(("token" = ["queues:write"])), params(Whose, ("task" = String, Path, description = "The task")), responses((status = OK, body = Released)))]
pub async fn release_parked(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(task): Path<String>,
    Parameters(whose): Parameters<Whose>,
) -> Result<Json<Released>, Problem> {
    let tenant = caller.tenant(whose.tenant.as_deref())?;
    let owned = OwnedTask { tenant, task: named("task", &task)? };
    app.store.records.note(&entry(&caller, "parked.release", &owned.tenant, &task, None)).await?;
    Ok(Json(Released { released: app.store.broker.release(&owned).await? }))
}
