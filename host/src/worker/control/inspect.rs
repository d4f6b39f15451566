//! Questions (celery-protocol.md, 8.3): they change nothing.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{arguments::Arguments, conf, info::Describing, raised::Raised};
use crate::{
    canvas,
    plugin::Entry,
    protocol::{message, time},
    sandbox::RefusedKind,
    task::{OwnedTask, QueueName, Request, Tenant, Totals},
    worker::{Worker, machine},
};

/// The most delayed messages that are told.
const MOST_SCHEDULED: usize = 1_000;

/// The most waiting messages among which they are looked for.
const MOST_PEEKED: usize = 100;

/// The most ids of revoked tasks that are told. Celery remembers no more.
const MOST_REVOKED: usize = 50_000;

/// What is told of a task unless something else is asked for. Celery's own.
const ITEMS: [&str; 3] = ["exchange", "routing_key", "rate_limit"];

pub(super) fn stats(worker: &Worker) -> Value {
    let pool = &worker.pool;
    let options = &worker.options;
    let mut stats = json!({
        "total": worker.tally.by_task(),
        "pid": std::process::id(),
        "clock": worker.events.clock().now().to_string(),
        "uptime": worker.tally.uptime().as_secs(),
        "pool": {
            "implementation": "host.worker:Pool",
            "max-concurrency": pool.size(),
            "processes": [std::process::id()],
            "max-tasks-per-child": "N/A",
            "put-guarded-by-semaphore": false,
            "timeouts": [options.soft_time_limit.map_or(0.0, |time| time.as_secs_f64()), options.time_limit.as_secs_f64()],
            "writes": "N/A",
        },
        "broker": conf::broker(worker),
        "prefetch_count": pool.size(),
        "rusage": machine::usage(),
        "host": totals(&worker.tally.totals(), &worker.accesses.refusals().counts()),
    });
    if let Some(autoscale) = &worker.autoscale {
        let (bounds, demand) = autoscale.now();
        stats["autoscaler"] =
            json!({"max": bounds.max, "min": bounds.min, "current": pool.size(), "qty": demand});
    }
    stats
}

/// What all runs took, in seconds and bytes, how tasks ended, and how often plugins were refused what they were not granted.
fn totals(totals: &Totals, refusals: &[(Tenant, RefusedKind, u64)]) -> Value {
    let mut refused = Map::new();
    for (tenant, kind, count) in refusals {
        let of_tenant = refused.entry(tenant.name().unwrap_or_default()).or_insert_with(|| json!({}));
        of_tenant[kind.name()] = (*count).into();
    }
    json!({
        "runs": totals.runs,
        "runtime": totals.wall.as_secs_f64(),
        "cputime": totals.cpu.as_secs_f64(),
        "waited": totals.waited.as_secs_f64(),
        "memory": totals.peak_memory,
        "succeeded": totals.succeeded,
        "failed": totals.failed,
        "retried": totals.retried,
        "revoked": totals.revoked,
        "refused": refused,
    })
}

pub(super) fn active(worker: &Worker, arguments: &Arguments<'_>) -> Result<Value, Raised> {
    let mut describing = Describing::new(worker, arguments.flag("safe")?);
    let running = worker.running.all();
    Ok(running.iter().map(|(request, since)| describing.info(request, Some(*since))).collect())
}

/// What was taken and waits for a slot: nothing, for no more is taken than there are free slots.
pub(super) fn reserved() -> Value {
    json!([])
}

pub(super) async fn scheduled(worker: &Worker) -> Result<Value, Raised> {
    let mut describing = Describing::new(worker, false);
    let told = delayed(worker).await?.into_iter().map(|(due, request)| {
        json!({"eta": time::write(due), "priority": 6, "request": describing.info(&request, None)})
    });
    Ok(told.collect())
}

/// The messages that wait for their time, the next first: those that are delayed in the store, and those that no worker has
/// had a free slot for to see that they are.
async fn delayed(worker: &Worker) -> Result<Vec<(Timestamp, Request)>, Raised> {
    let (queues, broker) = (worker.queues.now(), &worker.store.broker);
    let read = |queue: &QueueName, message: &[u8]| {
        message::decode(message, queue.owner().0, &worker.options.messages).ok()
    };
    let delayed = broker.scheduled(&queues, MOST_SCHEDULED).await?.into_iter().filter_map(|scheduled| {
        let request = read(&scheduled.queue, &scheduled.message)?;
        // The message's own eta; one that is put off for another reason has none.
        Some((request.eta.unwrap_or(scheduled.due), request))
    });
    let now = worker.clock.now();
    let waiting = broker.peek(&queues, MOST_PEEKED).await?.into_iter().filter_map(|(queue, message)| {
        let request = read(&queue, &message)?;
        Some((request.eta.filter(|eta| *eta > now)?, request))
    });
    let mut all: Vec<_> = delayed.chain(waiting).collect();
    all.sort_by_key(|(due, _)| *due);
    Ok(all)
}

pub(super) fn revoked(worker: &Worker) -> Value {
    worker.revoked.ids(MOST_REVOKED).into_iter().map(Value::from).collect()
}

pub(super) fn registered(worker: &Worker, arguments: &Arguments<'_>) -> Result<Value, Raised> {
    let asked = arguments.texts("taskinfoitems")?;
    let items = if asked.is_empty() { &ITEMS[..] } else { &asked };
    let mut told: Vec<String> = worker
        .registry
        .tasks()
        .iter()
        .map(|(name, entry)| {
            let items = items
                .iter()
                .filter_map(|item| Some(format!("{item}={}", attribute(worker, name, entry, item)?)));
            match items.collect::<Vec<_>>() {
                items if items.is_empty() => name.to_string(),
                items => format!("{name} [{}]", items.join(" ")),
            }
        })
        .collect();
    if arguments.flag("builtins")? {
        told.extend(canvas::BUILTINS.iter().map(|&name| name.to_owned()));
        told.sort();
    }
    Ok(told.into())
}

/// An attribute of a task as Python prints it; `None` if it has none of this name, or nothing is set.
fn attribute(worker: &Worker, name: &OwnedTask, entry: &Entry, item: &str) -> Option<String> {
    let options = entry.options();
    let limits = worker.time_limits.of(name).unwrap_or(options.limits);
    let flag = |on: bool| Some(if on { "True" } else { "False" }.to_owned());
    let seconds = |time: std::time::Duration| Some(time.as_secs_f64().to_string());
    match item {
        "name" => Some(name.to_string()),
        "signature" => {
            let function = &entry.plugin.program.functions()[entry.function];
            let signature = function.signature().to_string();
            Some(format!("{name}{}", signature.strip_prefix(function.name()).unwrap_or(&signature)))
        }
        "plugin" => Some(entry.plugin.file.clone()),
        "digest" => Some(entry.plugin.program.digest().to_string()),
        "rate_limit" => worker.limits.of(name, &worker.registry)?.map(|limit| limit.to_string()),
        "time_limit" => limits.hard.and_then(seconds),
        "soft_time_limit" => limits.soft.and_then(seconds),
        "acks_late" => flag(options.acks_late),
        "reject_on_worker_lost" => flag(options.reject_on_worker_lost),
        "ignore_result" => flag(options.ignore_result),
        "track_started" => flag(options.track_started),
        "max_retries" => options.retry.max_retries.map(|most| most.to_string()),
        "default_retry_delay" => seconds(options.retry.default_retry_delay),
        _ => None,
    }
}

/// The queues (celery-protocol.md, 8.6). Each is bound to the direct exchange of its own name.
pub(super) fn active_queues(worker: &Worker) -> Value {
    let queue = |name: &str| {
        json!({
            "name": name,
            "exchange": {
                "name": name,
                "type": "direct",
                "arguments": null,
                "durable": true,
                "passive": false,
                "auto_delete": false,
                "delivery_mode": null,
                "no_declare": false,
            },
            "routing_key": name,
            "queue_arguments": null,
            "binding_arguments": null,
            "consumer_arguments": null,
            "durable": true,
            "exclusive": false,
            "auto_delete": false,
            "no_ack": false,
            "alias": null,
            "bindings": [],
            "no_declare": null,
            "expires": null,
            "message_ttl": null,
            "max_length": null,
            "max_length_bytes": null,
            "max_priority": null,
        })
    };
    worker.queues.now().iter().map(|name| queue(name.as_str())).collect()
}

/// What is known here of the tasks with these ids: those that run, and those that wait for their time.
pub(super) async fn query_task(worker: &Worker, arguments: &Arguments<'_>) -> Result<Value, Raised> {
    arguments.require(&["ids"])?;
    let ids: std::collections::HashSet<_> = arguments.texts("ids")?.into_iter().collect();
    let mut describing = Describing::new(worker, false);
    let mut known = Map::new();
    for (request, since) in worker.running.all() {
        if ids.contains(&*request.shown_id()) {
            known.insert(
                request.shown_id().into_owned(),
                json!(["active", describing.info(&request, Some(since))]),
            );
        }
    }
    if ids.iter().any(|id| !known.contains_key(*id)) {
        for (_, request) in delayed(worker).await? {
            if ids.contains(&*request.shown_id()) {
                known.insert(
                    request.shown_id().into_owned(),
                    json!(["scheduled", describing.info(&request, None)]),
                );
            }
        }
    }
    Ok(known.into())
}

/// The memory of this process.
pub(super) fn memsample() -> Value {
    machine::memory().map_or(Value::Null, |bytes| format!("{:.2}MB", bytes as f64 / 1024.0 / 1024.0).into())
}
