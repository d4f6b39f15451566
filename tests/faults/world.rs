//! One fault's own world: a broker, workers, tasks, and what became of each task.

use std::{
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::{
    ledger::Row,
    place::{Endings, Place},
    support::Task,
    trace::{Holding, Trace},
    watch::{GLANCE, Watch},
    worker::{Kind, Worker},
};

/// When nothing has ended for so long, nothing will: longer than the promised recovery, and than a slow machine's pauses.
const STANDSTILL: Duration = Duration::from_secs(20);

pub struct World {
    fault: String,
    pub kind: Kind,
    pub place: Place,
    pub workers: Vec<Worker>,
    sent: Vec<Sent>,
    strikes: Vec<Strike>,
    watch: Watch,
    pub notes: Vec<String>,
    pub broken: Vec<String>,
    /// Whether tasks are set aside by a rate limit.
    limited: bool,
}

struct Sent {
    id: String,
    seconds: f64,
    due: Option<Instant>,
}

/// One blow of the fault.
struct Strike {
    at: Instant,
    /// From when on things could be right again.
    over: Instant,
    victims: Vec<usize>,
}

impl World {
    pub fn new(fault: &str, kind: Kind, place: Place) -> Self {
        let watch = Watch::start(&place);
        Self {
            fault: fault.to_owned(),
            kind,
            place,
            workers: Vec::new(),
            sent: Vec::new(),
            strikes: Vec::new(),
            watch,
            notes: Vec::new(),
            broken: Vec::new(),
            limited: false,
        }
    }

    /// Adds workers that are not started yet.
    pub fn add_workers(&mut self, count: usize) {
        for _ in 0..count {
            let name = format!("worker{}", self.workers.len());
            self.workers.push(Worker::new(self.kind, &self.place.url(), &name));
        }
    }

    /// Limits how many tasks all workers together begin in a second.
    pub fn limit(&mut self, rate: u32) {
        self.limited = true;
        let manifest = format!("[tasks.sleep_for]\nrate_limit = {rate}\n");
        self.workers.iter().for_each(|worker| worker.manifest(&manifest));
    }

    /// Adds workers and waits until they are ready.
    pub fn start_workers(&mut self, count: usize) {
        let first = self.workers.len();
        self.add_workers(count);
        self.workers[first..].iter_mut().for_each(Worker::start);
        self.workers[first..].iter_mut().for_each(Worker::wait_until_ready);
    }

    /// Sends tasks of 10 to 50 ms.
    pub fn send(&mut self, count: usize) {
        let seconds = |n: usize| (10 + n * 7 % 41) as f64 / 1000.0;
        self.send_tasks((0..count).map(|n| (seconds(n), None)));
    }

    /// Sends tasks that take so long.
    pub fn send_long(&mut self, count: usize, length: Duration) {
        self.send_tasks((0..count).map(|_| (length.as_secs_f64(), None)));
    }

    /// Sends short tasks that are due in so long.
    pub fn send_delayed(&mut self, count: usize, delay: Duration) {
        self.send_tasks((0..count).map(|_| (0.01, Some(delay))));
    }

    /// Sends chords: each two short tasks, after which the workers send a third one.
    pub fn send_chords(&mut self, count: usize) {
        const SECONDS: f64 = 0.01;
        let task = || Task::new("observe.sleep_for", json!([SECONDS]));
        let (mut parts, mut ids) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (group, body) = (Uuid::new_v4().to_string(), task());
            let size = format!("celery-taskset-meta-{group}.s");
            let _: () = self.place.server().ask(&["SET", &size, "2"]);
            let signature = json!({
                "task": body.name(), "args": body.args(), "kwargs": {}, "options": {"task_id": body.id()},
                "subtask_type": null, "immutable": true,
            });
            parts.extend((0..2).map(|index| task().part_of_chord(&group, index, &signature)));
            ids.push(body.id().to_owned());
        }
        ids.extend(self.place.send(&parts));
        self.watch.add(ids.iter().cloned());
        self.sent.extend(ids.into_iter().map(|id| Sent { id, seconds: SECONDS, due: None }));
    }

    fn send_tasks(&mut self, tasks: impl Iterator<Item = (f64, Option<Duration>)>) {
        let (mut messages, mut asked) = (Vec::new(), Vec::new());
        for (seconds, delay) in tasks {
            let mut task = Task::new("observe.sleep_for", json!([seconds]));
            if let Some(delay) = delay {
                task = task.header("eta", json!((Timestamp::now() + delay).to_string()));
            }
            let due = delay.map(|delay| Instant::now() + delay);
            asked.push((seconds, due));
            messages.push(task);
        }
        let ids = self.place.send(&messages);
        self.watch.add(ids.iter().cloned());
        let sent = |(id, (seconds, due))| Sent { id, seconds, due };
        self.sent.extend(ids.into_iter().zip(asked).map(sent));
    }

    /// How many tasks have ended.
    pub fn done(&self) -> usize {
        self.watch.count()
    }

    /// Waits until this share of all tasks has ended, so that the next blow falls while there is work; or until it is clear
    /// that nothing ends any more.
    pub fn wait_for_share(&self, share: f64) {
        self.wait_for((self.sent.len() as f64 * share) as usize);
    }

    /// Notes a blow that these workers felt: all that they held then is hit.
    pub fn struck(&mut self, at: Instant, over: Instant, victims: &[usize]) {
        self.strikes.push(Strike { at, over, victims: victims.to_vec() });
    }

    /// The same for all workers.
    pub fn struck_all(&mut self, at: Instant, over: Instant) {
        let all: Vec<_> = (0..self.workers.len()).collect();
        self.struck(at, over, &all);
    }

    /// What is stored for each task that has ended.
    pub fn endings(&self) -> Endings {
        self.watch.endings()
    }

    /// What is stored for each task now.
    pub fn stored(&self) -> Endings {
        let ids: Vec<_> = self.sent.iter().map(|sent| sent.id.clone()).collect();
        self.place.results(&ids)
    }

    /// How many tasks were run before they were due.
    pub fn early(&self) -> usize {
        let trace = self.trace();
        let early = |sent: &&Sent| {
            sent.due.is_some_and(|due| {
                trace.of(&sent.id).iter().any(|holding| holding.started.is_some_and(|at| at < due))
            })
        };
        self.sent.iter().filter(early).count()
    }

    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// For what was promised and is not so.
    pub fn broke(&mut self, what: impl Into<String>) {
        self.broken.push(what.into());
    }

    /// Waits until all tasks have ended, or until it is clear that some never will.
    pub fn settle_down(&self) {
        self.wait_for(self.sent.len());
    }

    fn wait_for(&self, count: usize) {
        let mut last = (self.done(), Instant::now());
        while last.0 < count && last.1.elapsed() < STANDSTILL {
            thread::sleep(GLANCE);
            let done = self.done();
            if done > last.0 {
                last = (done, Instant::now());
            }
        }
    }

    /// Waits for the end and draws up what it all came to.
    pub fn finish(mut self) -> Row {
        self.settle_down();
        // The messages first: a worker may be about to put a result in the place of one. And what was seen once is not
        // believed: a server that came back may have forgotten it.
        let messages = self.place.messages();
        let stored = self.stored();
        let pending: Vec<_> =
            self.sent.iter().map(|sent| sent.id.as_str()).filter(|id| !stored.contains_key(*id)).collect();
        let stuck = messages.of(&pending);
        let endings = self.endings();

        let trace = self.trace();
        let count = |holds: &dyn Fn(&Sent) -> bool| self.sent.iter().filter(|sent| holds(sent)).count();
        let its_own = |sent: &Sent| {
            let (_, answer) = &stored[&sent.id];
            answer.status == "SUCCESS" && answer.result.as_f64() == Some(sent.seconds)
        };
        let row = Row {
            fault: self.fault.clone(),
            kind: self.kind,
            sent: self.sent.len(),
            lost: pending.len() - stuck,
            stuck,
            failed: count(&|sent| stored.contains_key(&sent.id) && !its_own(sent)),
            twice: count(&|sent| trace.ran_twice(&sent.id)),
            beside_living: count(&|sent| trace.ran_beside_a_living_owner(&sent.id)),
            recovery: self.recovery(&trace, &endings),
            notes: std::mem::take(&mut self.notes),
            broken: std::mem::take(&mut self.broken),
        };
        if !row.missed().is_empty() {
            self.keep_logs();
        }
        row
    }

    fn trace(&self) -> Trace {
        let mut trace = Trace::read(&self.workers);
        for sent in &self.sent {
            if self.limited {
                trace.set_aside_unless_ended(&sent.id);
            }
            if let Some(due) = sent.due {
                trace.put_aside_before(&sent.id, due);
            }
        }
        trace
    }

    /// How long each task that was hit waited, since the last blow that hit it.
    fn recovery(&self, trace: &Trace, endings: &Endings) -> Vec<Duration> {
        let hit = |sent: &Sent| {
            let (ended, _) = endings.get(&sent.id)?;
            let held = |strike: &&Strike| {
                let by_victim = |h: &Holding| strike.victims.contains(&h.worker) && h.holds(strike.at);
                strike.at < *ended && trace.of(&sent.id).iter().any(by_victim)
            };
            let strike = self.strikes.iter().rfind(held)?;
            // Before it is due, and while it runs, nobody waits for it in vain.
            let from = sent.due.map_or(strike.over, |due| due.max(strike.over));
            let own = Duration::from_secs_f64(sent.seconds);
            Some(ended.saturating_duration_since(from).saturating_sub(own))
        };
        let mut waits: Vec<_> = self.sent.iter().filter_map(hit).collect();
        waits.sort();
        waits
    }

    /// Leaves the workers' logs where they can be read.
    fn keep_logs(&self) {
        let folder = std::env::temp_dir().join("host-faults");
        let _ = std::fs::create_dir_all(&folder);
        for (number, worker) in self.workers.iter().enumerate() {
            let file = folder.join(format!("{}-worker{number}.log", self.fault.replace([':', '/'], "-")));
            if std::fs::write(&file, worker.output()).is_ok() {
                println!("  the log of a worker is in {}", file.display());
            }
        }
    }
}
