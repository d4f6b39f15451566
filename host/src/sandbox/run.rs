//! One run of one function, from its arguments to its outcome.
//!
//! Invariants: a run always comes back with an [`Outcome`], by its hard limit and whatever the guest does; it
//! has an instance of its own; dropping its future ends it and frees everything.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::Poll,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{sync::SemaphorePermit, time::timeout_at};
use wasmtime::{Store, component::Val};
use wasmtime_wasi::I32Exit;

use super::{
    Call, Output, Run, TimeLimits, convert,
    guest::{Deadlines, Guest, Shown, Stdio},
    output::Capture,
    program::{Code, Loaded, Program},
    traceback::{add_notes, traceback},
    trap,
};
use crate::task::{Asked, Exception, Failure, Json, Outcome};

impl Program {
    /// Runs the function at the index `function` of [`Program::functions`], when a slot is free. The wait for
    /// it counts towards the limits.
    ///
    /// A guest that computes gives its thread back once in each tick of 10 ms. For others to get it then, the
    /// runtime has to look at its queues after each poll: `global_queue_interval(1)` and `event_interval(1)`.
    ///
    /// # Panics
    ///
    /// When there is no such function.
    pub async fn run(&self, function: usize, call: Call) -> Run {
        let deadlines = Deadlines::from_now(call.limits);
        let input = match self.loaded.input(function, &call) {
            Ok(input) => input,
            Err(exception) => {
                return Run::new(self.loaded.failure(function, exception, None, &Output::default()));
            }
        };
        match timeout_at(deadlines.hard, self.loaded.sandbox.slots.acquire()).await {
            Ok(slot) => {
                let slot = slot.expect("nothing closes the slots");
                self.loaded.run(slot, function, call, input, deadlines).await
            }
            Err(_elapsed) => Run::new(Exceeded::Hard.outcome(deadlines.limits())),
        }
    }
}

/// The exit code by which a command says that it failed only for now, by its name in `sysexits.h`.
const EX_TEMPFAIL: i32 = 75;

/// How arguments reach the guest.
enum Input {
    Values(Vec<Val>),
    Stdin(bytes::Bytes),
}

impl Loaded {
    fn input(&self, function: usize, call: &Call) -> Result<Input, Exception> {
        let signature = self.contents.functions[function].signature();
        match &self.contents.code {
            Code::Component { .. } | Code::Numbers { .. } => {
                convert::arguments(signature, &call.request.args, &call.request.kwargs).map(Input::Values)
            }
            Code::Command { .. } | Code::CommandComponent { .. } => {
                let text = format!(
                    r#"{{"args": {}, "kwargs": {}}}"#,
                    call.request.args.get(),
                    call.request.kwargs.get()
                );
                Ok(Input::Stdin(text.into()))
            }
        }
    }

    /// Runs in `slot`, and holds it until the instance is gone.
    async fn run(
        &self,
        slot: SemaphorePermit<'_>,
        function: usize,
        call: Call,
        input: Input,
        deadlines: Deadlines,
    ) -> Run {
        let options = &self.sandbox.options;
        let output = Capture::new(options.output);
        let (arguments, stdin, stdout) = match input {
            Input::Values(values) => (values, bytes::Bytes::new(), output.clone()),
            // A program's standard output is its result, so all of it is kept, up to the limit.
            Input::Stdin(stdin) => (Vec::new(), stdin, Capture::new(options.result)),
        };
        let shown = Shown::default();
        let stdio = Stdio { stdin, stdout: stdout.clone(), stderr: output.clone() };
        let started = Instant::now();
        let mut cpu = Duration::ZERO;
        let mut store = Guest::store(&self.sandbox, call, deadlines, shown.clone(), stdio);
        let ended = {
            // Pinned here, so that they are not moved on: they are large.
            let execution = pin!(self.execute(function, &mut store, &arguments));
            let bounds = Bounds { cpu: deadlines.limits().cpu, calls: options.host_calls, shown: &shown };
            let execution = pin!(metered(execution, &mut cpu, bounds));
            limited(execution, deadlines, &shown).await.flatten()
        };
        let (peak_memory, refused) = (store.data().limiter.memory(), store.data().limiter.refused());
        let mut asked = store.data().asked;
        let (not_granted, redactor) = (store.data().refused(), store.data().redactor());
        // The order matters: the pool has room for the next instance only when this one is gone.
        drop(store);
        drop(slot);
        let wall = started.elapsed();

        let output = output.take_text();
        let outcome = match ended {
            Err(exceeded) => exceeded.outcome(deadlines.limits()),
            Ok(Err(error)) => {
                if self.is_command() && matches!(error.downcast_ref(), Some(I32Exit(EX_TEMPFAIL))) {
                    let explained = !output.tail.trim().is_empty();
                    asked = Some(Asked::Retry { delay: None, max: None, explained });
                }
                let exception = trap::exception(&error, refused, &output.tail);
                self.failure(function, exception, error.downcast_ref(), &output)
            }
            Ok(Ok(values)) => match self.result(function, &values, &stdout) {
                Ok(result) => Outcome::Success(result),
                Err(exception) => self.failure(function, exception, None, &output),
            },
        };
        let (outcome, output) = match redactor {
            None => (outcome, output),
            Some(redactor) => (redactor.outcome(outcome), redactor.output(output)),
        };
        let outcome = with_notes(outcome, &not_granted);
        let asked = asked.filter(|_| matches!(outcome, Outcome::Failure(_)));
        Run { outcome, asked, wall, cpu, peak_memory, output }
    }

    fn is_command(&self) -> bool {
        matches!(self.contents.code, Code::Command { .. } | Code::CommandComponent { .. })
    }

    /// Makes an instance and calls the function. What a program returns is on its standard output.
    async fn execute(
        &self,
        function: usize,
        store: &mut Store<Guest>,
        arguments: &[Val],
    ) -> wasmtime::Result<Vec<Val>> {
        match &self.contents.code {
            Code::Component { instance, exports } => {
                let export = &exports[function];
                let instance = instance.instantiate_async(&mut *store).await?;
                let callee = instance.get_func(&mut *store, export.index).ok_or_else(lost_export)?;
                let mut results = vec![Val::Bool(false); export.results];
                callee.call_async(store, arguments, &mut results).await?;
                Ok(results)
            }
            Code::CommandComponent { instance, run } => {
                let program = async {
                    let instance = instance.instantiate_async(&mut *store).await?;
                    let run = instance.get_typed_func::<(), (Result<(), ()>,)>(&mut *store, run)?;
                    let (result,) = run.call_async(store, ()).await?;
                    result.map_err(|()| I32Exit(1).into())
                };
                exited_well(program.await)
            }
            Code::Command { instance, start } => {
                let program = async {
                    let instance = instance.instantiate_async(&mut *store).await?;
                    call_core(store, &instance, start, &[], 0).await.map(drop)
                };
                exited_well(program.await)
            }
            Code::Numbers { instance, initialize, exports } => {
                let export = &exports[function];
                let instance = instance.instantiate_async(&mut *store).await?;
                if let Some(initialize) = initialize {
                    call_core(store, &instance, initialize, &[], 0).await?;
                }
                let arguments = arguments.iter().map(to_core).collect::<wasmtime::Result<Vec<_>>>()?;
                let results = call_core(store, &instance, &export.index, &arguments, export.results).await?;
                results.iter().map(from_core).collect()
            }
        }
    }

    fn result(&self, function: usize, values: &[Val], stdout: &Capture) -> Result<Json, Exception> {
        let most = self.sandbox.options.result;
        match &self.contents.code {
            Code::Component { .. } | Code::Numbers { .. } => {
                convert::result(self.contents.functions[function].signature(), values, most)
            }
            Code::Command { .. } | Code::CommandComponent { .. } => printed_result(stdout, most),
        }
    }

    fn failure(
        &self,
        function: usize,
        exception: Exception,
        frames: Option<&wasmtime::WasmBacktrace>,
        output: &Output,
    ) -> Outcome {
        let exception = exception.shortened();
        let name = self.contents.functions[function].name();
        let traceback = Some(traceback(&self.file, name, frames, output, &exception));
        Outcome::Failure(Failure { exception, traceback })
    }
}

/// A failure tells what its run was refused.
fn with_notes(mut outcome: Outcome, not_granted: &[String]) -> Outcome {
    if let Outcome::Failure(Failure { traceback: Some(traceback), .. }) = &mut outcome {
        add_notes(traceback, not_granted);
    }
    outcome
}

impl Run {
    /// A run in which nothing has happened.
    pub fn of_nothing() -> Self {
        Self::new(Outcome::Success(serde_json::value::RawValue::NULL.to_owned()))
    }

    /// Adds what another run took, and what it wrote.
    pub fn add(&mut self, run: &Self) {
        self.wall += run.wall;
        self.cpu += run.cpu;
        self.peak_memory = self.peak_memory.max(run.peak_memory);
        self.output.append(&run.output);
    }

    /// A run that ended before it began.
    fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            asked: None,
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            peak_memory: 0,
            output: Output::default(),
        }
    }
}

/// The limit that ended a run.
#[derive(Debug, Clone, Copy)]
enum Exceeded {
    Soft,
    Hard,
    Cpu,
    /// Of calls of the host's functions; this many are allowed.
    Calls(u64),
}

impl Exceeded {
    /// As Celery's own worker reports it, where it has such a limit.
    fn outcome(self, limits: TimeLimits) -> Outcome {
        let of_time = |class, args| Exception::new("billiard.exceptions", class, args);
        let exception = match self {
            Self::Soft => of_time("SoftTimeLimitExceeded", Vec::new()),
            Self::Hard => of_time("TimeLimitExceeded", vec![seconds(limits.hard)]),
            Self::Cpu => {
                let text = format!("{} s of cpu time (--cpu-limit)", seconds(limits.cpu));
                of_time("TimeLimitExceeded", vec![text.into()])
            }
            Self::Calls(most) => Exception::builtin(
                "RuntimeError",
                format!("limit of {most} calls of host functions exceeded (--max-host-calls)"),
            ),
        };
        Outcome::Failure(Failure::without_traceback(exception))
    }
}

/// Whole seconds as an integer, as a limit is usually written.
fn seconds(duration: Duration) -> Value {
    match duration.subsec_nanos() {
        0 => json!(duration.as_secs()),
        _ => json!(duration.as_secs_f64()),
    }
}

/// Awaits `run` until its limits. At the soft limit it ends too, unless it has shown by asking that it will
/// end itself.
async fn limited<T>(
    mut run: Pin<&mut impl Future<Output = T>>,
    deadlines: Deadlines,
    shown: &Shown,
) -> Result<T, Exceeded> {
    if let Some(soft) = deadlines.soft {
        match timeout_at(soft, &mut run).await {
            Ok(ended) => return Ok(ended),
            Err(_elapsed) if !shown.listens() => return Err(Exceeded::Soft),
            Err(_elapsed) => {}
        }
    }
    timeout_at(deadlines.hard, run).await.map_err(|_elapsed| Exceeded::Hard)
}

/// What a run may take that is counted while it runs.
struct Bounds<'a> {
    cpu: Duration,
    calls: u64,
    shown: &'a Shown,
}

/// Adds the time spent inside of `run`'s polls to `cpu`; between them it waits. A guest that computes or calls without end
/// is polled once in a tick, so that is how soon it ends at its bounds.
async fn metered<T>(
    mut run: Pin<&mut impl Future<Output = T>>,
    cpu: &mut Duration,
    bounds: Bounds<'_>,
) -> Result<T, Exceeded> {
    std::future::poll_fn(|context| {
        let started = Instant::now();
        let polled = run.as_mut().poll(context);
        *cpu += started.elapsed();
        match polled {
            Poll::Ready(ended) => Poll::Ready(Ok(ended)),
            Poll::Pending if *cpu > bounds.cpu => Poll::Ready(Err(Exceeded::Cpu)),
            Poll::Pending if bounds.shown.calls() > bounds.calls => {
                Poll::Ready(Err(Exceeded::Calls(bounds.calls)))
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// For a program, `exit(0)` is an end like any other.
fn exited_well(ended: wasmtime::Result<()>) -> wasmtime::Result<Vec<Val>> {
    match ended {
        Err(error) if !matches!(error.downcast_ref(), Some(I32Exit(0))) => Err(error),
        _ => Ok(Vec::new()),
    }
}

/// What a program printed, as its result. Nothing at all is `null`.
fn printed_result(stdout: &Capture, most: usize) -> Result<Json, Exception> {
    let unusable = |why: String| Exception::new("kombu.exceptions", "EncodeError", vec![why.into()]);
    let (printed, written) = stdout.take();
    if written > printed.len() as u64 {
        let why = format!("result of {written} bytes; the limit is {most} (--max-result-size)");
        return Err(unusable(why));
    }
    let text = String::from_utf8(printed)
        .map_err(|_| unusable("standard output is not UTF-8, so it is no JSON result".to_owned()))?;
    match text.strip_suffix('\n').unwrap_or(&text) {
        "" => convert::json_text("null", most),
        text => convert::json_text(text, most),
    }
}

async fn call_core(
    store: &mut Store<Guest>,
    instance: &wasmtime::Instance,
    export: &wasmtime::ModuleExport,
    arguments: &[wasmtime::Val],
    results: usize,
) -> wasmtime::Result<Vec<wasmtime::Val>> {
    let function = instance.get_module_export(&mut *store, export).and_then(wasmtime::Extern::into_func);
    let mut results = vec![wasmtime::Val::I32(0); results];
    function.ok_or_else(lost_export)?.call_async(store, arguments, &mut results).await?;
    Ok(results)
}

fn to_core(value: &Val) -> wasmtime::Result<wasmtime::Val> {
    match *value {
        Val::S32(n) => Ok(n.into()),
        Val::S64(n) => Ok(n.into()),
        Val::Float32(n) => Ok(n.into()),
        Val::Float64(n) => Ok(n.into()),
        _ => Err(wasmtime::format_err!("a core function takes numbers, not {value:?}")),
    }
}

fn from_core(value: &wasmtime::Val) -> wasmtime::Result<Val> {
    match *value {
        wasmtime::Val::I32(n) => Ok(Val::S32(n)),
        wasmtime::Val::I64(n) => Ok(Val::S64(n)),
        wasmtime::Val::F32(bits) => Ok(Val::Float32(f32::from_bits(bits))),
        wasmtime::Val::F64(bits) => Ok(Val::Float64(f64::from_bits(bits))),
        _ => Err(wasmtime::format_err!("a core function returns numbers, not {value:?}")),
    }
}

fn lost_export() -> wasmtime::Error {
    wasmtime::format_err!("the instance lacks a function that its program exports")
}
