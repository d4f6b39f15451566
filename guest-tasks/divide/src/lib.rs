//! The tutorial's task: divides two numbers.
//!
//! Dividing by zero fails in two ways here, and callers see the same Python `ZeroDivisionError` from both: `divide`
//! returns an error, `integer_divide` runs into the machine's trap. Neither can harm the worker.

use std::{thread, time::Duration};

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:divide/divide", generate_all });

struct Divide;

export!(Divide);

impl Guest for Divide {
    fn divide(x: f64, y: f64, sleep: Option<f64>) -> Result<f64, TaskError> {
        if let Some(seconds) = sleep {
            thread::sleep(duration(seconds)?);
        }
        if y == 0.0 {
            return Err(error("ZeroDivisionError", "division by zero"));
        }
        Ok(x / y)
    }

    fn integer_divide(x: i32, y: i32) -> i32 {
        machine_divide(x, y)
    }
}

fn duration(seconds: f64) -> Result<Duration, TaskError> {
    Duration::try_from_secs_f64(seconds).map_err(|e| error("ValueError", &e.to_string()))
}

/// An exception for the caller: the name of its class and its text.
fn error(kind: &str, message: &str) -> TaskError {
    TaskError { kind: kind.to_owned(), message: message.to_owned() }
}

// In Rust a division by zero panics before the machine sees it. This one is a function of two lines of
// WebAssembly, in `machine_divide.wat`, which the build script hands to the linker.
unsafe extern "C" {
    safe fn machine_divide(x: i32, y: i32) -> i32;
}
