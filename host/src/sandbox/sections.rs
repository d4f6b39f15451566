//! What a `.wasm` file carries for others to read: its custom sections.

use wasmparser::{Parser, Payload};

/// The contents of the custom sections with this name, those of nested modules too: what an SDK puts into the core module is within
/// the component that a linker makes out of it. Of bytes that are no WebAssembly there are none.
pub fn sections<'a>(wasm: &'a [u8], name: &str) -> Vec<&'a [u8]> {
    let payloads = Parser::new(0).parse_all(wasm).map_while(Result::ok);
    payloads
        .filter_map(|payload| match payload {
            Payload::CustomSection(section) if section.name() == name => Some(section.data()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_found_in_a_module_and_in_one_within_a_component() {
        let module = r#"(module (@custom "other" "no") (@custom "host:x" "a = 1"))"#;
        let nested = r#"(component (core module (@custom "host:x" "a = 1")) (@custom "host:x" "b"))"#;
        let found = |wat: &str| {
            let wasm = wat::parse_str(wat).unwrap();
            sections(&wasm, "host:x").iter().map(|bytes| bytes.to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(found(module), [b"a = 1".to_vec()]);
        assert_eq!(found(nested), [b"a = 1".to_vec(), b"b".to_vec()]);
        assert!(sections(b"no wasm", "host:x").is_empty());
    }
}
