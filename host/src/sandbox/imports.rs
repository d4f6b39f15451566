//! `host:tasks`, the interfaces that the host itself offers to guests. What they mean is written in `wit/`.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use wasmtime::component::{HasSelf, Linker};

use super::{convert, guest::Guest, refusals::Kind};
use crate::task::{Asked, LONGEST_DELAY, SharedJson};
use bindings::host::tasks::{context, delivery, progress, types, workflow};

/// The traits that wasmtime makes out of the WIT files.
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "imports",
        imports: { "host:tasks/progress.update": async },
    });
}

/// The states to which Celery gives a meaning; a guest that sets them would lie to its caller.
const RESERVED: &[&str] =
    &["PENDING", "RECEIVED", "STARTED", "SUCCESS", "FAILURE", "RETRY", "REVOKED", "REJECTED", "IGNORED"];

/// The longest name of a state, in bytes.
const LONGEST_STATE: usize = 100;

/// Links the interfaces.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    // What a run asks about itself is not counted: who computes for long is to ask often whether it should end.
    context::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    types::add_to_linker::<_, HasSelf<Guest>>(linker, Guest::called)?;
    delivery::add_to_linker::<_, HasSelf<Guest>>(linker, Guest::called)?;
    progress::add_to_linker::<_, HasSelf<Guest>>(linker, Guest::called)?;
    workflow::add_to_linker::<_, HasSelf<Guest>>(linker, Guest::called)
}

impl types::Host for Guest {}

impl context::Host for Guest {
    fn current(&mut self) -> context::Task {
        let request = &self.request;
        context::Task {
            id: request.id.to_string(),
            name: request.task.to_string(),
            retries: request.retries,
            deadline: milliseconds_since_1970(self.deadlines.hard),
            root_id: request.root_id.to_string(),
            parent_id: request.parent_id.as_ref().map(ToString::to_string),
            group_id: request.group_id.as_ref().map(ToString::to_string),
        }
    }

    fn headers(&mut self) -> String {
        self.request.headers.get().to_owned()
    }

    fn properties(&mut self) -> String {
        self.request.properties.get().to_owned()
    }

    fn cancelled(&mut self) -> bool {
        self.shown.listen();
        self.deadlines.soft.is_some_and(|soft| soft <= Instant::now())
    }
}

impl delivery::Host for Guest {
    fn retry(&mut self, delay: Option<u64>, max_retries: Option<u32>) {
        let delay = delay.map(|milliseconds| Duration::from_millis(milliseconds).min(LONGEST_DELAY));
        self.asked = Some(Asked::Retry { delay, max: max_retries, explained: true });
    }

    fn ignore(&mut self) {
        self.asked = Some(Asked::Ignore);
    }

    fn reject(&mut self, requeue: bool) {
        self.asked = Some(Asked::Reject { requeue });
    }
}

impl workflow::Host for Guest {
    fn send(&mut self, signature: String) -> Result<String, String> {
        let signature = self.granted(&signature)?;
        self.outbox.send(signature)
    }

    fn replace(&mut self, signature: String) -> Result<(), String> {
        let signature = self.granted(&signature)?;
        self.outbox.replace(signature)
    }
}

impl Guest {
    /// The signature, if all its tasks may be sent.
    fn granted(&mut self, text: &str) -> Result<SharedJson, String> {
        let signature = self.signature(text)?;
        if self.grants().allows_all_submits() {
            return Ok(signature);
        }
        let tasks = self.outbox.tasks(&signature)?;
        match tasks.into_iter().find(|task| !self.grants().allows_submit(task)) {
            None => Ok(signature),
            Some(task) => {
                let what = format!("task {task} (not in [grants] submit)");
                self.refuser().refuse(Kind::Submit, &what);
                Err(format!("refused: {what}"))
            }
        }
    }

    fn signature(&self, text: &str) -> Result<SharedJson, String> {
        let json = convert::json_text(text, self.largest_value).map_err(|exception| exception.message())?;
        Ok(json.into())
    }
}

impl progress::Host for Guest {
    async fn update(&mut self, state: String, meta: String) -> Result<(), String> {
        check_state(&state)?;
        let meta = convert::json_text(&meta, self.largest_value).map_err(|exception| exception.message())?;
        let meta = self.redactor().and_then(|redactor| redactor.json(&meta)).unwrap_or(meta);
        (self.progress)(state, meta).await
    }
}

fn check_state(state: &str) -> Result<(), String> {
    if state.is_empty() || state.len() > LONGEST_STATE {
        return Err(format!("a state has 1 to {LONGEST_STATE} bytes, not {}", state.len()));
    }
    if state.chars().any(char::is_control) {
        return Err("a state has no control characters in it".to_owned());
    }
    if RESERVED.contains(&state) {
        return Err(format!("state {state} is Celery's own; choose another, such as PROGRESS"));
    }
    Ok(())
}

/// The time of day at which `instant` is.
fn milliseconds_since_1970(instant: Instant) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let then = now + instant.saturating_duration_since(Instant::now());
    u64::try_from(then.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_may_set_states_of_its_own_only() {
        for good in ["PROGRESS", "halfway there", &"x".repeat(100)] {
            assert_eq!(check_state(good), Ok(()));
        }
        for bad in ["", "SUCCESS", "STARTED", "a\nb", &"x".repeat(101)] {
            assert!(check_state(bad).is_err(), "{bad:?}");
        }
    }
}
