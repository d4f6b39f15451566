//! Queues: how long they are, and pausing and emptying them.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{
    App,
    access::Caller,
    audit::entry,
    input::Parameters,
    problem::Problem,
    tasks::{Whose, submit::queue},
};
use crate::{
    store::{Change, Table},
    task::{QueueName, Tenant},
};

/// The most queues that are told of.
const MOST: usize = 1_000;

/// The most queues of a tenant that can be paused: every worker knows them all.
const MOST_PAUSED: usize = 100;

/// The queues
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueList {
    /// By their names, 1,000 at most
    queues: Vec<Queue>,
}

/// A queue
#[derive(Debug, Serialize, ToSchema)]
pub struct Queue {
    /// Whose it is; the default tenant is the empty text
    tenant: String,
    /// What its owner calls it
    name: String,
    /// How many messages wait in it
    messages: u64,
    /// Whether nothing is taken from it
    paused: bool,
}

/// What was thrown away
#[derive(Debug, Serialize, ToSchema)]
pub struct Purged {
    /// How many messages
    purged: u64,
}

/// List queues
///
/// Those that hold messages, were ever used, or are paused.
#[utoipa::path(get, path = "/v1/queues", tag = "queues", security(("token" = ["queues:read"])), params(Whose), responses((status = OK, body = QueueList)))]
pub async fn list_queues(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(whose): Parameters<Whose>,
) -> Result<Json<QueueList>, Problem> {
    let tenant = caller.tenant_or_all(whose.tenant.as_deref())?;
    let (_, paused) = app.store.records.records(Table::Queues).await?;
    let paused: BTreeSet<_> = paused.iter().filter_map(|record| QueueName::new(&record.key).ok()).collect();
    let mut names: BTreeSet<_> = app.store.broker.queues().await?.into_iter().collect();
    names.extend(paused.iter().cloned());
    let is_asked_for = |name: &QueueName| tenant.as_ref().is_none_or(|tenant| *tenant == name.owner().0);
    let mut queues = Vec::new();
    for name in names.into_iter().filter(is_asked_for).take(MOST) {
        let (tenant, short) = name.owner();
        queues.push(Queue {
            tenant: tenant.name().unwrap_or_default().to_owned(),
            name: short.to_owned(),
            messages: app.store.broker.length(&name).await?,
            paused: paused.contains(&name),
        });
    }
    Ok(Json(QueueList { queues }))
}

/// Pause a queue
///
/// Workers take nothing from it, within two seconds and until it is resumed, also those that start later. What runs already goes on. Python
/// workers do not know of it.
#[utoipa::path(post, path = "/v1/queues/{name}/pause", tag = "queues", security(("token" = ["queues:write"])), params(Whose, ("name" = String, Path, description = "The queue")), responses((status = NO_CONTENT)))]
pub async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Parameters(whose): Parameters<Whose>,
) -> Result<StatusCode, Problem> {
    let tenant = caller.tenant(whose.tenant.as_deref())?;
    let queue = queue(&tenant, Some(&name))?;
    if app.store.records.record(Table::Queues, queue.as_str()).await?.is_some() {
        return Ok(StatusCode::NO_CONTENT);
    }
    let (_, paused) = app.store.records.records(Table::Queues).await?;
    let own = paused.iter().filter_map(|record| QueueName::new(&record.key).ok());
    if own.filter(|queue| queue.owner().0 == tenant).count() >= MOST_PAUSED {
        let detail = format!("a tenant can have {MOST_PAUSED} paused queues; resume some");
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-paused", detail));
    }
    let value = json!({"paused": Timestamp::now(), "by": caller.actor}).to_string();
    let change = Change { table: Table::Queues, key: queue.to_string(), was: None, value: Some(value) };
    // Should somebody else have paused it just now, it is paused.
    app.store.records.change(&[change], &entry(&caller, "queue.pause", &tenant, &name, None)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Resume a queue
#[utoipa::path(post, path = "/v1/queues/{name}/resume", tag = "queues", security(("token" = ["queues:write"])), params(Whose, ("name" = String, Path, description = "The queue")), responses((status = NO_CONTENT)))]
pub async fn resume(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Parameters(whose): Parameters<Whose>,
) -> Result<StatusCode, Problem> {
    let tenant = caller.tenant(whose.tenant.as_deref())?;
    let queue = queue(&tenant, Some(&name))?;
    let Some(record) = app.store.records.record(Table::Queues, queue.as_str()).await? else {
        return Ok(StatusCode::NO_CONTENT);
    };
    let change = Change { table: Table::Queues, key: record.key, was: Some(record.revision), value: None };
    let entry = entry(&caller, "queue.resume", &tenant, &name, None);
    let changed = app.store.records.change(&[change], &entry).await?;
    changed.map(|_| StatusCode::NO_CONTENT).ok_or_else(Problem::conflict)
}

/// Throw away what waits in a queue
#[utoipa::path(post, path = "/v1/queues/{name}/purge", tag = "queues", security(("token" = ["queues:write"])), params(Whose, ("name" = String, Path, description = "The queue")), responses((status = OK, body = Purged)))]
pub async fn purge(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Parameters(whose): Parameters<Whose>,
) -> Result<Json<Purged>, Problem> {
    let tenant: Tenant = caller.tenant(whose.tenant.as_deref())?;
    let queue = queue(&tenant, Some(&name))?;
    // Noted before it is done: what is thrown away is gone, and somebody has to be known to have done it.
    app.store.records.note(&entry(&caller, "queue.purge", &tenant, &name, None)).await?;
    Ok(Json(Purged { purged: app.store.broker.purge(&queue).await? }))
}
