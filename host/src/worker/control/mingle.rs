//! What workers tell each other when one of them starts (celery-protocol.md, 9): which tasks are revoked, and what time it is.
//! Ours share that through the store; Python's keep it in memory, and tell it only so.

use std::time::Duration;

use serde_json::{Value, json};

use super::{arguments::Arguments, raised::Raised, revoke};
use crate::{
    client::{Control, Patience, Question},
    worker::{Worker, revoked},
};

/// How long a worker that starts waits for the others. Celery's own.
const LONGEST: Duration = Duration::from_secs(1);

/// Asks the other workers, and notes what they know. That none answers, or one not in time, is no reason not to start.
pub(super) async fn sync(worker: &Worker) {
    if let Err(error) = revoked::catch_up(worker, u64::MAX).await {
        tracing::debug!(%error, "does not know yet what is revoked");
    }
    let control = Control::with_clock(worker.store.clone(), worker.events.clock().clone());
    let node = &worker.options.node;
    let question =
        Question { arguments: json!({"from_node": node, "revoked": []}), ..Question::new("hello") };
    let patience = Patience { time: LONGEST, all_who_hear: true, ..Patience::default() };
    match control.ask(question, patience).await {
        Ok(replies) => {
            for (neighbour, reply) in replies {
                if neighbour != *node && reply.is_object() {
                    tracing::info!("synchronized with {}", super::shown(&neighbour));
                    note(worker, &reply["revoked"]).await;
                }
            }
        }
        Err(error) => tracing::warn!(%error, "does not know what other workers have revoked"),
    }
}

/// What another worker that starts wants to know.
pub(super) async fn hello(worker: &Worker, arguments: &Arguments<'_>) -> Result<Value, Raised> {
    arguments.require(&["from_node"])?;
    if arguments.text_or("from_node", "")? == worker.options.node {
        return Ok(Value::Null);
    }
    if let Some(theirs) = arguments.get("revoked") {
        note(worker, theirs).await;
    }
    Ok(json!({"revoked": super::inspect::revoked(worker), "clock": worker.events.clock().tick()}))
}

/// Takes note of the ids that another worker knows as revoked: a list, as 5.7 tells it, or with the times since when by 5.4,
/// which nobody else's clock can read.
async fn note(worker: &Worker, revoked: &Value) {
    let noted = match revoked {
        Value::Object(by_id) => revoke::learn(worker, by_id.keys().map(String::as_str)).await,
        Value::Array(ids) => revoke::learn(worker, ids.iter().filter_map(Value::as_str)).await,
        _ => Ok(()),
    };
    if let Err(raised) = noted {
        tracing::warn!("what another worker has revoked is known only here: {}", raised.repr());
    }
}
