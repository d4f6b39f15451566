//! Times, counts and what is made of them.

use std::{
    fs,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use crate::support;

/// What it was measured on.
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = available_parallelism().map_or(1, usize::from);
    format!("{cores} cores of {}, Linux {}", model.trim_start_matches(['\t', ' ', ':']), kernel.trim())
}

/// The value in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    percentile(values, 50)
}

/// The value below which `percent` of them are.
pub fn percentile(values: impl IntoIterator<Item = f64>, percent: usize) -> f64 {
    support::percentile(&values.into_iter().collect::<Vec<_>>(), percent)
}

/// Measures several things in turn, so many rounds, and gives the median of each.
pub fn medians<const N: usize>(rounds: usize, mut things: [&mut dyn FnMut() -> f64; N]) -> [f64; N] {
    let mut seen = vec![[0.0; N]; rounds];
    for round in &mut seen {
        for (value, thing) in round.iter_mut().zip(&mut things) {
            *value = thing();
        }
    }
    std::array::from_fn(|n| median(seen.iter().map(|round| round[n])))
}

/// How long something takes.
pub fn time(thing: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    thing();
    begin.elapsed()
}

/// The processor time that a process and its children, those it has now, have used.
pub fn cpu(pid: u32) -> Duration {
    /// What `CLK_TCK` is on Linux, whatever the machine.
    const TICKS: u64 = 100;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    Duration::from_millis(ticks * 1_000 / TICKS) + children.map(cpu).sum::<Duration>()
}
