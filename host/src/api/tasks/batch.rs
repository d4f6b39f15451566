//! Sending many tasks at once.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Whose, once,
    submit::{Call, Sent},
};
use crate::api::{
    App,
    access::Caller,
    input::{JsonBody, Parameters},
    problem::Problem,
};

/// The most calls in a batch, and the most bytes of it.
const MOST: usize = 1_000;
const LARGEST: usize = 4 << 20;

/// Several calls
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The calls
    #[schema(min_items = 1, max_items = 1000)]
    tasks: Vec<Call>,
}

/// What became of each call of a batch
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchAnswer {
    /// In the order of the calls
    tasks: Vec<Item>,
}

/// What became of one call
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Item {
    /// It was sent
    Sent(Sent),
    /// It was not
    Problem(Problem),
}

/// Send many tasks
///
/// Each is sent or refused by itself, and told of in its place; those that are sent are sent in one step. `Idempotency-Key` holds for all of
/// them together.
#[utoipa::path(
    post, path = "/v1/tasks/batch", tag = "tasks", security(("token" = ["tasks:write"])),
    params(Whose, ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = Batch,
    responses((status = OK, body = BatchAnswer, headers(
        ("Idempotency-Replayed" = Option<String>, description = "`true`: it was sent before"),
    ))),
)]
pub async fn submit_batch(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(whose): Parameters<Whose>,
    headers: HeaderMap,
    JsonBody { value: batch, bytes }: JsonBody<Batch, LARGEST>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant(whose.tenant.as_deref())?;
    let key = once::key(&headers)?;
    if !(1..=MOST).contains(&batch.tasks.len()) {
        return Err(Problem::invalid("tasks", format!("a batch has 1 to {MOST} calls")));
    }
    let (mut submissions, mut items) = (Vec::new(), Vec::new());
    for call in batch.tasks {
        items.push(match app.submission(&tenant, call) {
            Ok((submission, sent)) => {
                submissions.push(submission);
                Item::Sent(sent)
            }
            Err(problem) if problem.status < StatusCode::INTERNAL_SERVER_ERROR.as_u16() => {
                Item::Problem(problem)
            }
            Err(problem) => return Err(problem),
        });
    }
    app.quotas.admit(&tenant, submissions.len() as u64).await?;
    let answer = BatchAnswer { tasks: items };
    let Some(key) = key else {
        app.client.send_all(&submissions).await?;
        return Ok(Json(answer).into_response());
    };
    let text = serde_json::to_string(&answer).expect("it is made of texts");
    Ok(match once::send(&app, &tenant, key, &bytes, &submissions, &text).await? {
        None => Json(answer).into_response(),
        Some(earlier) => once::replayed(earlier),
    })
}
