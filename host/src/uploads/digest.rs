//! The names of code and of versions.

use sha2::{Digest, Sha256};

/// The SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of a version with this code, given by its SHA-256. The same code with another manifest is another version.
pub(super) fn version(code: &str, manifest: Option<&str>) -> String {
    match manifest {
        None => code.to_owned(),
        Some(manifest) => sha256(format!("{code}\n{}\n", sha256(manifest.as_bytes())).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_by_its_code_and_its_manifest() {
        let code = sha256(b"");
        assert_eq!(code, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(version(&code, None), code);
        let names = [version(&code, Some("")), version(&code, Some("a")), version(&sha256(b"x"), Some("a"))];
        assert!(names.iter().all(|name| name.len() == 64 && *name != code));
        assert!(names[0] != names[1] && names[1] != names[2]);
    }
}
