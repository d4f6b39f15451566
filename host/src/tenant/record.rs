//! What is set for a tenant, and how it is written down.
//!
//! ```json
//! {
//!   "version": 1,
//!   "weight": 3,
//!   "queues": ["celery", "mail"],
//!   "quotas": {"in_flight": 20, "cpu_per_minute": 30, "queued": null},
//!   "upload_keys": ["1n9Gz...="]
//! }
//! ```
//!
//! Nothing has to be there: what is missing is as it was. What is not understood is refused, whole and with the key's name: a quota
//! that was misspelt must not be one that does not hold.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Quotas, UploadKey};
use crate::task::{Grants, QueueName, Tenant};

/// The way records are written that this host knows.
const VERSION: u64 = 1;

/// The most queues of a tenant: a take looks at each of them.
const MOST_QUEUES: usize = 32;

/// The most upload keys of a tenant: every upload is tried with each of them.
const MOST_UPLOAD_KEYS: usize = 32;

/// The longest record, in bytes.
const LONGEST: usize = 64 << 10;

/// What is set for a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantRecord {
    /// How it is written.
    version: u64,
    /// Its share of what there is, beside the weights of the others.
    pub weight: Weight,
    /// The queues that are taken from, by the names that the tenant calls them; `None`: those that the worker was told (`-Q`).
    pub queues: Option<Vec<QueueName>>,
    /// How much it may have.
    pub quotas: Quotas,
    /// What its plugins may be granted at most.
    pub grants: Grants,
    /// When there are any, what it uploads must be signed with one of them.
    pub upload_keys: Vec<UploadKey>,
}

/// A tenant's share, beside those of others: 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64")]
pub struct Weight(u32);

/// A record that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRecord {
    /// It is too long.
    #[error("a tenant's record has at most {LONGEST} bytes; this has {0}")]
    TooLong(usize),
    /// It is no JSON, has a key that means nothing, or a value that cannot be.
    #[error("a tenant's record is not usable: {}", shown(.0))]
    Json(#[from] serde_json::Error),
    /// It is no object.
    #[error("a tenant's record is not usable: it must be a JSON object")]
    NoObject,
    /// A later host wrote it.
    #[error("a tenant's record is of version {0}, and this host knows version {VERSION}; update the host")]
    Version(u64),
    /// It has too much of something.
    #[error("a tenant has at most {most} {what}; this record has {count}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it has.
        count: usize,
        /// How many it may have.
        most: usize,
    },
    /// A queue is named twice.
    #[error("a tenant's record names the queue {0} twice")]
    QueueTwice(QueueName),
    /// A queue's name is no name together with the tenant's.
    #[error("a tenant's record names a queue that it cannot have")]
    Queue(#[source] crate::task::InvalidName),
}

/// What is wrong with a record, in one short line: it may quote a key of any length and with anything in it.
fn shown(error: &serde_json::Error) -> String {
    const LONGEST: usize = 300;
    let text = error.to_string();
    let line: String = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() { line + "..." } else { line }
}

impl TenantRecord {
    /// What holds for a tenant for which nothing is set.
    pub fn unset(tenant: &Tenant) -> Self {
        let quotas = if tenant.is_default() { Quotas::UNLIMITED } else { Quotas::default() };
        Self {
            version: VERSION,
            weight: Weight::default(),
            queues: None,
            quotas,
            grants: Grants::default(),
            upload_keys: Vec::new(),
        }
    }

    /// Under which name a tenant's record is kept; that of the default tenant is under `-`, which is nobody's name.
    pub fn key(tenant: &Tenant) -> &str {
        tenant.name().unwrap_or("-")
    }

    /// Whose record is kept under this name.
    pub fn tenant(key: &str) -> Option<Tenant> {
        if key == "-" { Some(Tenant::DEFAULT) } else { Tenant::new(key).ok() }
    }

    /// Reads a record of this tenant.
    pub fn parse(tenant: &Tenant, text: &str) -> Result<Self, InvalidRecord> {
        Self::unset(tenant).changed(tenant, text)
    }

    /// The same with what this text sets, which is written like a record.
    pub fn changed(&self, tenant: &Tenant, text: &str) -> Result<Self, InvalidRecord> {
        if text.len() > LONGEST {
            return Err(InvalidRecord::TooLong(text.len()));
        }
        let Value::Object(set) = serde_json::from_str(text)? else { return Err(InvalidRecord::NoObject) };
        let mut whole = serde_json::to_value(self)?;
        if let Value::Object(whole) = &mut whole {
            overlay(whole, set);
        }
        let record: Self = serde_json::from_value(whole)?;
        record.check(tenant).map(|()| record)
    }

    /// The text that [`TenantRecord::parse`] reads.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("it is made of texts and numbers")
    }

    fn check(&self, tenant: &Tenant) -> Result<(), InvalidRecord> {
        if self.version != VERSION {
            return Err(InvalidRecord::Version(self.version));
        }
        let queues = self.queues.as_deref().unwrap_or_default();
        for (what, count, most) in
            [("queues", queues.len(), MOST_QUEUES), ("upload keys", self.upload_keys.len(), MOST_UPLOAD_KEYS)]
        {
            if count > most {
                return Err(InvalidRecord::TooMany { what, count, most });
            }
        }
        let mut seen = HashSet::new();
        for queue in queues {
            if !seen.insert(queue) {
                return Err(InvalidRecord::QueueTwice(queue.clone()));
            }
            tenant.queue(queue).map_err(InvalidRecord::Queue)?;
        }
        Ok(())
    }
}

/// Puts `set` in place of what is there; of quotas each for itself.
fn overlay(whole: &mut Map<String, Value>, set: Map<String, Value>) {
    for (key, value) in set {
        match (whole.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(set)) => overlay(inner, set),
            (_, value) => drop(whole.insert(key, value)),
        }
    }
}

impl Weight {
    /// Checks that it is from 1 to 1000.
    pub fn new(weight: u64) -> Option<Self> {
        u32::try_from(weight).ok().filter(|weight| (1..=1000).contains(weight)).map(Self)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u64> for Weight {
    type Error = String;

    fn try_from(weight: u64) -> Result<Self, String> {
        Self::new(weight).ok_or_else(|| format!("a weight is from 1 to 1000, not {weight}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme() -> Tenant {
        Tenant::new("acme").unwrap()
    }

    fn error(text: &str) -> String {
        TenantRecord::parse(&acme(), text).unwrap_err().to_string()
    }

    #[test]
    fn what_a_refusal_quotes_of_a_record_is_one_short_line() {
        let refusal = error(&format!(r#"{{"a\n\u001b[31m{}": 1}}"#, "x".repeat(10_000)));
        assert!(refusal.contains("unknown field"), "{refusal:?}");
        assert!(refusal.len() < 400 && !refusal.contains(char::is_control), "{refusal:?}");
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let text = r#"{"weight": 3, "queues": ["celery", "mail/out"], "quotas": {"in_flight": 20, "queued": null},
                       "upload_keys": ["BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="]}"#;
        let record = TenantRecord::parse(&acme(), text).unwrap();
        assert_eq!((record.weight.get(), record.quotas.in_flight, record.quotas.queued), (3, Some(20), None));
        assert_eq!(record.quotas.modules, Some(100), "what is not said is as usual");
        assert_eq!(record.upload_keys, [UploadKey([7; 32])]);
        assert_eq!(TenantRecord::parse(&acme(), &record.to_json()).unwrap(), record);
        for tenant in [acme(), Tenant::DEFAULT] {
            let unset = TenantRecord::unset(&tenant);
            assert_eq!(TenantRecord::parse(&tenant, "{}").unwrap(), unset);
            assert_eq!(TenantRecord::parse(&tenant, &unset.to_json()).unwrap(), unset);
        }
    }

    #[test]
    fn a_change_leaves_the_rest_as_it_is() {
        let record = TenantRecord::parse(&acme(), r#"{"weight": 3, "quotas": {"in_flight": 20}}"#).unwrap();
        let changed = record.changed(&acme(), r#"{"quotas": {"memory": 1000}}"#).unwrap();
        assert_eq!(
            (changed.weight.get(), changed.quotas.in_flight, changed.quotas.memory),
            (3, Some(20), Some(1000))
        );
    }

    #[test]
    fn the_default_tenant_has_no_limits_unless_they_are_set() {
        let record = TenantRecord::parse(&Tenant::DEFAULT, r#"{"quotas": {"in_flight": 5}}"#).unwrap();
        assert_eq!(record.quotas, Quotas { in_flight: Some(5), ..Quotas::UNLIMITED });
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_name() {
        for (text, expected) in [
            (r#"{"wieght": 3}"#, "unknown field `wieght`"),
            (r#"{"quotas": {"inflight": 3}}"#, "unknown field `inflight`"),
            (r#"{"weight": 0}"#, "a weight is from 1 to 1000, not 0"),
            (r#"{"weight": 1001}"#, "not 1001"),
            (r#"{"weight": -1}"#, "`-1`"),
            (r#"{"quotas": {"memory": "1GiB"}}"#, "\"1GiB\""),
            (r#"{"quotas": {"memory": 1.5}}"#, "1.5"),
            (r#"{"quotas": null}"#, "null"),
            (r#"{"queues": ["a", "a"]}"#, "the queue a twice"),
            (r#"{"queues": [""]}"#, "it is empty"),
            (r#"{"upload_keys": ["AAAA"]}"#, "\"AAAA\" is no upload key"),
            (r#"{"version": 2}"#, "version 2"),
            ("[]", "must be a JSON object"),
            ("{", "EOF"),
            (&" ".repeat(LONGEST + 1), "at most 65536 bytes"),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        let many = |count| (0..count).map(|n| format!("\"q{n}\"")).collect::<Vec<_>>().join(",");
        assert!(error(&format!("{{\"queues\": [{}]}}", many(33))).contains("at most 32 queues"));
        let long = format!("{{\"queues\": [\"{}\"]}}", "x".repeat(251));
        assert!(error(&long).contains("cannot have"), "with the tenant's name it is too long");
    }

    #[test]
    fn every_tenant_has_a_key_of_its_own() {
        for tenant in [acme(), Tenant::DEFAULT] {
            assert_eq!(TenantRecord::tenant(TenantRecord::key(&tenant)), Some(tenant));
        }
        assert_eq!(TenantRecord::tenant("a/b"), None);
    }
}
