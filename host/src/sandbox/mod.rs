//! Compiles and runs WebAssembly. The only room that knows wasmtime.
//!
//! [`Sandbox`] is made once per process; [`Sandbox::load`] turns the bytes of a `.wasm` file into a
//! [`Program`]; [`Program::run`] runs one of its functions in a fresh instance and always comes back with an
//! [`Outcome`].
//!
//! # Layout
//!
//! - `inspect` counts and recognises, `load` reads, `compile` compiles, `program` is what comes of it. `code_cache` keeps it on
//!   disk.
//! - `engine`, `wasi`, `imports` and `limiter` are the walls; `guest` is the state of one run within them.
//! - `access` says what a plugin was granted, `refusals` what it was not; `http`, `keyvalue` and `config`
//!   are what can be granted. `redact` takes secrets out of what a run leaves behind.
//! - `run` runs; `output`, `trap` and `traceback` say what happened.
//! - `signature` and `convert` stand between JSON and WebAssembly's types.
//!
//! # What always holds
//!
//! - Nothing that a guest does blocks a thread for longer than a tick, ends the process, or outlives its run.
//! - A guest has clocks, random numbers, captured output and `host:tasks`, and beyond that what it was granted. It has no files,
//!   sockets or environment.

mod access;
mod code_cache;
mod compile;
mod config;
mod convert;
mod engine;
#[doc(hidden)]
pub mod fuzzing;
mod guest;
mod http;
mod imports;
mod inspect;
mod keyvalue;
mod limiter;
mod load;
mod output;
mod program;
mod redact;
mod refusals;
mod run;
mod sections;
mod signature;
#[cfg(test)]
mod tests;
mod traceback;
mod trap;
mod wasi;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use wasmtime::Engine;

pub use access::{Access, KeyValue, SecretSource, Secrets};
use code_cache::CodeCache;
pub use compile::{CompileLimits, Compilers, compile, start_compilers};
pub use convert::BadArgument;
pub use http::{HttpOptions, Network, PrivateNetwork};
pub use load::LoadError;
pub use output::Output;
pub use program::{Function, Program, Shape};
pub use refusals::{Kind as RefusedKind, Refusals};
pub use sections::sections;
pub use signature::{Param, Signature, Skipped};

use crate::task::{Asked, Json, Outcome, Request, SharedJson, Tenant};

/// Where WebAssembly is compiled and run: an engine and room for a number of instances. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    engine: Engine,
    linkers: wasi::Linkers,
    http: Arc<http::Client>,
    code_cache: Option<CodeCache>,
    /// As many permits as the pool has room for.
    slots: Semaphore,
    _ticker: engine::Ticker,
}

/// What runs may take.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most runs at once; the others wait. Each slot reserves 8 GiB of address space, not of memory.
    pub slots: usize,
    /// Most memory of one run, in bytes.
    pub memory: usize,
    /// How much of the end of a run's output is kept, in bytes.
    pub output: usize,
    /// The largest result, as JSON, in bytes.
    pub result: usize,
    /// The largest `.wasm` file, in bytes.
    pub file: usize,
    /// The most that a guest may hand to the host in one call, its result included, in bytes of the host's
    /// memory.
    pub host_call: usize,
    /// How often a run may call functions of the host.
    pub host_calls: u64,
    /// The folder where compiled code is kept, if it is.
    pub code_cache: Option<PathBuf>,
    /// What requests of guests may take.
    pub http: HttpOptions,
    /// What compiling one file may take, where there are compilers.
    pub compile: CompileLimits,
    /// Those that compile, in processes of their own. Without, this process compiles: for tests, and for the files of who
    /// calls.
    pub compilers: Option<Compilers>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // More than a machine has cores, because runs that wait need a slot too.
            slots: 100,
            memory: 128 << 20,
            output: 64 << 10,
            // Every reader of the result backend has to carry it.
            result: 1 << 20,
            // CPython with its standard library is 18 MiB.
            file: 32 << 20,
            // With wasmtime's own 128 MiB, one call made the host hold 275 MB for a guest.
            host_call: 4 << 20,
            // Each costs the host some work that no other limit sees.
            host_calls: 1_000_000,
            code_cache: None,
            http: HttpOptions::default(),
            compile: CompileLimits::default(),
            compilers: None,
        }
    }
}

impl Sandbox {
    /// Reserves the room for all slots and starts the clock that makes guests yield.
    pub fn new(options: Options) -> Result<Self, SandboxError> {
        let engine = engine::engine(&options)?;
        let linkers =
            wasi::Linkers::new(&engine).map_err(|error| SandboxError::Linker { reason: one_line(&error) })?;
        let http = http::Client::new(options.http.clone())
            .map(Arc::new)
            .map_err(|reason| SandboxError::Authorities { reason })?;
        let code_cache = options.code_cache.as_ref().and_then(|folder| {
            CodeCache::open(folder, &engine)
                .map_err(|error| tracing::warn!("compiled code is not kept: {folder:?}: {error}"))
                .ok()
        });
        let slots = Semaphore::new(options.slots);
        let ticker = engine::Ticker::start(&engine)?;
        Ok(Self {
            inner: Arc::new(Inner { options, engine, linkers, http, code_cache, slots, _ticker: ticker }),
        })
    }

    /// Compiles a `.wasm` file of `tenant`, which waits for no other tenant's files and learns nothing of them. `file_name` is
    /// used in messages, and names the task of a command. Takes up to a minute, so call it where blocking is fine.
    pub fn load(&self, tenant: &Tenant, file_name: &str, wasm: &[u8]) -> Result<Program, LoadError> {
        load::load(&self.inner, tenant, file_name, wasm)
    }

    /// Whether the kernel helps to wipe instances (`PAGEMAP_SCAN`, Linux 6.7); without, expect a sixth of the
    /// throughput. For the start-up log.
    pub fn pagemap_scan_available() -> bool {
        engine::pagemap_scan_available()
    }
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// There can be no such number of slots.
    #[error("{slots} runs at once are not possible; choose 1 to {}", u32::MAX)]
    Slots {
        /// What was asked for.
        slots: usize,
    },
    /// The engine did not start.
    #[error("cannot reserve room for {slots} runs of {memory} bytes at once: {reason}; try fewer")]
    Engine {
        /// Runs at once.
        slots: usize,
        /// Bytes for each.
        memory: usize,
        /// What wasmtime said.
        reason: String,
    },
    /// The host's functions could not be linked with each other.
    #[error("cannot link the host functions: {reason}")]
    Linker {
        /// What wasmtime said.
        reason: String,
    },
    /// The certificates of authorities cannot be used.
    #[error("cannot trust what --http-ca names: {reason}")]
    Authorities {
        /// Why.
        reason: String,
    },
    /// The thread of the clock did not start.
    #[error("cannot start the thread that interrupts guests")]
    Ticker(#[source] std::io::Error),
}

/// One call of a function.
pub struct Call {
    /// The arguments, and what the guest can learn about its run (`wit/context.wit`).
    pub request: Arc<Request>,
    /// When it is stopped.
    pub limits: TimeLimits,
    /// Most memory, in bytes, if that is less than the sandbox allows.
    pub memory: Option<usize>,
    /// Where its progress goes.
    pub progress: ProgressSink,
    /// Where what it sends goes.
    pub outbox: Arc<dyn Outbox>,
    /// What it may reach.
    pub access: Arc<Access>,
}

/// Takes what a run sends: nothing is sent before it has succeeded.
pub trait Outbox: Send + Sync {
    /// Adds a call, given as one of Celery's signatures; answers the id of its result, or why it cannot be made.
    fn send(&self, signature: SharedJson) -> Result<String, String>;

    /// The names of all tasks in a signature, those that follow others included; or why it is none.
    fn tasks(&self, signature: &SharedJson) -> Result<Vec<String>, String>;

    /// Puts a call in the place of the task that runs, or says why not.
    fn replace(&self, signature: SharedJson) -> Result<(), String>;
}

/// Time limits of one run.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimits {
    /// The run is stopped after this time.
    pub hard: Duration,
    /// The run is asked to end after this time; see `cancelled` in `wit/context.wit`.
    pub soft: Option<Duration>,
    /// The run is stopped when it has computed for this time, without what it waited.
    pub cpu: Duration,
}

/// Stores a state (`PROGRESS`) and its meta for the running task, or says why not.
pub type ProgressSink = Arc<dyn Fn(String, Json) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What came of one run.
pub struct Run {
    /// How it ended.
    pub outcome: Outcome,
    /// What it asked to become of its message, if it failed.
    pub asked: Option<Asked>,
    /// Time from the first instruction to the last, instantiation included.
    pub wall: Duration,
    /// Time spent computing, without waiting.
    pub cpu: Duration,
    /// The largest sum of the instance's memories, in bytes.
    pub peak_memory: usize,
    /// The end of what it wrote to standard output and standard error, in order of writing.
    pub output: Output,
}

/// A message from a library as one short line. It may quote names from a hostile file.
fn one_line(message: &impl fmt::Display) -> String {
    const LONGEST: usize = 500;
    let message = message.to_string();
    let words: String = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = words.chars().take(LONGEST).map(output::visible).collect();
    if words.chars().nth(LONGEST).is_some() { line + " [...]" } else { line }
}
