//! What the workers' logs tell of each task: who had it, who ran it, from when to when.

use std::{collections::HashMap, time::Instant};

use crate::worker::{Kind, Life, Worker};

/// One worker's dealings with one task, in one life.
#[derive(Debug, Clone)]
pub struct Holding {
    pub worker: usize,
    /// When the worker received its message.
    pub received: Instant,
    /// When it began to run; Celery's worker receives more than it runs.
    pub started: Option<Instant>,
    pub ended: Option<Instant>,
    /// When the worker died in that life.
    died: Option<Instant>,
    frozen: Vec<(Instant, Option<Instant>)>,
}

impl Holding {
    /// Whether the worker had the task at that time and was not done with it.
    pub fn holds(&self, at: Instant) -> bool {
        let after = |end: Option<Instant>| end.is_none_or(|end| end >= at);
        self.received <= at && after(self.ended) && after(self.died)
    }

    /// Whether the worker could do anything at that time.
    fn owner_lives(&self, at: Instant) -> bool {
        let frozen = |&(from, to): &(Instant, Option<Instant>)| from <= at && to.is_none_or(|to| to > at);
        self.died.is_none_or(|died| died > at) && !self.frozen.iter().any(frozen)
    }
}

/// All dealings with each task, in the order in which they began.
pub struct Trace(HashMap<String, Vec<Holding>>);

impl Trace {
    pub fn read(workers: &[Worker]) -> Self {
        let mut trace = Self(HashMap::new());
        for (number, worker) in workers.iter().enumerate() {
            for life in worker.all_lives() {
                trace.read_life(number, worker.kind(), life);
            }
        }
        trace.0.values_mut().for_each(|holdings| holdings.sort_by_key(|holding| holding.received));
        trace
    }

    fn read_life(&mut self, worker: usize, kind: Kind, life: &Life) {
        let mut open: HashMap<String, Holding> = HashMap::new();
        for (at, line) in life.process.lines() {
            let Some((what, id)) = event(&line) else { continue };
            match what {
                Event::Received => {
                    let started = (kind == Kind::Host).then_some(at);
                    let (died, frozen) = (life.ended, life.frozen.clone());
                    let holding = Holding { worker, received: at, started, ended: None, died, frozen };
                    // A worker that receives what it has not ended runs it a second time.
                    let earlier = open.insert(id.clone(), holding);
                    self.0.entry(id).or_default().extend(earlier);
                }
                Event::Started => {
                    if let Some(holding) = open.get_mut(&id) {
                        holding.started = Some(at);
                    }
                }
                Event::Ended => {
                    if let Some(holding) = open.remove(&id) {
                        self.0.entry(id).or_default().push(Holding { ended: Some(at), ..holding });
                    }
                }
                Event::Delayed => drop(open.remove(&id)),
            }
        }
        for (id, holding) in open {
            self.0.entry(id).or_default().push(holding);
        }
    }

    /// What was received before it was due was to be put aside: it was not run, unless it has ended.
    pub fn put_aside_before(&mut self, id: &str, due: Instant) {
        for holding in self.0.get_mut(id).into_iter().flatten() {
            holding.started = holding.started.filter(|_| holding.received >= due || holding.ended.is_some());
        }
    }

    /// What a worker received and has not ended when it died may have been set aside by then: it does not count as run.
    pub fn set_aside_unless_ended(&mut self, id: &str) {
        for holding in self.0.get_mut(id).into_iter().flatten() {
            holding.started = holding.started.filter(|_| holding.ended.is_some());
        }
    }

    pub fn of(&self, id: &str) -> &[Holding] {
        self.0.get(id).map_or(&[], Vec::as_slice)
    }

    /// Whether the task was run more than once.
    pub fn ran_twice(&self, id: &str) -> bool {
        self.runs(id).count() > 1
    }

    /// Whether a run of the task began while the owner of an earlier one lived: a fault of nobody but the queue's.
    pub fn ran_beside_a_living_owner(&self, id: &str) -> bool {
        let runs: Vec<_> = self.runs(id).collect();
        let began = |i: usize| runs[i].started.unwrap_or(runs[i].received);
        (1..runs.len()).any(|later| (0..later).any(|earlier| runs[earlier].owner_lives(began(later))))
    }

    fn runs(&self, id: &str) -> impl Iterator<Item = &Holding> {
        self.of(id).iter().filter(|holding| holding.started.is_some())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Received,
    Started,
    Ended,
    Delayed,
}

/// What a line of either worker's log says, and about which task.
fn event(line: &str) -> Option<(Event, String)> {
    let (before, rest) = line.split_once('[')?;
    // Celery's log has its own brackets first: `[2026-11-23 06:22:57,484: INFO/MainProcess] Task ...[id] received`.
    let (before, rest) = match before.is_empty() {
        true => rest.split_once('[')?,
        false => (before, rest),
    };
    let (id, after) = rest.split_once(']')?;
    let first = after.split_whitespace().next().unwrap_or("");
    let event = match (before.trim(), first) {
        ("started", _) => Event::Started,
        (before, "received") if before.contains("Task ") => Event::Received,
        (before, "succeeded" | "raised" | "revoked:" | "goes") if before.contains("Task ") => Event::Ended,
        (before, "waits") if before.contains("Task ") => Event::Delayed,
        _ => return None,
    };
    Some((event, id.to_owned()))
}

/// Checks this file's own reading of logs; there is no other place for it in a suite without a test harness.
pub fn check() {
    let id = |id: &str| id.to_owned();
    for (line, expected) in [
        (
            "2026-11-23T06:22:57Z  INFO Task observe.sleep_for[a-b] received",
            Some((Event::Received, id("a-b"))),
        ),
        ("2026-11-23T06:22:57Z  INFO Task t[a] succeeded in 0.1s: 1", Some((Event::Ended, id("a")))),
        ("2026-11-23T06:22:57Z  INFO Task t[a] waits until 2026", Some((Event::Delayed, id("a")))),
        ("[2026-11-23 06:22:57: INFO/MainProcess] Task t[a] received", Some((Event::Received, id("a")))),
        ("started [a]", Some((Event::Started, id("a")))),
        ("celery@web1 ready.", None),
    ] {
        assert_eq!(event(line), expected, "{line}");
    }
}
