//! What the walls around a function cost: a fresh instance, the call, and giving it back.

use std::{
    hint::black_box,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use host::{
    protocol::message::{self, MessageLimits},
    sandbox::{Access, Call, Options, Outbox, Program, Refusals, Run, Sandbox, TimeLimits},
    task::{Outcome, Request, SharedJson, Tenant},
};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::{
    measure::{median, percentile},
    support::{Task, guests},
    table::Line,
    work,
};

const CALLS: usize = 20_000;

pub fn lines(rounds: usize) -> Vec<Line> {
    let program = load(guests::DIVIDE);
    let request = request("app.divide", json!([1, 2]));
    let (one, two) = (runtime(1), runtime(2));
    let (mut sandboxed, mut native, mut rates) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    for _ in 0..rounds {
        let times = one.block_on(times(CALLS, || program.run(0, call(&request))));
        sandboxed.push(percentile(times, 50));
        native.push(of_native(request.args.get()));
        for (rates, (runtime, threads)) in rates.iter_mut().zip([(&one, 1), (&two, 2)]) {
            rates.push(throughput(runtime, threads, &program, &request));
        }
    }
    let beyond = median(sandboxed) - median(native);
    let [alone, together] = rates.map(median);
    vec![
        Line::at_most("sandbox around a divide, beyond the native function, p50", beyond, "us", 12.0),
        Line::at_least("sandboxed calls on two threads", [together, alone], "/s", "on one thread", 1.5),
    ]
}

/// How many microseconds each of so many runs takes.
pub async fn times<F: Future<Output = Run>>(count: usize, run: impl Fn() -> F) -> Vec<f64> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        let run = run().await;
        times.push(begin.elapsed().as_secs_f64() * 1e6);
        assert!(matches!(run.outcome, Outcome::Success(_)), "{:?}", run.outcome);
    }
    times
}

/// A function's name, its argument, and what it does outside of the sandbox.
type Native<'a> = (&'a str, u32, &'a dyn Fn(u32) -> serde_json::Value);

/// A function that computes, in the sandbox beside the same one outside.
pub fn compute(rounds: usize) -> Vec<Line> {
    let (program, runtime) = (load(guests::COMPUTE), runtime(1));
    let halved = |side: u32| work::halve(&work::image(side as usize), side as usize);
    let sum = |bytes: Vec<u8>| bytes.into_iter().map(u64::from).sum::<u64>();
    let native: [Native<'_>; 3] = [
        ("sha256", 1024, &|kibibytes| json!(work::sha256(&vec![0x61; kibibytes as usize * 1024]))),
        ("fib", 30, &|n| json!(work::fib(n))),
        ("halve", 512, &|side| json!(sum(halved(side)))),
    ];
    let line = |(name, argument, native): Native<'_>| {
        let (function, request) = (function(&program, name), request(name, json!([argument])));
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let begin = Instant::now();
            let run = runtime.block_on(program.run(function, call(&request)));
            inside.push(begin.elapsed().as_secs_f64() * 1e3);
            let begin = Instant::now();
            let expected = native(black_box(argument));
            outside.push(begin.elapsed().as_secs_f64() * 1e3);
            let Outcome::Success(result) = run.outcome else { panic!("{name}: {:?}", run.outcome) };
            assert_eq!(result.get(), expected.to_string(), "{name}");
        }
        let what = format!("a task that computes: {name}({argument})");
        Line::at_most_times(&what, [median(inside), median(outside)], "ms", "native Rust", 1.5)
    };
    native.map(line).into()
}

/// Calls a second on so many threads.
fn throughput(runtime: &Runtime, threads: usize, program: &Program, request: &Arc<Request>) -> f64 {
    let begin = Instant::now();
    runtime.block_on(async {
        let calls = |_| {
            let (program, request) = (program.clone(), request.clone());
            tokio::spawn(async move {
                for _ in 0..CALLS {
                    black_box(program.run(0, call(&request)).await);
                }
            })
        };
        let threads: Vec<_> = (0..threads).map(calls).collect();
        for thread in threads {
            thread.await.expect("it runs to its end");
        }
    });
    (threads * CALLS) as f64 / begin.elapsed().as_secs_f64()
}

/// The same function without walls: arguments from JSON, the result to JSON. Microseconds of one call.
fn of_native(args: &str) -> f64 {
    let begin = Instant::now();
    for _ in 0..CALLS {
        let [x, y]: [f64; 2] = serde_json::from_str(black_box(args)).expect("two numbers");
        black_box(serde_json::to_string(&(x / y)).expect("a number"));
    }
    begin.elapsed().as_secs_f64() * 1e6 / CALLS as f64
}

pub fn load(path: &str) -> Program {
    load_with(path, Options::default())
}

pub fn load_with(path: &str, options: Options) -> Program {
    let sandbox = Sandbox::new(options).expect("the machine can run it");
    sandbox
        .load(&Tenant::DEFAULT, "app.wasm", &std::fs::read(path).expect("the guest is built"))
        .expect("it is a plugin")
}

/// Where a function is among those of a program.
pub fn function(program: &Program, name: &str) -> usize {
    let function = program.functions().iter().position(|function| function.name() == name);
    function.expect("the guest has it")
}

/// As the worker runs guests.
pub fn runtime(threads: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).global_queue_interval(1).event_interval(1).enable_all();
    builder.build().expect("there are threads")
}

pub fn request(task: &str, args: serde_json::Value) -> Arc<Request> {
    let message = Task::new(task, args).message();
    Arc::new(
        message::decode(message.as_bytes(), Default::default(), &MessageLimits::default())
            .expect("it is a message"),
    )
}

pub fn call(request: &Arc<Request>) -> Call {
    // The worker makes one for each plugin as well.
    static ACCESS: LazyLock<Arc<Access>> =
        LazyLock::new(|| Arc::new(Access::none(Tenant::DEFAULT, "app", &Refusals::default())));
    Call {
        request: request.clone(),
        limits: TimeLimits { hard: Duration::from_secs(60), soft: None, cpu: Duration::from_secs(60) },
        memory: None,
        progress: Arc::new(|_, _| Box::pin(async { Ok(()) })),
        outbox: Arc::new(Nowhere),
        access: ACCESS.clone(),
    }
}

/// Takes nothing.
struct Nowhere;

impl Outbox for Nowhere {
    fn send(&self, _: SharedJson) -> Result<String, String> {
        Err("nothing can be sent from here".to_owned())
    }

    fn tasks(&self, _: &SharedJson) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    fn replace(&self, _: SharedJson) -> Result<(), String> {
        Err("nothing can be replaced here".to_owned())
    }
}
