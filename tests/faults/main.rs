//! The fault suite: what happens to tasks when workers, Redis, the network or the clock fail. It prints a ledger, a line for
//! each fault, and ends with 1 when `host` did not keep what the README promises.
//!
//! - [`steps`]: the worker dies at each step of a task's life (`host::fail_point`), or again and again before it runs any.
//! - [`workers`]: workers die at random moments, or stand still for longer than their lease.
//! - [`server`]: Redis dies and comes back, or is full; connections are cut, or lead nowhere.
//! - [`clock`]: the clock of the workers' machine jumps.
//! - [`embedded`]: writers of the embedded broker die, and its disk is full.
//!
//! `tests/faults/run` runs all of it, with Celery's own worker beside `host`. `cargo test` runs a shorter version, of `host`
//! alone. What is counted is said in [`ledger`]; how, in [`world`] and [`trace`].

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the ledger is what this prints")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use host::fail_point;

use ledger::Row;
use options::Options;
use worker::Kind;

mod clock;
mod embedded;
mod ledger;
mod options;
mod place;
mod proxy;
mod random;
mod server;
mod steps;
#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the end-to-end tests use the rest")]
mod support;
mod trace;
mod watch;
mod worker;
mod workers;
mod world;

/// Does a fault to workers and draws up what it cost.
type Try = fn(&Trial) -> Row;

/// A fault to be tried on one kind of worker.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The fault: `kill:2`.
    pub name: String,
    /// Which kind.
    pub kind: Kind,
    /// How many times the usual number of tasks.
    pub scale: usize,
    /// How.
    run: Try,
}

/// The faults that both kinds of workers can meet.
const FAULTS: &[(&str, Try)] = &[
    ("kill:1", workers::kill),
    ("kill:2", workers::kill),
    ("kill:3", workers::kill),
    ("kill:4", workers::kill),
    ("freeze", workers::freeze),
    ("redis-restart:always", server::restart),
    ("redis-restart:everysec", server::restart),
    ("redis-full", server::memory),
    ("connections-cut", server::cut),
    ("connections-half-open", server::half_open),
    ("clock:+1h", clock::jump),
    ("clock:-1h", clock::jump),
];

/// What only `host` can be told to do: to die at a step of its own choice, again and again.
const STEPS: &[(&str, Try)] = &[("takers-die", steps::kill_takers)];

/// The faults of the embedded broker.
const EMBEDDED: &[(&str, Try)] =
    &[("sqlite-kill:1", embedded::kill), ("sqlite-kill:2", embedded::kill), ("sqlite-full", embedded::full)];

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let trials: Vec<_> =
        trials(options.full).into_iter().filter(|trial| options.wants(&trial.name)).collect();
    if options.list {
        trials
            .iter()
            .filter(|trial| trial.kind == Kind::Host)
            .for_each(|trial| println!("{}: test", trial.name));
        return ExitCode::SUCCESS;
    }
    trace::check();

    let begin = Instant::now();
    let rows = run(&trials, options.parallel);
    println!("\n{}", ledger::table(&rows));
    let missed = rows.iter().filter(|row| !row.missed().is_empty()).count();
    println!("{} rows in {:.0} s; promises missed in {missed}", rows.len(), begin.elapsed().as_secs_f64());
    if missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// All that is to be tried, each fault with Celery's worker after `host` when there is to be one.
fn trials(full: bool) -> Vec<Trial> {
    let scale = if full { 3 } else { 1 };
    let steps = fail_point::STEPS.iter().map(|step| (format!("step:{step}"), steps::kill_at as Try));
    let steps = steps.chain(STEPS.iter().map(|&(name, run)| (name.to_owned(), run)));
    let mut trials: Vec<_> = steps.map(|(name, run)| Trial { name, kind: Kind::Host, scale, run }).collect();
    // Celery's worker knows no such broker.
    let embedded =
        EMBEDDED.iter().map(|&(name, run)| Trial { name: name.to_owned(), kind: Kind::Host, scale, run });
    if embedded::is_known() {
        trials.extend(embedded);
    } else {
        println!("this host knows no broker `sqlite:`, so its faults are left out");
    }
    for &(name, run) in FAULTS {
        let kinds: &[Kind] = if full { &[Kind::Host, Kind::Celery] } else { &[Kind::Host] };
        trials.extend(kinds.iter().map(|&kind| Trial { name: name.to_owned(), kind, scale, run }));
    }
    trials
}

/// Runs trials, some at a time, and returns their rows in the same order. Most of the time each waits for something.
fn run(trials: &[Trial], parallel: usize) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                while let Some((number, trial)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    trials.get(number).map(|trial| (number, trial))
                } {
                    let row = try_out(trial);
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push((number, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|(number, _)| *number);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn try_out(trial: &Trial) -> Row {
    let begin = Instant::now();
    let row = catch_unwind(AssertUnwindSafe(|| (trial.run)(trial))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        Row::impossible(&trial.name, trial.kind, text.lines().next().unwrap_or_default().to_owned())
    });
    let verdict = if row.missed().is_empty() { "done" } else { "MISSED" };
    let seconds = begin.elapsed().as_secs_f64();
    println!("{} with {}: {verdict} in {seconds:.0} s", trial.name, trial.kind.name());
    row
}
