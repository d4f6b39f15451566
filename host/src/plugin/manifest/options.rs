//! The keys that say how tasks are to be run: for all of the plugin's, or in the table of one.

use toml::{Table, Value};

use super::{
    ManifestError,
    error::Wrong,
    value::{backoff, bytes, count, delay, exceptions, flag, limit, queue, rate_limit},
};
use crate::task::TaskOptions;

/// The keys.
pub(super) const KEYS: &[&str] = &[
    "time_limit",
    "soft_time_limit",
    "memory_limit",
    "cpu_limit",
    "queue",
    "pin_version",
    "acks_late",
    "reject_on_worker_lost",
    "ignore_result",
    "rate_limit",
    "track_started",
    "autoretry_for",
    "max_retries",
    "default_retry_delay",
    "retry_backoff",
    "retry_backoff_max",
    "retry_jitter",
];

/// Sets what `table` says; `prefix` stands before its keys in errors.
pub(super) fn set_all(
    options: &mut TaskOptions,
    table: &Table,
    prefix: &str,
    file: &str,
) -> Result<(), ManifestError> {
    for (key, value) in table {
        set(options, key, value).map_err(|wrong| wrong.at(file, &format!("{prefix}{key}"), value))?;
    }
    Ok(())
}

fn set(options: &mut TaskOptions, key: &str, value: &Value) -> Result<(), Wrong> {
    let retry = &mut options.retry;
    match key {
        "time_limit" => options.limits.hard = Some(limit(value)?),
        "soft_time_limit" => options.limits.soft = Some(limit(value)?),
        "memory_limit" => options.memory_limit = Some(usize::try_from(bytes(value)?).unwrap_or(usize::MAX)),
        "cpu_limit" => options.cpu_limit = Some(limit(value)?),
        "queue" => options.queue = Some(queue(value)?),
        "pin_version" => options.pin_version = flag(value)?,
        "acks_late" => options.acks_late = flag(value)?,
        "reject_on_worker_lost" => options.reject_on_worker_lost = flag(value)?,
        "ignore_result" => options.ignore_result = flag(value)?,
        "rate_limit" => options.rate_limit = rate_limit(value)?,
        "track_started" => options.track_started = flag(value)?,
        "autoretry_for" => retry.autoretry_for = exceptions(value)?,
        "max_retries" => retry.max_retries = count(value)?,
        "default_retry_delay" => retry.default_retry_delay = delay(value)?,
        "retry_backoff" => retry.retry_backoff = backoff(value)?,
        "retry_backoff_max" => retry.retry_backoff_max = delay(value)?,
        "retry_jitter" => retry.retry_jitter = flag(value)?,
        _ => return Err(Wrong::Key(KEYS)),
    }
    Ok(())
}
