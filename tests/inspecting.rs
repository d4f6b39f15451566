//! `host status`, `inspect`, `control`, `events` and `top`: of `host` and of Python workers of both versions, side by side.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{Celery, Process, PythonWorker, Task, TestHost, TestRedis, eventually, guests, host};

/// The workers of a mixed fleet.
const NODES: [&str; 3] = ["host@test", "old@test", "new@test"];

/// What a command ends with when no worker replied: `EX_UNAVAILABLE`, as Celery's.
const NOBODY: i32 = 69;

/// The broker ends last, so that no worker misses it.
struct Fleet {
    _host: TestHost,
    _pythons: [PythonWorker; 2],
    redis: TestRedis,
}

impl Fleet {
    #[track_caller]
    fn start() -> Self {
        let redis = TestRedis::start();
        let flags = ["-n", NODES[0], "-c", "2", "-Q", "ours,celery"];
        let host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &flags);
        let pythons = [0, 1].map(|n| {
            let flags = ["--concurrency=2", "--hostname", NODES[n + 1]];
            PythonWorker::start_app(Celery::BOTH[n], &redis, "reference", &flags)
        });
        Self { _host: host, _pythons: pythons, redis }
    }

    /// What a command prints as JSON, having succeeded.
    #[track_caller]
    fn json(&self, command: &[&str]) -> Value {
        let output = host(&self.redis, &[command, &["--json"]].concat());
        assert_eq!(code(&output), 0, "{command:?}: {}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
    }

    /// What a command prints for people, having succeeded.
    #[track_caller]
    fn shown(&self, command: &[&str]) -> String {
        let output = host(&self.redis, command);
        assert_eq!(code(&output), 0, "{command:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A task that only `host` takes.
    fn send_long(&self, seconds: u32) -> String {
        let task = Task::new("app.divide", json!([1, 2])).kwargs(json!({"sleep": seconds})).queue("ours");
        self.redis.send(&task)
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn workers_of_all_kinds_are_asked_and_commanded() {
    let fleet = Fleet::start();
    let running = fleet.send_long(30);
    eventually("it runs", || fleet.json(&["inspect", "active", "-d", NODES[0]])[NODES[0]].get(0).cloned());

    let status = fleet.shown(&["status"]);
    assert!(NODES.iter().all(|node| status.contains(node)) && status.contains("3 nodes online."), "{status}");
    let pongs = fleet.json(&["inspect", "ping"]);
    for node in NODES {
        assert_eq!(pongs[node], json!({"ok": "pong"}), "{pongs}");
        let stats = fleet.json(&["inspect", "stats", "-d", node]);
        assert_eq!(stats[node]["pool"]["max-concurrency"], 2, "{stats}");
        let registered = fleet.json(&["inspect", "-d", node, "registered"]);
        assert_eq!(registered[node][0], "app.divide", "{registered}");
    }
    let active = fleet.shown(&["inspect", "active"]);
    let line = active.lines().find(|line| line.contains(&running)).unwrap();
    assert!(line.starts_with(NODES[0]) && line.contains("app.divide"), "{active}");
    let known = fleet.json(&["inspect", "query_task", &running]);
    assert_eq!(known[NODES[0]][&running][0], "active", "{known}");
    for method in
        ["reserved", "scheduled", "revoked", "clock", "conf", "report", "memsample", "active_queues"]
    {
        let replies = fleet.json(&["inspect", method]);
        assert!(NODES.iter().all(|node| replies.get(node).is_some()), "{method}: {replies}");
        fleet.shown(&["inspect", method]);
    }

    for node in NODES {
        let told = |command: &[&str]| fleet.json(&[&["control", "-d", node], command].concat())[node].clone();
        let limited = told(&["rate_limit", "app.divide", "10/m"]);
        assert_eq!(limited, json!({"ok": "new rate limit set successfully"}), "{node}");
        let registered = fleet.json(&["inspect", "registered", "-d", node]);
        assert_eq!(registered[node][0], "app.divide [rate_limit=10/m]");
        told(&["rate_limit", "app.divide", "0"]);
        let limits = told(&["time_limit", "app.divide", "60", "90"]);
        assert_eq!(limits, json!({"ok": "time limits set successfully"}), "{node}");
        assert_eq!(told(&["add_consumer", "more"]), json!({"ok": "add consumer more"}), "{node}");
        assert_eq!(told(&["cancel_consumer", "more"]), json!({"ok": "no longer consuming from more"}));
        told(&["pool_grow", "2"]);
        eventually("its pool has grown", || {
            let stats = fleet.json(&["inspect", "stats", "-d", node]);
            // Python's pool tells by its processes.
            let pool = &stats[node]["pool"];
            let processes = pool["processes"].as_array().map_or(0, Vec::len);
            (pool["max-concurrency"] == 4 || processes == 4).then_some(())
        });
        told(&["pool_shrink", "1"]);
        told(&["enable_events"]);
        assert!(told(&["disable_events"])["ok"].is_string());
        assert_eq!(told(&["heartbeat"]), Value::Null);
    }
    let answer = host(&fleet.redis, &["control", "rate_limit", "no.such", "5"]);
    assert_eq!(code(&answer), 1, "{}", text(&answer));
    assert!(text(&answer).contains("host@test: error: unknown task"), "{}", text(&answer));

    fleet.json(&["control", "revoke", &running, "--terminate"]);
    assert_eq!(fleet.redis.answer(&running).status, "REVOKED");
    assert!(fleet.json(&["inspect", "revoked"])[NODES[0]].as_array().unwrap().contains(&json!(running)));
}

#[test]
fn commands_say_so_when_nobody_replies() {
    let redis = TestRedis::start();
    for command in [
        &["status"][..],
        &["inspect", "ping", "-t", "0.2"],
        &["control", "pool_grow", "-t", "0.2"],
        &["top", "--once", "-t", "0.2"],
    ] {
        let output = host(&redis, command);
        assert_eq!(code(&output), NOBODY, "{command:?}: {}", text(&output));
    }
    let _host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-n", NODES[0]]);
    let one_of_two = host(&redis, &["inspect", "ping", "-d", "host@test,nobody@test"]);
    assert_eq!(code(&one_of_two), NOBODY);
    assert!(text(&one_of_two).contains("no reply within 1 s from nobody@test"), "{}", text(&one_of_two));
    for wrong in [&["control", "rate_limit", "app.divide", "10/d"][..], &["inspect", "nonsense"]] {
        assert_eq!(code(&host(&redis, wrong)), 2, "{wrong:?}");
    }
}

#[test]
fn events_are_shown_as_they_happen_and_filtered() {
    let fleet = Fleet::start();
    let mut all = follow(&fleet.redis.url(), &["--json"]);
    let failures = follow(&fleet.redis.url(), &["--type", "task-failed", "--task", "app.*"]);
    let heartbeats = follow(&fleet.redis.url(), &["--type", "worker-*", "--worker", "*@test", "-n", "4"]);
    all.wait_for("worker-heartbeat");
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    // Both listeners may still have to be heard of: tasks are sent until some were told of whole.
    eventually("a success and a failure are told by their names", || {
        good.push(fleet.redis.send(&Task::new("app.divide", json!([1, 2]))));
        bad.push(fleet.redis.send(&Task::new("app.divide", json!([1, 0]))));
        let told = |ids: &[String], kind: &str| {
            let events = all.output();
            let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let is = |event: &Value, id: &String| {
                event["type"] == kind && event["uuid"] == json!(id) && event["name"] == "app.divide"
            };
            events.into_iter().any(|event| ids.iter().any(|id| is(&event, id)))
        };
        let shown = failures.output().contains("task-failed app.divide[");
        (told(&good, "task-succeeded") && told(&bad, "task-failed") && shown).then_some(())
    });
    let shown = failures.output();
    assert!(shown.lines().all(|line| line.contains(" task-failed app.divide[")), "{shown}");
    assert!(shown.contains("exception=ZeroDivisionError('division by zero')"), "{shown}");
    let mut heartbeats = heartbeats;
    assert!(heartbeats.wait().success(), "it ends after so many");
    eventually("all that it wrote was read", || (heartbeats.output().lines().count() >= 4).then_some(()));
    assert_eq!(heartbeats.output().lines().count(), 4);
    assert!(
        heartbeats.output().lines().all(|line| line.contains("@test worker-")),
        "{}",
        heartbeats.output()
    );
}

#[test]
fn top_prints_once_what_there_is() {
    let fleet = Fleet::start();
    let running = fleet.send_long(30);
    let top = eventually("it runs", || {
        let top = fleet.json(&["top", "--once"]);
        top["running"].get(0).is_some().then_some(top)
    });
    let nodes: Vec<_> = top["workers"].as_array().unwrap().iter().map(|worker| &worker["node"]).collect();
    assert_eq!(nodes, [&json!(NODES[0]), &json!(NODES[2]), &json!(NODES[1])]);
    assert_eq!(top["running"][0]["id"], json!(running), "{top}");
    let consumers = |name: &str| {
        let queues = top["queues"].as_array().unwrap();
        queues.iter().find(|queue| queue["name"] == name).map(|queue| queue["consumers"].clone())
    };
    assert_eq!((consumers("ours"), consumers("celery")), (Some(json!(1)), Some(json!(3))), "{top}");
    let shown = fleet.shown(&["top", "--once"]);
    assert!(NODES.iter().all(|node| shown.contains(node)) && shown.contains(&running), "{shown}");
}

#[test]
fn an_embedded_broker_can_be_looked_at_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/host.db", folder.path().display());
    std::fs::create_dir(folder.path().join("plugins")).unwrap();
    std::fs::copy(guests::DIVIDE, folder.path().join("plugins/app.wasm")).unwrap();
    let plugins = folder.path().join("plugins");
    let mut worker = start(&url, &["worker", "-n", NODES[0], "--plugins", plugins.to_str().unwrap()]);
    worker.wait_for(" ready.");
    let run = |command: &[&str]| {
        let output = command_of(&url, command).output().expect("the binary is built");
        assert_eq!(code(&output), 0, "{command:?}: {}", text(&output));
        text(&output)
    };
    let events = follow(&url, &["--task", "app.divide"]);
    eventually("its success is told", || {
        run(&["call", "--wait", "app.divide", "1", "2"]);
        events.output().contains("task-succeeded app.divide[").then_some(())
    });
    assert!(run(&["status"]).contains("1 node online."));
    assert!(run(&["inspect", "registered"]).contains("app.divide"));
    assert!(run(&["control", "rate_limit", "app.divide", "5"]).contains("new rate limit set successfully"));
    assert!(run(&["top", "--once"]).contains(NODES[0]));
    run(&["control", "shutdown"]);
    assert!(worker.wait().success());
}

/// `host events` with these arguments, while it runs.
fn follow(url: &str, arguments: &[&str]) -> Process {
    start(url, &[&["events"], arguments].concat())
}

fn start(url: &str, arguments: &[&str]) -> Process {
    Process::start(&mut command_of(url, arguments), "cargo builds it with the tests")
}

fn command_of(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("CELERY_BROKER_URL", url).args(arguments);
    command
}
