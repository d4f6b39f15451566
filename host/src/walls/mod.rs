//! The second wall: what the kernel is told that a process may not do, before it touches anything hostile. Whoever breaks out of
//! the first, which is WebAssembly itself, stands before this one.
//!
//! # What always holds
//!
//! - What is taken away is taken from all threads, from all that they start, and for good.
//! - Where the kernel cannot do a thing, the others are done, and what is missing is told.

mod allocator;
mod calls;
mod files;
mod rights;
mod secrets;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

pub use allocator::start_background_thread;
use files::{Enforced, Files, Network};
pub use secrets::{hide, take};

/// What the programs of this machine are made of, beside themselves.
const LIBRARIES: &[&str] =
    &["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"];

/// What a process reads to learn about the machine and itself.
const MACHINE: &[&str] = &["/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup", "/sys/kernel/mm"];

/// What a worker reads to find other machines by their names and to tell the time of day, beside what it is told.
const NAMES_AND_TIME: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/localtime",
    "/etc/ssl",
    "/etc/pki",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/dev/urandom",
];

/// The files that a worker has to do with; of folders, all that is below.
#[derive(Debug, Default, Clone)]
pub struct Needs {
    /// What it reads.
    pub read: Vec<PathBuf>,
    /// What it reads and changes.
    pub write: Vec<PathBuf>,
}

/// For a process that runs guests and talks to the network. It must not have a second thread yet, as some of this concerns the
/// first and what that starts. Tells what could not be done, a line each.
pub fn around_worker(needs: &Needs) -> Vec<String> {
    let fixed = |paths: &'static [&str]| paths.iter().map(Path::new);
    let mut files = Files {
        read: needs.read.iter().map(PathBuf::as_path).collect(),
        run: Vec::new(),
        write: needs.write.iter().map(PathBuf::as_path).collect(),
    };
    files.read.extend(fixed(LIBRARIES).chain(fixed(MACHINE)).chain(fixed(NAMES_AND_TIME)));
    files.write.push(Path::new("/dev/null"));

    let mut missing = Vec::new();
    let mut done = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            missing.push(format!("{what}: {error}"));
        }
    };
    rights::private_files();
    done("capabilities are not dropped", rights::no_capabilities());
    done("new privileges are possible", rights::none_new());
    done("core dumps are possible", rights::no_dumps());
    done(
        "any file can be opened",
        match files::leave(&files, Network::Any) {
            Ok(Enforced::Fully | Enforced::Partly) => Ok(()),
            Ok(Enforced::Not) => Err(io::Error::other("this kernel has no Landlock")),
            Err(error) => Err(error),
        },
    );
    done("any system call is possible", calls::not_of_a_worker());
    if rights::is_root() {
        missing.push("it runs as root: give it a user of its own".to_owned());
    }
    missing
}

/// For the process that supervises several workers: it starts programs, and does nothing else.
pub fn around_supervisor() -> io::Result<()> {
    rights::none_new()?;
    rights::no_dumps()
}

/// For the process that starts those that compile: it can start this very program and no other, and write nothing.
pub fn around_starter() -> io::Result<()> {
    rights::end_with_parent()?;
    rights::no_capabilities()?;
    rights::none_new()?;
    rights::no_dumps()?;
    let paths = |paths: &'static [&str]| paths.iter().map(Path::new);
    let mut run: Vec<_> = paths(LIBRARIES).collect();
    run.push(Path::new("/proc/self/exe"));
    files::leave(
        &Files { read: paths(MACHINE).collect(), run, write: vec![Path::new("/dev/null")] },
        Network::None,
    )?;
    Ok(())
}

/// For a process that compiles, when it has all that it reads: no file, no connection, no program; this much memory and time.
pub fn around_compiler(memory: u64, time: Duration) -> io::Result<()> {
    rights::end_with_parent()?;
    rights::none_new()?;
    rights::no_dumps()?;
    rights::modest(memory, time)?;
    files::leave(&Files::default(), Network::None)?;
    calls::compiling_only()
}

#[cfg(test)]
mod tests;
