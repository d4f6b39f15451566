//! Keeping a task from running, or stopping it.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Whose;
use crate::{
    api::{
        App,
        access::Caller,
        input::{JsonBody, Parameters},
        problem::{Problem, named},
    },
    store::{Revocation, Target},
    task::TaskId,
};

/// How long it is remembered: a task that waits longer runs all the same.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How a task is revoked
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Stop it where it runs already
    #[serde(default)]
    terminate: bool,
}

/// Revoke a task
///
/// It is not run any more, whichever worker takes it; that is remembered for 30 days.
#[utoipa::path(
    post, path = "/v1/tasks/{id}/revoke", tag = "tasks", security(("token" = ["tasks:write"])),
    params(Whose, ("id" = String, Path, description = "The task's id")),
    request_body = Revoke,
    responses((status = NO_CONTENT)),
)]
pub async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Parameters(whose): Parameters<Whose>,
    JsonBody { value, .. }: JsonBody<Revoke, 1024>,
) -> Result<StatusCode, Problem> {
    let tenant = caller.tenant(whose.tenant.as_deref())?;
    let id: TaskId = named("id", &id)?;
    let until = Timestamp::now() + LIFETIME;
    let revocation = Revocation { tenant, target: Target::Task(id), terminate: value.terminate, until };
    app.store.revocations.revoke(&[revocation]).await?;
    Ok(StatusCode::NO_CONTENT)
}
