//! The second wall around a process that runs guests, and what is started before it stands.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;

use super::log::Voice;
use crate::{
    config,
    sandbox::Compilers,
    walls::{self, Needs},
};

/// Whether there is one.
#[derive(Debug, Clone, Args)]
pub(super) struct WallArgs {
    /// Keep the rights that this process was started with: any file, any system call, core dumps. For debuggers, and for
    /// plugin folders with links that lead out of them
    #[arg(long)]
    unconfined: bool,
}

/// The wall, and what was started outside of it.
pub(super) struct Wall {
    /// Who compiles.
    pub compilers: Compilers,
    /// What could not be taken away.
    missing: Vec<String>,
}

impl WallArgs {
    /// Hides the secrets of this process, starts what has to be outside, and takes away what is not needed. Call it first, when
    /// there is one thread: this is what makes it safe.
    pub fn raise(&self, needs: &Needs) -> anyhow::Result<Wall> {
        // SAFETY: this is the first that a command does, and no thread was started before.
        unsafe {
            config::take_secrets();
            walls::hide()
        }
        .context("cannot hide the secrets that were typed")?;
        let compilers = Compilers::start(Path::new("/proc/self/exe"))
            .context("cannot start the process that compiles")?;
        let missing = match self.unconfined {
            true => Vec::new(),
            false => {
                // Its file has to be open before this process may no longer be looked into.
                crate::sandbox::Sandbox::pagemap_scan_available();
                walls::around_worker(needs)
            }
        };
        walls::start_background_thread().context("cannot start the allocator's thread")?;
        Ok(Wall { compilers, missing })
    }

    /// The same for a process that only starts others.
    pub fn raise_around_supervisor(&self) -> anyhow::Result<()> {
        // SAFETY: as above.
        unsafe { walls::hide() }.context("cannot hide the secrets that were typed")?;
        if !self.unconfined {
            walls::around_supervisor().context("cannot take rights away")?;
        }
        Ok(())
    }
}

impl Wall {
    /// Says in one line what is missing of it.
    pub fn tell(&self, voice: &Voice) {
        if !self.missing.is_empty() {
            voice.say(format!("not all of the second wall stands: {}", self.missing.join("; ")));
        }
    }
}

/// What a worker needs of the machine's files: its plugins, its code cache and its store.
pub(super) fn needs(plugins: Option<&Path>, code_cache: Option<PathBuf>, store: Option<PathBuf>) -> Needs {
    // The kernel is told of folders that are there. Where this one cannot be made, its own room says so.
    let _ =
        code_cache.as_ref().map(|folder| fs::DirBuilder::new().recursive(true).mode(0o700).create(folder));
    Needs {
        read: plugins.map(Path::to_owned).into_iter().collect(),
        write: code_cache.into_iter().chain(store).collect(),
    }
}
