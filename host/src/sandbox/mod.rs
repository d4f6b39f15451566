//! Compiles and runs WebAssembly. The only room that knows wasmtime.
//!
//! [`Sandbox`] is made once per process; [`Sandbox::load`] turns the bytes of a `.wasm` file into a [`Program`];
//! [`Program::run`] runs one of its functions in a fresh instance and always comes back with an [`Outcome`].

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use crate::task::{Json, Outcome, TaskId, TaskName};

/// One call of a function.
pub struct Call {
    /// The text of a JSON array.
    pub args: Json,
    /// The text of a JSON object.
    pub kwargs: Json,
    /// What the guest can learn about its run.
    pub context: Context,
    /// When it is stopped.
    pub limits: TimeLimits,
    /// Where its progress goes.
    pub progress: ProgressSink,
}

/// What a guest can learn about its run (`wit/context.wit`).
#[derive(Debug, Clone)]
pub struct Context {
    /// The task's id.
    pub id: TaskId,
    /// The task's name.
    pub task: TaskName,
    /// How often it was retried before.
    pub retries: u32,
    /// The first task of the workflow.
    pub root_id: TaskId,
    /// The task that sent this one.
    pub parent_id: Option<TaskId>,
    /// The group it is part of.
    pub group_id: Option<TaskId>,
    /// The text of a JSON object.
    pub headers: Json,
    /// The text of a JSON object.
    pub properties: Json,
}

/// Time limits of one run.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimits {
    /// The run is stopped after this time.
    pub hard: Duration,
    /// The run is asked to end after this time; see `cancelled` in `wit/context.wit`.
    pub soft: Option<Duration>,
}

/// Stores a state (`PROGRESS`) and its meta for the running task, or says why not.
pub type ProgressSink = Arc<dyn Fn(String, Json) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What came of one run.
pub struct Run {
    /// How it ended.
    pub outcome: Outcome,
    /// Time from the first instruction to the last, instantiation included.
    pub wall: Duration,
    /// Time spent computing, without waiting.
    pub cpu: Duration,
    /// The largest sum of the instance's memories, in bytes.
    pub peak_memory: usize,
    /// The end of what it wrote to standard output and standard error, in order of writing.
    pub output: Output,
}

/// The captured end of a guest's output.
#[derive(Debug, Default)]
pub struct Output {
    /// The last bytes, as text.
    pub tail: String,
    /// How many bytes were written before those in `tail` and dropped.
    pub dropped: u64,
}
