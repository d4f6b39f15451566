//! What is known of the workers, their queues and tasks at one moment, and how fast tasks come and go. Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    commands::{
        ask::{beginning, one_line, plain},
        status::processed,
    },
    protocol::event::Heard,
};

/// All that is shown.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    pub broker: String,
    pub workers: Vec<WorkerRow>,
    pub queues: Vec<QueueRow>,
    pub tasks: Vec<TaskRow>,
    pub running: Vec<RunningRow>,
    /// Messages that are in no queue.
    pub elsewhere: Elsewhere,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    pub node: String,
    pub running: Option<u64>,
    pub slots: Option<u64>,
    pub processed: Option<u64>,
    pub uptime: Option<Duration>,
    pub queues: Vec<String>,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRow {
    pub name: String,
    pub messages: u64,
    pub consumers: usize,
}

/// Tasks of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRow {
    pub name: String,
    pub running: u64,
    pub processed: u64,
    /// How many a second since the last look.
    pub rate: Option<f64>,
}

/// A task that runs.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningRow {
    pub worker: String,
    pub name: String,
    pub id: String,
    pub arguments: String,
    /// Since when, in seconds since 1970.
    pub since: Option<f64>,
}

/// How many messages are held by workers, and wait for something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Elsewhere {
    pub held: u64,
    pub delayed: u64,
    pub set_aside: u64,
    pub parked: u64,
    pub dead: u64,
}

/// What workers reply to one question.
pub type Replies = Vec<(String, Value)>;

/// The longest arguments that are kept, in characters.
const LONGEST: usize = 200;

impl Fleet {
    /// What the workers say of themselves. `before` is what was known `ago`, if anything was.
    pub fn of(
        stats: &Replies,
        active: &Replies,
        queues: &Replies,
        before: Option<(&Self, Duration)>,
    ) -> Self {
        let mut workers: BTreeMap<&str, WorkerRow> = BTreeMap::new();
        let mut tasks: BTreeMap<String, TaskRow> = BTreeMap::new();
        let mut running = Vec::new();
        for (node, stats) in stats {
            let worker = worker(&mut workers, node);
            worker.slots = stats["pool"]["max-concurrency"].as_u64();
            worker.processed = processed(stats);
            worker.uptime = stats["uptime"].as_u64().map(Duration::from_secs);
            for (name, count) in stats["total"].as_object().into_iter().flatten() {
                task(&mut tasks, name).processed += count.as_u64().unwrap_or(0);
            }
        }
        for (node, active) in active {
            let Some(active) = active.as_array() else { continue };
            worker(&mut workers, node).running = Some(active.len() as u64);
            for info in active {
                let row = RunningRow::of(node, info);
                task(&mut tasks, info["type"].as_str().unwrap_or(&row.name)).running += 1;
                running.push(row);
            }
        }
        for (node, queues) in queues {
            let names = queues.as_array().into_iter().flatten().filter_map(|queue| queue["name"].as_str());
            worker(&mut workers, node).queues = names.map(plain).collect();
        }
        running.sort_by(|a, b| a.since.partial_cmp(&b.since).unwrap_or(std::cmp::Ordering::Equal));
        let mut tasks: Vec<_> = tasks.into_values().collect();
        if let Some((before, ago)) = before {
            tasks.iter_mut().for_each(|task| task.rate = before.rate_since(task, ago));
        }
        tasks.sort_by_key(|task| std::cmp::Reverse(task.processed));
        Self { workers: workers.into_values().collect(), tasks, running, ..Self::default() }
    }

    /// A worker that has ended since takes its count with it; then nothing is known.
    fn rate_since(&self, now: &TaskRow, ago: Duration) -> Option<f64> {
        let before = self.tasks.iter().find(|task| task.name == now.name).map_or(0, |task| task.processed);
        Some(now.processed.checked_sub(before)? as f64 / ago.as_secs_f64())
    }

    /// How many workers take from a queue.
    pub fn consumers(&self, queue: &str) -> usize {
        self.workers.iter().filter(|worker| worker.queues.iter().any(|name| name == queue)).count()
    }

    pub fn as_json(&self) -> Value {
        let workers = self.workers.iter().map(|worker| {
            json!({
                "node": worker.node,
                "running": worker.running,
                "slots": worker.slots,
                "processed": worker.processed,
                "uptime": worker.uptime.map(|uptime| uptime.as_secs()),
                "queues": worker.queues,
            })
        });
        let queues = self.queues.iter().map(
            |queue| json!({"name": queue.name, "messages": queue.messages, "consumers": queue.consumers}),
        );
        let tasks = self
            .tasks
            .iter()
            .map(|task| json!({"name": task.name, "running": task.running, "processed": task.processed}));
        let running = self.running.iter().map(|running| {
            let RunningRow { worker, name, id, arguments, since } = running;
            json!({"worker": worker, "name": name, "id": id, "arguments": arguments, "since": since})
        });
        let Elsewhere { held, delayed, set_aside, parked, dead } = self.elsewhere;
        json!({
            "broker": self.broker,
            "workers": workers.collect::<Vec<_>>(),
            "queues": queues.collect::<Vec<_>>(),
            "tasks": tasks.collect::<Vec<_>>(),
            "running": running.collect::<Vec<_>>(),
            "held": held,
            "delayed": delayed,
            "set_aside": set_aside,
            "parked": parked,
            "dead_letters": dead,
        })
    }
}

fn worker<'w, 'n>(workers: &'w mut BTreeMap<&'n str, WorkerRow>, node: &'n str) -> &'w mut WorkerRow {
    workers.entry(node).or_insert_with(|| WorkerRow {
        node: plain(node),
        running: None,
        slots: None,
        processed: None,
        uptime: None,
        queues: Vec::new(),
    })
}

fn task<'t>(tasks: &'t mut BTreeMap<String, TaskRow>, name: &str) -> &'t mut TaskRow {
    let name = plain(name);
    tasks.entry(name.clone()).or_insert(TaskRow { name, running: 0, processed: 0, rate: None })
}

impl RunningRow {
    fn of(node: &str, info: &Value) -> Self {
        let given = |key: &str| match one_line(&info[key]) {
            empty if ["()", "[]", "{}"].contains(&&*empty) => String::new(),
            given => given,
        };
        let arguments = format!("{} {}", given("args"), given("kwargs"));
        Self {
            worker: plain(node),
            name: one_line(&info["name"]),
            id: one_line(&info["id"]),
            arguments: beginning(arguments.trim(), LONGEST),
            since: info["time_start"].as_f64(),
        }
    }
}

/// How many tasks came and ended in the last seconds, by their events.
#[derive(Debug, Default)]
pub struct Rates {
    /// The time of each event that counts, the oldest first; many of one kind in a short time are one.
    counted: VecDeque<(Instant, Kind, u64)>,
    /// When counting began.
    since: Option<Instant>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Received,
    Succeeded,
    Failed,
    Retried,
}

/// Over how long rates are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// What is counted as one.
const GRAIN: Duration = Duration::from_millis(100);

impl Rates {
    pub fn hear(&mut self, event: &Heard, now: Instant) {
        self.since.get_or_insert(now);
        let kind = match event.kind.as_str() {
            "task-received" => Kind::Received,
            "task-succeeded" => Kind::Succeeded,
            "task-failed" => Kind::Failed,
            "task-retried" => Kind::Retried,
            _ => return,
        };
        self.forget(now);
        let recent = self.counted.iter_mut().rev().take_while(|(at, ..)| now.duration_since(*at) < GRAIN);
        match recent.into_iter().find(|(_, of, _)| *of == kind) {
            Some((_, _, count)) => *count += 1,
            None => self.counted.push_back((now, kind, 1)),
        }
    }

    /// So many a second.
    pub fn of(&self, kind: Kind, now: Instant) -> f64 {
        let Some(since) = self.since else { return 0.0 };
        let within = |at: Instant| now.duration_since(at) <= WINDOW;
        let count: u64 = self
            .counted
            .iter()
            .filter(|(at, of, _)| *of == kind && within(*at))
            .map(|(.., count)| count)
            .sum();
        // In its first second nothing is known well.
        let window = WINDOW.min(now.duration_since(since)).max(Duration::from_secs(1));
        count as f64 / window.as_secs_f64()
    }

    fn forget(&mut self, now: Instant) {
        while self.counted.front().is_some_and(|(at, ..)| now.duration_since(*at) > WINDOW) {
            self.counted.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(replies: Value) -> Replies {
        replies.as_object().unwrap().clone().into_iter().collect()
    }

    #[test]
    fn it_is_put_together_from_what_workers_reply() {
        let stats = replies(json!({
            "a@h": {"total": {"app.add": 5}, "pool": {"max-concurrency": 4}, "uptime": 60},
            "b@h": {"total": {"app.add": 1, "other\u{1b}": 2}},
            "c@h": {"error": "nonsense"},
        }));
        let active = replies(json!({
            "a@h": [{"id": "1", "name": "shown", "type": "app.add", "args": "(1,)", "kwargs": "{}", "time_start": 5.0}],
            "d@h": "nonsense",
        }));
        let queues = replies(json!({"a@h": [{"name": "celery"}], "b@h": [{"name": "celery"}, {}]}));
        let fleet = Fleet::of(&stats, &active, &queues, None);
        let told: Vec<_> =
            fleet.workers.iter().map(|w| (&*w.node, w.running, w.slots, w.processed)).collect();
        let expected =
            [("a@h", Some(1), Some(4), Some(5)), ("b@h", None, None, Some(3)), ("c@h", None, None, None)];
        assert_eq!(told, expected);
        let tasks: Vec<_> = fleet.tasks.iter().map(|t| (&*t.name, t.running, t.processed, t.rate)).collect();
        assert_eq!(tasks, [("app.add", 1, 6, None), ("other ", 0, 2, None)]);
        assert_eq!(fleet.running[0].arguments, "(1,)");
        assert_eq!((fleet.consumers("celery"), fleet.consumers("x")), (2, 0));

        let later = replies(json!({"a@h": {"total": {"app.add": 26}}, "b@h": {"total": {"other\u{1b}": 1}}}));
        let later = Fleet::of(&later, &Vec::new(), &Vec::new(), Some((&fleet, Duration::from_secs(2))));
        let rates: Vec<_> = later.tasks.iter().map(|task| task.rate).collect();
        assert_eq!(rates, [Some(10.0), None], "a count that has become smaller tells nothing");
    }

    #[test]
    fn rates_are_of_the_last_seconds() {
        let event = |kind: &str| Heard {
            kind: kind.to_owned(),
            hostname: String::new(),
            timestamp: 0.0,
            clock: 0,
            fields: serde_json::Map::new(),
        };
        let mut rates = Rates::default();
        let begin = Instant::now();
        let at = |millis: u64| begin + Duration::from_millis(millis);
        assert_eq!(rates.of(Kind::Received, begin), 0.0);
        for n in 0..2_000 {
            rates.hear(&event("task-received"), at(n * 10));
            rates.hear(&event("task-failed"), at(n * 10));
            rates.hear(&event("worker-heartbeat"), at(n * 10));
        }
        for kind in [Kind::Received, Kind::Failed] {
            let rate = rates.of(kind, at(20_000));
            assert!((98.0..=102.0).contains(&rate), "{rate}");
        }
        assert_eq!(rates.of(Kind::Succeeded, at(20_000)), 0.0);
        assert_eq!(rates.of(Kind::Received, at(40_000)), 0.0);
        assert!(rates.counted.len() < 250, "{}", rates.counted.len());
    }
}
