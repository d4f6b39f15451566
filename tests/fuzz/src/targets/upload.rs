//! Files of plugins, looked at without being compiled.

use host::sandbox::fuzzing;

use super::assert_one_short_line;

/// A `.wasm` file.
pub fn file(bytes: &[u8]) {
    if let Err(refusal) = fuzzing::examine(bytes) {
        assert_one_short_line(&refusal.to_string());
    }
}
