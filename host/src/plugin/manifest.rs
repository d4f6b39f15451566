//! The manifest of a plugin: `NAME.toml` beside `NAME.wasm`, what its author says about how its tasks are to be run.
//!
//! ```toml
//! # For every task of the plugin.
//! time_limit = 30
//! autoretry_for = ["ConnectionError", "TimeoutError"]
//! retry_backoff = true
//!
//! # For one task, by the function's name as in task names: what is said here comes before what is said above.
//! [tasks.divide]
//! max_retries = 10
//! ```
//!
//! The keys are Celery's; the user's table of them is in `wit/README.md`. What is not understood is refused, whole and with
//! the key's name: a limit that was misspelt must not be one that does not hold.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use toml::{Table, Value};

use crate::{
    sandbox::{Function, Skipped},
    task::{LONGEST_DELAY, RateLimit, TaskOptions},
};

/// The largest manifest that is read, in bytes.
const LARGEST: u64 = 64 << 10;

/// The longest list of exceptions.
const MOST_EXCEPTIONS: usize = 1000;

/// Why a manifest cannot be used. Each message is one line that its author can act on.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("read {file:?}")]
    Read {
        /// The manifest's file name.
        file: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is too large.
    #[error("{file:?} has more than {LARGEST} bytes")]
    TooLarge {
        /// The manifest's file name.
        file: String,
    },
    /// It is not TOML.
    #[error("{file:?} is not TOML: line {line}: {reason}")]
    Syntax {
        /// The manifest's file name.
        file: String,
        /// Where, counted from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// There is no such option.
    #[error("{file:?} has the key {key:?}, which means nothing here: the options are {}", KEYS.join(", "))]
    UnknownKey {
        /// The manifest's file name.
        file: String,
        /// The key, after that of its table.
        key: String,
    },
    /// An option has a value that it cannot have.
    #[error("{file:?} has {key} = {found}, but it must be {expected}")]
    Value {
        /// The manifest's file name.
        file: String,
        /// The key, after that of its table.
        key: String,
        /// The beginning of its value.
        found: String,
        /// What it can be.
        expected: &'static str,
    },
}

/// Where the manifest of the plugin at `wasm` is, if it has one.
pub(super) fn path_of(wasm: &Path) -> PathBuf {
    wasm.with_extension("toml")
}

/// The options of each of the plugin's functions, in their order, and what the manifest says of functions that the plugin
/// does not have.
pub(super) fn read(
    wasm: &Path,
    functions: &[Function],
) -> Result<(Vec<TaskOptions>, Vec<Skipped>), ManifestError> {
    let path = path_of(wasm);
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names = functions.iter().map(Function::name);
    match text(&path) {
        Ok(text) if text.len() as u64 > LARGEST => Err(ManifestError::TooLarge { file }),
        Ok(text) => parse(file, &text, names),
        Err(error) if error.kind() == io::ErrorKind::NotFound => parse(file, "", names),
        Err(source) => Err(ManifestError::Read { file, source }),
    }
}

/// The text of the manifest, and at most a byte more than it may have.
fn text(path: &Path) -> io::Result<String> {
    // A pipe would have the reader wait for a writer. What is no file is no manifest, as in the folder's own look.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn parse<'a>(
    file: String,
    text: &str,
    names: impl Iterator<Item = &'a str>,
) -> Result<(Vec<TaskOptions>, Vec<Skipped>), ManifestError> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| ManifestError::Syntax {
        line: error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count()),
        reason: error.message().split_whitespace().collect::<Vec<_>>().join(" "),
        file: file.clone(),
    })?;
    let wrong = |key: &str, found: &Value, expected| ManifestError::Value {
        file: file.clone(),
        key: shown(key),
        found: shown(&found.to_string()),
        expected,
    };

    let mut tasks = match table.remove("tasks") {
        None => Table::new(),
        Some(Value::Table(tasks)) => tasks,
        Some(other) => return Err(wrong("tasks", &other, "tables, one for each task: [tasks.divide]")),
    };
    let mut of_all = TaskOptions::default();
    set_all(&mut of_all, &table, "", &file)?;

    let mut options = Vec::new();
    let set_one = |name: &str, table: &Value| {
        let mut of_one = of_all.clone();
        let prefix = format!("tasks.{name}");
        let Value::Table(table) = table else { return Err(wrong(&prefix, table, "a table of options")) };
        set_all(&mut of_one, table, &format!("{prefix}."), &file).map(|()| of_one)
    };
    for name in names {
        options.push(match tasks.remove(name) {
            Some(table) => set_one(name, &table)?,
            None => of_all.clone(),
        });
    }
    // The options of a task that is not there must be right as well, so that the task can be added without a surprise.
    let mut skipped = Vec::new();
    for (name, table) in &tasks {
        set_one(name, table)?;
        let reason = format!("{file} has options for it, but the plugin offers no task of this name");
        skipped.push(Skipped { name: shown(name), reason });
    }
    Ok((options, skipped))
}

fn set_all(options: &mut TaskOptions, table: &Table, prefix: &str, file: &str) -> Result<(), ManifestError> {
    for (key, value) in table {
        match set(options, key, value) {
            Ok(()) => {}
            Err(Wrong::Key) => {
                return Err(ManifestError::UnknownKey {
                    file: file.to_owned(),
                    key: shown(&format!("{prefix}{key}")),
                });
            }
            Err(Wrong::Value(expected)) => {
                return Err(ManifestError::Value {
                    file: file.to_owned(),
                    key: shown(&format!("{prefix}{key}")),
                    found: shown(&value.to_string()),
                    expected,
                });
            }
        }
    }
    Ok(())
}

/// The keys of a table of options.
const KEYS: &[&str] = &[
    "time_limit",
    "soft_time_limit",
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

/// What is wrong with an option.
enum Wrong {
    Key,
    /// What the value must be.
    Value(&'static str),
}

fn set(options: &mut TaskOptions, key: &str, value: &Value) -> Result<(), Wrong> {
    let retry = &mut options.retry;
    match key {
        "time_limit" => options.limits.hard = Some(limit(value)?),
        "soft_time_limit" => options.limits.soft = Some(limit(value)?),
        "acks_late" => options.acks_late = flag(value)?,
        "reject_on_worker_lost" => options.reject_on_worker_lost = flag(value)?,
        "ignore_result" => options.ignore_result = flag(value)?,
        "rate_limit" => options.rate_limit = rate_limit(value)?,
        "track_started" => options.track_started = flag(value)?,
        "autoretry_for" => retry.autoretry_for = exceptions(value)?,
        "max_retries" => retry.max_retries = count(value)?,
        "default_retry_delay" => retry.default_retry_delay = delay(value)?,
        "retry_backoff" => {
            retry.retry_backoff = match value {
                Value::Boolean(on) => on.then_some(Duration::from_secs(1)),
                // Zero is false in Python.
                value => seconds(value)
                    .map(|seconds| Some(seconds).filter(|seconds| !seconds.is_zero()))
                    .ok_or(Wrong::Value("true, false or a number of seconds, from 0 to a year"))?,
            };
        }
        "retry_backoff_max" => retry.retry_backoff_max = delay(value)?,
        "retry_jitter" => retry.retry_jitter = flag(value)?,
        _ => return Err(Wrong::Key),
    }
    Ok(())
}

fn flag(value: &Value) -> Result<bool, Wrong> {
    value.as_bool().ok_or(Wrong::Value("true or false"))
}

/// The time in seconds, if it is from 0 to a year.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Integer(seconds) => *seconds as f64,
        Value::Float(seconds) => *seconds,
        _ => return None,
    };
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    (time <= LONGEST_DELAY).then_some(time)
}

fn delay(value: &Value) -> Result<Duration, Wrong> {
    seconds(value).ok_or(Wrong::Value("a number of seconds, from 0 to a year"))
}

fn limit(value: &Value) -> Result<Duration, Wrong> {
    let limit = seconds(value).filter(|limit| !limit.is_zero());
    limit.ok_or(Wrong::Value("a number of seconds, more than 0 and at most a year"))
}

fn count(value: &Value) -> Result<Option<u32>, Wrong> {
    match value {
        Value::String(text) if text == "unlimited" => Ok(None),
        value => value
            .as_integer()
            .and_then(|count| u32::try_from(count).ok())
            .map(Some)
            .ok_or(Wrong::Value("a whole number from 0 to 4294967295, or \"unlimited\"")),
    }
}

fn rate_limit(value: &Value) -> Result<Option<RateLimit>, Wrong> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Integer(_) | Value::Float(_) => value.to_string(),
        _ => String::new(),
    };
    RateLimit::parse(&text)
        .map_err(|_| Wrong::Value("a number of runs per second, or a text such as \"10/m\" or \"100/h\""))
}

fn exceptions(value: &Value) -> Result<Vec<String>, Wrong> {
    const EXPECTED: Wrong = Wrong::Value("a list of names of exceptions: [\"ConnectionError\"]");
    let list = value.as_array().filter(|list| list.len() <= MOST_EXCEPTIONS).ok_or(EXPECTED)?;
    let name = |value: &Value| {
        let name = value.as_str()?;
        let is_identifier = |part: &str| {
            part.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        name.split('.').all(is_identifier).then(|| name.to_owned())
    };
    list.iter().map(|value| name(value).ok_or(EXPECTED)).collect()
}

/// The beginning of a text out of the file, in one line that is safe to show.
fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let line: String = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() { line + "[...]" } else { line }
}

#[cfg(test)]
mod tests;
