//! The process that starts compilers: it does nothing else, so that it stays small, and knows nothing that is worth a secret.

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, setpriority_pgrp};

use super::{
    CompileLimits,
    wire::{self, Cause},
};
use crate::walls;

/// After this time a compiler stands behind all others: what takes long does not hold up what is soon done.
const LONG: Duration = Duration::from_secs(1);

/// The niceness that leaves it what nobody else wants.
const LAST: i32 = 19;

/// How often it is looked whether a compiler has ended.
const LOOK: Duration = Duration::from_millis(2);

/// How much of what a compiler writes to standard error is looked at.
const COMPLAINT: u64 = 4 << 10;

/// Starts compilers for the worker at the other end of standard input, until there is no worker.
pub fn start_compilers() -> io::Result<()> {
    walls::around_starter()?;
    let worker = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    while let Some((limits, socket)) = wire::receive(&worker)? {
        thread::Builder::new().spawn(move || follow(limits, socket))?;
    }
    Ok(())
}

/// Starts a compiler, waits for its end, and tells of it.
fn follow(limits: CompileLimits, mut socket: UnixStream) {
    let cause = start(limits, &socket).and_then(|compiler| watch(compiler, limits));
    let cause = cause.unwrap_or_else(|error| Cause::Crash(format!("it cannot be started: {error}")));
    // A worker that no longer listens has its reasons.
    let _ = wire::write_end(&mut socket, &cause);
}

fn start(limits: CompileLimits, socket: &UnixStream) -> io::Result<Child> {
    let stream = || Ok::<_, io::Error>(Stdio::from(OwnedFd::from(socket.try_clone()?)));
    Command::new("/proc/self/exe")
        .arg("compile")
        .args(["--seconds", &limits.time.as_secs().max(1).to_string()])
        .args(["--memory", &limits.memory.to_string()])
        .env_clear()
        .process_group(0)
        .stdin(stream()?)
        .stdout(stream()?)
        .stderr(Stdio::piped())
        .spawn()
}

fn watch(mut compiler: Child, limits: CompileLimits) -> io::Result<Cause> {
    let begin = Instant::now();
    let group = i32::try_from(compiler.id()).ok().and_then(Pid::from_raw);
    let complaint = complaint(&mut compiler);
    let mut is_long = false;
    let mut overran = false;
    let status = loop {
        if let Some(status) = compiler.try_wait()? {
            break status;
        }
        let age = begin.elapsed();
        if age > limits.time && !overran {
            overran = true;
            compiler.kill()?;
        }
        if age > LONG && !is_long {
            is_long = true;
            // The group is the compiler with all its threads.
            let _ = setpriority_pgrp(group, LAST);
        }
        thread::sleep(LOOK);
    };
    let complaint = complaint.recv().unwrap_or_default();
    Ok(if overran { Cause::Time } else { cause(status, &complaint) })
}

/// The beginning of what it writes to standard error; it comes when the compiler has ended.
fn complaint(compiler: &mut Child) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    let stderr = compiler.stderr.take();
    thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.by_ref().take(COMPLAINT).read_to_end(&mut text);
            let _ = io::copy(&mut stderr, &mut io::sink());
        }
        tell.send(String::from_utf8_lossy(&text).into_owned())
    });
    told
}

fn cause(status: ExitStatus, complaint: &str) -> Cause {
    let signal = status.signal();
    if status.success() {
        Cause::Done
    } else if signal == Some(Signal::XCPU.as_raw()) {
        Cause::Time
    } else if complaint.contains("memory allocation of") || complaint.contains("Cannot allocate memory") {
        Cause::Memory
    } else {
        let said = complaint.lines().next().unwrap_or_default();
        Cause::Crash(format!("{status} {said}").trim().to_owned())
    }
}
