//! The binary: parses what was typed, runs it, prints the error chain, exits.

use std::process::ExitCode;

use clap::Parser;
use host::commands::{Cli, Exit};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Memory that is not used for a second is given back to the system. A worker starts the thread that does it.
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: &[u8; 61] = b"background_thread:false,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

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
