//! Messages that were given up.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{App, access::Caller, audit::entry, input::Parameters, page, problem::Problem, tasks::Whose};
use crate::{store::DeadLetter, task::Tenant};

/// Which dead letters are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeadQuery {
    /// The tenant; for the operator's tokens, which see all tenants' if none is named
    tenant: Option<String>,
    /// At most so many
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the answer before
    cursor: Option<String>,
}

/// Messages that were given up, the newest first
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetterList {
    /// There may be fewer than were asked for, and more to come
    dead_letters: Vec<Dead>,
    /// Where to go on, if there may be more
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A message that was given up
#[derive(Debug, Serialize, ToSchema)]
pub struct Dead {
    /// Names it among the dead letters
    id: String,
    /// Whose it is; the default tenant is the empty text
    tenant: String,
    /// The queue that it was last taken from
    queue: String,
    /// The id of its task, if it could be read
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    /// The name of its task, if it could be read
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    /// Why it was given up, in a line
    reason: String,
    /// How often it was tried
    attempts: u32,
    /// Since when it is here
    since: String,
    /// When it is dropped
    expires: String,
}

/// A message that was given up, with all that is known of it
#[derive(Debug, Serialize, ToSchema)]
pub struct WholeDead {
    #[serde(flatten)]
    dead: Dead,
    /// Where it failed, as Python would print it
    #[serde(skip_serializing_if = "Option::is_none")]
    traceback: Option<String>,
    /// The message as it was last delivered; what is no text in it is marked by U+FFFD
    message: String,
}

/// How many letters are looked at for one page of a tenant.
const LOOKED_AT: usize = 2_000;

/// How many are read at once.
const CHUNK: usize = 200;

fn shown(letter: &DeadLetter) -> Dead {
    let (tenant, queue) = letter.queue.owner();
    Dead {
        id: letter.id.clone(),
        tenant: tenant.name().unwrap_or_default().to_owned(),
        queue: queue.to_owned(),
        task_id: letter.cause.task_id.as_ref().map(|id| id.to_string()),
        task: letter.cause.task.as_ref().map(|task| task.to_string()),
        reason: letter.cause.reason.clone(),
        attempts: letter.cause.attempts,
        since: letter.since.to_string(),
        expires: letter.expires.to_string(),
    }
}

/// List messages that were given up
#[utoipa::path(get, path = "/v1/dead-letters", tag = "queues", security(("token" = ["queues:read"])), params(DeadQuery), responses((status = OK, body = DeadLetterList)))]
pub async fn list_dead_letters(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(query): Parameters<DeadQuery>,
) -> Result<Json<DeadLetterList>, Problem> {
    let tenant = caller.tenant_or_all(query.tenant.as_deref())?;
    let (begin, most) = page::bounds(query.cursor.as_deref(), query.limit)?;
    let (mut skip, mut found) = (begin, Vec::new());
    let mut next = None;
    'pages: while skip < begin + LOOKED_AT {
        let letters = app.store.dead_letters.dead_letters(skip, CHUNK).await?;
        let is_last = letters.len() < CHUNK;
        for letter in &letters {
            skip += 1;
            if tenant.as_ref().is_none_or(|tenant| *tenant == letter.queue.owner().0) {
                found.push(shown(letter));
                if found.len() == most {
                    next = Some(skip.to_string());
                    break 'pages;
                }
            }
        }
        if is_last {
            break;
        }
        next = Some(skip.to_string());
    }
    Ok(Json(DeadLetterList { dead_letters: found, next }))
}

/// A letter of the tenant; one of another is none.
async fn find(app: &App, tenant: &Option<Tenant>, id: &str) -> Result<DeadLetter, Problem> {
    let letter = app.store.dead_letters.dead_letter(id).await?;
    let own = letter.filter(|letter| tenant.as_ref().is_none_or(|tenant| *tenant == letter.queue.owner().0));
    own.ok_or_else(Problem::not_found)
}

/// Show a message that was given up
#[utoipa::path(get, path = "/v1/dead-letters/{id}", tag = "queues", security(("token" = ["queues:read"])), params(Whose, ("id" = String, Path, description = "The dead letter's id")), responses((status = OK, body = WholeDead)))]
pub async fn show_dead_letter(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Parameters(whose): Parameters<Whose>,
) -> Result<Json<WholeDead>, Problem> {
    let tenant = caller.tenant_or_all(whose.tenant.as_deref())?;
    let letter = find(&app, &tenant, &id).await?;
    Ok(Json(WholeDead {
        dead: shown(&letter),
        traceback: letter.cause.traceback.clone(),
        message: String::from_utf8_lossy(&letter.message).into_owned(),
    }))
}

/// Send a message that was given up again
///
/// To its queue, as if its task had never been tried.
#[utoipa::path(post, path = "/v1/dead-letters/{id}/replay", tag = "queues", security(("token" = ["queues:write"])), params(Whose, ("id" = String, Path, description = "The dead letter's id")), responses((status = NO_CONTENT)))]
pub async fn replay_dead_letter(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Parameters(whose): Parameters<Whose>,
) -> Result<StatusCode, Problem> {
    let tenant = caller.tenant_or_all(whose.tenant.as_deref())?;
    let letter = find(&app, &tenant, &id).await?;
    note(&app, &caller, "dead-letter.replay", &letter).await?;
    let replayed = app.client.replay(&id).await?;
    replayed.then_some(StatusCode::NO_CONTENT).ok_or_else(Problem::not_found)
}

/// Drop a message that was given up
#[utoipa::path(delete, path = "/v1/dead-letters/{id}", tag = "queues", security(("token" = ["queues:write"])), params(Whose, ("id" = String, Path, description = "The dead letter's id")), responses((status = NO_CONTENT)))]
pub async fn drop_dead_letter(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Parameters(whose): Parameters<Whose>,
) -> Result<StatusCode, Problem> {
    let tenant = caller.tenant_or_all(whose.tenant.as_deref())?;
    let letter = find(&app, &tenant, &id).await?;
    note(&app, &caller, "dead-letter.drop", &letter).await?;
    app.store.dead_letters.drop_dead_letters(&[id]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Noted before it is done: what is gone cannot tell any more.
async fn note(app: &App, caller: &Caller, action: &str, letter: &DeadLetter) -> Result<(), Problem> {
    let detail = letter.cause.task.as_ref().map(|task| task.to_string());
    let (tenant, _) = letter.queue.owner();
    Ok(app.store.records.note(&entry(caller, action, &tenant, &letter.id, detail)).await?)
}
