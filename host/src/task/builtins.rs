//! Python's built-in exceptions, and which is a kind of which.

/// The built-in exceptions that a guest may name, each with the class it is made from: subclasses of `Exception` that take
/// any arguments. What would end the caller's process (`SystemExit`, `KeyboardInterrupt`) or needs arguments of certain
/// types (`UnicodeDecodeError`) is not among them.
const CLASSES: &[(&str, &str)] = &[
    ("ArithmeticError", "Exception"),
    ("AssertionError", "Exception"),
    ("AttributeError", "Exception"),
    ("BlockingIOError", "OSError"),
    ("BrokenPipeError", "ConnectionError"),
    ("BufferError", "Exception"),
    ("ChildProcessError", "OSError"),
    ("ConnectionAbortedError", "ConnectionError"),
    ("ConnectionError", "OSError"),
    ("ConnectionRefusedError", "ConnectionError"),
    ("ConnectionResetError", "ConnectionError"),
    ("EOFError", "Exception"),
    ("Exception", "BaseException"),
    ("FileExistsError", "OSError"),
    ("FileNotFoundError", "OSError"),
    ("FloatingPointError", "ArithmeticError"),
    // Python's old name of `OSError`, for the same class.
    ("IOError", "OSError"),
    ("ImportError", "Exception"),
    ("IndentationError", "SyntaxError"),
    ("IndexError", "LookupError"),
    ("InterruptedError", "OSError"),
    ("IsADirectoryError", "OSError"),
    ("KeyError", "LookupError"),
    ("LookupError", "Exception"),
    ("MemoryError", "Exception"),
    ("ModuleNotFoundError", "ImportError"),
    ("NameError", "Exception"),
    ("NotADirectoryError", "OSError"),
    ("NotImplementedError", "RuntimeError"),
    ("OSError", "Exception"),
    ("OverflowError", "ArithmeticError"),
    ("PermissionError", "OSError"),
    ("ProcessLookupError", "OSError"),
    ("RecursionError", "RuntimeError"),
    ("ReferenceError", "Exception"),
    ("RuntimeError", "Exception"),
    ("StopAsyncIteration", "Exception"),
    ("StopIteration", "Exception"),
    ("SyntaxError", "Exception"),
    ("SystemError", "Exception"),
    ("TabError", "IndentationError"),
    ("TimeoutError", "OSError"),
    ("TypeError", "Exception"),
    ("UnboundLocalError", "NameError"),
    ("UnicodeError", "ValueError"),
    ("ValueError", "Exception"),
    ("Warning", "Exception"),
    ("ZeroDivisionError", "ArithmeticError"),
];

/// Whether a guest may name this built-in exception.
pub(super) fn is_builtin(class: &str) -> bool {
    parent(class).is_some()
}

/// Whether the built-in exception `class` is `kind` or a kind of it, as Python's `issubclass` says.
pub(super) fn is_kind_of(class: &str, kind: &str) -> bool {
    let kind = if matches!(kind, "IOError" | "EnvironmentError") { "OSError" } else { kind };
    std::iter::successors(Some(class), |class| parent(class)).any(|class| class == kind)
}

fn parent(class: &str) -> Option<&'static str> {
    CLASSES.iter().find(|(name, _)| *name == class).map(|(_, parent)| *parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_comes_from_exception_in_a_few_steps() {
        for (class, _) in CLASSES {
            let line: Vec<_> = std::iter::successors(Some(*class), |class| parent(class)).take(9).collect();
            assert!(line.len() < 9 && line.ends_with(&["Exception", "BaseException"]), "{line:?}");
        }
    }

    #[test]
    fn kinds_are_pythons() {
        for (class, kind, expected) in [
            ("ConnectionRefusedError", "ConnectionRefusedError", true),
            ("ConnectionRefusedError", "ConnectionError", true),
            ("ConnectionRefusedError", "OSError", true),
            ("ConnectionRefusedError", "IOError", true),
            ("ConnectionRefusedError", "EnvironmentError", true),
            ("IOError", "OSError", true),
            ("OSError", "ConnectionError", false),
            ("ZeroDivisionError", "ArithmeticError", true),
            ("ZeroDivisionError", "Exception", true),
            ("TabError", "SyntaxError", true),
            ("KeyError", "IndexError", false),
            ("KeyError", "Lookup", false),
        ] {
            assert_eq!(is_kind_of(class, kind), expected, "{class} of {kind}");
        }
    }
}
