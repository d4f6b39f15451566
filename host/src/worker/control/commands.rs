//! What changes how this worker works (celery-protocol.md, 8.7). Revoking is in `revoke`.

use std::sync::Arc;

use serde_json::Value;

use super::{arguments::Arguments, error, ok, raised::Raised};
use crate::{
    task::{Limits, RateLimit},
    worker::{Worker, pool::PoolError},
};

/// Sets how often tasks of a type may be begun, until this worker ends, in place of what the plugin's manifest says.
pub(super) fn rate_limit(worker: &Worker, arguments: &Arguments<'_>) -> Result<Value, Raised> {
    arguments.require(&["task_name", "rate_limit"])?;
    let given = arguments.get("rate_limit");
    let (text, is_off) = match given {
        None => (String::new(), true),
        // To Python a text that says 0 is a limit.
        Some(Value::String(text)) => (text.clone(), text.is_empty()),
        Some(other) => (other.to_string(), other.as_f64() == Some(0.0)),
    };
    let limit = match RateLimit::parse(if is_off { "0" } else { &text }) {
        Ok(limit) => limit,
        Err(_) => match text.split_once('/') {
            Some((number, unit)) if number.trim().parse::<f64>().is_ok() => {
                return Err(Raised::new("KeyError", super::shown(unit)));
            }
            _ => {
                let number = super::shown(text.split('/').next().unwrap_or_default());
                let raised = Raised::value(format!("could not convert string to float: '{number}'"));
                return Ok(error(format!("Invalid rate limit string: {}", raised.repr())));
            }
        },
    };
    let Some(task) = arguments.task("task_name")?.filter(|task| worker.registry.find_owned(task).is_some())
    else {
        return Ok(error("unknown task"));
    };
    tracing::info!("new rate limit for tasks of type {task}: {}", super::shown(&text));
    worker.limits.set(task, limit);
    Ok(ok(if is_off { "rate limit disabled successfully" } else { "new rate limit set successfully" }))
}

/// Sets the limits of a task until this worker ends, in place of those in the plugin's manifest. The message and the worker
/// can still only ask for less.
pub(super) fn time_limit(worker: &Worker, arguments: &Arguments<'_>) -> Result<Value, Raised> {
    let (hard, soft) = (arguments.seconds("hard")?, arguments.seconds("soft")?);
    let Some(task) = arguments.task("task_name")?.filter(|task| worker.registry.find_owned(task).is_some())
    else {
        return Ok(error("unknown task"));
    };
    tracing::info!("new time limits for tasks of type {task}: soft={soft:?} hard={hard:?}");
    worker.time_limits.set(task, Limits { hard, soft });
    Ok(ok("time limits set successfully"))
}

pub(super) fn add_consumer(worker: &Worker, arguments: &Arguments<'_>) -> Result<Value, Raised> {
    arguments.require(&["queue"])?;
    let queue = arguments.queue("queue")?;
    let exchange = arguments.text_or("exchange", "")?;
    if !exchange.is_empty() && exchange != queue.as_str() {
        tracing::warn!(
            "queue {queue} is not bound to the exchange {}: here a queue has the exchange of its own name; \
            send to the queue",
            super::shown(exchange)
        );
    }
    worker.queues.add(&queue);
    tracing::info!("taking from {queue} too");
    Ok(ok(format!("add consumer {queue}")))
}

pub(super) fn cancel_consumer(worker: &Worker, arguments: &Arguments<'_>) -> Result<Value, Raised> {
    arguments.require(&["queue"])?;
    let queue = arguments.queue("queue")?;
    worker.queues.remove(&queue);
    tracing::info!("taking from {queue} no more");
    Ok(ok(format!("no longer consuming from {queue}")))
}

pub(super) fn pool_grow(worker: &Worker, arguments: &Arguments<'_>) -> Result<Value, Raised> {
    let count = arguments.count("n")?.unwrap_or(1);
    resize(worker, "grow", worker.autoscale.is_none().then(|| worker.pool.grow(count)))
}

pub(super) fn pool_shrink(worker: &Worker, arguments: &Arguments<'_>) -> Result<Value, Raised> {
    let count = arguments.count("n")?.unwrap_or(1);
    resize(worker, "shrink", worker.autoscale.is_none().then(|| worker.pool.shrink(count)))
}

fn resize(_worker: &Worker, what: &str, resized: Option<Result<usize, PoolError>>) -> Result<Value, Raised> {
    match resized {
        None => {
            Ok(error(format!("pool_{what} is not supported with autoscale. Adjust autoscale range instead.")))
        }
        Some(Ok(size)) => {
            tracing::info!("the pool has {size} slots from now on");
            Ok(ok(format!("pool will {what}")))
        }
        Some(Err(error)) => Err(Raised::value(error.to_string())),
    }
}

pub(super) fn autoscale(worker: &Worker, arguments: &Arguments<'_>) -> Result<Value, Raised> {
    let (max, min) = (arguments.count("max")?, arguments.count("min")?);
    let Some(autoscale) = &worker.autoscale else {
        return Err(Raised::value("Autoscale not enabled"));
    };
    let room = worker.pool.room();
    let bounds = autoscale.set(&worker.pool, max, min).ok_or_else(|| {
        Raised::value(format!("max must be at most {room}, the room of this worker, and min from 1 to max"))
    })?;
    Ok(ok(format!("autoscale now max={} min={}", bounds.max, bounds.min)))
}

pub(super) fn switch_events(worker: &Arc<Worker>, on: bool) -> Value {
    let state = if on { "enabled" } else { "disabled" };
    if worker.events.switch_tasks(on) {
        tracing::info!("task events {state} by remote");
        ok(format!("task events {state}"))
    } else {
        ok(format!("task events already {state}"))
    }
}
