//! The workers that live.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{App, problem::Problem};

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
