//! Keeping tasks from running, and stopping those that run. What is revoked here goes into the store, so it holds for all
//! workers, also for those that start later.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, value::to_raw_value};

use super::{arguments::Arguments, ok, raised::Raised};
use crate::{
    protocol::repr,
    store::{Revocation, StoreError, Target},
    task::{InvalidName, TaskId, Tenant},
    worker::{
        Worker,
        revoked::{self, TERM},
    },
};

/// How long a revoked task is remembered. Celery's `REVOKE_EXPIRES`.
const REMEMBERED: Duration = Duration::from_secs(10_800);

/// The most ids in one request. Celery remembers no more.
const MOST: usize = 50_000;

/// How many are put into the store at a time, so that it is not busy with them for long.
const CHUNK: usize = 1_000;

pub(super) async fn revoke(worker: &Worker, arguments: &Arguments<'_>) -> Result<Value, Raised> {
    arguments.require(&["task_id"])?;
    let terminate = arguments.flag("terminate")?;
    revoke_tasks(worker, arguments, terminate).await
}

pub(super) async fn terminate(worker: &Worker, arguments: &Arguments<'_>) -> Result<Value, Raised> {
    arguments.require(&["signal", "task_id"])?;
    revoke_tasks(worker, arguments, true).await
}

async fn revoke_tasks(worker: &Worker, arguments: &Arguments<'_>, terminate: bool) -> Result<Value, Raised> {
    let signal = if terminate { signal(arguments)? } else { TERM };
    let mut texts = arguments.texts("task_id")?;
    let mut seen = std::collections::HashSet::new();
    texts.retain(|text| seen.insert(*text));
    if texts.len() > MOST {
        return Err(Raised::value(format!(
            "at most {MOST} tasks can be revoked at once, not {}",
            texts.len()
        )));
    }
    let targets = texts.iter().map(|text| task(text)).collect::<Result<Vec<_>, _>>();
    let targets = targets.map_err(|error| Raised::value(error.to_string()))?;
    let stopped = put_in_force(worker, targets, terminate.then_some(signal)).await?;
    if !terminate {
        tracing::info!("{} tasks flagged as revoked", texts.len());
        return Ok(ok(format!("tasks {} flagged as revoked", set(&texts))));
    }
    Ok(match stopped {
        stopped if stopped.is_empty() => ok("terminate: tasks unknown"),
        stopped => {
            let ids: Vec<_> = stopped.iter().map(|stopped| stopped.shown_id()).collect();
            ok(format!("terminate: {}", ids.join(", ")))
        }
    })
}

pub(super) async fn revoke_by_stamped_headers(
    worker: &Worker,
    arguments: &Arguments<'_>,
) -> Result<Value, Raised> {
    arguments.require(&["headers"])?;
    let terminate = arguments.flag("terminate")?;
    let signal = signal(arguments)?;
    let headers = match arguments.get("headers") {
        Some(Value::Object(headers)) => headers.clone(),
        Some(Value::Array(_)) => {
            let pair = |text: &str| {
                let (name, value) = text.split_once('=')?;
                Some((name.to_owned(), Value::from(value)))
            };
            let pairs = arguments.texts("headers")?.into_iter().map(pair).collect::<Option<_>>();
            pairs.ok_or_else(|| Raised::value("a stamped header is written name=value"))?
        }
        _ => return Err(Raised::new("TypeError", "headers must be a dict, or a list of name=value")),
    };
    // Stamps are not told apart by tenants: an operator means all that carry one.
    let of_all = &worker.tenants.served();
    let stamps: Vec<_> = headers
        .iter()
        .flat_map(|(name, values)| {
            let values = match values {
                Value::Array(values) => &values[..],
                one => std::slice::from_ref(one),
            };
            let stamp = move |value| Target::Stamp { name: name.clone(), value: text(value) };
            values
                .iter()
                .map(stamp)
                .flat_map(|stamp| of_all.iter().map(move |tenant| (tenant.clone(), stamp.clone())))
        })
        .collect();
    if stamps.len() > MOST {
        return Err(Raised::value(format!(
            "at most {MOST} stamps can be revoked at once, not {}",
            stamps.len()
        )));
    }
    let shown = repr::value(&to_raw_value(&headers).expect("it was read from JSON"));
    let stopped = put_in_force(worker, stamps.clone(), terminate.then_some(signal)).await?;
    if !terminate {
        return Ok(ok(format!("headers {shown} flagged as revoked, but not terminated")));
    }
    if stopped.is_empty() {
        return Ok(ok(format!("headers {shown} were not terminated")));
    }
    Ok(ok(format!("headers {} revoked", matched(&headers, &stopped))))
}

/// Takes note of what others have revoked.
pub(super) async fn learn(worker: &Worker, ids: impl Iterator<Item = &str>) -> Result<(), Raised> {
    let targets = ids.take(MOST).filter_map(|id| task(id).ok());
    let news = targets.filter(|(tenant, target)| !worker.revoked.knows(tenant, target)).collect();
    put_in_force(worker, news, None).await.map(drop).map_err(Raised::from)
}

/// Makes sure that none of these begins here from now on, stops those that run if there is a signal, and tells the store.
/// Answers which were stopped.
async fn put_in_force(
    worker: &Worker,
    targets: Vec<(Tenant, Target)>,
    signal: Option<i32>,
) -> Result<Vec<std::sync::Arc<crate::task::Request>>, StoreError> {
    let until = worker.clock.after(REMEMBERED);
    let until = Timestamp::from_millisecond(until.as_millisecond()).unwrap_or(until);
    let terminate = signal.is_some();
    let revocations: Vec<_> =
        targets.into_iter().map(|(tenant, target)| Revocation { tenant, target, terminate, until }).collect();
    worker.revoked.learn(&revocations);
    let stopped = match signal {
        Some(signal) => revoked::stop(worker, &revocations, signal),
        None => Vec::new(),
    };
    for some in revocations.chunks(CHUNK) {
        worker.store.revocations.revoke(some).await?;
    }
    Ok(stopped)
}

/// The task that an operator calls `id`: `acme/7f2a...` is that of a tenant.
fn task(id: &str) -> Result<(Tenant, Target), InvalidName> {
    let (tenant, id) = Tenant::split(id);
    Ok((tenant, Target::Task(TaskId::new(id)?)))
}

/// A set of texts as Python prints it.
fn set(texts: &[&str]) -> String {
    if texts.is_empty() {
        return "set()".to_owned();
    }
    let printed = texts.iter().map(|text| repr::value(&to_raw_value(text).expect("a text is JSON")));
    format!("{{{}}}", printed.collect::<Vec<_>>().join(", "))
}

/// The value of a stamp, as `message::stamps` reads it.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// By which of the headers tasks were stopped, as Python prints it.
fn matched(
    headers: &serde_json::Map<String, Value>,
    stopped: &[std::sync::Arc<crate::task::Request>],
) -> String {
    let stamps: Vec<_> =
        stopped.iter().flat_map(|request| crate::protocol::message::stamps(&request.headers)).collect();
    let of_header = |(name, values): (&String, &Value)| {
        let asked: Vec<String> =
            values.as_array().map_or_else(|| vec![text(values)], |all| all.iter().map(text).collect());
        let mut found: Vec<&str> = stamps
            .iter()
            .filter(|(stamp, _)| stamp == name)
            .flat_map(|(_, values)| values)
            .filter(|value| asked.contains(value))
            .map(String::as_str)
            .collect();
        found.sort_unstable();
        found.dedup();
        (!found.is_empty()).then(|| {
            format!("{}: {}", repr::value(&to_raw_value(name).expect("a text is JSON")), set(&found))
        })
    };
    format!("{{{}}}", headers.iter().filter_map(of_header).collect::<Vec<_>>().join(", "))
}

/// The signal that is asked for.
fn signal(arguments: &Arguments<'_>) -> Result<i32, Raised> {
    match arguments.get("signal") {
        None => Ok(TERM),
        Some(Value::Number(number)) => number
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
            .ok_or_else(|| Raised::value(format!("there is no signal {number}"))),
        Some(Value::String(name)) => {
            if name.is_empty() || name.chars().any(char::is_lowercase) {
                return Err(Raised::new("TypeError", "signal name must be uppercase string."));
            }
            let short = name.strip_prefix("SIG").unwrap_or(name);
            SIGNALS.iter().find(|(known, _)| *known == short).map(|(_, number)| *number).ok_or_else(|| {
                let text = format!("module 'signal' has no attribute 'SIG{}'", super::shown(short));
                Raised::new("AttributeError", text)
            })
        }
        Some(_) => Err(Raised::new("TypeError", "signal name must be uppercase string.")),
    }
}

/// The signals that somebody may want a task to be stopped with. A guest knows no signals: it is stopped by any.
const SIGNALS: [(&str, i32); 12] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("CONT", 18),
    ("STOP", 19),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn signals_are_named_in_all_the_ways_of_python() {
        for (given, expected) in [
            (json!({}), Ok(15)),
            (json!({"signal": null}), Ok(15)),
            (json!({"signal": "SIGKILL"}), Ok(9)),
            (json!({"signal": "KILL"}), Ok(9)),
            (json!({"signal": 2}), Ok(2)),
            (json!({"signal": "sigkill"}), Err("TypeError('signal name must be uppercase string.')")),
            (json!({"signal": []}), Err("TypeError('signal name must be uppercase string.')")),
            (json!({"signal": "SIGX"}), Err("AttributeError(\"module 'signal' has no attribute 'SIGX'\")")),
        ] {
            let arguments = Arguments::new("revoke", &given).unwrap();
            let found = signal(&arguments).map_err(|raised| raised.repr());
            assert_eq!(found, expected.map_err(str::to_owned), "{given}");
        }
    }

    #[test]
    fn sets_are_printed_as_python_does() {
        for (texts, expected) in [(&[][..], "set()"), (&["a"], "{'a'}"), (&["a", "it's"], "{'a', \"it's\"}")]
        {
            assert_eq!(set(texts), expected);
        }
    }
}
