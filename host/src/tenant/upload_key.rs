//! The keys with which a tenant signs what it uploads.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// An ed25519 public key; as a text, its 32 bytes in base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UploadKey(pub [u8; 32]);

/// A text that is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is no upload key: it must be the 32 bytes of an ed25519 public key in base64")]
pub struct InvalidUploadKey {
    value: String,
}

impl FromStr for UploadKey {
    type Err = InvalidUploadKey;

    fn from_str(text: &str) -> Result<Self, InvalidUploadKey> {
        let bytes = BASE64_STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| InvalidUploadKey { value: text.chars().take(60).collect() })
    }
}

impl fmt::Display for UploadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for UploadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UploadKey({self})")
    }
}

impl Serialize for UploadKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UploadKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_in_base64() {
        let key = UploadKey([7; 32]);
        assert_eq!(key.to_string().parse(), Ok(key));
        for bad in ["", "AAAA", &BASE64_STANDARD.encode([0; 33]), &"=".repeat(44)] {
            assert!(bad.parse::<UploadKey>().is_err(), "{bad:?}");
        }
    }
}
