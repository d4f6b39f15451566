//! How a guest died, said as the exception that a Python caller expects.
//!
//! The mapping is a closed list. What a guest printed can choose the class no more freely than an error that
//! it returned.

use wasmtime::Trap;
use wasmtime_wasi::I32Exit;

use super::limiter::Refused;
use crate::task::Exception;

/// The exception for `error`, which ended a guest that had written `output` and been refused `refused`.
pub(super) fn exception(error: &wasmtime::Error, refused: Option<Refused>, output: &str) -> Exception {
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return exited(*code);
    }
    let panic = panic_message(output);
    // A guest that was refused memory usually aborts. When it panicked, it may have had another reason.
    let died_of_refusal = panic.is_none_or(|message| message.contains("memory allocation"));
    let Some(trap) = error.downcast_ref::<Trap>() else {
        return refused.map_or_else(|| host_error(error), out_of);
    };
    match (trap, refused) {
        (Trap::UnreachableCodeReached | Trap::MemoryOutOfBounds, Some(refused)) if died_of_refusal => {
            out_of(refused)
        }
        (Trap::IntegerDivisionByZero, _) => division_by_zero(),
        (Trap::IntegerOverflow, _) => Exception::builtin("OverflowError", "integer overflow"),
        (Trap::BadConversionToInteger, _) => {
            Exception::builtin("ValueError", "invalid conversion to integer")
        }
        (Trap::StackOverflow, _) => Exception::builtin("RecursionError", "maximum recursion depth exceeded"),
        (Trap::UnreachableCodeReached, _) => match panic {
            Some(PYTHON_PANIC) => python_exception(output).unwrap_or_else(|| panicked(PYTHON_PANIC)),
            Some(message) => panicked(message),
            None => Exception::builtin("RuntimeError", "unreachable code reached"),
        },
        (other, _) => Exception::builtin("RuntimeError", other.to_string().trim_start_matches("wasm trap: ")),
    }
}

fn exited(code: i32) -> Exception {
    match code {
        0 => Exception::builtin("RuntimeError", "exited before returning a result"),
        code => Exception::builtin("RuntimeError", format!("exit code {code}")),
    }
}

fn out_of(refused: Refused) -> Exception {
    match refused {
        Refused::Memory(limit) => {
            Exception::builtin("MemoryError", format!("memory limit of {} exceeded", Bytes(limit)))
        }
        Refused::TableElements(limit) => {
            Exception::builtin("MemoryError", format!("limit of {limit} table elements exceeded"))
        }
    }
}

fn division_by_zero() -> Exception {
    Exception::builtin("ZeroDivisionError", "division by zero")
}

/// A host function refused to go on: a value too large to take over, too many open resources.
fn host_error(error: &wasmtime::Error) -> Exception {
    Exception::builtin("RuntimeError", error.root_cause().to_string())
}

/// The exception for a Rust panic.
fn panicked(message: &str) -> Exception {
    let division = ["attempt to divide by zero", "attempt to calculate the remainder with a divisor of zero"]
        .contains(&message);
    if division {
        division_by_zero()
    } else if message.starts_with("attempt to ") && message.ends_with(" with overflow") {
        Exception::builtin("OverflowError", message)
    } else if message.starts_with("index out of bounds: ") {
        Exception::builtin("IndexError", message)
    } else {
        Exception::builtin("RuntimeError", message)
    }
}

/// The message of the panic that `output` ends in: Rust writes
/// `thread 'main' panicked at src/lib.rs:3:5:`, then the message, then possibly a note.
fn panic_message(output: &str) -> Option<&str> {
    let (before, after) = output.rsplit_once(" panicked at ")?;
    let line = before.rsplit('\n').next()?;
    if !line.starts_with("thread '") {
        return None;
    }
    let (_place, message) = after.split_once(":\n")?;
    let message = message.split("\nnote: ").next()?;
    Some(message.trim_end())
}

/// What componentize-py panics with when Python code raised, after Python has printed the traceback.
const PYTHON_PANIC: &str = "Python function threw an unexpected exception";

/// The exception in the last line of the Python traceback that `output` ends in.
fn python_exception(output: &str) -> Option<Exception> {
    let (_, traceback) = output.rsplit_once("Traceback (most recent call last):\n")?;
    let (traceback, _) = traceback.rsplit_once("\nthread '")?;
    // Lines of the stack are indented; a message of several lines follows the line of its class.
    let start = traceback.lines().position(|line| line.starts_with(|c: char| c.is_ascii_alphabetic()))?;
    let line = traceback.lines().skip(start).collect::<Vec<_>>().join("\n");
    let (class, message) = line.trim_end().split_once(": ").unwrap_or((line.trim_end(), ""));
    let class = class.rsplit('.').next()?;
    Some(Exception::named_by_guest(class, message))
}

/// A number of bytes in the unit it is a multiple of.
struct Bytes(usize);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            n if n % (1 << 20) == 0 => write!(f, "{} MiB", n >> 20),
            n if n % (1 << 10) == 0 => write!(f, "{} KiB", n >> 10),
            n => write!(f, "{n} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Option<Refused> = Some(Refused::Memory(128 << 20));

    fn died(error: impl Into<wasmtime::Error>, refused: Option<Refused>, output: &str) -> String {
        let exception = exception(&error.into(), refused, output);
        assert_eq!(exception.module, "builtins");
        format!("{}: {}", exception.class, exception.message())
    }

    #[test]
    fn each_trap_is_the_exception_a_python_user_expects() {
        for (trap, expected) in [
            (Trap::IntegerDivisionByZero, "ZeroDivisionError: division by zero"),
            (Trap::IntegerOverflow, "OverflowError: integer overflow"),
            (Trap::BadConversionToInteger, "ValueError: invalid conversion to integer"),
            (Trap::StackOverflow, "RecursionError: maximum recursion depth exceeded"),
            (Trap::UnreachableCodeReached, "RuntimeError: unreachable code reached"),
            (Trap::MemoryOutOfBounds, "RuntimeError: out of bounds memory access"),
            (Trap::TableOutOfBounds, "RuntimeError: undefined element: out of bounds table access"),
            (Trap::IndirectCallToNull, "RuntimeError: uninitialized element"),
            (Trap::BadSignature, "RuntimeError: indirect call type mismatch"),
        ] {
            assert_eq!(died(trap, None, ""), expected);
        }
        assert_eq!(died(I32Exit(3), None, ""), "RuntimeError: exit code 3");
        assert_eq!(died(I32Exit(0), None, ""), "RuntimeError: exited before returning a result");
        assert_eq!(
            died(wasmtime::Error::msg("table full").context("in f"), None, ""),
            "RuntimeError: table full"
        );
    }

    #[test]
    fn a_refused_growth_explains_an_abort_but_not_every_death() {
        let out_of_memory = "MemoryError: memory limit of 128 MiB exceeded";
        assert_eq!(
            died(Trap::UnreachableCodeReached, MEMORY, "memory allocation of 9 bytes failed"),
            out_of_memory
        );
        assert_eq!(died(Trap::MemoryOutOfBounds, MEMORY, ""), out_of_memory);
        assert_eq!(died(wasmtime::Error::msg("cannot instantiate"), MEMORY, ""), out_of_memory);
        assert_eq!(
            died(Trap::IntegerDivisionByZero, MEMORY, ""),
            "ZeroDivisionError: division by zero",
            "the guest took the refusal well and died of something else"
        );
        let panic = "thread 'main' panicked at src/lib.rs:1:1:\nboo\n";
        assert_eq!(died(Trap::UnreachableCodeReached, MEMORY, panic), "RuntimeError: boo");
    }

    #[test]
    fn a_rust_panic_is_known_by_its_message() {
        let panic = |message| {
            let note = "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace";
            let output =
                format!("hello\nthread '<unnamed>' (1) panicked at src/lib.rs:3:5:\n{message}\n{note}\n");
            died(Trap::UnreachableCodeReached, None, &output)
        };
        assert_eq!(panic("attempt to divide by zero"), "ZeroDivisionError: division by zero");
        assert_eq!(
            panic("attempt to calculate the remainder with a divisor of zero"),
            "ZeroDivisionError: division by zero"
        );
        assert_eq!(panic("attempt to add with overflow"), "OverflowError: attempt to add with overflow");
        assert_eq!(
            panic("index out of bounds: the len is 3 but the index is 3"),
            "IndexError: index out of bounds: the len is 3 but the index is 3"
        );
        assert_eq!(panic("two\nlines"), "RuntimeError: two\nlines");
        assert_eq!(panic("SystemExit"), "RuntimeError: SystemExit");
    }

    #[test]
    fn an_exception_of_a_python_guest_keeps_its_name() {
        let raised = |line: &str| {
            let output = format!(
                "Traceback (most recent call last):\n  File \"/0/app.py\", line 5, in f\n{line}\n\n\
                thread '<unnamed>' panicked at runtime/src/lib.rs:1:1:\n{PYTHON_PANIC}\nnote: run with so\n"
            );
            let exception = exception(&Trap::UnreachableCodeReached.into(), None, &output);
            format!("{}.{}({:?})", exception.module, exception.class, exception.message())
        };
        assert_eq!(
            raised("ZeroDivisionError: division by zero"),
            "builtins.ZeroDivisionError(\"division by zero\")"
        );
        assert_eq!(raised("MemoryError"), "builtins.MemoryError(\"\")");
        assert_eq!(raised("shop.CardDeclined: a: b\nc"), "host.guest.CardDeclined(\"a: b\\nc\")");
        assert_eq!(raised("SystemExit: 3"), "host.guest.SystemExit(\"3\")");
        assert_eq!(raised("  nothing"), format!("builtins.RuntimeError({PYTHON_PANIC:?})"));
    }

    #[test]
    fn text_that_only_looks_like_a_panic_is_none() {
        for output in ["it panicked at noon:\nso what", "thread 'x' panicked at src/lib.rs", "", "\n"] {
            assert_eq!(panic_message(output), None, "{output:?}");
        }
    }

    #[test]
    fn sizes_are_said_in_the_unit_they_were_set_in() {
        assert_eq!(Bytes(3 << 20).to_string(), "3 MiB");
        assert_eq!(Bytes(64 << 10).to_string(), "64 KiB");
        assert_eq!(Bytes(1000).to_string(), "1000 bytes");
    }
}
