//! To whom a request is addressed: to named workers, to those whose names match, or to all.

use regex::RegexBuilder;

/// The workers that a request is for. With names, those; else with a pattern and a matcher, those that match; else all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audience {
    /// Names of nodes.
    pub destination: Option<Vec<String>>,
    /// A pattern for their names.
    pub pattern: Option<String>,
    /// How the pattern is read.
    pub matcher: Option<Matcher>,
}

/// How a pattern is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matcher {
    /// As in a shell, with Python's `fnmatch`.
    Glob,
    /// As a regular expression that must match from the beginning on.
    Pcre,
    /// In a way that is not known here: nobody matches.
    Unknown,
}

/// The longest pattern that is tried. Names of nodes are short.
const LONGEST_PATTERN: usize = 1_000;

/// The most memory that a compiled pattern may take. Patterns with nested counts grow fast.
const LARGEST_PATTERN: usize = 1 << 20;

impl Matcher {
    /// The matcher by its name on the wire.
    pub fn named(name: &str) -> Self {
        match name {
            "glob" => Self::Glob,
            "pcre" => Self::Pcre,
            _ => Self::Unknown,
        }
    }

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Glob => "glob",
            Self::Pcre => "pcre",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a name matches a pattern.
    pub fn matches(self, pattern: &str, node: &str) -> bool {
        if pattern.len() > LONGEST_PATTERN {
            return false;
        }
        let expression = match self {
            Self::Glob => format!(r"(?s)\A(?:{})\z", from_glob(pattern)),
            Self::Pcre => format!(r"\A(?:{pattern})"),
            Self::Unknown => return false,
        };
        let compiled = RegexBuilder::new(&expression).size_limit(LARGEST_PATTERN).build();
        compiled.is_ok_and(|compiled| compiled.is_match(node))
    }
}

impl Audience {
    /// All workers.
    pub fn everybody() -> Self {
        Self::default()
    }

    /// The worker of this name.
    pub fn node(node: &str) -> Self {
        Self { destination: Some(vec![node.to_owned()]), ..Self::default() }
    }

    /// Whether this node is among them.
    pub fn includes(&self, node: &str) -> bool {
        match (self, &self.pattern, self.matcher) {
            (Self { destination: Some(names), .. }, ..) if !names.is_empty() => {
                names.iter().any(|name| name == node)
            }
            (_, Some(pattern), Some(matcher)) if !pattern.is_empty() => matcher.matches(pattern, node),
            _ => true,
        }
    }
}

/// A shell pattern as a regular expression, by the rules of Python's `fnmatch`.
fn from_glob(pattern: &str) -> String {
    let mut expression = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '*' => expression.push_str(".*"),
            '?' => expression.push('.'),
            '[' => match class(rest) {
                Some((class, behind)) => {
                    expression.push_str(&class);
                    rest = behind;
                }
                None => expression.push_str(r"\["),
            },
            c => expression.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    expression
}

/// The class of characters that begins behind a `[`, and what comes behind its `]`; a `]` in the first place is one of the
/// characters.
fn class(text: &str) -> Option<(String, &str)> {
    let (negated, inside) = match text.strip_prefix('!') {
        Some(inside) => ("^", inside),
        None => ("", text),
    };
    let first = inside.chars().next()?.len_utf8();
    let end = first + inside.get(first..)?.find(']')?;
    let characters: String = inside[..end]
        .chars()
        .flat_map(|c| matches!(c, '\\' | '[' | ']' | '^' | '&' | '~').then_some('\\').into_iter().chain([c]))
        .collect();
    Some((format!("[{negated}{characters}]"), &inside[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_python() {
        for (matcher, pattern, node, expected) in [
            (Matcher::Glob, "*", "w1@host1", true),
            (Matcher::Glob, "w?@host1", "w1@host1", true),
            (Matcher::Glob, "w?@host1", "w12@host1", false),
            (Matcher::Glob, "w[12]@*", "w2@host1", true),
            (Matcher::Glob, "w[!12]@*", "w2@host1", false),
            (Matcher::Glob, "w[0-9]@*", "w2@host1", true),
            (Matcher::Glob, "w[]]@*", "w]@host1", true),
            (Matcher::Glob, "w[^]@*", "w^@host1", true),
            (Matcher::Glob, "w[", "w[", true),
            (Matcher::Glob, "w.@host1", "w1@host1", false),
            (Matcher::Glob, "w1", "w1@host1", false),
            (Matcher::Glob, "[z-a]", "z", false),
            (Matcher::Pcre, r"w\d@host", "w1@host1", true),
            (Matcher::Pcre, "host", "w1@host1", false),
            (Matcher::Pcre, "w2|w1", "w1@host1", true),
            (Matcher::Pcre, "(", "w1@host1", false),
            (Matcher::Pcre, "(?:(?:(?:a{1000}){1000}){1000})|w", "w1@host1", false),
            (Matcher::Unknown, "*", "w1@host1", false),
        ] {
            assert_eq!(matcher.matches(pattern, node), expected, "{matcher:?} {pattern} {node}");
        }
        assert!(!Matcher::Glob.matches(&"*".repeat(100_000), "w1@host1"));
    }

    #[test]
    fn names_come_before_patterns_and_nothing_means_everybody() {
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        for (destination, pattern, matcher, expected) in [
            (None, None, None, true),
            (names(&[]), None, None, true),
            (names(&["w1@h"]), None, None, true),
            (names(&["w2@h"]), Some("*"), Some(Matcher::Glob), false),
            (None, Some("x*"), Some(Matcher::Glob), false),
            (None, Some("x*"), None, true),
            (None, None, Some(Matcher::Glob), true),
        ] {
            let audience = Audience { destination, pattern: pattern.map(str::to_owned), matcher };
            assert_eq!(audience.includes("w1@h"), expected, "{audience:?}");
        }
    }
}
