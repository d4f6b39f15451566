//! Tenants beside each other on one worker: one that floods it, and one whose tasks are timed.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Task, TestRedis};

/// Keeps a tenant's queue `celery` full until it is dropped.
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    list: String,
    sender: Option<JoinHandle<()>>,
}

impl Flood {
    /// Begins with `depth` messages that ask for this task; half as many are always there.
    pub fn start(redis: &TestRedis, tenant: &str, task: &Task, depth: u64) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let list = format!("{tenant}/celery");
        let (template, id) = (task.message(), task.id().to_owned());
        let mut connection = redis.connection();
        let send = {
            let (sent, list) = (sent.clone(), list.clone());
            move |connection: &mut redis::Connection, count: u64| {
                // A hundred at a time: a command with very many would itself hold up everybody.
                for _ in 0..count.div_ceil(100) {
                    let mut push = redis::cmd("LPUSH");
                    push.arg(&list);
                    for _ in 0..100 {
                        let number = sent.fetch_add(1, Ordering::Relaxed);
                        push.arg(template.replace(&id, &format!("{number:08}{}", &id[8..])));
                    }
                    push.exec(connection).expect("Redis takes messages");
                }
            }
        };
        send(&mut connection, depth);
        let sender = thread::spawn({
            let (stop, list) = (stop.clone(), list.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let length: u64 =
                        redis::cmd("LLEN").arg(&list).query(&mut connection).expect("Redis answers");
                    match length < depth / 2 {
                        true => send(&mut connection, (depth / 20).max(100)),
                        false => thread::sleep(Duration::from_millis(5)),
                    }
                }
            }
        });
        Self { stop, sent, list, sender: Some(sender) }
    }

    /// How many of its messages were taken.
    pub fn taken(&self, redis: &TestRedis) -> u64 {
        self.watch(redis)()
    }

    /// Tells how many of its messages were taken until then.
    pub fn watch(&self, redis: &TestRedis) -> impl FnMut() -> u64 + Send + 'static {
        let (sent, list, mut connection) = (self.sent.clone(), self.list.clone(), redis.connection());
        move || {
            // In this order, so that none is counted that is only sent in between.
            let sent = sent.load(Ordering::Relaxed);
            let waiting: u64 = redis::cmd("LLEN").arg(&list).query(&mut connection).expect("Redis answers");
            sent.saturating_sub(waiting)
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            // What went wrong there is told there.
            let _ = sender.join();
        }
    }
}

/// What became of a task that was timed.
#[derive(Debug, Clone, Copy)]
pub struct Timed {
    /// How many milliseconds it took from when it was sent until its client was told the result.
    pub ms: f64,
    /// How many of a flood's messages were taken meanwhile.
    pub overtaken: u64,
}

/// Sends `count` tasks to a tenant's queue, one in each `interval`, beside a flood if there is one.
pub fn timed(
    redis: &TestRedis,
    tenant: &str,
    task: impl Fn() -> Task,
    count: usize,
    interval: Duration,
    flood: Option<&Flood>,
) -> Vec<Timed> {
    let queue = format!("{tenant}/celery");
    let tasks: Vec<_> = (0..count).map(|_| task().queue(&queue)).collect();
    let prefix = format!("{tenant}/_celery-task-meta-");
    let (mut listener, pattern) = (redis.connection(), format!("{prefix}*"));
    let [mut at_arrival, mut at_sending] = [(); 2].map(|()| flood.map(|flood| flood.watch(redis)));
    let (listens, listening) = mpsc::channel();
    let listener = thread::spawn(move || {
        let mut results = listener.as_pubsub();
        results.psubscribe(pattern).expect("Redis takes listeners");
        listens.send(()).expect("somebody waits for it");
        let arrival = |_| {
            let told = results.get_message().expect("the result is told");
            let (name, now) =
                (told.get_channel_name().trim_start_matches(&prefix).to_owned(), Instant::now());
            (name, (now, at_arrival.as_mut().map_or(0, |taken| taken())))
        };
        (0..count).map(arrival).collect::<HashMap<_, _>>()
    });
    listening.recv().expect("it listens");
    let mut connection = redis.connection();
    let begin = Instant::now();
    let mut sent = Vec::new();
    for (n, task) in tasks.iter().enumerate() {
        // Not quite in step with anything.
        let due = interval * n as u32 + interval.mul_f64((n * 37 % 100) as f64 / 250.0);
        thread::sleep(due.saturating_sub(begin.elapsed()));
        let message = task.message();
        let taken = at_sending.as_mut().map_or(0, |taken| taken());
        sent.push((Instant::now(), taken));
        redis::cmd("LPUSH").arg(&queue).arg(message).exec(&mut connection).expect("Redis takes messages");
    }
    let arrivals = listener.join().expect("all results were told");
    let became = |(task, (sent, before)): (&Task, &(Instant, u64))| {
        let (told, after) = arrivals[task.id()];
        let ms = told.duration_since(*sent).as_secs_f64() * 1e3;
        Timed { ms, overtaken: after.saturating_sub(*before) }
    };
    tasks.iter().zip(&sent).map(became).collect()
}

/// How many seconds of processor each tenant had in the last minute, as workers tell. Only of tenants whose time is limited, be it
/// by a limit that is never reached.
#[track_caller]
pub fn processor(redis: &TestRedis, tenants: [&str; 2]) -> [f64; 2] {
    let shown = super::host(redis, &["queues", "--json"]).stdout;
    let shown: serde_json::Value = serde_json::from_slice(&shown).expect("it prints JSON");
    tenants.map(|tenant| shown["tenants"][tenant]["cpu_seconds"].as_f64().unwrap_or(0.0))
}

/// The value below which `percent` of them are.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1).expect("something was measured");
    values[(values.len() * percent / 100).min(last)]
}
