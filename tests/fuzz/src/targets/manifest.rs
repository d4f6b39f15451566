//! Manifests of plugins.

use super::assert_one_short_line;

/// The text of a `.toml` file.
pub fn manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(refusal) = host::plugin::Manifest::read(text, &["divide", "integer_divide"]) {
        assert_one_short_line(&refusal.to_string());
    }
}
