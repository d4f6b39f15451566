//! The process that compiles one file.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

use super::{
    super::{LoadError, Options, engine, load},
    CompileLimits,
    wire::{self, Job},
};
use crate::walls;

/// The stack on which a file is read: smaller than any on which a worker reads it again, so that what overflows one overflows
/// here.
const READING: usize = 1 << 20;

/// The stack on which it is compiled.
const COMPILING: usize = 8 << 20;

/// Compiles the file that comes on standard input, and writes its code to standard output.
pub fn compile(limits: CompileLimits) -> io::Result<()> {
    let mut worker = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut answer = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    walls::around_compiler(limits.memory, limits.time)?;
    let (job, wasm) = wire::read_job(&mut worker)?;
    match code(&job, &wasm) {
        Ok(code) => wire::write_code(&mut answer, &code)?,
        Err(refusal) => wire::write_refusal(&mut answer, &refusal)?,
    }
    answer.flush()
}

fn code(job: &Job, wasm: &[u8]) -> Result<Vec<u8>, LoadError> {
    let options = Options { file: job.largest, memory: job.memory, ..Options::default() };
    let prepared = on_stack(job, READING, || load::prepare(&job.file, wasm, &options, false))?;
    on_stack(job, COMPILING, || {
        let engine = engine::compiling().map_err(|error| refused(job, &error))?;
        if engine::compatibility(&engine) != job.compatibility {
            let reason = "it is of another version than the worker: start the worker again".to_owned();
            return Err(LoadError::NoCompiler { file: job.file.clone(), reason });
        }
        prepared.precompile(&engine, wasm).map_err(|error| refused(job, &error))
    })
}

fn refused(job: &Job, error: &wasmtime::Error) -> LoadError {
    LoadError::Invalid { file: job.file.clone(), reason: super::super::one_line(&format!("{error:#}")) }
}

/// Does `work` on a thread with so large a stack. A panic in there is the file's fault.
fn on_stack<T: Send>(
    job: &Job,
    size: usize,
    work: impl FnOnce() -> Result<T, LoadError> + Send,
) -> Result<T, LoadError> {
    let work = || {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(load::panicked(&job.file, &*panic)))
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(size).spawn_scoped(scope, work);
        let no_thread = |reason: String| LoadError::NoCompiler { file: job.file.clone(), reason };
        let thread = thread.map_err(|error| no_thread(error.to_string()))?;
        thread.join().map_err(|_| no_thread("its thread ended".to_owned()))?
    })
}

/// A limit as it is typed for `host compile`.
impl CompileLimits {
    /// From whole seconds and bytes.
    pub fn new(seconds: u64, memory: u64) -> Self {
        Self { time: Duration::from_secs(seconds), memory }
    }
}
