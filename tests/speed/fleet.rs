//! Several workers on one Redis.

use serde_json::json;

use crate::{
    measure::{median, medians, time},
    support::{Task, TestHost, TestRedis, guests},
    table::Line,
};

const QUEUES: usize = 16;

const EACH: usize = 2_000;

/// Four workers with sixteen queues do no less than one of them, and no queue waits for the others to be empty.
pub fn lines(rounds: usize) -> Vec<Line> {
    let mut last_first = Vec::new();
    let [one, four] = {
        let alone = Fleet::start(1);
        let four = Fleet::start(4);
        medians(
            rounds,
            [&mut || alone.rate().0, &mut || {
                let (rate, share) = four.rate();
                last_first.push(share);
                rate
            }],
        )
    };
    vec![
        Line::at_least("four workers, 16 queues", [four, one], "/s", "one worker", 1.0),
        Line::at_most(
            "done of all when the last queue has its first result",
            median(last_first) * 100.0,
            "%",
            25.0,
        ),
    ]
}

struct Fleet {
    redis: TestRedis,
    _hosts: Vec<TestHost>,
}

impl Fleet {
    fn start(workers: usize) -> Self {
        let redis = TestRedis::start();
        let queues: Vec<_> = (0..QUEUES).map(queue).collect();
        let hosts = (0..workers).map(|n| {
            let flags = ["-l", "warning", "-n", &format!("w{n}@%h"), "-Q", &queues.join(",")];
            TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &flags)
        });
        Self { _hosts: hosts.collect(), redis }
    }

    /// Tasks a second, and which share of all was done when the last queue had its first result.
    fn rate(&self) -> (f64, f64) {
        self.redis.ask::<()>(&["FLUSHDB"]);
        let mut firsts = Vec::new();
        for n in 0..QUEUES {
            let tasks =
                (0..EACH).map(|_| Task::new("app.divide", json!([1, 2])).queue(&format!("ready-{n}")));
            let tasks: Vec<_> = tasks.collect();
            firsts.push(format!("celery-task-meta-{}", tasks[0].id()));
            self.redis.send_all(&tasks);
        }
        let mut pipe = redis::pipe();
        pipe.atomic();
        for n in 0..QUEUES {
            pipe.cmd("RENAME").arg(format!("ready-{n}")).arg(queue(n)).ignore();
        }
        let mut connection = self.redis.connection();
        let mut keys = || redis::cmd("DBSIZE").query::<usize>(&mut connection).expect("Redis answers");
        pipe.exec(&mut self.redis.connection()).expect("Redis renames");
        let mut share = None;
        let took = time(|| {
            loop {
                let done = keys();
                let mut exist = redis::cmd("EXISTS");
                if share.is_none()
                    && exist.arg(&firsts).query::<usize>(&mut self.redis.connection()).expect("Redis answers")
                        == QUEUES
                {
                    share = Some(done as f64 / (QUEUES * EACH) as f64);
                }
                if done >= QUEUES * EACH {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        ((QUEUES * EACH) as f64 / took.as_secs_f64(), share.unwrap_or(1.0))
    }
}

fn queue(n: usize) -> String {
    format!("q{n}")
}
