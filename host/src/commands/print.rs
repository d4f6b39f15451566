//! Writing to standard output, and asides to standard error. A reader that has gone away (`host queues | head -1`) ends the command quietly.

use std::{
    io::{self, Write},
    process,
};

/// Prints a line.
pub(super) fn line(text: impl std::fmt::Display) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        process::exit(if error.kind() == io::ErrorKind::BrokenPipe { 0 } else { 1 });
    }
}

/// Says something that is not data, on standard error.
pub(super) fn aside(text: impl std::fmt::Display) {
    // When nobody listens to it there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints a value as one line of JSON.
pub(super) fn json(value: &impl serde::Serialize) {
    line(serde_json::to_string(value).expect("what commands print has text keys and finite numbers"));
}

/// Prints rows as a table: columns are as wide as their widest cell.
pub(super) fn table<const N: usize>(table: &[[String; N]]) {
    rows(table);
}

/// The same for rows of which only the maker knows how many cells they have.
pub(super) fn rows(table: &[impl AsRef<[String]>]) {
    let mut widths = Vec::new();
    for row in table.iter().map(AsRef::as_ref) {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in table.iter().map(AsRef::as_ref) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        line(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
