//! Signatures of uploads: who has the private key of a tenant can upload in its name, and nobody else.
//!
//! What is signed names the tenant, the plugin, the code and the manifest, so that a signature is good for nothing else.

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};

use super::{UploadError, digest::sha256};
use crate::{task::Tenant, tenant::UploadKey};

/// What is signed begins with this, so that it is never taken for anything else that the same key has signed.
const DOMAIN: &str = "host plugin upload 1";

/// A private key.
pub struct SigningKey(Ed25519KeyPair);

/// The text of what is signed, a line for each part.
fn signed(tenant: &Tenant, plugin: &str, code: &str, manifest: Option<&str>) -> String {
    let manifest = sha256(manifest.unwrap_or_default().as_bytes());
    format!("{DOMAIN}\n{}\n{plugin}\n{code}\n{manifest}\n", tenant.name().unwrap_or_default())
}

impl SigningKey {
    /// A new one, and the text of it that is kept: PKCS #8 in base64.
    pub fn generate() -> (Self, String) {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .expect("the system has random numbers, or nothing of this process can work");
        let text = BASE64_STANDARD.encode(document.as_ref());
        (Self::read(&text).expect("it was made just now"), text)
    }

    /// Reads what [`SigningKey::generate`] has told to keep.
    pub fn read(text: &str) -> Result<Self, UploadError> {
        let invalid = || UploadError::Value {
            what: "the signing key",
            value: "what the file has".to_owned(),
            reason: "it must be what `host plugin keygen` has written",
        };
        let document = BASE64_STANDARD.decode(text.trim()).map_err(|_| invalid())?;
        Ed25519KeyPair::from_pkcs8(&document).map(Self).map_err(|_| invalid())
    }

    /// The public key, for the tenant's record.
    pub fn public(&self) -> UploadKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        UploadKey(key)
    }

    /// Signs an upload of this code, given by its SHA-256, with this manifest; in base64.
    pub fn sign(&self, tenant: &Tenant, plugin: &str, code: &str, manifest: Option<&str>) -> String {
        BASE64_STANDARD.encode(self.0.sign(signed(tenant, plugin, code, manifest).as_bytes()))
    }
}

/// Which of a tenant's keys has signed the upload. Without keys nobody asks.
pub(super) fn check(
    keys: &[UploadKey],
    signature: Option<&str>,
    (tenant, plugin, code, manifest): (&Tenant, &str, &str, Option<&str>),
) -> Result<Option<UploadKey>, UploadError> {
    if keys.is_empty() {
        return Ok(None);
    }
    let signature = signature.ok_or(UploadError::Unsigned { reason: "this one is not signed" })?;
    let signature = BASE64_STANDARD
        .decode(signature.trim())
        .map_err(|_| UploadError::Unsigned { reason: "the signature is not base64" })?;
    let text = signed(tenant, plugin, code, manifest);
    let has_signed = |key: &&UploadKey| {
        UnparsedPublicKey::new(&ED25519, &key.0).verify(text.as_bytes(), &signature).is_ok()
    };
    let none = UploadError::Unsigned {
        reason: "the signature is none of theirs for this tenant, plugin, code and manifest",
    };
    keys.iter().find(has_signed).copied().map(Some).ok_or(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_good_for_what_was_signed_and_nothing_else() {
        let (key, kept) = SigningKey::generate();
        let (other, _) = SigningKey::generate();
        let (acme, code) = (Tenant::new("acme").unwrap(), sha256(b"code"));
        let signature = SigningKey::read(&kept).unwrap().sign(&acme, "app", &code, Some("m"));
        let keys = [other.public(), key.public()];
        let checked = |keys: &[UploadKey], signature: Option<&str>, of| check(keys, signature, of);
        let of = (&acme, "app", &*code, Some("m"));
        assert_eq!(checked(&keys, Some(&signature), of).unwrap(), Some(key.public()));
        assert_eq!(checked(&keys, Some(&format!(" {signature}\n")), of).unwrap(), Some(key.public()));
        let evil = sha256(b"evil");
        for of in [
            (&Tenant::DEFAULT, "app", &*code, Some("m")),
            (&acme, "app2", &*code, Some("m")),
            (&acme, "app", &*evil, Some("m")),
            (&acme, "app", &*code, Some("m2")),
            (&acme, "app", &*code, None),
        ] {
            assert!(
                matches!(checked(&keys, Some(&signature), of), Err(UploadError::Unsigned { .. })),
                "{of:?}"
            );
        }
        for signature in
            [None, Some(""), Some("no base64!"), Some("AAAA"), Some(&*other.sign(&acme, "app2", &code, None))]
        {
            assert!(
                matches!(checked(&keys, signature, of), Err(UploadError::Unsigned { .. })),
                "{signature:?}"
            );
        }
        assert!(matches!(checked(&keys[..1], Some(&signature), of), Err(UploadError::Unsigned { .. })));
        assert_eq!(checked(&[], None, of).unwrap(), None, "without keys nobody asks");
        assert_eq!(checked(&[], Some("x"), of).unwrap(), None);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "AAAA", "not base64", &BASE64_STANDARD.encode([7; 85])] {
            assert!(SigningKey::read(text).is_err(), "{text:?}");
        }
    }
}
