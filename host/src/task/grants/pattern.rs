//! Names of tasks and secrets, one or all that begin alike.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A name, or the beginning of names with a `*` after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern {
    text: String,
    /// Whether it is only the beginning.
    open: bool,
}

/// The longest, in bytes: as long as a task's name may be.
const LONGEST: usize = 255;

impl NamePattern {
    /// All names.
    pub fn any() -> Self {
        Self { text: String::new(), open: true }
    }

    /// Whether it stands for `name`.
    pub fn allows(&self, name: &str) -> bool {
        if self.open { name.starts_with(&self.text) } else { name == self.text }
    }

    /// Whether it stands for all that `other` stands for.
    pub fn covers(&self, other: &Self) -> bool {
        self.allows(&other.text) && (self.open || !other.open)
    }

    /// The pattern of what both stand for.
    pub(super) fn narrower(&self, other: &Self) -> Option<Self> {
        match (self.covers(other), other.covers(self)) {
            (true, _) => Some(other.clone()),
            (_, true) => Some(self.clone()),
            _ => None,
        }
    }
}

impl FromStr for NamePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, open) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
        let is_usable = |c: char| !c.is_control() && !c.is_whitespace() && c != '*' && c != '/';
        if text.is_empty() || text.len() > LONGEST || !name.chars().all(is_usable) {
            return Err(format!("{text:?} is no name, and no beginning of names such as \"mail.*\""));
        }
        Ok(Self { text: name.to_owned(), open })
    }
}

impl TryFrom<String> for NamePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.open { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_its_beginning() {
        let pattern = |text: &str| text.parse::<NamePattern>().unwrap();
        for (text, name, expected) in [
            ("*", "anything", true),
            ("mail.*", "mail.send", true),
            ("mail.*", "mailer.send", false),
            ("mail", "mail", true),
            ("mail", "mail.send", false),
            ("mail", "Mail", false),
        ] {
            assert_eq!(pattern(text).allows(name), expected, "{text} {name}");
        }
        for (wide, narrow, expected) in [
            ("*", "a*", true),
            ("a*", "*", false),
            ("a*", "a", true),
            ("a", "a*", false),
            ("a*", "ab*", true),
        ] {
            assert_eq!(pattern(wide).covers(&pattern(narrow)), expected, "{wide} {narrow}");
        }
        assert_eq!(pattern("a*").narrower(&pattern("ab")), Some(pattern("ab")));
        assert_eq!(pattern("a*").narrower(&pattern("b*")), None);
        for bad in ["", "a*b", "**", "a b", "a\n", "acme/app.f", &"x".repeat(256)] {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad:?}");
        }
    }
}
