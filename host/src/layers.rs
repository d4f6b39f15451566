//! Who may import whom, as a test.

use std::{fs, path::Path};

/// Each room with the rooms it may import. Outside crates with one home are listed in [`HOMES`].
const ROOMS: &[(&str, &[&str])] = &[
    ("fail_point", &[]),
    ("walls", &[]),
    ("task", &[]),
    ("tenant", &["task"]),
    ("protocol", &["task"]),
    ("sandbox", &["walls", "task"]),
    ("plugin", &["task", "sandbox"]),
    ("canvas", &["task", "protocol"]),
    ("store", &["fail_point", "task", "protocol"]),
    ("client", &["task", "protocol", "store"]),
    ("uploads", &["task", "tenant", "sandbox", "plugin", "store"]),
    (
        "worker",
        &[
            "fail_point",
            "task",
            "tenant",
            "protocol",
            "sandbox",
            "plugin",
            "canvas",
            "store",
            "client",
            "uploads",
        ],
    ),
    ("api", &["task", "tenant", "protocol", "sandbox", "plugin", "store", "client", "uploads"]),
    (
        "config",
        &[
            "walls", "task", "tenant", "protocol", "sandbox", "plugin", "store", "client", "uploads",
            "worker", "api",
        ],
    ),
    (
        "commands",
        &[
            "walls", "task", "tenant", "protocol", "sandbox", "plugin", "store", "client", "uploads",
            "worker", "api", "config",
        ],
    ),
];

/// Outside crates that only some places may name.
const HOMES: &[(&str, &[&str])] = &[
    ("wasmtime", &["sandbox/"]),
    ("wasmtime_wasi", &["sandbox/"]),
    ("wasmtime_wasi_http", &["sandbox/"]),
    ("tokio_rustls", &["sandbox/http/"]),
    ("redis", &["store/redis/"]),
    ("rusqlite", &["store/sqlite/"]),
    (
        "rustix",
        &[
            "commands/processes.rs",
            "fail_point.rs",
            "sandbox/code_cache.rs",
            "sandbox/compile/",
            "store/sqlite/",
            "walls/",
        ],
    ),
    ("seccompiler", &["walls/"]),
    ("landlock", &["walls/"]),
    ("libc", &["walls/"]),
    ("tikv_jemallocator", &["walls/", "main.rs"]),
    ("toml", &["plugin/"]),
    ("ratatui", &["commands/top/"]),
    ("crossterm", &["commands/top/"]),
    ("tracing_subscriber", &["commands/log.rs"]),
    ("tracing_appender", &["commands/log.rs"]),
    ("clap", &["commands/", "config.rs", "main.rs"]),
    ("anyhow", &["commands/", "main.rs"]),
    ("axum", &["api/"]),
    ("utoipa", &["api/"]),
    ("utoipa_axum", &["api/"]),
];

#[test]
fn every_room_imports_only_the_rooms_it_may() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    for file in rust_files(&src) {
        let place = file.strip_prefix(&src).expect("found below src").to_string_lossy().replace('\\', "/");
        let room = place.split(['/', '.']).next().expect("split yields at least one part").to_owned();
        let code = without_comments(&fs::read_to_string(&file).expect("source files are readable"));
        if let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) {
            for imported in imported_rooms(&code) {
                if imported != room && !allowed.contains(&imported) {
                    broken.push(format!("{place}: `{room}` may not import `{imported}`"));
                }
            }
        }
        for (outside, homes) in HOMES {
            if names_crate(&code, outside) && !homes.iter().any(|home| place.starts_with(home)) {
                broken.push(format!("{place}: `{outside}` belongs in {homes:?}"));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

fn without_comments(text: &str) -> String {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    text.lines().map(code).collect::<Vec<_>>().join("\n")
}

/// The rooms named by `crate::room` and by `use crate::{room::..., room}`, also over several lines.
fn imported_rooms(code: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (at, marker) in code.match_indices("crate::") {
        let rest = &code[at + marker.len()..];
        match rest.strip_prefix('{') {
            Some(group) => words.extend(top_level_parts(group).into_iter().map(first_word)),
            None => words.push(first_word(rest)),
        }
    }
    words.retain(|word| ROOMS.iter().any(|(name, _)| name == word));
    words
}

/// The parts between the commas of a `{...}` group that begins before `text`, up to its closing brace.
fn top_level_parts(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 1);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            parts.push(&text[start..at]);
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    parts
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

#[test]
fn groups_over_several_lines_are_read() {
    let code = "use crate::{\n    plugin::{Entry, Folder},\n    task::Json,\n};\nlet x = crate::store::redis::Redis;";
    assert_eq!(imported_rooms(code), ["plugin", "task", "store"]);
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
