//! Arguments, from JSON to WIT, and results, from WIT to JSON.

use host::sandbox::fuzzing;

/// The first line makes the types of the parameters, the rest is the JSON list of arguments.
pub fn there_and_back(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(args) = serde_json::from_slice(&bytes[end + 1..]) else { return };
    let Ok(result) = fuzzing::there_and_back(&bytes[..end], &args) else { return };
    let again = fuzzing::there_and_back(&bytes[..end], &result);
    match again {
        Ok(again) => {
            assert_eq!(again.get(), result.get(), "a result that is given as arguments comes back as it was")
        }
        Err(exception) => panic!("a result cannot be given as arguments: {exception:?}: {result}"),
    }
}
