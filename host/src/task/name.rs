//! Identifiers that arrive from outside: checked once, cheap to clone.

use std::{fmt, sync::Arc};

/// The longest identifier that is accepted, in bytes. Identifiers become parts of Redis keys and log lines.
const LONGEST: usize = 255;

/// An identifier that is empty, too long, or has control characters in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not usable: {reason}")]
pub struct InvalidName {
    what: &'static str,
    value: String,
    reason: &'static str,
}

impl InvalidName {
    /// What kind of name it is, its beginning as it came, and why it is not usable.
    pub(super) fn new(what: &'static str, value: &str, reason: &'static str) -> Self {
        Self { what, value: value.chars().take(60).collect(), reason }
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `value`: 1 to 255 bytes, no control characters.
            pub fn new(value: &str) -> Result<Self, InvalidName> {
                check($what, value).map(|()| Self(value.into()))
            }

            /// The identifier's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = std::borrow::Cow::<str>::deserialize(deserializer)?;
                Self::new(&value).map_err(serde::de::Error::custom)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;

            fn from_str(value: &str) -> Result<Self, InvalidName> {
                Self::new(value)
            }
        }
    };
}

identifier! {
    /// The id of one request; the key of its result. Usually a UUID, but any text is legal in Celery.
    TaskId, "task id"
}

identifier! {
    /// The name under which a task is called: `app.divide`.
    TaskName, "task name"
}

identifier! {
    /// The name of a queue: `celery`.
    QueueName, "queue name"
}

impl TaskId {
    /// A new random id (UUID version 4), as Celery's clients make.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string().into())
    }
}

fn check(what: &'static str, value: &str) -> Result<(), InvalidName> {
    let reason = if value.is_empty() {
        "it is empty"
    } else if value.len() > LONGEST {
        "it is longer than 255 bytes"
    } else if value.chars().any(char::is_control) {
        "it has control characters in it"
    } else {
        return Ok(());
    };
    Err(InvalidName::new(what, value, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_checked() {
        assert_eq!(TaskId::new("any text — even this").unwrap().as_str(), "any text — even this");
        for bad in ["", "a\nb", "a\u{6}\u{16}3", &"x".repeat(256)] {
            assert!(QueueName::new(bad).is_err(), "{bad:?}");
        }
        let error = TaskName::new("a\0b").unwrap_err().to_string();
        assert_eq!(error, "task name \"a\\0b\" is not usable: it has control characters in it");
    }
}
