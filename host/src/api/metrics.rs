//! Numbers of the whole installation, as Prometheus reads them.

use std::sync::{Arc, atomic::AtomicU64};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use serde_json::Value;

use super::{App, problem::Problem, workers};
use crate::{store::Table, task::QueueName};

type Labels = Vec<(String, String)>;

/// The most queues that are told of one by one: each is a line for good in whoever reads this.
const MOST_QUEUES: usize = 1_000;

/// What the server has counted since it started.
#[derive(Clone, Default)]
pub struct Requests(Family<Labels, Counter>);

impl Requests {
    /// The middleware: counts each request by its route and by how it was answered.
    pub async fn count(State(requests): State<Self>, request: Request, next: Next) -> Response {
        // What is no route has one name, so that nobody can make up new ones.
        let path = request.extensions().get::<MatchedPath>();
        let route = path.map_or("none", MatchedPath::as_str).to_owned();
        let response = next.run(request).await;
        let status = response.status().as_u16().to_string();
        requests.0.get_or_create(&vec![("route".to_owned(), route), ("status".to_owned(), status)]).inc();
        response
    }
}

/// Numbers for Prometheus
///
/// In the OpenMetrics text format. For the operator's tokens.
#[utoipa::path(get, path = "/metrics", tag = "health", security(("token" = ["metrics:read"])), responses((status = OK, body = String, content_type = "application/openmetrics-text")))]
pub async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let mut registry = Registry::with_prefix("host");
    registry.register("http_requests", "Requests over HTTP", app.requests.0.clone());
    let add = |registry: &mut Registry, name: &str, help: &str, values: Vec<(Labels, u64)>| {
        let family = Family::<Labels, Gauge>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        registry.register(name, help, family);
    };
    let (broker, limits) = (&app.store.broker, &app.store.rate_limits);
    let (mut lengths, queues) = (Vec::new(), broker.queues().await?);
    for queue in queues.iter().take(MOST_QUEUES) {
        lengths.push((of_queue(queue), broker.length(queue).await?));
    }
    add(&mut registry, "queue_messages", "Messages that wait in a queue", lengths);
    let (_, paused) = app.store.records.records(Table::Queues).await?;
    let paused = paused.iter().filter_map(|record| QueueName::new(&record.key).ok());
    let paused = paused.map(|queue| (of_queue(&queue), 1)).collect();
    add(&mut registry, "queue_paused", "Queues from which nothing is taken", paused);
    let parked = broker.parked().await?.iter().map(|(_, messages)| messages).sum();
    let aside = limits.set_aside().await?.iter().map(|(_, messages)| messages).sum();
    for (name, help, value) in [
        ("messages_held", "Messages in the hands of workers", broker.held().await?),
        ("messages_delayed", "Messages that wait for their time", broker.delayed().await?),
        ("messages_parked", "Messages that wait for a plugin", parked),
        ("messages_set_aside", "Messages that wait because of a rate limit", aside),
        ("dead_letters", "Messages that were given up", app.store.dead_letters.dead_count().await?),
    ] {
        add(&mut registry, name, help, vec![(Labels::new(), value)]);
    }
    let workers = broker.workers().await?;
    let of_worker = |number: fn(&crate::store::Report) -> u64| {
        workers
            .iter()
            .map(|report| (vec![("worker".to_owned(), report.node.clone())], number(report)))
            .collect()
    };
    add(&mut registry, "worker_active", "Tasks that a worker runs", of_worker(|report| report.active));
    add(
        &mut registry,
        "worker_processed",
        "Tasks that a worker has run",
        of_worker(|report| report.processed),
    );
    add_totals(&app, &mut registry).await?;
    let mut text = String::new();
    encode(&mut text, &registry)
        .map_err(|_| Problem::of_status(axum::http::StatusCode::INTERNAL_SERVER_ERROR))?;
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// What the workers have done since they started, as each tells when it is asked: the sum of the receipts of what it ran.
async fn add_totals(app: &App, registry: &mut Registry) -> Result<(), Problem> {
    let replies = workers::ask(app, "stats").await?;
    let counters = |registry: &mut Registry, name: &str, help: &str| {
        let family = Family::<Labels, Counter<f64, AtomicU64>>::default();
        registry.register(name, help, family.clone());
        family
    };
    let runs = counters(registry, "worker_runs", "Runs that a worker has brought to their end");
    let tasks = counters(registry, "worker_tasks", "Tasks of a worker by how they ended");
    let seconds = counters(
        registry,
        "worker_seconds",
        "How long the runs of a worker took, computed, and had waited before",
    );
    let refused =
        counters(registry, "worker_refused", "How often plugins were refused what they were not granted");
    let memory = Family::<Labels, Gauge>::default();
    registry.register("worker_peak_memory_bytes", "The most memory of one run of a worker", memory.clone());
    for (worker, reply) in &replies {
        // Python workers tell nothing of the kind.
        let Some(totals) = reply["host"].as_object() else { continue };
        let number =
            |key: &str| totals.get(key).and_then(Value::as_f64).filter(|value| *value >= 0.0).unwrap_or(0.0);
        let of = |more: &[(&str, &str)]| -> Labels {
            let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            std::iter::once(("worker".to_owned(), worker.clone())).chain(more).collect()
        };
        runs.get_or_create(&of(&[])).inc_by(number("runs"));
        for outcome in ["succeeded", "failed", "retried", "revoked"] {
            tasks.get_or_create(&of(&[("outcome", outcome)])).inc_by(number(outcome));
        }
        for (kind, key) in [("run", "runtime"), ("cpu", "cputime"), ("waited", "waited")] {
            seconds.get_or_create(&of(&[("kind", kind)])).inc_by(number(key));
        }
        for (tenant, kinds) in totals.get("refused").and_then(Value::as_object).into_iter().flatten() {
            for kind in ["http", "keyvalue", "config", "submit"] {
                let count = kinds[kind].as_f64().filter(|count| *count > 0.0);
                if let Some(count) = count {
                    refused.get_or_create(&of(&[("tenant", tenant), ("kind", kind)])).inc_by(count);
                }
            }
        }
        memory.get_or_create(&of(&[])).set(number("memory") as i64);
    }
    Ok(())
}

fn of_queue(queue: &QueueName) -> Labels {
    let (tenant, name) = queue.owner();
    let tenant = tenant.name().unwrap_or_default().to_owned();
    vec![("tenant".to_owned(), tenant), ("queue".to_owned(), name.to_owned())]
}
