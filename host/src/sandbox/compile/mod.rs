//! Compiling, in processes of their own: a file that takes all time and memory there is takes them from a process that is killed
//! for it, and from nobody else.
//!
//! A worker may not start programs once it runs guests, so it has a *starter*: a process that it started before, and that
//! starts one more process, the *compiler*, for each file. Both are this program (`host compile`). The worker and the
//! compiler talk over a socket that the starter passes on.
//!
//! # What always holds
//!
//! - What comes of a compiler is run by the worker as it is, so the compiler reads one file, is behind [`walls`](crate::walls)
//!   before it reads it, and ends with it.
//! - Each tenant has one compiler at a time, so that nobody waits for the files of another.

mod compiler;
mod refusals;
mod starter;
mod turns;
mod wire;

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{LoadError, Options};
use crate::task::Tenant;
pub use compiler::compile;
use refusals::Refusals;
pub use starter::start_compilers;
use turns::Turns;
use wire::{Cause, Job, Reply};

/// What compiling one file may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Both by the clock and of one core.
    pub time: Duration,
    /// Address space, in bytes.
    pub memory: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        // CPython takes 9 s of computing and less than 1.5 GiB.
        Self { time: Duration::from_secs(60), memory: 2 << 30 }
    }
}

/// The process that starts those that compile, and who may have one now. Cheap to clone; the last one ends the process.
#[derive(Clone)]
pub struct Compilers {
    shared: Arc<Shared>,
}

struct Shared {
    starter: Mutex<UnixStream>,
    process: Mutex<Child>,
    turns: Turns,
    refusals: Refusals,
}

/// How much longer than its limit a compiler's end is waited for.
const GRACE: Duration = Duration::from_secs(10);

impl Compilers {
    /// Starts the starter, which is `program` with the arguments `compile --starter`.
    pub fn start(program: &Path) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let process = Command::new(program)
            .args(["compile", "--starter"])
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            shared: Arc::new(Shared {
                starter: Mutex::new(ours),
                process: Mutex::new(process),
                turns: Turns::default(),
                refusals: Refusals::default(),
            }),
        })
    }

    /// Compiles `wasm` for `tenant` when it is that tenant's turn, unless `done` says then that it has been done meanwhile; the
    /// code goes to where `keep` puts what it reads.
    pub(super) fn compile(
        &self,
        order: &Order<'_>,
        done: impl Fn() -> bool,
        keep: impl FnOnce(&mut dyn Read, u64) -> io::Result<()>,
    ) -> Result<(), LoadError> {
        let Order { tenant, file, digest, .. } = *order;
        if let Some(refusal) = self.shared.refusals.find(tenant, &digest) {
            return Err(refusal.about(file));
        }
        let _turn = self.shared.turns.wait_for(tenant);
        if done() {
            return Ok(());
        }
        // Somebody else may have waited with the same file.
        if let Some(refusal) = self.shared.refusals.find(tenant, &digest) {
            return Err(refusal.about(file));
        }
        let ended = self.order(order, keep);
        if let Err(refusal) = &ended
            && !matches!(refusal, LoadError::NoCompiler { .. })
        {
            self.shared.refusals.remember(tenant, &digest, refusal.clone());
        }
        ended
    }

    fn order(
        &self,
        order: &Order<'_>,
        keep: impl FnOnce(&mut dyn Read, u64) -> io::Result<()>,
    ) -> Result<(), LoadError> {
        let file = || order.file.to_owned();
        let limits = order.options.compile;
        let failed = |error: io::Error| LoadError::NoCompiler { file: file(), reason: error.to_string() };
        let mut compiler = self.new_compiler(limits).map_err(failed)?;
        let job = Job {
            file: file(),
            largest: order.options.file,
            memory: order.options.memory,
            compatibility: order.compatibility,
        };
        // A compiler that has died takes no more; why it died comes below.
        let _ = wire::write_job(&mut compiler, &job, order.wasm);
        let mut outcome = None;
        let mut keep = Some(keep);
        loop {
            match wire::read_reply(&mut compiler).map_err(failed)? {
                Reply::Code { length } => {
                    let mut code = (&mut compiler).take(length);
                    let kept = keep.take().map_or(Ok(()), |keep| keep(&mut code, length));
                    outcome = Some(kept.map_err(failed));
                    // A compiler that was killed while it wrote: where it would have gone on, nothing can be read.
                    if code.limit() > 0 {
                        break;
                    }
                }
                Reply::Refused(refusal) => outcome = Some(Err(refusal.about(order.file))),
                Reply::Ended(cause) => {
                    let died = match cause {
                        Cause::Done => None,
                        Cause::Time => {
                            Some(LoadError::CompileTime { file: file(), limit: limits.time.as_secs_f64() })
                        }
                        Cause::Memory => {
                            Some(LoadError::CompileMemory { file: file(), limit: limits.memory })
                        }
                        Cause::Crash(reason) => Some(LoadError::CompileCrash { file: file(), reason }),
                    };
                    outcome = died.map_or(outcome, |died| Some(Err(died)));
                    break;
                }
            }
        }
        let silent = || Err(LoadError::CompileCrash { file: file(), reason: "it said nothing".to_owned() });
        outcome.unwrap_or_else(silent)
    }

    /// A connection to a compiler that has just been started.
    fn new_compiler(&self, limits: CompileLimits) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(limits.time + GRACE))?;
        ours.set_write_timeout(Some(limits.time + GRACE))?;
        let starter = self.shared.starter.lock().unwrap_or_else(PoisonError::into_inner);
        wire::send(&starter, limits, &theirs)?;
        Ok(ours)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let starter = self.starter.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It ends when there is no worker. From behind its wall this process could not kill it.
        let _ = starter.shutdown(Shutdown::Both);
        let _ = self.process.get_mut().unwrap_or_else(PoisonError::into_inner).wait();
    }
}

impl std::fmt::Debug for Compilers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compilers")
    }
}

/// What is to be compiled.
pub(super) struct Order<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) file: &'a str,
    pub(super) wasm: &'a [u8],
    pub(super) digest: [u8; 32],
    pub(super) options: &'a Options,
    /// Of the engine that is to run the code.
    pub(super) compatibility: u64,
}

/// Writes all of the code, or fails.
pub(super) fn copy(code: &mut dyn Read, length: u64, into: &mut dyn Write) -> io::Result<()> {
    match io::copy(code, into)? {
        copied if copied == length => Ok(()),
        copied => Err(io::Error::other(format!("the compiler broke off after {copied} of {length} bytes"))),
    }
}
