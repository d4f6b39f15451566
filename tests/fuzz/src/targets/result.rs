//! Results as they are stored: other workers write them, and whoever has the credentials of the backend.

use host::protocol::{repr, result};

use super::assert_one_short_line;

/// What is at a result's key.
pub fn stored(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match result::decode(text) {
        Ok(meta) => {
            repr::value(&meta.result);
            meta.exception.as_ref().map(repr::exception);
        }
        Err(refusal) => assert_one_short_line(&refusal.to_string()),
    }
    host::protocol::time::read(text);
}
