//! Hosts to which requests may be made.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// `[SCHEME://]HOST[:PORT]`. HOST is a name, an address, `*.NAME` for all names below it, or `*`; PORT a number or `*`.
/// Without a scheme it is http and https, without a port the scheme's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    scheme: Option<Scheme>,
    host: Host,
    port: Port,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Any,
    /// All names that end like this: `.example.org`.
    Below(String),
    /// A name or an address, in small letters and without brackets.
    One(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Usual,
    Any,
    One(u16),
}

const SCHEMES: [Scheme; 2] = [Scheme::Http, Scheme::Https];

impl HostPattern {
    /// Whether it stands for this host and port.
    pub(super) fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        let schemes = self.schemes();
        let allowed = |known: Scheme| {
            known.name() == scheme
                && match self.port {
                    Port::Usual => port == known.port(),
                    Port::Any => true,
                    Port::One(only) => port == only,
                }
        };
        schemes.into_iter().any(allowed) && self.host.allows(host)
    }

    /// Whether it stands for all that `other` stands for.
    pub fn covers(&self, other: &Self) -> bool {
        let port = |scheme: Scheme| match (self.port, other.port) {
            (Port::Any, _) => true,
            (Port::One(_) | Port::Usual, Port::Any) => false,
            (ours, theirs) => ours.of(scheme) == theirs.of(scheme),
        };
        other.schemes().into_iter().all(|scheme| self.schemes().contains(&scheme) && port(scheme))
            && self.host.covers(&other.host)
    }

    /// The pattern of what both stand for.
    pub(super) fn narrower(&self, other: &Self) -> Option<Self> {
        let scheme = match (self.scheme, other.scheme) {
            (Some(ours), Some(theirs)) if ours != theirs => return None,
            (ours, theirs) => ours.or(theirs),
        };
        let host = match (self.host.covers(&other.host), other.host.covers(&self.host)) {
            (true, _) => other.host.clone(),
            (_, true) => self.host.clone(),
            _ => return None,
        };
        let (scheme, port) = match (self.port, other.port) {
            (Port::Any, port) | (port, Port::Any) => (scheme, port),
            (ours, theirs) if ours == theirs => (scheme, ours),
            // One of them is the usual port, which is this number for one of the schemes at most.
            (Port::Usual, Port::One(port)) | (Port::One(port), Port::Usual) => {
                let fits =
                    |known: &Scheme| known.port() == port && scheme.is_none_or(|scheme| scheme == *known);
                (Some(SCHEMES.into_iter().find(fits)?), Port::One(port))
            }
            _ => return None,
        };
        Some(Self { scheme, host, port })
    }

    fn schemes(&self) -> Vec<Scheme> {
        self.scheme.map_or(SCHEMES.to_vec(), |scheme| vec![scheme])
    }
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Port {
    fn of(self, scheme: Scheme) -> Option<u16> {
        match self {
            Self::Usual => Some(scheme.port()),
            Self::Any => None,
            Self::One(port) => Some(port),
        }
    }
}

impl Host {
    fn allows(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Below(end) => host.len() > end.len() && host.ends_with(end.as_str()),
            Self::One(one) => host == one,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Any => *self == Self::Any,
            Self::Below(end) => self.allows(end) || self == other,
            Self::One(one) => self.allows(one),
        }
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no host: [http:// or https://]HOST[:PORT] with a name, an address, *.NAME or * for HOST"
            )
        };
        let (scheme, rest) = match text.split_once("://") {
            None => (None, text),
            Some((name, rest)) => {
                let scheme = SCHEMES.into_iter().find(|scheme| scheme.name() == name).ok_or_else(wrong)?;
                (Some(scheme), rest)
            }
        };
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => {
                let address = address.parse::<Ipv6Addr>().map_err(|_| wrong())?;
                (Host::One(address.to_string()), port)
            }
            None => {
                let at = rest.find(':').unwrap_or(rest.len());
                (host(&rest[..at]).ok_or_else(wrong)?, &rest[at..])
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => Port::Usual,
            Some("*") => Port::Any,
            Some(number) if number.bytes().all(|c| c.is_ascii_digit()) => {
                Port::One(number.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?)
            }
            _ => return Err(wrong()),
        };
        Ok(Self { scheme, host, port })
    }
}

/// A host that is no address in brackets.
fn host(text: &str) -> Option<Host> {
    if text == "*" {
        return Some(Host::Any);
    }
    let (is_below, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return None;
    }
    let name = name.to_ascii_lowercase();
    Some(if is_below { Host::Below(format!(".{name}")) } else { Host::One(name) })
}

impl TryFrom<String> for HostPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = self.scheme {
            write!(f, "{}://", scheme.name())?;
        }
        match &self.host {
            Host::Any => f.write_str("*")?,
            Host::Below(end) => write!(f, "*{end}")?,
            Host::One(one) if matches!(one.parse(), Ok(IpAddr::V6(_))) => write!(f, "[{one}]")?,
            Host::One(one) => f.write_str(one)?,
        }
        match self.port {
            Port::Usual => Ok(()),
            Port::Any => f.write_str(":*"),
            Port::One(port) => write!(f, ":{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_pattern_allows_what_it_says() {
        for (text, scheme, host, port, expected) in [
            ("api.example.org", "https", "api.example.org", 443, true),
            ("api.example.org", "http", "api.example.org", 80, true),
            ("api.example.org", "http", "api.example.org", 443, false),
            ("API.example.org", "https", "api.example.org", 443, true),
            ("https://api.example.org", "http", "api.example.org", 80, false),
            ("api.example.org:8080", "http", "api.example.org", 8080, true),
            ("api.example.org:8080", "http", "api.example.org", 80, false),
            ("api.example.org:*", "http", "api.example.org", 1, true),
            ("*.example.org", "https", "a.b.example.org", 443, true),
            ("*.example.org", "https", "example.org", 443, false),
            ("*.example.org", "https", "evilexample.org", 443, false),
            ("*.example.org", "https", ".example.org", 443, false),
            ("example.org", "https", "example.org.evil.com", 443, false),
            ("*", "https", "anything", 443, true),
            ("10.0.0.1", "http", "10.0.0.1", 80, true),
            ("[::1]:8080", "http", "::1", 8080, true),
            ("[0:0::1]:8080", "http", "::1", 8080, true),
        ] {
            assert_eq!(pattern(text).allows(scheme, host, port), expected, "{text} {scheme} {host} {port}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in [
            "",
            "a b",
            "ftp://a",
            "a/b",
            "http://a/",
            "user@a",
            "a:0",
            "a:65536",
            "a:x",
            "a:+1",
            "a:",
            "*a",
            "a.*",
            "a..b",
            "[::1",
            "[a]",
            "::1",
            "*.*.org",
            "*.",
            "é.org",
            "a\n",
            "http://",
            "[::1]x",
        ] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_narrower_of_two_allows_what_both_allow() {
        let texts = [
            "*",
            "*:*",
            "http://*:*",
            "https://*",
            "*.example.org",
            "*.a.example.org",
            "a.example.org",
            "a.example.org:443",
            "http://a.example.org:443",
            "https://a.example.org",
            "a.example.org:*",
            "b.example.org",
        ];
        let mut requests = Vec::new();
        for scheme in ["http", "https"] {
            for host in ["a.example.org", "b.example.org", "x.a.example.org", "example.org"] {
                requests.extend([80, 443, 8080].map(|port| (scheme, host, port)));
            }
        }
        for (a, b) in texts.iter().flat_map(|a| texts.iter().map(move |b| (a, b))) {
            let (a, b) = (pattern(a), pattern(b));
            let both = a.narrower(&b);
            for (scheme, host, port) in &requests {
                let expected = a.allows(scheme, host, *port) && b.allows(scheme, host, *port);
                let found = both.as_ref().is_some_and(|both| both.allows(scheme, host, *port));
                assert_eq!(found, expected, "{a} and {b}: {both:?} of {scheme}://{host}:{port}");
                assert!(!a.covers(&b) || !b.allows(scheme, host, *port) || expected, "{a} covers {b}");
            }
        }
    }
}
