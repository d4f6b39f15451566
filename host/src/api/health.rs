//! Whether the server works: for load balancers and the like, who have no token. They learn nothing else.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, http::StatusCode};

use super::{App, problem::Problem};
use crate::store::Table;

/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the server answers
#[utoipa::path(get, path = "/livez", tag = "health", security(()), responses((status = OK, body = String, content_type = "text/plain")))]
pub async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the store answers
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses((status = OK, body = String, content_type = "text/plain")))]
pub async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    match tokio::time::timeout(PATIENCE, app.store.records.record(Table::Queues, "-")).await {
        Ok(Ok(_)) => Ok("ok\n"),
        _ => Err(Problem::of_status(StatusCode::SERVICE_UNAVAILABLE)),
    }
}
