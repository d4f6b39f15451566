//! The URLs of Redis: what Celery accepts, checked before anything connects, and never shown with a password.

use std::fmt;

use redis::{ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, io::tcp::TcpSettings};

use crate::store::StoreError;

/// The server and the database that a URL names.
#[derive(Debug, Clone)]
pub struct Address {
    info: ConnectionInfo,
    shown: String,
}

impl Address {
    /// Reads `redis://`, `rediss://` (TLS), and `redis+socket://` or `unix://` (a Unix socket).
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let refuse = |reason: &str| StoreError::Url { url: without_password(url), reason: reason.to_owned() };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| refuse("it must begin with redis://"))?;
        let readable = match scheme {
            "redis" | "rediss" => url.to_owned(),
            // Kombu's names for what the redis crate calls redis+unix and db.
            "redis+socket" | "unix" => format!("redis+unix://{}", rest.replace("virtual_host=", "db=")),
            _ => return Err(refuse("it must begin with redis://, rediss:// or redis+socket://")),
        };
        let info = readable.as_str().into_connection_info().map_err(|error| match error.detail() {
            Some(detail) => refuse(detail),
            None => refuse(&explain(&error)),
        })?;
        if info.redis_settings().db() < 0 {
            return Err(refuse("the database number is negative"));
        }
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let info =
            info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let shown = shown(scheme, &info);
        Ok(Self { info, shown })
    }

    /// What the redis crate connects to.
    pub fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// The number of the database.
    pub fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }

    /// Whether both name the same database of the same server, as far as their text tells.
    pub fn is_same_database(&self, other: &Self) -> bool {
        self.info.addr() == other.info.addr()
            && self.info.redis_settings().db() == other.info.redis_settings().db()
    }
}

/// As Celery's banner shows it: `redis://:**@localhost:6379/0`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn shown(scheme: &str, info: &ConnectionInfo) -> String {
    let settings = info.redis_settings();
    let credentials = match (settings.username(), settings.password()) {
        (None, None) => String::new(),
        (Some(user), None) => format!("{user}@"),
        (user, Some(_)) => format!("{}:**@", user.unwrap_or_default()),
    };
    match info.addr() {
        redis::ConnectionAddr::Unix(path) => {
            format!("{scheme}://{credentials}{}?virtual_host={}", path.display(), settings.db())
        }
        place => format!("{scheme}://{credentials}{place}/{}", settings.db()),
    }
}

fn explain(error: &redis::RedisError) -> String {
    // The crate puts its kind behind the text: "Invalid database number - InvalidClientConfig".
    let text = error.to_string();
    match text.split(" - ").next().unwrap_or_default() {
        "Redis URL did not parse" => "it is not a URL with a host and a port from 0 to 65535".to_owned(),
        reason => reason.to_lowercase(),
    }
}

/// Any text that was meant as a URL, with what may be a password replaced. A password may hold an unescaped `/`, `?` or
/// `@`, so everything up to the last `@` counts as credentials.
fn without_password(url: &str) -> String {
    let url = match url.find("pass") {
        Some(at) if url[..at].contains('?') => &url[..at],
        _ => url,
    };
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let Some((credentials, place)) = rest.rsplit_once('@') else {
        return url.to_owned();
    };
    let user = credentials.split_once(':').map_or(credentials, |(user, _)| user);
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{user}:**@{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_as_celery_shows_them() {
        for (url, shown) in [
            ("redis://localhost", "redis://localhost:6379/0"),
            ("redis://:secret@host:6380/2", "redis://:**@host:6380/2"),
            ("rediss://me:secret@host", "rediss://me:**@host:6379/0"),
            ("redis://[::1]:7000//", "redis://::1:7000/0"),
            (
                "redis+socket:///run/redis.sock?virtual_host=3",
                "redis+socket:///run/redis.sock?virtual_host=3",
            ),
            ("unix:///run/redis.sock", "unix:///run/redis.sock?virtual_host=0"),
            (
                "redis+socket:///run/redis.sock?pass=secret",
                "redis+socket://:**@/run/redis.sock?virtual_host=0",
            ),
        ] {
            assert_eq!(Address::parse(url).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn urls_that_cannot_work_are_refused_without_telling_the_password() {
        for (url, shown, reason) in [
            ("", "", "must begin with redis://"),
            ("localhost:6379", "localhost:6379", "must begin with redis://"),
            ("http://localhost", "http://localhost", "must begin with"),
            ("redis://", "redis://", "hostname"),
            ("redis://host/x", "redis://host/x", "database number"),
            ("redis://host/-1", "redis://host/-1", "database number is negative"),
            ("redis://host:99999", "redis://host:99999", "port"),
            ("redis://:secret@host:x/0", "redis://:**@host:x/0", "port"),
            ("redis://:sec/r@et@host/0", "redis://:**@host/0", ""),
            ("amqp://me:secret@host", "amqp://me:**@host", "must begin with"),
            ("redis+socket://?password=secret", "redis+socket://?", ""),
        ] {
            let text = Address::parse(url).expect_err(url).to_string();
            assert!(text.contains(&format!("{shown:?}")), "{text}");
            assert!(text.contains(reason), "{text} should say {reason:?}");
            assert!(!text.contains("secret") && !text.contains("et@"), "{text}");
        }
    }

    #[test]
    fn two_urls_may_name_one_database() {
        let same = |a, b| Address::parse(a).unwrap().is_same_database(&Address::parse(b).unwrap());
        assert!(same("redis://host", "redis://:x@host:6379/0"));
        assert!(!same("redis://host/0", "redis://host/1"));
        assert!(!same("redis://host:1", "redis://host:2"));
    }
}
