//! What the suite is told on its command line.

/// How it is called.
pub const USAGE: &str = "\
usage: tests/faults/run [FAULT...] [--parallel N] [--list]
       cargo test --release -p host --test faults -- [FAULT...] [--full] [--parallel N] [--list]

FAULT is a name or part of one, such as `kill` or `step:run:after`; without any, all faults are tried.
--full        more tasks, and Celery's own worker beside host
--parallel N  how many faults are tried at a time
--list        only print the names";

#[derive(Debug)]
pub struct Options {
    /// More tasks, and Celery beside.
    pub full: bool,
    /// Only print the names.
    pub list: bool,
    /// How many trials run at a time.
    pub parallel: usize,
    faults: Vec<String>,
}

impl Options {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { full: false, list: false, parallel: 0, faults: Vec::new() };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--full" => options.full = true,
                "--list" => options.list = true,
                "--parallel" => {
                    let count =
                        arguments.next().and_then(|count| count.parse().ok()).filter(|count| *count > 0);
                    options.parallel = count.ok_or("--parallel needs a number above 0")?;
                }
                // `cargo test -- --nocapture` tells all suites, and here nothing is captured.
                "--nocapture" | "--no-capture" | "--exact" | "--quiet" | "-q" => {}
                flag if flag.starts_with('-') => return Err(format!("{flag} is not known here")),
                fault => options.faults.push(fault.to_owned()),
            }
        }
        if options.parallel == 0 {
            // Celery's worker takes its two cores for a while when it starts.
            options.parallel = if options.full { 2 } else { 5 };
        }
        Ok(options)
    }

    /// Whether this fault is to be tried.
    pub fn wants(&self, fault: &str) -> bool {
        self.faults.is_empty() || self.faults.iter().any(|part| fault.contains(part.as_str()))
    }
}
