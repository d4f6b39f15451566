//! The binary: parses what was typed, runs it, prints the error chain, exits.

use std::process::ExitCode;

use clap::Parser;
use host::commands::{Cli, Exit};

fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(exit) => exit.into(),
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the last thing the process says")]
            {
                eprintln!("host: {error:#}");
            }
            Exit::Failure.into()
        }
    }
}
