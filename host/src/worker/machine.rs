//! What the kernel tells of this machine and this process, for those who watch. Where it tells nothing there are zeros, or
//! nothing.

use std::fs;

use serde_json::{Value, json};

/// The name of the system, as Python has it.
pub(super) const SYSTEM: &str = if cfg!(target_os = "macos") { "Darwin" } else { "Linux" };

/// The load over the last 1, 5 and 15 minutes.
pub(super) fn load() -> [f64; 3] {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap_or(0.0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0.0))
}

/// What this process has used, under the names of `getrusage`.
pub(super) fn usage() -> Value {
    let read = |file: &str| fs::read_to_string(format!("/proc/self/{file}")).ok();
    match (read("stat"), read("status")) {
        (Some(stat), Some(status)) => usage_of(&stat, &status, &read("io").unwrap_or_default()),
        _ => json!("N/A"),
    }
}

/// How much memory this process has, in bytes.
pub(super) fn memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    number_after(&status, "VmRSS:").map(|kilobytes| kilobytes * 1024)
}

fn usage_of(stat: &str, status: &str, io: &str) -> Value {
    // The second field is the program's name in parentheses, and may have any characters.
    let fields: Vec<u64> = match stat.rsplit_once(')') {
        Some((_, rest)) => rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect(),
        None => Vec::new(),
    };
    // Counted from the third, as in proc(5).
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    // The kernel counts in hundredths of a second for everybody, whatever it does itself.
    let seconds = |number: usize| field(number) as f64 / 100.0;
    let blocks = |name: &str| number_after(io, name).unwrap_or(0) / 512;
    let of_status = |name: &str| number_after(status, name).unwrap_or(0);
    json!({
        "utime": seconds(14),
        "stime": seconds(15),
        "maxrss": of_status("VmHWM:"),
        "ixrss": 0,
        "idrss": 0,
        "isrss": 0,
        "minflt": field(10),
        "majflt": field(12),
        "nswap": 0,
        "inblock": blocks("\nread_bytes:"),
        "oublock": blocks("\nwrite_bytes:"),
        "msgsnd": 0,
        "msgrcv": 0,
        "nsignals": 0,
        "nvcsw": of_status("\nvoluntary_ctxt_switches:"),
        "nivcsw": of_status("nonvoluntary_ctxt_switches:"),
    })
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read_whatever_the_program_is_called() {
        let stat = "42 (a) b (c) R 1 42 42 0 -1 4194560 111 0 5 0 250 75 0 0 20 0 3 0 1 1 1";
        let status = "Name:\thost\nVmHWM:\t  5290 kB\nVmRSS:\t 10 kB\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t3\n";
        let io = "rchar: 1\nread_bytes: 1024\nwrite_bytes: 512\ncancelled_write_bytes: 9\n";
        let usage = usage_of(stat, status, io);
        for (name, expected) in [
            ("utime", json!(2.5)),
            ("stime", json!(0.75)),
            ("maxrss", json!(5290)),
            ("minflt", json!(111)),
            ("majflt", json!(5)),
            ("inblock", json!(2)),
            ("oublock", json!(1)),
            ("nvcsw", json!(7)),
            ("nivcsw", json!(3)),
        ] {
            assert_eq!(usage[name], expected, "{name}");
        }
        assert_eq!(usage.as_object().unwrap().len(), 16);
        assert_eq!(usage_of("", "", "")["utime"], json!(0.0));
    }
}
