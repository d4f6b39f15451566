//! Where the fault suite may kill the process: each step of a task's life at which something is done and the next thing
//! is not.
//!
//! With `HOST_FAIL_POINT=run:after` the process kills itself (`kill -9`: nothing is flushed, nobody is told) when it first
//! reaches that step; with `HOST_FAIL_POINT=run:after:20` when it reaches it for the twentieth time. Without the variable a
//! step costs one load. The points are in every build, so that the binary that is tested is the one that is shipped.
//!
//! `tests/faults` goes through all [`STEPS`], and fails when one is never reached.

use std::{
    env,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::process::{Signal, getpid, kill_process};

/// The variable that names a step.
pub const VARIABLE: &str = "HOST_FAIL_POINT";

/// The names of all steps. Those that begin with `take`, `task`, `run` and `settle` are on the way of every task.
pub const STEPS: &[&str] = &[
    // There are free slots; nothing is asked yet.
    "take:before",
    // Messages are recorded as held, and only the answer of the store says by whom.
    "take:answered",
    // What was taken is known here, and nothing has begun.
    "take:kept",
    "task:taken",
    "task:decoded",
    "run:before",
    "run:after",
    // A cold shutdown stopped the task; its message is still held.
    "run:interrupted",
    // The result exists, in memory only.
    "task:ended",
    "settle:before",
    // The store has the results; nobody here has been told.
    "settle:after",
    "task:settled",
    // A task's eta is to come: held, then waiting in the store.
    "delay:before",
    "delay:after",
    // A limited task has to ask for its turn; it is set aside; others of it whose turn has come are back in their queue.
    "limit:before",
    "limit:aside",
    "limit:released",
    // All parts of a chord have ended and are acknowledged; its body is not sent.
    "chord:complete",
    // The body is sent; nobody here has been told.
    "chord:finished",
    "beat:before",
    "beat:after",
    // Holding the lock under which the messages of the dead are given back.
    "restore:locked",
    // Messages that are to go back have been read, and are still held.
    "put_back:fetched",
    "put_back:after",
    "restore:after",
    // All that ran has ended; the heartbeat is still there.
    "leave:before",
];

/// Kills the process if it was told to die at this step.
pub fn reach(step: &'static str) {
    static POINT: OnceLock<Option<Point>> = OnceLock::new();
    let chosen =
        POINT.get_or_init(|| Point::parse(&env::var(VARIABLE).ok().filter(|text| !text.is_empty())?));
    if let Some(point) = chosen
        && point.is_it(step)
    {
        // It fails for no process that kills itself.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

/// One step, and how often it may still be reached.
struct Point {
    step: &'static str,
    left: AtomicU64,
}

impl Point {
    fn parse(text: &str) -> Option<Self> {
        let known = |name: &str| STEPS.iter().copied().find(|step| *step == name);
        let point = match text.rsplit_once(':') {
            Some((name, count)) if known(name).is_some() => known(name).zip(count.parse().ok()),
            _ => known(text).zip(Some(1)),
        };
        match point {
            Some((step, count @ 1..)) => Some(Self { step, left: AtomicU64::new(count) }),
            _ => {
                tracing::error!(
                    "{VARIABLE}={text} names no step and is ignored; there are: {}",
                    STEPS.join(", ")
                );
                None
            }
        }
    }

    /// Whether this is the step, reached for the last time.
    fn is_it(&self, step: &str) -> bool {
        self.step == step && self.left.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn a_step_is_chosen_by_its_name_and_how_often_it_is_reached() {
        let count = |text| Point::parse(text).map(|point| (point.step, point.left.into_inner()));
        assert_eq!(count("run:after"), Some(("run:after", 1)));
        assert_eq!(count("run:after:20"), Some(("run:after", 20)));
        for wrong in ["", "run", "run:afterwards", "run:after:", "run:after:0", "run:after:-1", "run:after:x"]
        {
            assert_eq!(count(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn it_is_the_last_time_that_counts() {
        let point = Point::parse("run:after:2").unwrap();
        assert!(!point.is_it("run:after") && !point.is_it("run:before"));
        assert!(point.is_it("run:after"));
        assert!(!point.is_it("run:after"));
    }

    #[test]
    fn the_list_names_the_steps_that_the_code_reaches() {
        let mut reached = BTreeSet::new();
        for room in ["worker", "store"] {
            collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room), &mut reached);
        }
        assert_eq!(reached, STEPS.iter().map(|&step| step.to_owned()).collect());
    }

    fn collect(folder: &Path, steps: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, steps);
            } else {
                let code = fs::read_to_string(&path).unwrap();
                let calls = code.split("fail_point::reach(\"").skip(1);
                steps.extend(calls.filter_map(|call| Some(call.split_once('"')?.0.to_owned())));
            }
        }
    }
}
