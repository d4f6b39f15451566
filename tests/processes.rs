//! A worker of several processes: together they are one worker to those who start and stop it, and several to those who ask.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{self, Task, TestHost, TestRedis, eventually, guests};

fn two(redis: &TestRedis) -> TestHost {
    let plugins = [("app", guests::DIVIDE), ("observe", guests::OBSERVE)];
    let host = TestHost::start_with(redis, &plugins, &["--processes", "2", "-c", "1", "-n", "w@box"]);
    eventually("both are ready", || (host.output().matches(" ready.").count() == 2).then_some(()));
    host
}

/// The processes of the worker, by their numbers among all.
fn processes(host: &TestHost) -> Vec<i32> {
    let pid = host.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|pid| pid.parse().expect("the kernel writes numbers")).collect()
}

fn is_there(pid: i32) -> bool {
    // One that has ended is a zombie until somebody has asked for it.
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[test]
fn each_process_is_a_worker_of_its_own_and_is_started_again_when_it_dies() {
    let redis = TestRedis::start();
    let mut host = two(&redis);
    let status = support::host(&redis, &["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(["w-1@box", "w-2@box"].iter().all(|name| status.contains(name)), "{status}");

    let before = processes(&host);
    let tasks: Vec<_> = (0..2).map(|_| Task::new("observe.sleep_for", json!([2]))).collect();
    redis.send_all(&tasks);
    eventually("each runs one", || (redis.ask::<u64>(&["HLEN", "unacked"]) == 2).then_some(()));
    kill_process(Pid::from_raw(before[0]).expect("it is no zero"), Signal::KILL).expect("it is ours");
    redis.wait_for_all(&tasks);
    let after = eventually("there are two again", || {
        Some(processes(&host)).filter(|now| now.len() == 2 && !now.contains(&before[0]))
    });
    assert!(after.contains(&before[1]), "the other has gone on");
    host.wait_for("is started again");

    host.signal("TERM");
    assert!(host.wait().success());
    assert!(!after.into_iter().any(is_there));
}

#[test]
fn no_process_outlives_the_one_that_started_it() {
    let redis = TestRedis::start();
    let mut host = two(&redis);
    let processes = processes(&host);
    host.kill_9();
    eventually("all have ended", || (!processes.iter().any(|pid| is_there(*pid))).then_some(()));
}

#[test]
fn processes_that_cannot_start_end_the_worker() {
    let redis = TestRedis::start();
    let arguments = ["worker", "--plugins", "/nowhere", "--processes", "2"];
    let failed = support::host(&redis, &arguments);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(String::from_utf8_lossy(&failed.stderr).contains("/nowhere"), "{failed:?}");
}
