//! What strangers can send, one target for each way in: a function that takes any bytes and panics if what must always hold does
//! not.
//!
//! libFuzzer calls them (`tests/fuzz/run TARGET`), and so do the end-to-end tests (`tests/fuzz_seeds.rs`), which include this file:
//! over all seeds, and over as many changes of them as fit into a second or two.

mod api;
mod canvas;
mod manifest;
mod message;
mod records;
mod remote;
mod result;
mod seeds;
mod upload;
mod values;

use std::path::{Path, PathBuf};

use host::task::Tenant;

/// A way in.
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// Takes what a stranger sends.
    pub take: fn(&[u8]),
    /// What honest clients send there. `guests` are files of plugins.
    pub seeds: fn(root: &Path, guests: &[PathBuf]) -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "message", take: message::message, seeds: seeds::messages },
    Target { name: "body", take: message::body, seeds: seeds::bodies },
    Target { name: "canvas", take: canvas::signature, seeds: seeds::signatures },
    Target { name: "values", take: values::there_and_back, seeds: seeds::values },
    Target { name: "upload", take: upload::file, seeds: seeds::files },
    Target { name: "manifest", take: manifest::manifest, seeds: seeds::manifests },
    Target { name: "remote", take: remote::told, seeds: seeds::told },
    Target { name: "records", take: records::record, seeds: seeds::records },
    Target { name: "api", take: api::body, seeds: seeds::requests },
    Target { name: "result", take: result::stored, seeds: seeds::results },
];

/// Asserts that text which quotes a stranger is what may stand in a log: short, and without control characters.
fn assert_one_short_line(text: &str) {
    assert!(text.len() < 4_000, "it is {} bytes long: {text:?}", text.len());
    assert!(!text.chars().any(char::is_control), "it has control characters in it: {text:?}");
}

/// Who sends.
fn tenant() -> Tenant {
    Tenant::new("acme").expect("it is a name")
}
