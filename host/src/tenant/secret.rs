//! Secrets of tenants as they are kept: sealed with the operator's key, each bound to its tenant and its name.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::TenantRecord;
use crate::task::{Secret, Tenant};

/// The way secrets are sealed that this host knows.
const VERSION: u64 = 1;

/// The longest value, in bytes: a private key with its certificates fits.
pub const LARGEST_SECRET: usize = 32 << 10;

/// The longest name, in bytes.
const LONGEST_NAME: usize = 100;

/// The operator's key, with which all secrets are sealed. It is in no record, no log and no output.
#[derive(Clone)]
pub struct MasterKey(Arc<LessSafeKey>);

/// A secret's record: what it is called, and whose it is, are in its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedSecret {
    version: u64,
    /// Nonce and sealed value, in base64.
    sealed: String,
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidSecret {
    /// The key is none.
    #[error(
        "the key of secrets must be 32 random bytes in base64 or hexadecimal; `openssl rand -base64 32` makes one"
    )]
    Key,
    /// The name is none.
    #[error(
        "{0:?} cannot name a secret: use letters, digits, `_`, `-` and `.`, at most {LONGEST_NAME} of them"
    )]
    Name(String),
    /// It is empty, or too long.
    #[error("a secret has 1 to {LARGEST_SECRET} bytes, not {0}")]
    Size(usize),
    /// It was not sealed with this key, or not for this tenant and name.
    #[error("it was sealed with another key, or for another name, or it is damaged; set it again")]
    Sealed,
    /// There are no random numbers.
    #[error("the system has no random numbers")]
    Random,
}

impl MasterKey {
    /// Reads a key.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let text = text.trim();
        let hex = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes = match text.len() {
            64 if text.bytes().all(|c| c.is_ascii_hexdigit()) => text.as_bytes().chunks(2).map(hex).collect(),
            _ => BASE64.decode(text).ok(),
        };
        let bytes = Zeroizing::new(bytes.ok_or(InvalidSecret::Key)?);
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| InvalidSecret::Key)?;
        Ok(Self(Arc::new(LessSafeKey::new(key))))
    }

    /// Seals a secret of this tenant and name.
    pub fn seal(&self, tenant: &Tenant, name: &str, secret: &Secret) -> Result<SealedSecret, InvalidSecret> {
        let size = secret.as_str().len();
        if !(1..=LARGEST_SECRET).contains(&size) {
            return Err(InvalidSecret::Size(size));
        }
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| InvalidSecret::Random)?;
        let mut value = Zeroizing::new(secret.as_str().as_bytes().to_vec());
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                bound_to(tenant, name),
                &mut value,
            )
            .map_err(|_| InvalidSecret::Sealed)?;
        let sealed = BASE64.encode([&nonce, value.as_slice(), tag.as_ref()].concat());
        Ok(SealedSecret { version: VERSION, sealed })
    }

    /// Opens what was sealed for this tenant and name.
    pub fn open(&self, tenant: &Tenant, name: &str, record: &str) -> Result<Secret, InvalidSecret> {
        let open = || {
            let record: SealedSecret = serde_json::from_str(record)
                .ok()
                .filter(|record: &SealedSecret| record.version == VERSION)?;
            let sealed = BASE64.decode(record.sealed).ok()?;
            let (nonce, value) = sealed.split_at_checked(NONCE_LEN)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut value = Zeroizing::new(value.to_vec());
            let opened = self.0.open_in_place(nonce, bound_to(tenant, name), &mut value).ok()?;
            Some(Secret::new(std::str::from_utf8(opened).ok()?.to_owned()))
        };
        open().ok_or(InvalidSecret::Sealed)
    }
}

impl SealedSecret {
    /// The key under which a tenant's secret of this name is kept.
    pub fn key(tenant: &Tenant, name: &str) -> Result<String, InvalidSecret> {
        let is_usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_usable) {
            return Err(InvalidSecret::Name(name.chars().take(LONGEST_NAME).collect()));
        }
        Ok(format!("{}/{name}", TenantRecord::key(tenant)))
    }

    /// Whose secret is kept under this key, and its name.
    pub fn owner(key: &str) -> Option<(Tenant, &str)> {
        let (tenant, name) = key.split_once('/')?;
        Some((TenantRecord::tenant(tenant)?, name))
    }

    /// The text of the record.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("it is a number and a text")
    }
}

/// What the sealed value is worth nothing without: so no tenant gets another's secret by moving its record.
fn bound_to(tenant: &Tenant, name: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("host secret {VERSION}\0{}\0{name}", TenantRecord::key(tenant)).into_bytes())
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> MasterKey {
        MasterKey::parse(&BASE64.encode([byte; 32])).unwrap()
    }

    #[test]
    fn a_secret_opens_with_its_key_for_its_tenant_and_its_name_only() {
        let (acme, other) = (Tenant::new("acme").unwrap(), Tenant::new("other").unwrap());
        let secret = Secret::new("s3cret ü".to_owned());
        let sealed = key(1).seal(&acme, "API_KEY", &secret).unwrap().to_json();
        assert!(!sealed.contains("s3cret"));
        assert_eq!(key(1).open(&acme, "API_KEY", &sealed), Ok(secret.clone()));
        for (key, tenant, name) in [
            (key(2), &acme, "API_KEY"),
            (key(1), &other, "API_KEY"),
            (key(1), &Tenant::DEFAULT, "API_KEY"),
            (key(1), &acme, "API_KEX"),
        ] {
            assert_eq!(key.open(tenant, name, &sealed), Err(InvalidSecret::Sealed));
        }
        let again = key(1).seal(&acme, "API_KEY", &secret).unwrap().to_json();
        assert_ne!(sealed, again, "the same secret does not look the same");
        for broken in [
            "",
            "{}",
            "1",
            r#"{"version":1,"sealed":""}"#,
            r#"{"version":1,"sealed":"AAAA"}"#,
            &sealed.replace(":1,", ":2,"),
        ] {
            assert_eq!(key(1).open(&acme, "API_KEY", broken), Err(InvalidSecret::Sealed), "{broken}");
        }
    }

    #[test]
    fn keys_names_and_sizes_are_checked() {
        assert!(MasterKey::parse(&format!(" {}\n", "0a".repeat(32))).is_ok());
        for bad in [
            "",
            "short",
            &"0g".repeat(32),
            &BASE64.encode([0; 31]),
            &BASE64.encode([0; 33]),
            &"0a".repeat(31),
        ] {
            assert_eq!(MasterKey::parse(bad).unwrap_err(), InvalidSecret::Key, "{bad}");
        }
        for bad in ["", "a b", "a/b", "é", &"x".repeat(101)] {
            assert!(SealedSecret::key(&Tenant::DEFAULT, bad).is_err(), "{bad}");
        }
        let kept = SealedSecret::key(&Tenant::DEFAULT, "API_KEY").unwrap();
        assert_eq!(SealedSecret::owner(&kept), Some((Tenant::DEFAULT, "API_KEY")));
        for size in [0, LARGEST_SECRET + 1] {
            let secret = Secret::new("x".repeat(size));
            assert_eq!(key(1).seal(&Tenant::DEFAULT, "A", &secret).unwrap_err(), InvalidSecret::Size(size));
        }
        assert_eq!(format!("{:?} {:?}", key(1), Secret::new("x".to_owned())), "MasterKey(***) Secret(***)");
    }
}
