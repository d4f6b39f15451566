//! What can be told of a JSON text without parsing it: how deep it nests, where a value ends, and whether it has Python's
//! special floats.
//!
//! A parser recurses, so it can be asked to read a text only after this has looked at it. One pass, no recursion, and
//! defined for any text, JSON or not.

/// How many lists and objects are open at the deepest place of `text`.
pub fn depth(text: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    for (_, byte) in OutsideStrings::of(text) {
        match byte {
            b'[' | b'{' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The text with `null` in place of each `NaN`, `Infinity` and `-Infinity`, and the first of those; `None` if there is
/// none. Python writes these floats, but JSON has no such words.
pub fn without_special_floats(text: &str) -> Option<(String, &'static str)> {
    let mut replaced = String::new();
    let mut first = None;
    let mut done = 0;
    for (at, byte) in OutsideStrings::of(text) {
        // Most bytes are neither; looking at one byte first keeps this pass cheap.
        if at < done || !matches!(byte, b'N' | b'I' | b'-') {
            continue;
        }
        let found = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| text[at..].starts_with(word));
        if let Some(word) = found {
            replaced.push_str(&text[done..at]);
            replaced.push_str("null");
            done = at + word.len();
            first.get_or_insert(word);
        }
    }
    replaced.push_str(&text[done..]);
    first.map(|word| (replaced, word))
}

/// The length of the list or object that `text` begins with; all of it if that never ends.
pub fn bracketed(text: &str) -> usize {
    let mut open = 0_usize;
    for (at, byte) in OutsideStrings::of(text) {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' if open <= 1 => return at + 1,
            b']' | b'}' => open -= 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the string, quotes included, that `text` begins with; all of it if that never ends.
pub fn string(text: &str) -> usize {
    string_end(text.as_bytes(), 1).min(text.len())
}

/// Where the string that has begun before `at` has ended; perhaps behind the end of the text.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// The bytes of a JSON text that are not in a string, each with its place.
struct OutsideStrings<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> OutsideStrings<'a> {
    fn of(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), at: 0 }
    }
}

impl Iterator for OutsideStrings<'_> {
    type Item = (usize, u8);

    fn next(&mut self) -> Option<(usize, u8)> {
        loop {
            let at = self.at;
            let byte = *self.bytes.get(at)?;
            self.at += 1;
            if byte != b'"' {
                return Some((at, byte));
            }
            self.at = string_end(self.bytes, self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_open_brackets_outside_strings() {
        let cases = [
            ("", 0),
            ("1", 0),
            ("[]", 1),
            (r#"[[1, 2], {}, {"chain": null}]"#, 2),
            (r#"{"a": [{"b": [1]}], "c": [[]]}"#, 4),
            (r#"["[[[[", "\"[[[[", "\\"]"#, 1),
            // Not JSON, and still told.
            ("]]]][[", 2),
            ("[\"[[[", 1),
            ("[\"\\", 1),
        ];
        for (text, expected) in cases {
            assert_eq!(depth(text), expected, "{text}");
        }
        assert_eq!(depth(&"[".repeat(1_000_000)), 1_000_000);
    }

    #[test]
    fn a_bracketed_value_ends_at_its_own_bracket() {
        for (text, length) in [("[], 1", 2), (r#"{"]}": [1, {}]}]"#, 15), ("[[", 2), ("", 0)] {
            assert_eq!(bracketed(text), length, "{text}");
        }
    }

    #[test]
    fn a_string_ends_at_its_first_bare_quote() {
        for (text, length) in [(r#""", 1"#, 2), (r#""a\"b\\"c"#, 8), (r#""endless"#, 8), (r#""\"#, 2)] {
            assert_eq!(string(text), length, "{text}");
        }
    }

    #[test]
    fn special_floats_are_found_outside_strings_only() {
        let cases = [
            ("[1, null]", None),
            (r#"["NaN", "-Infinity"]"#, None),
            ("[-1]", None),
            ("[NaN]", Some(("[null]", "NaN"))),
            ("[-Infinity, Infinity, \"NaN\", NaN]", Some(("[null, null, \"NaN\", null]", "-Infinity"))),
            ("é[Infinity]", Some(("é[null]", "Infinity"))),
        ];
        for (text, expected) in cases {
            let found = without_special_floats(text);
            assert_eq!(found.as_ref().map(|(text, word)| (text.as_str(), *word)), expected, "{text}");
        }
    }
}
