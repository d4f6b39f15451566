//! Why a manifest cannot be used.

use std::io;

use toml::Value;

use super::{LARGEST, SECTION};

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
    #[error("{file:?} has the key {key:?}, which means nothing here: the keys are {known}")]
    UnknownKey {
        /// The manifest's file name.
        file: String,
        /// The key, after that of its table.
        key: String,
        /// Those that there are.
        known: String,
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
        expected: String,
    },
    /// The plugin carries more than one.
    #[error("{file:?} carries {found} manifests, in sections named {SECTION:?}; only one can hold")]
    Several {
        /// The plugin's file name.
        file: String,
        /// How many.
        found: usize,
    },
}

/// What is wrong with a key, for whoever knows the file and the table that it is in.
#[derive(Debug)]
pub(super) enum Wrong {
    /// There is no such key among these.
    Key(&'static [&'static str]),
    /// What the value must be.
    Value(String),
}

impl Wrong {
    pub fn value(expected: impl Into<String>) -> Self {
        Self::Value(expected.into())
    }

    /// The same with all that is known of it.
    pub fn at(self, file: &str, key: &str, value: &Value) -> ManifestError {
        let (file, key) = (file.to_owned(), shown(key));
        match self {
            Self::Key(known) => ManifestError::UnknownKey { file, key, known: known.join(", ") },
            Self::Value(expected) => {
                ManifestError::Value { file, key, found: shown(&value.to_string()), expected }
            }
        }
    }
}

/// The beginning of a text out of the file, in one line that is safe to show.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let line: String = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() { line + "[...]" } else { line }
}
