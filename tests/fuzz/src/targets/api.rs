//! Bodies of requests to the API.

use host::api::fuzzing;

use super::assert_one_short_line;

/// A body, for each of the routes that take one.
pub fn body(bytes: &[u8]) {
    for refusal in fuzzing::refusals(bytes) {
        assert_one_short_line(&refusal);
    }
}
