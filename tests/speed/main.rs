//! The speed table: how fast `host` is beside what else one could use, on the machine it runs on.
//!
//! Every line is a ratio of figures that were measured one after the other, several rounds of them, and of each the median
//! counts: so a busy or a slow machine makes both worse. `tests/speed/run` prints it, and `tests/speed/run drain idle` the lines
//! named.
//!
//! - [`drain`]: how fast a full queue is emptied, and what a task costs then.
//! - [`stages`]: where its time goes, and how many instructions that is.
//! - [`latency`]: how long one task takes when there is nothing else, and when there is half of what could be.
//! - [`sandbox`]: what the walls around a function cost, and what [`work`] within them does.
//! - [`interpreter`]: what a task costs that is written in Python.
//! - [`crowd`]: many tasks at once, and short ones beside long ones.
//! - [`startup`]: from nothing to the first result, and what a worker costs that has nothing to do.
//! - [`fleet`]: several workers, many queues.
//! - [`neighbours`]: tenants beside each other: how long one waits while another floods, and who gets how much.
//! - [`growth`]: whether a task costs the same when there is much more of everything.
//!
//! What `host` is compared with: [`bare`], a loop without a sandbox, and [`celery`] and [`bullmq`], if they are installed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is what this prints")]

use std::{env, process::ExitCode};

use table::Line;

mod bare;
mod bullmq;
mod celery;
mod crowd;
mod drain;
mod fleet;
mod growth;
mod interpreter;
mod latency;
mod measure;
mod neighbours;
mod sandbox;
mod stages;
mod startup;
#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the end-to-end tests use the rest")]
mod support;
mod table;
mod work;

/// Measures for so many rounds. One measurement can give several lines.
type Measure = fn(rounds: usize) -> Vec<Line>;

/// The measurements by name.
const MEASUREMENTS: &[(&str, Measure)] = &[
    ("drain", drain::lines),
    ("stages", stages::lines),
    ("instructions", stages::instructions),
    ("sandbox", sandbox::lines),
    ("compute", sandbox::compute),
    ("interpreter", interpreter::lines),
    ("idle", latency::idle),
    ("open-loop", latency::open_loop),
    ("sleepers", crowd::sleepers),
    ("beside", crowd::beside),
    ("start", startup::start),
    ("at-rest", startup::at_rest),
    ("drop", startup::drop_in),
    ("fleet", fleet::lines),
    ("neighbour", neighbours::neighbour),
    ("shares", neighbours::shares),
    ("growth", growth::lines),
];

const USAGE: &str = "\
usage: tests/speed/run [LINE...] [--rounds N] [--list]

LINE is a name or part of one; without any, the whole table is measured. --rounds says how many times (5).";

fn main() -> ExitCode {
    let mut wanted = Vec::new();
    let mut rounds = 5;
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // Cargo adds it.
            "--bench" => {}
            "--list" => {
                MEASUREMENTS.iter().for_each(|(name, _)| println!("{name}"));
                return ExitCode::SUCCESS;
            }
            "--rounds" => match arguments.next().and_then(|text| text.parse().ok()).filter(|n| *n > 0) {
                Some(number) => rounds = number,
                None => return wrong("--rounds needs a number above 0"),
            },
            "--go-through" => {
                let (stage, times) = (arguments.next(), arguments.next().and_then(|text| text.parse().ok()));
                stages::go_through(&stage.unwrap_or_default(), times.unwrap_or(0));
                return ExitCode::SUCCESS;
            }
            flag if flag.starts_with('-') => return wrong(&format!("{flag} is not known here")),
            _ => wanted.push(argument),
        }
    }
    println!("{}\n", measure::machine());
    table::print_head();
    for (name, measure) in MEASUREMENTS {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            measure(rounds).iter().for_each(Line::print);
        }
    }
    ExitCode::SUCCESS
}

fn wrong(what: &str) -> ExitCode {
    eprintln!("{what}\n{USAGE}");
    ExitCode::from(2)
}
