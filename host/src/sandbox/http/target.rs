//! Where a request is to go, read out of what a guest gave for its URI.

use std::net::IpAddr;

use http::{Uri, uri::Scheme};

/// A scheme, a host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub is_tls: bool,
    /// In small letters; of an address in brackets what is within.
    pub host: String,
    /// The host, if it is an address.
    pub address: Option<IpAddr>,
    pub port: u16,
}

impl Target {
    /// Reads the target, or says what is wrong with it. Only what everybody reads in the same way is taken.
    pub fn of(uri: &Uri) -> Result<Self, &'static str> {
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err("neither http nor https"),
        };
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        if authority.contains('@') {
            return Err("a user before the host");
        }
        let (host, port, is_v6) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port, true),
            None => {
                let at = authority.find(':').unwrap_or(authority.len());
                (&authority[..at], &authority[at..], false)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
            Some(digits) if digits.bytes().all(|c| c.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port > 0).ok_or("no usable port")?
            }
            _ => return Err("no usable port"),
        };
        // A dot at its end makes a name no other name.
        let host = if is_v6 { host } else { host.strip_suffix('.').unwrap_or(host) }.to_ascii_lowercase();
        let is_name_char = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        let address: Option<IpAddr> = host.parse().ok();
        let is_usable = match address {
            Some(address) => address.is_ipv6() == is_v6,
            None => !is_v6 && !host.is_empty() && host.len() <= 253 && host.bytes().all(is_name_char),
        };
        if !is_usable {
            return Err("no usable host");
        }
        Ok(Self { is_tls, host: address.map_or(host, |address| address.to_string()), address, port })
    }

    pub fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    /// What the server is told of whom it is asked for.
    pub fn host_header(&self) -> String {
        let host = match self.address {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            _ => self.host.clone(),
        };
        match (self.is_tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str) -> Result<String, String> {
        let uri: Uri = uri.parse().map_err(|_| "no URI".to_owned())?;
        let target = Target::of(&uri)?;
        Ok(format!("{} {} {} {}", target.scheme(), target.host, target.port, target.host_header()))
    }

    #[test]
    fn a_target_is_read_in_one_way_only() {
        for (uri, expected) in [
            ("http://a.org/x", "http a.org 80 a.org"),
            ("https://A.org.:8443", "https a.org 8443 a.org:8443"),
            ("https://a.org:443/", "https a.org 443 a.org"),
            ("http://[::1]:80/", "http ::1 80 [::1]"),
            ("http://[::FFFF:127.0.0.1]/", "http ::ffff:127.0.0.1 80 [::ffff:127.0.0.1]"),
            ("http://127.0.0.1/", "http 127.0.0.1 80 127.0.0.1"),
            // Not addresses as we read them: they are looked up, and what comes of that is checked.
            ("http://2130706433/", "http 2130706433 80 2130706433"),
            ("http://0x7f.1/", "http 0x7f.1 80 0x7f.1"),
        ] {
            assert_eq!(target(uri).as_deref(), Ok(expected), "{uri}");
        }
        for uri in [
            "http://me@a.org/",
            "http://a.org:80@evil.com/",
            "http://@a.org/",
            "http://a.org:/",
            "http://a.org:0/",
            "http://a.org:65536/",
            "http://a.org:8o/",
            "ftp://a.org/",
            "/x",
            "a.org:80",
            "http://a%2eorg/",
            "http://[::1/",
            "http://[fe80::1%25eth0]/",
            "http://[127.0.0.1]/",
            "http://a.org;b/",
            "http://a,b/",
            "http://\u{e9}.org/",
        ] {
            assert!(target(uri).is_err(), "{uri}");
        }
    }
}
