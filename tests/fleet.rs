//! `host` and Python workers side by side on one Redis: nothing is lost, and nothing runs twice while its worker lives.
//!
//! Both offer `observe.sleep_for`, so whoever takes a message can run it. Two flaws of Celery's own worker are left out of
//! account, since no neighbour can mend them:
//!
//! - A message with a countdown that a Python worker takes waits in that worker's memory and is restored, by itself or by
//!   another, when the visibility timeout is over. Here the countdowns are taken by `host`, which lets them wait in Redis.
//! - Between taking a message and recording it a Python worker has it in memory alone. See [`kill_between_takes`].

use std::{collections::HashSet, slice, thread, time::Duration};

use jiff::Timestamp;
use serde_json::json;

use crate::support::{Celery, PythonWorker, Random, Task, TestHost, TestRedis, eventually, guests};

const TASK: &str = "observe.sleep_for";

/// Of all workers here, in seconds. Longer than two of the heartbeats with which `host` tells that it still holds what it
/// holds.
const VISIBILITY_TIMEOUT: u64 = 5;

/// Longer than three visibility timeouts.
const LONG: f64 = 16.0;

#[test]
fn three_visibility_timeouts_give_no_living_workers_task_away_beside_celery_5_4() {
    three_visibility_timeouts_give_no_living_workers_task_away(Celery::BOTH[0]);
}

#[test]
fn three_visibility_timeouts_give_no_living_workers_task_away_beside_celery_5_7() {
    three_visibility_timeouts_give_no_living_workers_task_away(Celery::BOTH[1]);
}

/// That the Python worker takes what nobody tells to be held shows in [`what_a_dead_worker_held_is_given_to_a_python_worker`],
/// where it is the same. Without the renewal of `unacked_index` by the heartbeat, this test fails: each of the long tasks goes
/// from worker to worker and never ends.
fn three_visibility_timeouts_give_no_living_workers_task_away(celery: Celery) {
    let redis = TestRedis::start();
    let hosts: Vec<_> = (1..=4).map(|n| host(&redis, &format!("host{n}@%h"))).collect();
    let mut python = PythonWorker::start_in_fleet(celery, &redis, VISIBILITY_TIMEOUT);
    python.wait_for(" ready.");

    // The Python worker takes nothing until `host` has it all.
    freeze(&redis, slice::from_ref(&python));
    let running: Vec<_> = (0..8).map(|_| Task::new(TASK, json!([LONG]))).collect();
    let due = Timestamp::now() + Duration::from_secs_f64(LONG);
    let waiting: Vec<_> =
        (0..8).map(|_| Task::new(TASK, json!([0])).header("eta", json!(due.to_string()))).collect();
    redis.send_all(&running);
    redis.send_all(&waiting);
    eventually("all run or wait", || {
        let held: usize = redis.ask(&["HLEN", "unacked"]);
        let delayed: usize = redis.ask(&["ZCARD", "host:delayed"]);
        (held == running.len() && delayed == waiting.len()).then_some(())
    });
    // From now on it has threads to spare and finds the queue empty until the countdowns are over.
    python.thaw();
    redis.wait_for_all(&running);
    redis.wait_for_all(&waiting);
    redis.wait_until_idle();

    let logs: Vec<_> = hosts.iter().map(TestHost::output).chain([python.output()]).collect();
    for task in running.iter().chain(&waiting) {
        assert_eq!(runs(&logs, task.id()), 1, "runs of {}:\n{}", task.id(), logs.join("\n---\n"));
    }
}

#[test]
fn what_a_dead_worker_held_is_given_to_a_python_worker() {
    for celery in Celery::BOTH {
        let redis = TestRedis::start();
        let mut dies = host(&redis, "dies@%h");
        // Shorter than the visibility timeout, for the Python worker's sake.
        let running = redis.send(&Task::new(TASK, json!([4])));
        let due = Timestamp::now() + Duration::from_secs(4);
        let waiting = redis.send(&Task::new(TASK, json!([0])).header("eta", json!(due.to_string())));
        dies.wait_for(&format!("[{running}] received"));
        dies.wait_for(&format!("[{waiting}] waits"));
        dies.kill_9();
        assert!(redis.stored(&running).is_none() && redis.stored(&waiting).is_none());

        let mut python = PythonWorker::start_in_fleet(celery, &redis, VISIBILITY_TIMEOUT);
        python.wait_for(&format!("[{running}] received"));
        assert_eq!(redis.answer(&running).to_string(), "SUCCESS 4");

        // What `host` lets wait in Redis no Python worker knows; any worker of ours goes on with it.
        assert!(redis.stored(&waiting).is_none());
        let _lives = host(&redis, "lives@%h");
        assert_eq!(redis.answer(&waiting).status, "SUCCESS");
        redis.wait_until_idle();
    }
}

#[test]
fn what_a_dead_python_worker_held_is_given_to_a_host() {
    for celery in Celery::BOTH {
        let redis = TestRedis::start();
        let mut dies = PythonWorker::start_in_fleet(celery, &redis, VISIBILITY_TIMEOUT);
        let running = redis.send(&Task::new(TASK, json!([2])));
        dies.wait_for(&format!("[{running}] received"));
        dies.kill_9();
        let mut lives = host(&redis, "lives@%h");
        lives.wait_for(&format!("[{running}] received"));
        assert_eq!(redis.answer(&running).to_string(), "SUCCESS 2.0");
        redis.wait_until_idle();
    }
}

#[test]
fn killing_workers_of_both_kinds_at_any_moment_loses_no_task() {
    let redis = TestRedis::start();
    let celery = |n: usize| Celery::BOTH[n % Celery::BOTH.len()];
    let python = |n| PythonWorker::start_in_fleet(celery(n), &redis, VISIBILITY_TIMEOUT);
    let mut hosts = ["one@%h", "two@%h"].map(|name| host(&redis, name));
    let mut pythons = [python(0), python(1)];
    let mut random = Random(0x5eed);

    let mut tasks = Vec::new();
    let mut killed = [0, 0];
    for round in 0..16 {
        // More than they can do in a round; one in five has a countdown.
        let due = Timestamp::now() + Duration::from_secs(2);
        let some: Vec<_> = (0..150).map(|_| Task::new(TASK, json!([0.05]))).collect();
        let some = some.into_iter().enumerate().map(|(n, task)| match n % 5 {
            0 => task.header("eta", json!(due.to_string())),
            _ => task,
        });
        let some: Vec<_> = some.collect();
        redis.send_all(&some);
        tasks.extend(some);

        // Random moments are the point here: while they start, take, run, store, restore.
        thread::sleep(Duration::from_millis(random.below(1_500)));
        let which = random.below(2) as usize;
        if random.below(2) == 0 {
            hosts[which].kill_9();
            hosts[which].start_again();
            killed[0] += 1;
        } else if kill_between_takes(&redis, &mut pythons, which, &tasks) {
            pythons[which] = python(round);
            killed[1] += 1;
        }
    }
    eprintln!("killed {} times a host worker, {} times a Python worker", killed[0], killed[1]);
    assert!(killed.iter().all(|times| *times > 2), "both kinds were killed");
    assert!(redis.ready(&tasks) < tasks.len(), "the kills came while there was work");

    redis.wait_for_all(&tasks);
    for task in &tasks {
        assert_eq!(redis.answer(task.id()).to_string(), "SUCCESS 0.05");
    }
    eventually("nothing is left", || left(&redis).is_empty().then_some(()));
}

/// Kills a Python worker unless one of them has taken a message and not recorded it: that one it would lose, beside whatever
/// neighbour. To tell, they are frozen and all that Redis holds is looked through. Answers whether it was killed.
fn kill_between_takes(redis: &TestRedis, pythons: &mut [PythonWorker], which: usize, tasks: &[Task]) -> bool {
    freeze(redis, pythons);
    let known = ids_in_redis(redis);
    let in_memory_alone = tasks.iter().filter(|task| !known.contains(task.id())).count();
    let kills = in_memory_alone == 0;
    for (n, python) in pythons.iter_mut().enumerate() {
        match kills && n == which {
            true => python.kill_9(),
            false => python.thaw(),
        }
    }
    if !kills {
        eprintln!(
            "{in_memory_alone} messages are in the memory of Python workers alone, so none is killed now"
        );
    }
    kills
}

/// Stops all these Python workers, which must be all there are, and waits until Redis gives them no message any more.
fn freeze(redis: &TestRedis, pythons: &[PythonWorker]) {
    pythons.iter().for_each(PythonWorker::freeze);
    // Redis answers this after it has read whatever they wrote before.
    redis.ask::<String>(&["PING"]);
    // It may still have their request for a message, and would give them one. They ask for a second at a time.
    eventually("no worker waits for a message", || {
        let clients: String = redis.ask(&["CLIENT", "LIST"]);
        let flags = clients.split([' ', '\n']).filter_map(|field| field.strip_prefix("flags="));
        (!flags.into_iter().any(|flags| flags.contains('b'))).then_some(())
    });
}

/// The id of every task of which Redis holds the message, in whatever key, or the result: all at one moment.
fn ids_in_redis(redis: &TestRedis) -> HashSet<String> {
    const LOOK: &str = "
        local texts = {}
        local read = { list = {'LRANGE', 0, -1}, hash = {'HVALS'} }
        for _, key in ipairs(redis.call('KEYS', '*')) do
            texts[#texts + 1] = key
            local how = read[redis.call('TYPE', key).ok]
            if how then
                for _, text in ipairs(redis.call(how[1], key, unpack(how, 2))) do
                    texts[#texts + 1] = text
                end
            end
        end
        return texts";
    let texts: Vec<Vec<u8>> = redis.ask(&["EVAL", LOOK, "0"]);
    let texts = texts.iter().map(|text| String::from_utf8_lossy(text).into_owned());
    let ids = texts.flat_map(|text| match text.strip_prefix("celery-task-meta-") {
        Some(id) => vec![id.to_owned()],
        None => text.split('"').filter(|word| word.len() == 36).map(str::to_owned).collect(),
    });
    ids.collect()
}

/// The keys under which messages are.
fn left(redis: &TestRedis) -> Vec<String> {
    let mut keys: Vec<String> = redis.ask(&["KEYS", "*"]);
    keys.retain(|key| {
        let is_queue = key == "celery" || key.starts_with("celery\u{6}");
        is_queue || ["unacked", "unacked_index"].contains(&key.as_str()) || is_ours_for_messages(key)
    });
    keys
}

fn is_ours_for_messages(key: &str) -> bool {
    ["host:delayed", "host:dead", "host:parked", "host:aside"].iter().any(|prefix| key.starts_with(prefix))
}

/// How often a task was begun, by what the workers wrote. A task that must wait is received twice by `host`.
fn runs(logs: &[String], id: &str) -> usize {
    let count = |text: &str| logs.iter().map(|log| log.matches(text).count()).sum::<usize>();
    count(&format!("{TASK}[{id}] received")) - count(&format!("{TASK}[{id}] waits until"))
}

fn host(redis: &TestRedis, name: &str) -> TestHost {
    let timeout = VISIBILITY_TIMEOUT.to_string();
    let flags = ["-n", name, "-c", "3", "--visibility-timeout", &timeout];
    TestHost::start_with(redis, &[("observe", guests::OBSERVE)], &flags)
}
