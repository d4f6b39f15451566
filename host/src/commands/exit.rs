//! Exit codes: those of Celery's command line.

use std::process::ExitCode;

/// How a command ends. Wrong usage ends in clap with code 2, as Celery's does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Success,
    /// It did not, or the task that was waited for failed.
    Failure,
    /// What was asked for is not there (yet): no result, nobody answered.
    Unavailable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Unavailable => 69,
        })
    }
}
