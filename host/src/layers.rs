//! Who may import whom, as a test.

use std::{fs, path::Path};

/// Each room with the rooms it may import. Outside crates with one home are listed in [`HOMES`].
const ROOMS: &[(&str, &[&str])] = &[
    ("task", &[]),
    ("protocol", &["task"]),
    ("sandbox", &["task"]),
    ("plugin", &["task", "sandbox"]),
    ("store", &["task", "protocol"]),
    ("client", &["task", "protocol", "store"]),
    ("worker", &["task", "protocol", "sandbox", "plugin", "store", "client"]),
    ("config", &["task", "protocol", "sandbox", "plugin", "store", "client", "worker"]),
    ("commands", &["task", "protocol", "sandbox", "plugin", "store", "client", "worker", "config"]),
];

/// Outside crates that only some places may name.
const HOMES: &[(&str, &[&str])] = &[
    ("wasmtime", &["sandbox/"]),
    ("wasmtime_wasi", &["sandbox/"]),
    ("redis", &["store/redis/"]),
    ("clap", &["commands/", "config.rs"]),
    ("anyhow", &["commands/", "main.rs"]),
];

#[test]
fn every_room_imports_only_the_rooms_it_may() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    for file in rust_files(&src) {
        let place = file.strip_prefix(&src).expect("found below src").to_string_lossy().replace('\\', "/");
        let room = place.split(['/', '.']).next().expect("split yields at least one part").to_owned();
        let text = fs::read_to_string(&file).expect("source files are readable");
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().expect("split yields at least one part");
            if let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) {
                for imported in words_after(code, "crate::") {
                    let known = ROOMS.iter().any(|(name, _)| *name == imported);
                    if known && imported != room && !allowed.contains(&imported) {
                        broken.push(format!("{place}:{}: `{room}` may not import `{imported}`", number + 1));
                    }
                }
            }
            for (outside, homes) in HOMES {
                if names_crate(code, outside) && !homes.iter().any(|home| place.starts_with(home)) {
                    broken.push(format!("{place}:{}: `{outside}` belongs in {homes:?}", number + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// The words that stand right behind each `marker`; `crate::{a, b}` yields both.
fn words_after<'a>(code: &'a str, marker: &str) -> Vec<&'a str> {
    let mut words = Vec::new();
    for (at, _) in code.match_indices(marker) {
        let rest = &code[at + marker.len()..];
        match rest.strip_prefix('{') {
            Some(group) => words.extend(group.split(['{', '}', ',']).map(first_word)),
            None => words.push(first_word(rest)),
        }
    }
    words
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Whether `code` uses the crate `outside` by a path, as in `redis::cmd` but not `crate::store::redis::Redis`.
fn names_crate(code: &str, outside: &str) -> bool {
    code.match_indices(&format!("{outside}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !matches!(before, Some(c) if c == ':' || c == '_' || c.is_alphanumeric())
    })
}

fn rust_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("source folders are readable") {
        let path = entry.expect("source folders are readable").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}
