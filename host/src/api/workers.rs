//! The workers that live.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{App, problem::Problem};
use crate::{
    client::{Patience, Question},
    protocol::control::Audience,
};

/// How long workers have to say something.
const PATIENCE: Duration = Duration::from_secs(1);

/// What each worker replies when it is asked this, by its name. Redis tells how many have heard a question, Python workers among them;
/// with a file all workers are ours, and are asked by name.
pub async fn ask(app: &App, method: &str) -> Result<Vec<(String, Value)>, Problem> {
    let patience = Patience { time: PATIENCE, most: None, all_who_hear: true };
    let mut replies = app.control.ask(Question::new(method), patience).await?;
    let mut silent: Vec<_> =
        app.store.broker.workers().await?.into_iter().map(|report| report.node).collect();
    silent.retain(|node| replies.iter().all(|(replied, _)| replied != node));
    if !silent.is_empty() {
        let audience = Audience { destination: Some(silent), ..Audience::everybody() };
        let patience = Patience { time: PATIENCE, most: None, all_who_hear: false };
        replies.extend(app.control.ask(Question { audience, ..Question::new(method) }, patience).await?);
    }
    Ok(replies)
}

/// The workers
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkerList {
    workers: Vec<WorkerReport>,
}

/// What a worker tells of itself
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkerReport {
    /// Its name: `celery@box`
    name: String,
    /// Its process on its machine
    pid: u32,
    /// How many tasks it runs
    active: u64,
    /// How many it has run
    processed: u64,
}

/// List the workers that live
#[utoipa::path(get, path = "/v1/workers", tag = "admin", security(("token" = ["metrics:read"])), responses((status = OK, body = WorkerList)))]
pub async fn list_workers(State(app): State<Arc<App>>) -> Result<Json<WorkerList>, Problem> {
    let reports = app.store.broker.workers().await?;
    let told = |report: crate::store::Report| WorkerReport {
        name: report.node,
        pid: report.pid,
        active: report.active,
        processed: report.processed,
    };
    Ok(Json(WorkerList { workers: reports.into_iter().map(told).collect() }))
}
