//! Sending one task.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Whose, once};
use crate::{
    api::{
        App,
        access::Caller,
        input::{JsonBody, Parameters},
        problem::{Problem, named},
    },
    client,
    protocol::message::{self, MessageLimits, Submission},
    task::{Limits, QueueName, TaskId, TaskName, Tenant},
};

/// The most bytes of a submission.
pub const LARGEST: usize = 1 << 20;

/// The furthest that a task can be put off, and the longest that it can be let wait: 31 days.
const FURTHEST: f64 = 31.0 * 86_400.0;

/// The longest time limit that can be asked for; the worker's own is shorter as a rule, and holds.
const LONGEST_RUN: f64 = 365.0 * 86_400.0;

/// A call of a task
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The task's name: `app.divide`
    #[schema(min_length = 1, max_length = 255, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    pub task: String,
    /// Positional arguments
    #[schema(value_type = Option<Vec<serde_json::Value>>)]
    pub args: Option<Box<RawValue>>,
    /// Keyword arguments
    #[schema(value_type = Option<std::collections::HashMap<String, serde_json::Value>>)]
    pub kwargs: Option<Box<RawValue>>,
    /// The queue; if none is named it is that of the plugin's manifest, else `celery`
    #[schema(min_length = 1, max_length = 180, pattern = "^[^/\\x00-\\x1f\\x7f-\\x9f]+$")]
    pub queue: Option<String>,
    /// 0 to 9; 0 is taken first
    #[schema(minimum = 0, maximum = 9)]
    pub priority: Option<u8>,
    /// Not before so many seconds from now, 31 days at most
    #[schema(minimum = 0, maximum = 2_678_400)]
    pub countdown: Option<f64>,
    /// Not before this time; instead of `countdown`
    #[schema(value_type = Option<String>, format = DateTime)]
    pub eta: Option<String>,
    /// Not later than so many seconds from now, 31 days at most
    #[schema(minimum = 0, maximum = 2_678_400)]
    pub expires: Option<f64>,
    /// It is stopped after so many seconds; the worker's own limit holds as well
    #[schema(exclusive_minimum = 0, maximum = 31_536_000)]
    pub time_limit: Option<f64>,
    /// It is asked to end after so many seconds
    #[schema(exclusive_minimum = 0, maximum = 31_536_000)]
    pub soft_time_limit: Option<f64>,
}

/// A call that was sent
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Sent {
    /// The task's id, by which its result is asked for
    #[schema(value_type = String)]
    pub id: TaskId,
    /// Whether its arguments were checked: its signature is known here. Others go to whoever runs such tasks, a Python worker perhaps;
    /// if nobody does, the call waits for a plugin that offers it, and fails at last
    pub checked: bool,
}

/// Send a task
///
/// With a header `Idempotency-Key` the task is sent once however often this is asked within a day: the same answer is given again. Asked
/// with the same key for something else, it is refused.
#[utoipa::path(
    post, path = "/v1/tasks", tag = "tasks", security(("token" = ["tasks:write"])),
    params(Whose, ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = Call,
    responses(
        (status = ACCEPTED, body = Sent, headers(
            ("Location" = String, description = "Where its result is"),
            ("Idempotency-Replayed" = Option<String>, description = "`true`: it was sent before"),
        )),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json", description = "An argument or option cannot be; `parameter` names it."),
        (status = TOO_MANY_REQUESTS, body = Problem, content_type = "application/problem+json", description = "A quota of the tenant is used up."),
    ),
)]
pub async fn submit(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(whose): Parameters<Whose>,
    headers: HeaderMap,
    JsonBody { value: call, bytes }: JsonBody<Call, LARGEST>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant(whose.tenant.as_deref())?;
    let key = once::key(&headers)?;
    let (submission, sent) = app.submission(&tenant, call)?;
    app.quotas.admit(&tenant, 1).await?;
    let location = format!("/v1/tasks/{}", sent.id);
    let Some(key) = key else {
        app.client.send(&submission).await?;
        return Ok(answer(Json(sent).into_response(), &location));
    };
    let text = serde_json::to_string(&sent).expect("it is made of texts");
    Ok(match once::send(&app, &tenant, key, &bytes, &[submission], &text).await? {
        None => answer(Json(sent).into_response(), &location),
        Some(earlier) => {
            let id = serde_json::from_str::<serde_json::Value>(&earlier).ok();
            let id = id.as_ref().and_then(|earlier| earlier["id"].as_str()).unwrap_or_default();
            let location = format!("/v1/tasks/{id}");
            answer(once::replayed(earlier), &location)
        }
    })
}

fn answer(mut response: Response, location: &str) -> Response {
    *response.status_mut() = StatusCode::ACCEPTED;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Says that an answer was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

impl App {
    /// What is to be sent for this call, and what is answered. Everything that a worker would refuse is refused here.
    pub fn submission(&self, tenant: &Tenant, call: Call) -> Result<(Submission, Sent), Problem> {
        let now = Timestamp::now();
        let task: TaskName = named("task", &call.task)?;
        let entry = self.tasks.as_ref().and_then(|tasks| tasks.find(tenant, &task));
        let preferred = entry.as_ref().and_then(|entry| entry.options().queue.as_ref());
        let queue = queue(tenant, call.queue.as_deref().or(preferred.map(QueueName::as_str)))?;
        let args = shaped("args", call.args, '[', "[]")?;
        let kwargs = shaped("kwargs", call.kwargs, '{', "{}")?;
        let priority = call.priority.unwrap_or(0);
        if priority > 9 {
            return Err(Problem::invalid("priority", "a priority is 0 to 9"));
        }
        let eta = match (call.countdown, call.eta) {
            (Some(_), Some(_)) => return Err(Problem::invalid("eta", "name `countdown` or `eta`, not both")),
            (Some(countdown), None) => Some(now + seconds("countdown", countdown, 0.0, FURTHEST)?),
            (None, Some(eta)) => Some(time(&eta, now)?),
            (None, None) => None,
        };
        let expires = call.expires.map(|after| seconds("expires", after, 0.0, FURTHEST)).transpose()?;
        let limit = |parameter, value: Option<f64>| {
            value.map(|value| seconds(parameter, value, f64::MIN_POSITIVE, LONGEST_RUN)).transpose()
        };
        let limits = Limits {
            hard: limit("time_limit", call.time_limit)?,
            soft: limit("soft_time_limit", call.soft_time_limit)?,
        };
        let checked = match &entry {
            Some(entry) => {
                entry.plugin.program.check(entry.function, &args, &kwargs).map_err(|bad| {
                    let text = bad.exception.message();
                    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-argument", text);
                    match &bad.parameter {
                        Some(parameter) => problem.about(parameter),
                        None => problem,
                    }
                })?;
                true
            }
            None if self.options.strict => {
                let detail = format!("no plugin offers a task of the name {task}");
                let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown-task", detail);
                return Err(problem.about("task"));
            }
            None => false,
        };
        let submission = Submission {
            priority,
            eta,
            expires: expires.map(|after| now + after),
            limits,
            ..Submission::new(TaskId::random(), task, args, kwargs, queue)
        };
        // It is read as a worker will read it, so that nothing is sent that no worker can read.
        let limits = MessageLimits { bytes: 2 * LARGEST, ..MessageLimits::default() };
        message::decode(&client::publication(&submission).message, tenant.clone(), &limits).map_err(
            |refusal| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unreadable-call", refusal.to_string()),
        )?;
        let sent = Sent { id: submission.id.clone(), checked };
        Ok((submission, sent))
    }
}

/// The queue that the tenant calls so. A `/` parts a tenant's name from its queue's, so no queue is named with one here.
pub fn queue(tenant: &Tenant, name: Option<&str>) -> Result<QueueName, Problem> {
    let name: QueueName = named("queue", name.unwrap_or("celery"))?;
    if name.as_str().contains('/') {
        return Err(Problem::invalid("queue", "there is no `/` in the name of a queue"));
    }
    tenant.queue(&name).map_err(|error| Problem::invalid("queue", error.to_string()))
}

/// JSON text that begins with `first`.
fn shaped(
    parameter: &str,
    given: Option<Box<RawValue>>,
    first: char,
    empty: &str,
) -> Result<Box<RawValue>, Problem> {
    let given = match given {
        Some(given) if given.get() != "null" => given,
        _ => RawValue::from_string(empty.to_owned()).expect("it is an empty list or object"),
    };
    let what = if first == '[' { "a list" } else { "an object" };
    let fits = given.get().starts_with(first);
    fits.then_some(given).ok_or_else(|| Problem::invalid(parameter, format!("{parameter} must be {what}")))
}

fn seconds(parameter: &str, value: f64, least: f64, most: f64) -> Result<Duration, Problem> {
    let fits = (least..=most).contains(&value);
    let detail = || format!("{parameter} is a number of seconds, at most {most}");
    fits.then(|| Duration::from_secs_f64(value)).ok_or_else(|| Problem::invalid(parameter, detail()))
}

fn time(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let wrong = |detail: String| Problem::invalid("eta", detail);
    let time: Timestamp = text
        .parse()
        .map_err(|_| wrong("eta is a time with its offset, such as 2030-01-31T12:00:00Z".to_owned()))?;
    let within = time <= now + Duration::from_secs_f64(FURTHEST);
    within.then_some(time).ok_or_else(|| wrong("eta is at most 31 days from now".to_owned()))
}
