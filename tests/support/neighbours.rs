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
        // In this order, so that none is counted that is only sent in between.
        let sent = self.sent.load(Ordering::Relaxed);
        sent.saturating_sub(redis.ask::<u64>(&["LLEN", &self.list]))
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

/// Sends `count` tasks to a tenant's queue, one in each `interval`, and gives how many milliseconds each took from when it was sent
/// until its client was told the result.
pub fn timed(
    redis: &TestRedis,
    tenant: &str,
    task: impl Fn() -> Task,
    count: usize,
    interval: Duration,
) -> Vec<f64> {
    let queue = format!("{tenant}/celery");
    let tasks: Vec<_> = (0..count).map(|_| task().queue(&queue)).collect();
    let prefix = format!("{tenant}/_celery-task-meta-");
    let (mut listener, pattern) = (redis.connection(), format!("{prefix}*"));
    let (listens, listening) = mpsc::channel();
    let listener = thread::spawn(move || {
        let mut results = listener.as_pubsub();
        results.psubscribe(pattern).expect("Redis takes listeners");
        listens.send(()).expect("somebody waits for it");
        let arrival = |_| {
            let told = results.get_message().expect("the result is told");
            (told.get_channel_name().trim_start_matches(&prefix).to_owned(), Instant::now())
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
        sent.push(Instant::now());
        redis::cmd("LPUSH").arg(&queue).arg(message).exec(&mut connection).expect("Redis takes messages");
    }
    let arrivals = listener.join().expect("all results were told");
    let took =
        |(task, sent): (&Task, &Instant)| arrivals[task.id()].duration_since(*sent).as_secs_f64() * 1e3;
    tasks.iter().zip(&sent).map(took).collect()
}

/// How many seconds a tenant's task computed in the mean, as some of the stored results tell.
pub fn mean_cpu(redis: &TestRedis, tenant: &str) -> f64 {
    let (mut cursor, mut times) = (0_u64, Vec::new());
    let mut connection = redis.connection();
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{tenant}/_celery-task-meta-*")).arg("COUNT").arg(5_000);
        let (next, keys): (u64, Vec<String>) = scan.query(&mut connection).expect("Redis answers");
        if !keys.is_empty() {
            let texts: Vec<Option<String>> =
                redis::cmd("MGET").arg(keys).query(&mut connection).expect("Redis answers");
            let time = |text: &String| super::Answer::parse(text).meta["host"]["cputime"].as_f64();
            times.extend(texts.iter().flatten().map(|text| time(text).expect("a result has its receipt")));
        }
        cursor = next;
        if cursor == 0 || times.len() > 500 {
            return times.iter().sum::<f64>() / times.len() as f64;
        }
    }
}

/// The value below which `percent` of them are.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1).expect("something was measured");
    values[(values.len() * percent / 100).min(last)]
}
