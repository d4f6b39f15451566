//! What was typed becomes what each room is told. The environment variables are all named here; no room reads the
//! environment, but for the last one.
//!
//! | variable | meaning |
//! |---|---|
//! | `CELERY_BROKER_URL`, else `REDIS_URL` | where messages are, unless `--broker` says |
//! | `CELERY_RESULT_BACKEND` | where results go, unless `--result-backend` says; by default to the broker |
//! | `HOST_CODE_CACHE`, else `XDG_CACHE_HOME`, else `HOME` | where compiled plugins are kept, unless `--code-cache` says |
//! | `USER`, else `LOGNAME` | who is noted to have done what a command changes |
//! | `HOST_SECRET_KEY`, else the file that `HOST_SECRET_KEY_FILE` names | the key with which secrets are sealed: 32 bytes in base64 or hexadecimal |
//! | `HOST_FAIL_POINT` | for tests: the step at which the process kills itself, see [`crate::fail_point`] |

use std::{
    env,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use clap::Args;
use zeroize::Zeroizing;

use crate::{
    store::{self, Store, StoreError},
    tenant::{InvalidSecret, MasterKey},
    walls,
};

/// Where messages and results are.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    /// The broker: redis://[:password@]host[:port][/db], rediss:// for TLS, or sqlite:PATH for a file on this machine
    /// [default: $CELERY_BROKER_URL, else $REDIS_URL, else redis://localhost:6379/0]
    #[arg(short, long, value_name = "URL")]
    pub broker: Option<String>,

    /// Where results go [default: $CELERY_RESULT_BACKEND, else the broker]
    #[arg(long, value_name = "URL")]
    pub result_backend: Option<String>,
}

impl StoreArgs {
    /// The same with this broker if no other is named, by a flag or in the environment.
    pub fn with_default_broker(self, broker: &str) -> Self {
        let broker = self.named_broker().unwrap_or_else(|| broker.to_owned());
        Self { broker: Some(broker), ..self }
    }

    fn named_broker(&self) -> Option<String> {
        self.broker.clone().or_else(|| variable("CELERY_BROKER_URL")).or_else(|| variable("REDIS_URL"))
    }

    /// The folder that the store is in, if it is a file.
    pub fn folder(&self) -> Option<PathBuf> {
        store::folder(&self.named_broker()?)
    }

    /// Opens the store.
    pub async fn open(&self, options: store::Options) -> Result<Store, StoreError> {
        let broker = self.named_broker().unwrap_or_else(|| "redis://localhost:6379/0".to_owned());
        let backend = self.result_backend.clone().or_else(|| variable("CELERY_RESULT_BACKEND"));
        Store::open(&broker, backend.as_deref(), options).await
    }
}

/// The variables that may have a password in them.
const SECRETS: &[&str] = &["CELERY_BROKER_URL", "REDIS_URL", "CELERY_RESULT_BACKEND"];

/// What they had in them when they were taken out of the environment.
static TAKEN: OnceLock<Vec<(String, String)>> = OnceLock::new();

/// Takes what is secret out of the environment and keeps it for this module.
///
/// # Safety
///
/// This must be the only thread.
pub unsafe fn take_secrets() {
    let named = |name: &str| {
        SECRETS.contains(&name)
            || name.starts_with("HOST_")
                && ["SECRET", "TOKEN", "KEY", "PASSWORD"].iter().any(|word| name.contains(word))
    };
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| named(name));
    let names: Vec<_> = names.collect();
    // SAFETY: the caller's promise is the same.
    let take = |name: String| unsafe { walls::take(&name) }.map(|value| (name, value));
    TAKEN.get_or_init(|| names.into_iter().filter_map(take).collect());
}

/// A variable's value; one that is set to nothing counts as not set.
fn variable(name: &str) -> Option<String> {
    let taken = TAKEN.get().and_then(|taken| taken.iter().find(|(one, _)| one == name));
    let value = taken.map(|(_, value)| value.clone()).or_else(|| env::var(name).ok());
    value.filter(|value| !value.is_empty())
}

/// The user, as the environment tells.
pub fn user() -> Option<String> {
    variable("USER").or_else(|| variable("LOGNAME"))
}

/// Where compiled plugins are kept, unless it is said; nowhere if nothing is known of this user.
pub fn code_cache() -> Option<PathBuf> {
    let named = variable("HOST_CODE_CACHE").map(PathBuf::from);
    let of_user = || {
        let caches = variable("XDG_CACHE_HOME").map(PathBuf::from);
        caches
            .or_else(|| Some(Path::new(&variable("HOME")?).join(".cache")))
            .map(|caches| caches.join("host/code"))
    };
    named.or_else(of_user)
}

/// Why there is no key of secrets.
#[derive(Debug, thiserror::Error)]
pub enum SecretKeyError {
    /// The file cannot be read.
    #[error("read {path:?} (HOST_SECRET_KEY_FILE)")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is no key.
    #[error(transparent)]
    Key(#[from] InvalidSecret),
}

/// The key with which secrets are sealed, if there is one: in $HOST_SECRET_KEY, or in the file that $HOST_SECRET_KEY_FILE names.
pub fn secret_key() -> Result<Option<MasterKey>, SecretKeyError> {
    let text = match (variable(SECRET_KEY), variable("HOST_SECRET_KEY_FILE")) {
        (Some(text), _) => text,
        (None, Some(path)) => {
            let path = PathBuf::from(path);
            std::fs::read_to_string(&path).map_err(|source| SecretKeyError::File { path, source })?
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(MasterKey::parse(&Zeroizing::new(text))?))
}

/// The file with the key, if one is named.
pub fn secret_key_file() -> Option<PathBuf> {
    variable("HOST_SECRET_KEY_FILE").map(PathBuf::from)
}

/// The variable of the key of secrets.
const SECRET_KEY: &str = "HOST_SECRET_KEY";

/// The node name that `-n` asks for, by Celery's rules: `%h` stands for the host name, `%n` for its first part, `%d` for the
/// rest; a name without `@` gets the host name.
pub fn node_name(asked: &str, host: &str) -> String {
    let (name, domain) = host.split_once('.').unwrap_or((host, ""));
    let asked = asked.replace("%h", host).replace("%n", name).replace("%d", domain);
    if asked.contains('@') { asked } else { format!("{asked}@{host}") }
}

/// A time given in seconds, such as `0.5`: more than nothing, at most a year.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let longest = 365.0 * 86400.0;
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= longest => Ok(Duration::from_secs_f64(value)),
        _ => Err(format!("a number of seconds above 0 and at most {longest} is needed")),
    }
}

/// A size such as `512KiB`, `128MiB` or `1GiB`; a bare number is bytes.
pub fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        "g" | "gib" => Some(1 << 30),
        _ => None,
    };
    let value = unit.and_then(|unit| digits.parse::<usize>().ok()?.checked_mul(unit));
    value.filter(|value| *value > 0).ok_or_else(|| "a size such as 128MiB is needed".to_owned())
}

/// A log level by the names that Celery knows.
pub fn log_level(text: &str) -> Result<tracing::Level, String> {
    match text.to_ascii_lowercase().as_str() {
        "trace" => Ok(tracing::Level::TRACE),
        "debug" => Ok(tracing::Level::DEBUG),
        "info" => Ok(tracing::Level::INFO),
        "warning" | "warn" => Ok(tracing::Level::WARN),
        "error" | "critical" | "fatal" => Ok(tracing::Level::ERROR),
        _ => Err("one of DEBUG, INFO, WARNING, ERROR, CRITICAL, FATAL is needed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_follow_celery() {
        for (asked, expected) in [
            ("celery", "celery@web1.example.org"),
            ("w1@%h", "w1@web1.example.org"),
            ("w@%n", "w@web1"),
            ("a@b", "a@b"),
        ] {
            assert_eq!(node_name(asked, "web1.example.org"), expected);
        }
    }

    #[test]
    fn seconds_are_positive_and_finite() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "nan", "inf", "1e300", "x", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [("128MiB", 128 << 20), ("1g", 1 << 30), ("10", 10), ("64k", 64 << 10)] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for bad in ["", "MiB", "0", "-1", "1.5g", "99999999999999999999", "99999999999g", "1tb"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
