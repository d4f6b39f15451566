//! Files: which of them this process may still open.

use std::{io, path::Path};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    Scope, path_beneath_rules,
};

/// The newest rules of the kernel that are asked for; an older kernel takes those that it knows.
const NEWEST: ABI = ABI::V7;

/// What may be opened. What is not there is left out.
#[derive(Debug, Default)]
pub(super) struct Files<'a> {
    /// Read, with all that is below.
    pub(super) read: Vec<&'a Path>,
    /// Read and run as a program, with all that is below.
    pub(super) run: Vec<&'a Path>,
    /// Read and changed, with all that is below.
    pub(super) write: Vec<&'a Path>,
}

/// Whether connections may be made and taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    Any,
    None,
}

/// How far the kernel does what was asked of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Enforced {
    Fully,
    Partly,
    Not,
}

/// Leaves these files to this thread and to all that it starts, for good.
pub(super) fn leave(files: &Files<'_>, network: Network) -> io::Result<Enforced> {
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let writing: BitFlags<AccessFs> = AccessFs::from_all(NEWEST) & !AccessFs::Execute;
    let restrict = || {
        let mut rules = Ruleset::default().handle_access(AccessFs::from_all(NEWEST))?;
        if network == Network::None {
            rules = rules.handle_access(AccessNet::from_all(NEWEST))?;
        }
        rules
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rules(path_beneath_rules(&files.read, reading))?
            .add_rules(path_beneath_rules(&files.run, reading | AccessFs::Execute))?
            .add_rules(path_beneath_rules(&files.write, writing))?
            .restrict_self()
    };
    let status = restrict().map_err(io::Error::other)?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Enforced::Fully,
        RulesetStatus::PartiallyEnforced => Enforced::Partly,
        RulesetStatus::NotEnforced => Enforced::Not,
    })
}
