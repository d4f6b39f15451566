//! What a plugin may reach besides its own memory: asked for by its manifest, cut down to what its tenant may have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod host;
mod pattern;

pub use host::HostPattern;
pub use pattern::NamePattern;

/// What a plugin asks for, what a tenant may have, or what comes of both. Whatever is not named is denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// The hosts to which it may make HTTP requests.
    pub http: Vec<HostPattern>,
    /// How many bytes its tenant may keep in `wasi:keyvalue`.
    pub keyvalue: u64,
    /// What it reads by name from `wasi:config`: no secrets, for they stand in its manifest.
    pub config: BTreeMap<String, String>,
    /// The secrets of its tenant that it reads in the same way.
    pub secrets: Vec<NamePattern>,
    /// The tasks of its tenant that it may send.
    pub submit: Vec<NamePattern>,
}

impl Default for Grants {
    /// What every plugin has that asks for nothing, and every tenant of which nothing is known: the tenant's own tasks may be
    /// sent.
    fn default() -> Self {
        Self {
            http: Vec::new(),
            keyvalue: 0,
            config: BTreeMap::new(),
            secrets: Vec::new(),
            submit: vec![NamePattern::any()],
        }
    }
}

impl Grants {
    /// What is granted of this when no more than `allowed` may be.
    pub fn within(&self, allowed: &Self) -> Self {
        let names = |asked: &[NamePattern], allowed: &[NamePattern]| {
            asked
                .iter()
                .flat_map(|asked| allowed.iter().filter_map(|allowed| asked.narrower(allowed)))
                .collect()
        };
        let hosts = self.http.iter();
        Self {
            http: hosts
                .flat_map(|asked| allowed.http.iter().filter_map(|allowed| asked.narrower(allowed)))
                .collect(),
            keyvalue: self.keyvalue.min(allowed.keyvalue),
            config: self.config.clone(),
            secrets: names(&self.secrets, &allowed.secrets),
            submit: names(&self.submit, &allowed.submit),
        }
    }

    /// What of this is more than `allowed`, an item each, as the manifest would say it: `http "api.example.org"`.
    pub fn exceeding(&self, allowed: &Self) -> Vec<String> {
        let mut more = Vec::new();
        let hosts =
            self.http.iter().filter(|asked| !allowed.http.iter().any(|allowed| allowed.covers(asked)));
        more.extend(hosts.map(|host| format!("http {:?}", host.to_string())));
        if self.keyvalue > allowed.keyvalue {
            more.push(format!("keyvalue {} bytes instead of {}", self.keyvalue, allowed.keyvalue));
        }
        for (word, asked, allowed) in
            [("secrets", &self.secrets, &allowed.secrets), ("submit", &self.submit, &allowed.submit)]
        {
            let names = asked.iter().filter(|asked| !allowed.iter().any(|allowed| allowed.covers(asked)));
            more.extend(names.map(|name| format!("{word} {:?}", name.to_string())));
        }
        more
    }

    /// Whether a request to this host and port may be made. `host` is in small letters, an address without brackets.
    pub fn allows_http(&self, scheme: &str, host: &str, port: u16) -> bool {
        self.http.iter().any(|pattern| pattern.allows(scheme, host, port))
    }

    /// Whether this secret may be read.
    pub fn allows_secret(&self, name: &str) -> bool {
        self.secrets.iter().any(|pattern| pattern.allows(name))
    }

    /// Whether every task of the plugin's own tenant may be sent.
    pub fn allows_all_submits(&self) -> bool {
        self.submit.contains(&NamePattern::any())
    }

    /// Whether this task of the plugin's own tenant may be sent.
    pub fn allows_submit(&self, task: &str) -> bool {
        self.submit.iter().any(|pattern| pattern.allows(task))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(http: &[&str], submit: &[&str]) -> Grants {
        Grants {
            http: http.iter().map(|text| text.parse().unwrap()).collect(),
            submit: submit.iter().map(|text| text.parse().unwrap()).collect(),
            ..Grants::default()
        }
    }

    #[test]
    fn who_asks_for_nothing_may_send_the_tasks_of_its_tenant_and_nothing_else() {
        let granted = Grants::default().within(&Grants::default());
        assert!(granted.allows_submit("mail.send"));
        assert!(!granted.allows_http("https", "example.org", 443));
        assert!(!granted.allows_secret("API_KEY"));
        assert_eq!(granted.keyvalue, 0);
    }

    #[test]
    fn what_is_granted_is_asked_for_and_allowed() {
        let asked = Grants { keyvalue: 100, ..grants(&["*", "a.example.org"], &["*"]) };
        let allowed = Grants { keyvalue: 10, ..grants(&["https://*.example.org"], &["mail.*", "app.f"]) };
        let granted = asked.within(&allowed);
        for (scheme, host, port, expected) in [
            ("https", "a.example.org", 443, true),
            ("https", "b.example.org", 443, true),
            ("http", "a.example.org", 80, false),
            ("https", "a.example.org", 8443, false),
            ("https", "example.org", 443, false),
            ("https", "evil.com", 443, false),
        ] {
            assert_eq!(granted.allows_http(scheme, host, port), expected, "{scheme}://{host}:{port}");
        }
        assert_eq!(granted.keyvalue, 10);
        assert!(granted.allows_submit("mail.send") && granted.allows_submit("app.f"));
        assert!(!granted.allows_submit("app.g"));
        assert!(granted.exceeding(&allowed).is_empty(), "{granted:?}");
        assert_eq!(
            asked.exceeding(&allowed),
            ["http \"*\"", "http \"a.example.org\"", "keyvalue 100 bytes instead of 10", "submit \"*\"",]
        );
    }

    #[test]
    fn they_survive_being_stored() {
        let grants = Grants {
            keyvalue: 7,
            config: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            secrets: vec!["KEY_*".parse().unwrap()],
            ..grants(&["http://[::1]:8080", "*.example.org:*"], &[])
        };
        let text = serde_json::to_string(&grants).unwrap();
        assert_eq!(serde_json::from_str::<Grants>(&text).unwrap(), grants);
        assert_eq!(serde_json::from_str::<Grants>("{}").unwrap(), Grants::default());
        assert!(serde_json::from_str::<Grants>(r#"{"htp": []}"#).is_err(), "a grant that was misspelt");
        assert!(serde_json::from_str::<Grants>(r#"{"http": ["a b"]}"#).is_err());
    }
}
