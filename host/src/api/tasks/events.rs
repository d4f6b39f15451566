//! The states of a task as they come, as server-sent events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::Stream;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{Whose, status::TaskStatus};
use crate::{
    api::{
        App,
        access::Caller,
        input::Parameters,
        problem::{Problem, named},
    },
    protocol::result,
    task::{TaskId, Tenant},
};

/// How long a stream lasts at most. A browser asks again by itself.
const LONGEST: Duration = Duration::from_secs(600);

/// A comment is sent after this much silence, so that whoever is between knows that both ends live.
const SILENCE: Duration = Duration::from_secs(15);

/// Follow a task
///
/// An event `state` for each state that is stored for the task, with the same data as `GET /v1/tasks/{id}`, the present one first. The
/// stream ends with the task, after ten minutes at the latest; of states that follow each other at once only the last may come.
#[utoipa::path(
    get, path = "/v1/tasks/{id}/events", tag = "tasks", security(("token" = ["tasks:read"])),
    params(Whose, ("id" = String, Path, description = "The task's id")),
    responses((status = OK, body = String, content_type = "text/event-stream")),
)]
pub async fn events(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Parameters(whose): Parameters<Whose>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let tenant = caller.tenant(whose.tenant.as_deref())?;
    let id: TaskId = named("id", &id)?;
    let place = app.streams.clone().try_acquire_owned().map_err(|_| {
        let detail = "there are too many streams of events; try again, or ask for the task with `wait`";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", detail)
    })?;
    let deadline = Instant::now() + LONGEST;
    let following = Following { app, tenant, id, last: None, ended: false, deadline, _place: place };
    let events = futures_util::stream::unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((Ok(event), following))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(SILENCE)))
}

/// A stream that somebody reads. It looks for the next state only when the one before has gone, so nothing piles up.
struct Following {
    app: Arc<App>,
    tenant: Tenant,
    id: TaskId,
    /// The text that was stored when the last event was made.
    last: Option<String>,
    ended: bool,
    deadline: Instant,
    _place: OwnedSemaphorePermit,
}

impl Following {
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let text = match &self.last {
            // The first event comes at once, so that its reader knows where the task stands.
            None => self.app.store.backend.get(&self.tenant, &self.id).await.ok()?.unwrap_or_default(),
            Some(last) => {
                let is_new = |text: &str| text != last;
                tokio::select! {
                    text = self.app.store.backend.wait(&self.tenant, &self.id, &is_new) => text.ok()?,
                    () = tokio::time::sleep_until(self.deadline) => return None,
                    () = self.app.ending.cancelled() => return None,
                }
            }
        };
        let stored = result::decode(&text).ok();
        self.ended = stored.as_ref().is_some_and(|stored| stored.state.is_ready());
        let status = TaskStatus::of(&self.id, stored);
        self.last = Some(text);
        Event::default().event("state").json_data(status).ok()
    }
}
