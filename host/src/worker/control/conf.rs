//! What the worker was told, for those who ask: Celery's names where there are, no secrets.

use serde_json::{Map, Value, json};

use super::{arguments::Arguments, raised::Raised};
use crate::{task::QueueName, worker::Worker};

/// The settings: those that are not the default, or all.
pub(super) fn conf(worker: &Worker, arguments: &Arguments<'_>) -> Result<Value, Raised> {
    let all = arguments.flag("with_defaults")?;
    let told = settings(worker).into_iter().filter(|(_, value, default)| all || value != default);
    Ok(told.map(|(name, value, _)| (name.to_owned(), value)).collect::<Map<_, _>>().into())
}

/// Each setting with its value and its default.
fn settings(worker: &Worker) -> Vec<(&'static str, Value, Value)> {
    let options = &worker.options;
    let queues = worker.queues.now();
    let queues: Vec<_> = queues.iter().map(QueueName::as_str).collect();
    let autoscale = worker.autoscale.as_ref().map(|autoscale| {
        let (bounds, _) = autoscale.now();
        format!("{},{}", bounds.max, bounds.min)
    });
    let soft = options.soft_time_limit.map(|time| time.as_secs_f64());
    let mut settings = vec![
        ("broker_url", json!(worker.store.broker_address), Value::Null),
        ("result_backend", json!(worker.store.backend_address), Value::Null),
        ("task_queues", json!(queues), json!(["celery"])),
        ("task_default_queue", json!("celery"), json!("celery")),
        ("worker_concurrency", json!(worker.pool.size()), json!(100)),
        ("worker_autoscale", json!(autoscale), Value::Null),
        ("worker_send_task_events", json!(options.task_events), json!(false)),
        ("worker_pool_restarts", json!(false), json!(false)),
        ("task_time_limit", json!(options.time_limit.as_secs_f64()), json!(300.0)),
        ("task_soft_time_limit", json!(soft), Value::Null),
        ("task_track_started", json!(options.track_started), json!(false)),
        ("task_acks_late", json!(true), json!(true)),
        ("task_reject_on_worker_lost", json!(true), json!(true)),
        ("accept_content", json!(["json"]), json!(["json"])),
        ("task_serializer", json!("json"), json!("json")),
        ("result_serializer", json!("json"), json!("json")),
        ("event_serializer", json!("json"), json!("json")),
        ("enable_utc", json!(true), json!(true)),
        ("timezone", json!("UTC"), json!("UTC")),
        ("host_park_unknown", json!(options.park.as_secs_f64()), json!(600.0)),
        ("host_max_worker_deaths", json!(options.most_deaths), json!(3)),
        ("host_max_message_size", json!(options.messages.bytes), json!(8 << 20)),
    ];
    settings.extend(options.settings.iter().cloned());
    settings
}

/// What a bug report should say.
pub(super) fn report(worker: &Worker) -> String {
    let bits = usize::BITS;
    let system = crate::worker::machine::SYSTEM;
    let mut text = format!(
        "\nsoftware -> host:{version}\nplatform -> system:{system} arch:{bits}bit, {arch}\nloader   -> wasmtime\n\
        settings -> transport:{transport} results:{results}\n\n",
        version = env!("CARGO_PKG_VERSION"),
        arch = std::env::consts::ARCH,
        transport = transport(&worker.store.broker_address),
        results = worker.store.backend_address,
    );
    for (name, value, default) in settings(worker) {
        if value != default {
            let value = serde_json::value::to_raw_value(&value).expect("it was built of JSON");
            text += &format!("{name}: {}\n", crate::protocol::repr::value(&value));
        }
    }
    text
}

/// How the broker is reached, as `stats` tells it. The address has no password.
pub(super) fn broker(worker: &Worker) -> Value {
    place(&worker.store.broker_address)
}

fn place(address: &str) -> Value {
    let rest = address.split_once("://").map_or("", |(_, rest)| rest);
    let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    let user = user.split(':').next().filter(|user| !user.is_empty());
    let (server, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = server.rsplit_once(':').unwrap_or((server, ""));
    json!({
        "hostname": Some(host).filter(|host| !host.is_empty()),
        "userid": user,
        "virtual_host": database,
        "port": port.parse::<u16>().ok(),
        "insist": false,
        "ssl": address.starts_with("rediss"),
        "transport": transport(address),
        "connect_timeout": 3,
        "transport_options": {},
        "login_method": null,
        "uri_prefix": null,
        "heartbeat": 0,
        "failover_strategy": "round-robin",
        "alternates": [],
        "credential_provider": null,
    })
}

fn transport(address: &str) -> &'static str {
    if address.starts_with("sqlite:") { "sqlite" } else { "redis" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_is_told_in_its_parts_and_without_a_password() {
        for (address, expected) in [
            ("redis://localhost:6379/0", json!(["redis", null, "localhost", 6379, "0", false])),
            ("rediss://me:**@box:6380/2", json!(["redis", "me", "box", 6380, "2", true])),
            ("redis://:**@::1:7000/0", json!(["redis", null, "::1", 7000, "0", false])),
            ("sqlite:/var/lib/host.db", json!(["sqlite", null, null, null, "", false])),
        ] {
            let told = place(address);
            let parts = ["transport", "userid", "hostname", "port", "virtual_host", "ssl"];
            assert_eq!(Value::from_iter(parts.map(|part| told[part].clone())), expected, "{address}");
            assert!(!told.to_string().contains("**"));
        }
    }
}
