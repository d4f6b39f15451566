//! Celery's own command line, `celery inspect`, `control`, `status`, `events`, `result`, `call` and `purge`, asks and commands
//! `host` as it does a Python worker, with the same exit codes. The control is
//! [`a_python_worker_answers_celerys_command_line`].

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Celery, Process, PythonWorker, Task, TestHost, TestRedis, eventually, guests};

/// The worker, whatever it is.
const NODE: &str = "asked@test";

/// What `celery` ends with when no worker answered: `EX_UNAVAILABLE`.
const NOBODY: i32 = 69;

#[test]
fn host_answers_celerys_command_line() {
    for celery in Celery::BOTH {
        let redis = TestRedis::start();
        let flags = ["-c", "2", "-n", NODE];
        let mut host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &flags);
        use_all(celery, &redis);
        assert!(host.wait().success());
    }
}

/// The control. One version, for time's sake: what the command line prints is the client's doing.
#[test]
fn a_python_worker_answers_celerys_command_line() {
    let celery = Celery::BOTH[0];
    let redis = TestRedis::start();
    let flags = ["--concurrency=2", "--hostname", NODE];
    let mut python = PythonWorker::start_app(celery, &redis, "reference", &flags);
    use_all(celery, &redis);
    assert!(python.wait().success());
}

#[test]
fn celerys_command_line_says_so_when_nobody_answers() {
    let redis = TestRedis::start();
    for celery in Celery::BOTH {
        let ask = |command: &[&str]| run(celery, &redis, command);
        for command in [&["status"][..], &["inspect", "ping"], &["control", "pool_grow", "1"]] {
            let (code, output) = ask(command);
            assert_eq!(code, NOBODY, "{command:?}: {output}");
        }
        redis.send_all(&[1, 2, 3].map(|n| Task::new("app.divide", n.into())));
        let (code, output) = ask(&["purge", "-f"]);
        assert_eq!(code, 0, "{output}");
        assert!(output.contains("Purged 3 messages from 1 known task queue"), "{output}");
        let (code, output) = ask(&["purge", "-f"]);
        assert_eq!(code, 0, "{output}");
        assert!(output.contains("No messages purged from 1 queue"), "{output}");
    }
}

/// Every command, against a worker of two slots that has run nothing. At the end it is shut down.
#[track_caller]
fn use_all(celery: Celery, redis: &TestRedis) {
    // A worker that is asked by its name answers at once; else the command waits a second for others.
    let ask = |command: &[&str]| {
        let command = match command {
            [kind @ ("inspect" | "control"), rest @ ..] if rest[0] != "-t" => {
                [&[*kind, "-d", NODE][..], rest].concat()
            }
            command => command.to_vec(),
        };
        let command = &command[..];
        let (code, output) = run(celery, redis, command);
        assert_eq!(code, 0, "{command:?}: {output}");
        output
    };
    let says = |command: &[&str], texts: &[&str]| {
        let output = ask(command);
        for text in texts {
            assert!(output.contains(text), "{command:?} says {text:?}: {output}");
        }
    };

    let events = Events::dump(celery, redis);
    says(&["control", "enable_events"], &[NODE, "task events enabled"]);

    // `call` and `result`.
    let id = ask(&["call", "app.divide", "-a", "[1, 2]"]).trim().to_owned();
    assert_eq!(redis.answer(&id).to_string(), "SUCCESS 0.5");
    assert_eq!(ask(&["result", &id]).trim(), "0.5");
    let failed = ask(&["call", "app.divide", "-a", "[1, 0]"]).trim().to_owned();
    redis.answer(&failed);
    let (code, output) = run(celery, redis, &["result", &failed]);
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("ZeroDivisionError: division by zero"), "{output}");
    says(&["result", "--traceback", &failed], &["Traceback (most recent call last)", "ZeroDivisionError"]);
    let shown = [
        "heartbeat: ",
        "task received: ",
        "task started: ",
        "task succeeded: ",
        "task failed: ",
        "result=0.5",
        &id,
    ];
    events.wait_for(&shown);

    // Two run, two more wait for a slot, one for its time.
    let divide = |kwargs: &str, more: &[&str]| {
        let call = ["call", "app.divide", "-a", "[1, 2]", "-k", kwargs];
        ask(&[&call[..], more].concat()).trim().to_owned()
    };
    let running = [divide(r#"{"sleep": 60}"#, &[]), divide(r#"{"sleep": 60}"#, &[])];
    eventually("both run", || {
        let active = json(&ask(&["inspect", "active", "--json"]));
        (active[NODE].as_array()?.len() == 2).then_some(())
    });
    let reserved = divide("{}", &[]);
    let scheduled = divide("{}", &["--countdown", "60"]);

    // `status` and `inspect`, while every slot is busy.
    says(&["status"], &[NODE, "OK", "1 node online"]);
    says(&["inspect", "-t", "0.5", "ping"], &[NODE, "pong", "1 node online"]);
    says(&["inspect", "ping"], &["pong"]);
    let (code, output) = run(celery, redis, &["inspect", "-d", "other@test", "ping"]);
    assert_eq!(code, NOBODY, "{output}");
    says(&["inspect", "active"], &[&running[0], &running[1], "app.divide"]);
    // One is held by the worker that has no slot for it, or is left to others.
    eventually("it is known where the third is", || {
        let waits: u64 = redis.ask(&["LLEN", "celery"]);
        (ask(&["inspect", "reserved"]).contains(&reserved) || waits >= 1).then_some(())
    });
    eventually("it is scheduled", || ask(&["inspect", "scheduled"]).contains(&scheduled).then_some(()));
    says(&["inspect", "query_task", &running[0]], &[&running[0], "active"]);
    says(&["inspect", "registered"], &["app.divide"]);
    says(&["inspect", "active_queues"], &["celery"]);
    says(&["inspect", "revoked"], &[NODE]);
    says(&["inspect", "report"], &[NODE]);
    says(&["inspect", "clock"], &["clock"]);
    says(&["inspect", "conf"], &[NODE]);
    let stats = json(&ask(&["inspect", "stats", "--json"]));
    assert_eq!(stats[NODE]["total"]["app.divide"], 4, "{stats}");
    assert_eq!(stats[NODE]["pool"]["max-concurrency"], 2, "{stats}");
    let ping = json(&ask(&["inspect", "ping", "--json"]));
    assert_eq!(ping[NODE]["ok"], "pong");

    // `control`.
    says(&["control", "rate_limit", "app.divide", "1000/s"], &["new rate limit set successfully"]);
    // A text that is not empty counts as a limit, though this one limits nothing.
    says(&["control", "rate_limit", "app.divide", "0"], &["new rate limit set successfully"]);
    says(&["control", "rate_limit", "app.nothing", "10/m"], &["unknown task"]);
    says(&["control", "time_limit", "app.divide", "50", "70"], &["time limits set successfully"]);
    says(&["control", "add_consumer", "more"], &["add consumer more"]);
    says(&["inspect", "active_queues"], &["more"]);
    says(&["control", "cancel_consumer", "more"], &["no longer consuming from more"]);
    says(&["control", "pool_grow", "2"], &["pool will grow"]);
    eventually("the new slot runs the third", || redis.stored(&reserved));
    says(&["control", "pool_shrink", "1"], &["pool will shrink"]);
    says(&["control", "revoke", &scheduled], &["flagged as revoked", &scheduled]);
    says(&["inspect", "revoked"], &[&scheduled]);
    for id in &running {
        says(&["control", "terminate", "SIGKILL", id], &["terminate: ", id]);
        let revoked = "REVOKED celery.exceptions.TaskRevokedError: terminated";
        assert_eq!(redis.answer(id).to_string(), revoked);
    }
    says(&["control", "heartbeat"], &[]);
    says(&["control", "disable_events"], &["task events disabled"]);
    events.wait_for(&["task revoked: "]);
    drop(events);

    // It answers nothing any more, so nobody does.
    let (code, output) = run(celery, redis, &["control", "shutdown"]);
    assert_eq!(code, NOBODY, "{output}");
}

/// `celery events --dump` while it runs.
struct Events(Process);

impl Events {
    #[track_caller]
    fn dump(celery: Celery, redis: &TestRedis) -> Self {
        let patterns = || redis.ask::<u64>(&["PUBSUB", "NUMPAT"]);
        let before = patterns();
        let mut command = command(celery, redis, &["events", "--dump"]);
        // Else Python keeps what it writes for itself.
        let process = Process::start(command.env("PYTHONUNBUFFERED", "1"), "run `tests/setup`");
        eventually("it listens", || (patterns() > before).then_some(()));
        Self(process)
    }

    #[track_caller]
    fn wait_for(&self, texts: &[&str]) {
        eventually(&format!("the dump shows {texts:?}"), || {
            let output = self.0.output();
            texts.iter().all(|text| output.contains(text)).then_some(())
        });
    }
}

/// Exit code and output of a `celery` command, run where the tutorial's app is.
fn run(celery: Celery, redis: &TestRedis, arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } =
        command(celery, redis, arguments).output().expect("`tests/setup` installs it");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (status.code().expect("it ends by itself"), text(&stdout) + &text(&stderr))
}

fn command(celery: Celery, redis: &TestRedis, arguments: &[&str]) -> Command {
    let mut command = celery.tutorial("celery", redis);
    command.args(["-A", "app.celery"]).args(arguments);
    command
}

#[track_caller]
fn json(output: &str) -> Value {
    serde_json::from_str(output).unwrap_or_else(|e| panic!("{e} in {output}"))
}
