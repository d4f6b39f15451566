//! Tokens: what somebody shows to the HTTP API, for whom they act, and what they may do.
//!
//! A token reads `host_ID_SECRET`. The secret is 256 random bits, so that its plain SHA-256 is all that need be kept, and is
//! compared in a time that tells nothing of it. Nobody can read a token a second time.

use std::{collections::BTreeSet, fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::task::Tenant;

/// What a token may be used for. Each route of the HTTP API asks for one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// To see tasks and their results.
    #[serde(rename = "tasks:read")]
    TasksRead,
    /// To send and revoke tasks.
    #[serde(rename = "tasks:write")]
    TasksWrite,
    /// To see queues, what is parked, and dead letters.
    #[serde(rename = "queues:read")]
    QueuesRead,
    /// To pause and empty queues, to release what is parked, and to send dead letters again or drop them.
    #[serde(rename = "queues:write")]
    QueuesWrite,
    /// To see plugins and their versions.
    #[serde(rename = "plugins:read")]
    PluginsRead,
    /// To upload plugins and to choose which version runs.
    #[serde(rename = "plugins:write")]
    PluginsWrite,
    /// To see who did what.
    #[serde(rename = "audit:read")]
    AuditRead,
    /// To see the numbers of the whole installation. For the operator's tokens only.
    #[serde(rename = "metrics:read")]
    MetricsRead,
    /// To do everything, for every tenant. For the operator's tokens only.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::TasksRead,
        Self::TasksWrite,
        Self::QueuesRead,
        Self::QueuesWrite,
        Self::PluginsRead,
        Self::PluginsWrite,
        Self::AuditRead,
        Self::MetricsRead,
        Self::Admin,
    ];

    /// Its name: `tasks:read`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TasksRead => "tasks:read",
            Self::TasksWrite => "tasks:write",
            Self::QueuesRead => "queues:read",
            Self::QueuesWrite => "queues:write",
            Self::PluginsRead => "plugins:read",
            Self::PluginsWrite => "plugins:write",
            Self::AuditRead => "audit:read",
            Self::MetricsRead => "metrics:read",
            Self::Admin => "admin",
        }
    }

    /// Whether only the operator's tokens can have it: it concerns more than one tenant.
    pub fn is_operators(self) -> bool {
        matches!(self, Self::MetricsRead | Self::Admin)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == name);
        found.ok_or_else(|| format!("there is no scope {name:?}; there are {}", known()))
    }
}

/// What is kept of a token: the record under its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Names it, in lists and in what is noted of its deeds. No secret.
    pub id: String,
    /// Whose it is; none: the operator's, who acts for every tenant.
    pub tenant: Option<Tenant>,
    /// What it may be used for.
    pub scopes: BTreeSet<Scope>,
    /// What its maker says of it, in a line.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it can be used; none is for ever.
    pub expires: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
    /// Its secrets: the one that was given out last, and until it expires the one before.
    pub secrets: Vec<SecretHash>,
}

/// What is kept of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretHash {
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Until when it can be used, once another has taken its place.
    pub until: Option<Timestamp>,
}

/// A token as it is given to its owner, once.
pub struct NewSecret {
    /// The whole text: `host_ID_SECRET`.
    pub text: String,
    hash: SecretHash,
}

/// A token as somebody shows it: perhaps one that was never made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The token's id.
    pub id: String,
    sha256: [u8; 32],
}

/// Why there can be no such token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// A scope that concerns more than one tenant, for a token of one.
    #[error(
        "the scope {0} is only for tokens of the operator; leave it out, or make the token without a tenant"
    )]
    OperatorsScope(Scope),
    /// No scope at all.
    #[error("a token without a scope can do nothing; name at least one")]
    NoScope,
    /// The label is too long, or has control characters.
    #[error("a label is one line of at most {LONGEST_LABEL} bytes")]
    Label,
}

/// What every token begins with, so that it is known for one where it has no business to be.
const PREFIX: &str = "host_";

/// The length of an id and of a secret, in hexadecimal digits.
const ID: usize = 12;
const SECRET: usize = 64;

/// The longest label, in bytes.
const LONGEST_LABEL: usize = 200;

/// What a new token is made of.
pub struct Random {
    /// Makes its id.
    pub id: [u8; ID / 2],
    /// Makes its secret.
    pub secret: [u8; SECRET / 2],
}

impl NewSecret {
    /// A secret for the token `id`, out of these random bytes.
    fn of(id: &str, random: [u8; 32]) -> Self {
        let secret = hex(&random);
        let hash = SecretHash { sha256: hex(&Sha256::digest(&secret)), until: None };
        Self { text: format!("{PREFIX}{id}_{secret}"), hash }
    }
}

impl Shown {
    /// Reads what somebody shows; `None` if it has not even the shape of a token.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let whole = is_hex(id, ID) && is_hex(secret, SECRET);
        whole.then(|| Self { id: id.to_owned(), sha256: Sha256::digest(secret).into() })
    }
}

impl Token {
    /// A token with its first secret. `random` must be new for each, from the system's own source.
    pub fn new(
        tenant: Option<Tenant>,
        scopes: BTreeSet<Scope>,
        label: &str,
        expires: Option<Timestamp>,
        now: Timestamp,
        random: Random,
    ) -> Result<(Self, NewSecret), InvalidToken> {
        if let Some(scope) = scopes.iter().find(|scope| scope.is_operators() && tenant.is_some()) {
            return Err(InvalidToken::OperatorsScope(*scope));
        }
        if scopes.is_empty() {
            return Err(InvalidToken::NoScope);
        }
        if label.len() > LONGEST_LABEL || label.chars().any(char::is_control) {
            return Err(InvalidToken::Label);
        }
        let (id, secret) = (hex(&random.id), random.secret);
        let secret = NewSecret::of(&id, secret);
        let token = Self {
            id,
            tenant,
            scopes,
            label: label.to_owned(),
            created: now,
            expires,
            revoked: None,
            secrets: vec![secret.hash.clone()],
        };
        Ok((token, secret))
    }

    /// Whether what was shown is this token, and it can be used now. Takes as long whatever the secret is.
    pub fn accepts(&self, shown: &Shown, now: Timestamp) -> bool {
        let lives = self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires);
        let matches = self.secrets.iter().map(|secret| {
            let same = secret.sha256.as_bytes().ct_eq(hex(&shown.sha256).as_bytes());
            bool::from(same) & secret.until.is_none_or(|until| now < until)
        });
        let matches = matches.fold(false, |any, matches| any | matches);
        lives & matches & (self.id == shown.id)
    }

    /// Whether it may be used for this.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Gives it a new secret; the present one can be used until `overlap`, and none older than that.
    pub fn rotate(&mut self, overlap: Timestamp, random: [u8; 32]) -> NewSecret {
        let new = NewSecret::of(&self.id, random);
        let present = self.secrets.drain(..).filter(|secret| secret.until.is_none());
        let present = present.map(|secret| SecretHash { until: Some(overlap), ..secret });
        self.secrets = present.chain([new.hash.clone()]).collect();
        new
    }

    /// Makes it unusable. It stays known, so that nobody takes an installation that had tokens for one that never had any.
    pub fn revoke(&mut self, now: Timestamp) {
        self.revoked.get_or_insert(now);
        self.secrets.clear();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_000_000, 0);

    fn after(seconds: i64) -> Timestamp {
        Timestamp::new(NOW.as_second() + seconds, 0).unwrap()
    }

    fn token(expires: Option<Timestamp>) -> (Token, NewSecret) {
        let scopes = BTreeSet::from([Scope::TasksRead]);
        Token::new(Some(Tenant::DEFAULT), scopes, "ci", expires, NOW, Random { id: [7; 6], secret: [7; 32] })
            .unwrap()
    }

    #[test]
    fn a_token_is_known_by_its_text_and_by_nothing_else() {
        let (token, secret) = token(None);
        let shown = Shown::parse(&secret.text).unwrap();
        assert!(token.accepts(&shown, NOW));
        assert!(
            !serde_json::to_string(&token).unwrap().contains(&secret.text[18..]),
            "the secret is not kept"
        );
        let other = secret.text.replace("07_", "08_");
        assert!(!token.accepts(&Shown::parse(&other).unwrap(), NOW), "another id");
        let mut other = secret.text.clone();
        other.replace_range(other.len() - 1.., "0");
        assert!(!token.accepts(&Shown::parse(&other).unwrap(), NOW), "another secret");
        for bad in ["", "host_", "host_07_07", &secret.text[1..], &format!("{}0", secret.text), "host_é_é"]
        {
            assert_eq!(Shown::parse(bad), None, "{bad}");
        }
        assert_eq!(Shown::parse(&secret.text.to_uppercase()), None);
    }

    #[test]
    fn a_token_ends_when_it_expires_or_is_revoked() {
        let (mut token, secret) = token(Some(after(10)));
        let shown = Shown::parse(&secret.text).unwrap();
        assert!(token.accepts(&shown, after(9)));
        assert!(!token.accepts(&shown, after(10)));
        token.revoke(after(1));
        assert!(!token.accepts(&shown, after(2)));
    }

    #[test]
    fn a_rotated_token_has_two_secrets_for_a_while() {
        let (mut token, first) = token(None);
        let second = token.rotate(after(60), [8; 32]);
        let [first, second] = [first, second].map(|secret| Shown::parse(&secret.text).unwrap());
        assert!(token.accepts(&first, after(59)) && token.accepts(&second, after(59)));
        assert!(!token.accepts(&first, after(60)) && token.accepts(&second, after(60)));
        token.rotate(after(90), [9; 32]);
        assert!(!token.accepts(&first, after(1)), "only the last one overlaps");
        assert_eq!(token.secrets.len(), 2);
    }

    #[test]
    fn what_concerns_all_tenants_is_not_for_the_token_of_one() {
        let make = |tenant, scopes: &[Scope], label| {
            Token::new(
                tenant,
                scopes.iter().copied().collect(),
                label,
                None,
                NOW,
                Random { id: [1; 6], secret: [1; 32] },
            )
            .map(drop)
        };
        let acme = || Some(Tenant::new("acme").unwrap());
        assert_eq!(make(acme(), &[Scope::Admin], ""), Err(InvalidToken::OperatorsScope(Scope::Admin)));
        assert_eq!(make(acme(), &[Scope::TasksRead], ""), Ok(()));
        assert_eq!(make(None, &[Scope::Admin], ""), Ok(()));
        assert_eq!(make(None, &[], ""), Err(InvalidToken::NoScope));
        assert_eq!(make(None, &[Scope::Admin], "a\nb"), Err(InvalidToken::Label));
    }

    #[test]
    fn scopes_have_the_same_name_everywhere() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
        }
        assert!("tasks:*".parse::<Scope>().is_err());
    }
}
