//! Remote control (celery-protocol.md, 8): what this worker is asked and told over the bus, by Python's `app.control`,
//! `celery inspect` and `celery control`, Flower, and `host` itself.
//!
//! - `arguments`: what a request brings, checked. `raised`: what goes wrong, as Python would raise it.
//! - `inspect`: questions. `info`: how a task is described. `conf`: the settings. `commands`: what changes something.
//!   `revoke`: keeping tasks from running, and stopping them.
//! - `mingle`: hearing from the other workers at the start what they know.
//!
//! It runs beside the guests, not among them, so that it answers at once while every slot is busy. A request can come from
//! anyone who can reach the broker: whatever it is, the worst is an error as the reply.

use std::{panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use self::{arguments::Arguments, raised::Raised};
use super::{Outage, Worker};
use crate::{
    protocol::{
        control::{Reply, Request},
        message::MessageLimits,
    },
    store::{Heard, Listener, Topic},
};

mod arguments;
mod commands;
mod conf;
mod info;
mod inspect;
mod mingle;
mod raised;
mod revoke;

/// The most requests that are worked on at once; the others wait, and when too many wait they are dropped.
const MOST_AT_ONCE: usize = 32;

/// How large a request may be: a list of fifty thousand ids, which is all that Celery remembers, fits.
const LIMITS: MessageLimits = MessageLimits { bytes: 4 << 20, depth: 64 };

/// The longest text of a stranger in the log.
const LONGEST_SHOWN: usize = 100;

/// Answers requests, for ever. `ready` is told once it listens and knows what the other workers know.
pub(super) async fn serve(worker: Arc<Worker>, ready: oneshot::Sender<()>) {
    let mut listener = listen(&worker).await;
    bind(&worker).await;
    let mingling = worker.clone();
    tokio::spawn(async move {
        mingle::sync(&mingling).await;
        // Whoever waits for it may have given up.
        let _ = ready.send(());
    });
    let turns = Arc::new(Semaphore::new(MOST_AT_ONCE));
    loop {
        match listener.next().await {
            Heard::Message(message) => {
                let turn = turns.clone().acquire_owned().await.expect("the semaphore is never closed");
                tokio::spawn(answer(worker.clone(), message, turn));
            }
            Heard::Gap => {
                bind(&worker).await;
                worker.events.online(&worker);
            }
        }
    }
}

async fn listen(worker: &Worker) -> Listener {
    let mut outage = Outage::new("listen to remote control");
    loop {
        match worker.store.bus.listen(Topic::Requests).await {
            Ok(listener) => {
                outage.over();
                return listener;
            }
            Err(error) => outage.wait(&error, &worker.shutdown).await,
        }
    }
}

async fn bind(worker: &Worker) {
    if let Err(error) = worker.store.bus.bind(&worker.options.node).await {
        tracing::debug!(%error, "this worker is not on the list of those that listen");
    }
}

async fn answer(worker: Arc<Worker>, message: Bytes, _turn: OwnedSemaphorePermit) {
    let request = match Request::decode(&message, &LIMITS) {
        Ok(request) => request,
        Err(error) => return tracing::warn!("passing over a request of remote control: {error}"),
    };
    let (node, clock) = (&worker.options.node, worker.events.clock());
    clock.hear(request.clock);
    if !request.audience.includes(node) {
        return;
    }
    tracing::debug!("asked for {}", shown(&request.method));
    let answered = AssertUnwindSafe(dispatch(&worker, &request)).catch_unwind().await;
    let reply = match answered {
        Ok(Ok(Some(reply))) => reply,
        Ok(Ok(None)) => return,
        Ok(Err(raised)) => {
            tracing::debug!("{} failed: {}", shown(&request.method), raised.repr());
            json!({"error": raised.repr()})
        }
        Err(_) => {
            tracing::error!("a bug in host: {} failed inside", shown(&request.method));
            json!({"error": Raised::new("SystemError", "the worker failed inside; this is a bug in host").repr()})
        }
    };
    let Some(to) = &request.reply_to else { return };
    let reply = Reply::of(node, &to.ticket, clock.tick(), reply);
    let message = reply.encode(&to.inbox, &uuid::Uuid::new_v4().to_string());
    if let Err(error) = worker.store.bus.reply(&to.inbox, &message).await {
        tracing::warn!(%error, "a reply to {} was not sent", shown(&request.method));
    }
}

/// Does what is asked. `None` is no reply at all.
async fn dispatch(worker: &Arc<Worker>, request: &Request) -> Result<Option<Value>, Raised> {
    let arguments = Arguments::new(&request.method, &request.arguments)?;
    Ok(Some(match request.method.as_str() {
        "ping" => ok("pong"),
        "stats" => inspect::stats(worker),
        "active" | "dump_active" => inspect::active(worker, &arguments)?,
        "reserved" | "dump_reserved" => inspect::reserved(),
        "scheduled" | "dump_schedule" => inspect::scheduled(worker).await?,
        "revoked" | "dump_revoked" => inspect::revoked(worker),
        "registered" | "dump_tasks" => inspect::registered(worker, &arguments)?,
        "active_queues" => inspect::active_queues(worker),
        "query_task" => inspect::query_task(worker, &arguments).await?,
        "clock" => json!({"clock": worker.events.clock().now()}),
        "conf" | "dump_conf" => conf::conf(worker, &arguments)?,
        "report" => ok(conf::report(worker)),
        "memsample" => inspect::memsample(),
        "memdump" | "objgraph" => Value::Null,
        "hello" => mingle::hello(worker, &arguments).await?,

        "revoke" => revoke::revoke(worker, &arguments).await?,
        "terminate" => revoke::terminate(worker, &arguments).await?,
        "revoke_by_stamped_headers" => revoke::revoke_by_stamped_headers(worker, &arguments).await?,
        "rate_limit" => commands::rate_limit(worker, &arguments)?,
        "time_limit" => commands::time_limit(worker, &arguments)?,
        "add_consumer" => commands::add_consumer(worker, &arguments)?,
        "cancel_consumer" => commands::cancel_consumer(worker, &arguments)?,
        "pool_grow" => commands::pool_grow(worker, &arguments)?,
        "pool_shrink" => commands::pool_shrink(worker, &arguments)?,
        "autoscale" => commands::autoscale(worker, &arguments)?,
        "pool_restart" => return Err(Raised::new("ValueError", "Pool restarts not enabled")),
        "enable_events" => commands::switch_events(worker, true),
        "disable_events" => commands::switch_events(worker, false),
        "heartbeat" => {
            worker.events.beat_now(worker);
            Value::Null
        }
        // Nobody is elected among workers that look after each other through the store.
        "election" => Value::Null,
        "shutdown" => {
            tracing::warn!("{}", shown(arguments.text_or("msg", "Got shutdown from remote")?));
            worker.shutdown.warm();
            return Ok(None);
        }
        unknown => return Err(Raised::new("KeyError", unknown)),
    }))
}

fn ok(what: impl Into<Value>) -> Value {
    json!({"ok": what.into()})
}

fn error(what: impl Into<Value>) -> Value {
    json!({"error": what.into()})
}

/// Text of a stranger as the log may show it.
fn shown(text: &str) -> String {
    text.chars().take(LONGEST_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
