//! `host compile`: the processes that compile for a worker. The worker starts them; nobody types this.

use clap::Args;

use super::Exit;
use crate::sandbox::{CompileLimits, compile, start_compilers};

/// Compile the file on standard input, for the worker that started this
#[derive(Debug, Args)]
pub struct Compile {
    /// Start one such process for each file that the worker at the other end of standard input has
    #[arg(long)]
    starter: bool,

    /// Stop after this time, and after so much computing
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    seconds: u64,

    /// How much address space there is
    #[arg(long, value_name = "BYTES", default_value = "2147483648")]
    memory: u64,
}

impl Compile {
    pub(super) fn execute(self) -> anyhow::Result<Exit> {
        match self.starter {
            true => start_compilers()?,
            false => compile(CompileLimits::new(self.seconds, self.memory))?,
        }
        Ok(Exit::Success)
    }
}
