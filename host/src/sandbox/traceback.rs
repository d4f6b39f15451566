//! The text of a failure: where the guest was, what it printed, and the exception, in the form of a Python
//! traceback.
//!
//! Invariant: begins with `Traceback (most recent call last):`, ends with the exception's line, and has at
//! most [`LONGEST`] bytes. Only notes come after that, as those of Python's exceptions do.

use wasmtime::WasmBacktrace;

use super::output::{Output, visible};
use crate::task::Exception;

/// The longest traceback, in bytes.
const LONGEST: usize = 8 << 10;
/// The longest line of a frame; C++ and Rust have functions with longer names.
const LONGEST_FRAME: usize = 200;
/// The longest last line. The exception itself carries its whole message.
const LONGEST_MESSAGE: usize = 2 << 10;
/// Stands where text was left out.
const CUT: &str = "[...]";

/// The traceback of `exception`, which ended the task `function` of `file`. `frames` has the innermost first,
/// as wasmtime gives them.
pub(super) fn traceback(
    file: &str,
    function: &str,
    frames: Option<&WasmBacktrace>,
    output: &Output,
    exception: &Exception,
) -> String {
    let frames = frames.map(WasmBacktrace::frames).unwrap_or_default();
    let mut names = vec![function.to_owned()];
    names.extend(frames.iter().rev().map(|frame| match frame.func_name() {
        Some(name) => format!("{:#}", rustc_demangle::demangle(name)),
        None => format!("<function {}>", frame.func_index()),
    }));
    // The outermost frame is the task itself, under the name that the compiler gave it.
    names.dedup();
    write(file, &names, output, exception)
}

/// Adds what the run was refused, a line each.
pub(super) fn add_notes(traceback: &mut String, refused: &[String]) {
    for what in refused {
        traceback.push_str(&format!("refused: {what}\n"));
    }
}

/// `names` has the outermost first.
fn write(file: &str, names: &[String], output: &Output, exception: &Exception) -> String {
    let mut text = "Traceback (most recent call last):\n".to_owned();
    for name in names {
        let name: String = name.chars().map(visible).map(|c| if c == '\n' { ' ' } else { c }).collect();
        text.push_str(&beginning(&format!("  File {file:?}, in {name}"), LONGEST_FRAME));
        text.push('\n');
    }
    let last = beginning(&last_line(exception), LONGEST_MESSAGE) + "\n";
    let room = LONGEST.saturating_sub(text.len() + last.len());
    push_output(&mut text, output, room);
    text + &last
}

/// `ZeroDivisionError: division by zero`; Python leaves the module away for its built-in exceptions.
fn last_line(exception: &Exception) -> String {
    let mut line = String::new();
    if exception.module != "builtins" {
        line.push_str(&exception.module);
        line.push('.');
    }
    line.push_str(&exception.class);
    let message = exception.message();
    if !message.is_empty() {
        line.push_str(": ");
        line.extend(message.chars().map(visible));
    }
    line
}

/// As many of the last lines of `output` as go into `room` bytes, indented.
fn push_output(text: &mut String, output: &Output, room: usize) {
    if output.tail.trim().is_empty() {
        return;
    }
    let head = "  Captured output:\n";
    let mark = format!("    {CUT}\n");
    let mut left = room.saturating_sub(head.len() + mark.len());
    let mut lines = Vec::new();
    let mut whole = output.dropped == 0;
    for line in output.tail.trim_end().lines().rev() {
        let line = format!("    {}\n", beginning(line, LONGEST_MESSAGE));
        let Some(rest) = left.checked_sub(line.len()) else {
            whole = false;
            break;
        };
        left = rest;
        lines.push(line);
    }
    text.push_str(head);
    if !whole {
        text.push_str(&mark);
    }
    text.extend(lines.into_iter().rev());
}

/// The first `most` bytes of `text`, with a mark when that is not all of it.
fn beginning(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}{CUT}", &text[..text.floor_char_boundary(most - CUT.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn output(tail: &str, dropped: u64) -> Output {
        Output { tail: tail.to_owned(), dropped }
    }

    #[test]
    fn it_reads_like_pythons() {
        let exception = Exception::builtin("ZeroDivisionError", "division by zero");
        assert_eq!(
            write(
                "app.wasm",
                &names(&["divide", "core::panicking::panic"]),
                &output("dividing\n", 0),
                &exception
            ),
            "Traceback (most recent call last):\n\
            \x20 File \"app.wasm\", in divide\n\
            \x20 File \"app.wasm\", in core::panicking::panic\n\
            \x20 Captured output:\n\
            \x20   dividing\n\
            ZeroDivisionError: division by zero\n"
        );
        let own = Exception::new("host.guest", "CardDeclined", vec![]);
        assert_eq!(
            write("app.wasm", &[], &Output::default(), &own),
            "Traceback (most recent call last):\nhost.guest.CardDeclined\n"
        );
    }

    #[test]
    fn it_is_cut_with_a_mark_and_keeps_its_first_and_last_line() {
        let lines: String = (0..9_999).map(|n| format!("line {n}\n")).collect();
        for (frames, tail, message) in [
            (vec!["f\n".repeat(9_999); 20], lines.clone(), "é".repeat(9_999)),
            (vec![], lines, "boo".to_owned()),
            (vec![], "x".repeat(99_999), "boo".to_owned()),
        ] {
            let text = write("a.wasm", &frames, &output(&tail, 7), &Exception::builtin("E", message));
            assert!(text.len() <= LONGEST, "{}", text.len());
            assert!(text.starts_with("Traceback (most recent call last):\n"));
            assert!(text.lines().last().unwrap().starts_with("E: "));
            assert!(text.contains(CUT));
        }
    }
}
