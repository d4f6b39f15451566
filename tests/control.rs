//! Remote control by Python's API, in two versions: what a worker is asked and told, it answers as Celery's own and does.
//! The command line `celery inspect|control`, Flower, and busy workers are in other files.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Celery, PythonWorker, Task, TestHost, TestRedis, eventually, guests};

/// For the code of a test: asks the one worker that is there, or those named, and returns what each says.
const ASK: &str = "
import time
control = celery.control
def ask(method, destination=None, limit=1, **arguments):
    replies = control.broadcast(
        method, arguments=arguments, reply=True, timeout=3, limit=limit, destination=destination)
    return [reply for each in replies for reply in each.values()]
def until(look):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        seen = look()
        if seen: return seen
        time.sleep(0.05)
    raise TimeoutError()
";

pub fn ask(celery: Celery, redis: &TestRedis, code: &str) -> Value {
    celery.evaluate(redis, &format!("{ASK}\n{code}"))
}

fn observer(redis: &TestRedis, flags: &[&str]) -> TestHost {
    TestHost::start_with(redis, &[("observe", guests::OBSERVE)], flags)
}

/// Every question, while a task runs, one waits for its time and one is revoked. What differs from worker to worker is left
/// out.
const EVERY_QUESTION: &str = "
running = celery.send_task('observe.sleep_for', [8.0])
later = celery.send_task('observe.sleep_for', [0], {}, countdown=60)
until(lambda: ask('active')[0])
until(lambda: ask('scheduled')[0])
ask('revoke', task_id=['never-sent'])

VOLATILE = {'id', 'time_start', 'hostname', 'worker_pid', 'eta', 'clock', 'pid', 'uptime', 'rusage', 'pool', 'broker'}
def kind(value):
    return 'number' if type(value) in (int, float) else type(value).__name__
def seen(value):
    if isinstance(value, dict):
        return {key: kind(item) if key in VOLATILE else seen(item) for key, item in value.items()}
    return [seen(item) for item in value] if isinstance(value, list) else value

active, query = ask('active')[0], ask('query_task', ids=[running.id, 'unknown'])[0]
stats = ask('stats')[0]
({
    'ping': ask('ping'),
    'active': seen(active),
    'active_is_it': active[0]['id'] == running.id,
    'dump_active': seen(ask('dump_active')[0]),
    'active_safe': seen(ask('active', safe=True)[0]),
    'reserved': ask('reserved'),
    'scheduled': seen(ask('scheduled')[0]),
    'revoked': ask('revoked'),
    'registered': 'observe.sleep_for' in ask('registered')[0],
    'builtins': [name for name in ask('registered', builtins=True)[0] if name.startswith('celery.')],
    'no_builtins': [name for name in ask('registered')[0] if name.startswith('celery.')],
    'items': [i for i in ask('registered', taskinfoitems=['ignore_result', 'no_such'])[0] if 'sleep_for' in i],
    'active_queues': ask('active_queues'),
    'clock': seen(ask('clock')[0]),
    'query_task': [seen(query[running.id]), len(query)],
    'report': list(ask('report')[0]),
    'conf': kind(ask('conf')[0]),
    'conf_all': kind(ask('conf', with_defaults=True)[0]),
    # The last is what host adds.
    'stats': seen({key: value for key, value in stats.items() if key not in ('prefetch_count', 'host')}),
    'broker': {key: kind(value) for key, value in stats['broker'].items()},
    'broker_is': [stats['broker'][key] for key in ('transport', 'virtual_host', 'userid', 'ssl', 'port')],
    'hello': {key: value if key == 'revoked' and type(value) is list else kind(value)
        for key, value in ask('hello', from_node='x@y', revoked={})[0].items()},
})";

#[test]
fn every_question_is_answered_as_a_python_worker_answers_it() {
    for celery in Celery::BOTH {
        let host = {
            let redis = TestRedis::start();
            let _host = observer(&redis, &[]);
            ask(celery, &redis, EVERY_QUESTION)
        };
        let mut python = {
            let redis = TestRedis::start();
            let mut worker = PythonWorker::start_in_fleet(celery, &redis, 600);
            worker.wait_for(" ready.");
            ask(celery, &redis, EVERY_QUESTION)
        };
        // Each has its own server; and how the newer tells what is revoked, the older understands as well.
        python["broker_is"][4] = host["broker_is"][4].clone();
        python["hello"]["revoked"] = json!(["never-sent"]);
        // The newer has more words for it.
        for (part, kind) in python.as_object_mut().unwrap().remove("broker").unwrap().as_object().unwrap() {
            assert_eq!(&host["broker"][part], kind, "{part} of the broker, {celery:?}");
        }
        for (question, answer) in python.as_object().unwrap() {
            assert_eq!(&host[question], answer, "{question}, {celery:?}");
        }
    }
}

/// Every command with what it answers, which is said in Celery's own words. What only `host` or only Celery can do is
/// left out.
const COMMANDS: &[(&str, &str)] = &[
    ("enable_events", "{}"),
    ("enable_events", "{}"),
    ("disable_events", "{}"),
    ("disable_events", "{}"),
    ("heartbeat", "{}"),
    ("revoke", "{'task_id': 'one'}"),
    ("revoke", "{'task_id': ['one']}"),
    ("revoke", "{'task_id': []}"),
    ("revoke", "{'task_id': 'one', 'terminate': False, 'signal': 'SIGTERM'}"),
    ("revoke", "{'task_id': 'one', 'terminate': True, 'signal': 'SIGKILL'}"),
    ("revoke", "{'task_id': ['one'], 'terminate': 1, 'signal': 9}"),
    ("revoke", "{'task_id': 'one', 'terminate': 1, 'signal': 'sigkill'}"),
    ("revoke", "{}"),
    ("terminate", "{'task_id': ['one'], 'signal': 'KILL'}"),
    ("terminate", "{}"),
    ("revoke_by_stamped_headers", "{'headers': {'k': 'v'}}"),
    ("revoke_by_stamped_headers", "{'headers': {'k': ['v', 'w']}, 'terminate': True}"),
    ("revoke_by_stamped_headers", "{'headers': ['k=v', 'l=w']}"),
    ("time_limit", "{'task_name': 'observe.sleep_for', 'hard': 100, 'soft': 50.5}"),
    ("time_limit", "{'task_name': 'observe.sleep_for', 'hard': None, 'soft': None}"),
    ("time_limit", "{'task_name': 'no.such', 'hard': 1, 'soft': 1}"),
    ("rate_limit", "{'task_name': 'no.such', 'rate_limit': '5/m'}"),
    ("rate_limit", "{'task_name': 'observe.sleep_for', 'rate_limit': '5/m'}"),
    ("registered", "{}"),
    ("rate_limit", "{'task_name': 'observe.sleep_for', 'rate_limit': 100}"),
    ("rate_limit", "{'task_name': 'observe.sleep_for', 'rate_limit': '5/y'}"),
    ("rate_limit", "{'task_name': 'observe.sleep_for', 'rate_limit': 'fast'}"),
    ("rate_limit", "{'task_name': 'observe.sleep_for', 'rate_limit': '0'}"),
    ("rate_limit", "{'task_name': 'observe.sleep_for', 'rate_limit': 0}"),
    ("rate_limit", "{'task_name': 'observe.sleep_for', 'rate_limit': None}"),
    ("rate_limit", "{}"),
    ("add_consumer", "{'queue': 'extra', 'exchange': None, 'exchange_type': 'direct', 'routing_key': None}"),
    ("add_consumer", "{'queue': 'extra'}"),
    ("cancel_consumer", "{'queue': 'extra'}"),
    ("cancel_consumer", "{'queue': 'never-was'}"),
    ("add_consumer", "{}"),
    ("autoscale", "{'max': 5, 'min': 1}"),
    ("pool_restart", "{}"),
    ("no_such_method", "{}"),
];

#[test]
fn every_command_is_answered_in_the_words_of_a_python_worker() {
    let calls: Vec<_> =
        COMMANDS.iter().map(|(method, arguments)| format!("said('{method}', **{arguments})")).collect();
    // Celery takes and drops consumers in its own time.
    let code = format!(
        "
def said(*args, **options):
    # A guest has functions beside the one that the Python worker has.
    return [[name for name in reply if 'sleep_for' in name] if type(reply) is list else reply
        for reply in ask(*args, **options)]
[{}]",
        calls.join(",\n    ")
    );
    for celery in Celery::BOTH {
        let host = {
            let redis = TestRedis::start();
            let _host = observer(&redis, &[]);
            ask(celery, &redis, &code)
        };
        let python = {
            let redis = TestRedis::start();
            let mut worker = PythonWorker::start_in_fleet(celery, &redis, 600);
            worker.wait_for(" ready.");
            ask(celery, &redis, &code)
        };
        for (number, call) in calls.iter().enumerate() {
            assert_eq!(host[number], python[number], "{call}, {celery:?}");
            assert_eq!(host[number].as_array().map(Vec::len), Some(1), "{call} is answered once");
        }
    }
}

#[test]
fn a_request_reaches_those_it_is_for() {
    let redis = TestRedis::start();
    let _hosts = ["w1@a", "w2@a", "x1@b"].map(|name| observer(&redis, &["-n", name]));
    for celery in Celery::BOTH {
        let pinged = |filter: &str| {
            let code = format!(
                "sorted(name for reply in celery.control.broadcast('ping', reply=True, timeout=0.7, {filter}) for name in reply)"
            );
            celery.evaluate(&redis, &code)
        };
        for (filter, expected) in [
            ("", json!(["w1@a", "w2@a", "x1@b"])),
            ("destination=['w2@a']", json!(["w2@a"])),
            ("destination=['w2@a', 'x1@b', 'nobody@c']", json!(["w2@a", "x1@b"])),
            ("destination=['nobody@c']", json!([])),
            ("pattern='w*', matcher='glob'", json!(["w1@a", "w2@a"])),
            ("pattern='?1@[ab]', matcher='glob'", json!(["w1@a", "x1@b"])),
            ("pattern='nobody*', matcher='glob'", json!([])),
            (r"pattern=r'[wx]1@\w', matcher='pcre'", json!(["w1@a", "x1@b"])),
            ("pattern='1@a', matcher='pcre'", json!([])),
            ("destination=['x1@b'], pattern='w*', matcher='glob'", json!(["x1@b"])),
        ] {
            assert_eq!(pinged(filter), expected, "{filter}, {celery:?}");
        }
    }
}

const REVOKED: &str = "REVOKED celery.exceptions.TaskRevokedError: revoked";
const TERMINATED: &str = "REVOKED celery.exceptions.TaskRevokedError: terminated";

#[test]
fn a_revoked_task_does_not_run_on_any_worker_now_or_later() {
    for celery in Celery::BOTH {
        let redis = TestRedis::start();
        // Each hears of it, but it is the store that remembers.
        let mut host = observer(&redis, &["-c", "1"]);
        let busy = redis.send(&Task::new("observe.report", json!(["PROGRESS", null, 2])));
        eventually("it runs", || redis.stored(&busy));
        let waiting = redis.send(&Task::new("observe.sleep_for", json!([0])));
        let due = jiff::Timestamp::now() + Duration::from_secs(6);
        let eta = json!(due.to_string());
        let scheduled = redis.send(&Task::new("observe.sleep_for", json!([0])).header("eta", eta));
        let stamped = Task::new("observe.sleep_for", json!([0]))
            .header("stamped_headers", json!(["customer"]))
            .header("stamps", json!({"customer": "acme"}));
        let stamped = redis.send(&stamped);
        let code = format!(
            "celery.control.revoke(['{waiting}', '{scheduled}'])
celery.control.revoke_by_stamped_headers({{'customer': ['acme', 'initech']}})
until(lambda: '{scheduled}' in ask('revoked')[0])"
        );
        assert_eq!(ask(celery, &redis, &code), json!(true));
        eventually("the stamp is known", || {
            (redis.ask::<u64>(&["ZCARD", "host:revoked:until"]) >= 4).then_some(())
        });
        assert_eq!(redis.answer(&busy).to_string(), "SUCCESS null");
        for id in [&waiting, &stamped] {
            assert_eq!(redis.answer(id).to_string(), REVOKED);
        }
        host.kill_9();
        let _another = observer(&redis, &["-n", "another@%h"]);
        assert_eq!(redis.answer(&scheduled).to_string(), REVOKED);
    }
}

#[test]
fn a_running_task_is_terminated() {
    for celery in Celery::BOTH {
        let redis = TestRedis::start();
        let _host =
            TestHost::start(&redis, &[("observe", guests::OBSERVE), ("misbehave", guests::MISBEHAVE)]);
        let waits = redis.send(&Task::new("observe.report", json!(["PROGRESS", null, 100])));
        let computes = redis.send(&Task::new("misbehave.endless_loop", json!([])));
        let stamped = redis.send(
            &Task::new("observe.report", json!(["PROGRESS", null, 100]))
                .header("stamped_headers", json!(["customer"]))
                .header("stamps", json!({"customer": "acme"})),
        );
        let code = format!(
            "until(lambda: len(ask('active')[0]) == 3)
replies = [
    ask('revoke', task_id=['{waits}', 'unknown'], terminate=True, signal='SIGKILL'),
    ask('terminate', task_id='{computes}', signal='TERM'),
    ask('revoke_by_stamped_headers', headers={{'customer': ['acme'], 'other': 'x'}}, terminate=True),
]
until(lambda: ask('active') == [[]])
replies"
        );
        let expected = json!([
            [{"ok": format!("terminate: {waits}")}],
            [{"ok": format!("terminate: {computes}")}],
            [{"ok": "headers {'customer': {'acme'}} revoked"}],
        ]);
        assert_eq!(ask(celery, &redis, &code), expected);
        for id in [&waits, &computes, &stamped] {
            assert_eq!(redis.answer(id).to_string(), TERMINATED);
        }
        redis.wait_until_idle();
    }
}

#[test]
fn time_limits_that_are_set_hold_for_the_tasks_that_come() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("misbehave", guests::MISBEHAVE)]);
    let code = "ask('time_limit', task_name='misbehave.endless_loop', hard=0.5, soft=None)";
    let set = ask(Celery::BOTH[0], &redis, code);
    assert_eq!(set, json!([{"ok": "time limits set successfully"}]));
    let answer = redis.run("misbehave.endless_loop", json!([])).to_string();
    assert_eq!(answer, "FAILURE billiard.exceptions.TimeLimitExceeded: 0.5");
}

#[test]
fn queues_are_taken_from_as_soon_as_somebody_says_so_and_no_longer_than_that() {
    for celery in Celery::BOTH {
        let redis = TestRedis::start();
        let _host = observer(&redis, &[]);
        let on_extra = Task::new("observe.sleep_for", json!([0])).queue("extra");
        redis.send(&on_extra);
        ask(celery, &redis, "celery.control.add_consumer('extra', reply=True, timeout=0.5)");
        assert_eq!(redis.answer(on_extra.id()).to_string(), "SUCCESS 0.0");
        let code = "
for queue in ['extra', 'celery']:
    celery.control.cancel_consumer(queue, reply=True, timeout=0.5)
ask('active_queues')";
        assert_eq!(ask(celery, &redis, code), json!([[]]), "it may have none");
        let tasks = ["extra", "celery"].map(|queue| Task::new("observe.sleep_for", json!([0])).queue(queue));
        redis.send_all(&tasks);
        // Had it taken from them, it would have done so first.
        let last = Task::new("observe.sleep_for", json!([0])).queue("last");
        redis.send(&last);
        ask(celery, &redis, "celery.control.add_consumer('last', reply=True, timeout=0.5)");
        assert_eq!(redis.answer(last.id()).to_string(), "SUCCESS 0.0");
        assert_eq!(redis.ready(&tasks), 0);
        ask(celery, &redis, "ask('add_consumer', queue='celery')");
        assert_eq!(redis.answer(tasks[1].id()).to_string(), "SUCCESS 0.0");
    }
}

/// Waits until exactly so many tasks run.
fn wait_for_running(celery: Celery, redis: &TestRedis, count: usize) {
    ask(celery, redis, &format!("until(lambda: len(ask('active')[0]) == {count})"));
}

#[test]
fn the_pool_grows_and_shrinks() {
    let redis = TestRedis::start();
    let _host = observer(&redis, &["-c", "1"]);
    let tasks: Vec<_> = (0..40).map(|_| Task::new("observe.sleep_for", json!([2]))).collect();
    redis.send_all(&tasks);
    let celery = Celery::BOTH[1];
    wait_for_running(celery, &redis, 1);
    let replies = ask(
        celery,
        &redis,
        "[ask('pool_grow'), ask('pool_grow', n=8), ask('pool_grow', n=100), ask('pool_grow', n=-1), ask('stats')[0]['pool']['max-concurrency']]",
    );
    assert_eq!(replies[0], json!([{"ok": "pool will grow"}]));
    assert_eq!(replies[1], json!([{"ok": "pool will grow"}]));
    let refused = replies[2][0]["error"].as_str().unwrap();
    assert!(refused.starts_with("ValueError('at most 18 tasks can run at once in this worker;"), "{refused}");
    assert!(replies[3][0]["error"].as_str().unwrap().starts_with("TypeError("));
    assert_eq!(replies[4], json!(10));
    wait_for_running(celery, &redis, 10);
    let replies = ask(celery, &redis, "[ask('pool_shrink', n=7), ask('pool_shrink', n=3)]");
    assert_eq!(replies[0], json!([{"ok": "pool will shrink"}]));
    assert!(replies[1][0]["error"].as_str().unwrap().starts_with("ValueError("), "one has to stay");
    // What runs may end, then there are three at a time.
    wait_for_running(celery, &redis, 3);
    redis.wait_for_all(&tasks);
}

#[test]
fn the_pool_scales_with_what_there_is_to_do() {
    let redis = TestRedis::start();
    let _host = observer(&redis, &["--autoscale", "6,1"]);
    let tasks: Vec<_> = (0..30).map(|_| Task::new("observe.sleep_for", json!([2]))).collect();
    let celery = Celery::BOTH[0];
    let size = "ask('stats')[0]['pool']['max-concurrency']";
    assert_eq!(ask(celery, &redis, size), json!(1));
    redis.send_all(&tasks);
    wait_for_running(celery, &redis, 6);
    let code = "[ask('autoscale', max=4, min=2), ask('autoscale', max=1000000), ask('pool_grow', n=1), ask('stats')[0]['autoscaler']]";
    let replies = ask(celery, &redis, code);
    assert_eq!(replies[0], json!([{"ok": "autoscale now max=4 min=2"}]));
    assert!(replies[1][0]["error"].as_str().unwrap().starts_with("ValueError("));
    let refused = "pool_grow is not supported with autoscale. Adjust autoscale range instead.";
    assert_eq!(replies[2], json!([{"error": refused}]));
    assert_eq!(
        (&replies[3]["max"], &replies[3]["min"], &replies[3]["current"]),
        (&json!(4), &json!(2), &json!(4))
    );
    wait_for_running(celery, &redis, 4);
    redis.wait_for_all(&tasks);
}

#[test]
fn a_shutdown_by_remote_is_warm_and_for_those_it_names() {
    for celery in Celery::BOTH {
        let redis = TestRedis::start();
        let mut ends = observer(&redis, &["-n", "ends@a", "-c", "1"]);
        let running = redis.send(&Task::new("observe.report", json!(["PROGRESS", null, 1])));
        eventually("it runs", || redis.stored(&running));
        let mut stays = observer(&redis, &["-n", "stays@a"]);
        celery.evaluate(&redis, "celery.control.shutdown(destination=['ends@a'])");
        assert!(ends.wait().success());
        assert_eq!(redis.stored(&running).unwrap().to_string(), "SUCCESS null");
        assert!(stays.lives());
        let members: Vec<String> = redis.ask(&["SMEMBERS", "_kombu.binding.celery.pidbox"]);
        assert_eq!(members, ["\u{6}\u{16}\u{6}\u{16}stays@a.celery.pidbox"]);
        celery.evaluate(&redis, "celery.control.shutdown()");
        assert!(stays.wait().success());
        assert_eq!(redis.ask::<u64>(&["EXISTS", "_kombu.binding.celery.pidbox"]), 0);
    }
}

#[test]
fn requests_that_nobody_should_send_do_no_harm() {
    let redis = TestRedis::start();
    let mut host = observer(&redis, &[]);
    let body = |body: &str| {
        json!({"body": body, "content-type": "application/json", "headers": {"clock": 1}}).to_string()
    };
    let asked = |method: &str, arguments: Value| {
        let reply_to = json!({"exchange": "reply.celery.pidbox", "routing_key": "hostile"});
        let request = json!({"method": method, "arguments": arguments, "ticket": "t", "reply_to": reply_to});
        body(&request.to_string())
    };
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let many: Vec<String> = (0..60_000).map(|number| format!("id-{number}")).collect();
    let refused = [
        asked("revoke", json!({"task_id": many})),
        asked("revoke", json!({"task_id": "x".repeat(1_000)})),
        asked("revoke", json!({"task_id": {"a": 1}})),
        asked("revoke", json!({"task_id": [1, null]})),
        asked("revoke", json!([1, 2])),
        asked("revoke", json!("x")),
        asked("revoke_by_stamped_headers", json!({"headers": "x"})),
        asked("revoke_by_stamped_headers", json!({"headers": ["x"]})),
        asked("time_limit", json!({"task_name": "observe.sleep_for", "hard": "soon"})),
        asked("time_limit", json!({"task_name": ["x"], "hard": -1})),
        asked("time_limit", json!({"task_name": "observe.sleep_for", "hard": 1e300})),
        asked("add_consumer", json!({"queue": "\u{6}\u{16}"})),
        asked("add_consumer", json!({"queue": 5})),
        asked("pool_grow", json!({"n": 1e18})),
        asked("pool_shrink", json!({"n": 18_446_744_073_709_551_615_u64})),
        asked("query_task", json!({"ids": 5})),
        asked("registered", json!({"taskinfoitems": {"a": 1}})),
        asked("hello", json!({"from_node": []})),
        asked(&"x".repeat(100_000), json!({})),
    ];
    let dropped = [
        String::new(),
        "\0\u{7f}".to_owned(),
        "[]".to_owned(),
        body(""),
        body("null"),
        body("{}"),
        body(&deep(100_000)),
        body(&json!({"method": "ping", "destination": {"a": 1}}).to_string()),
        body(&json!({"method": "ping", "pattern": "(a+)+$".repeat(10_000), "matcher": "pcre"}).to_string()),
        asked("ping", serde_json::from_str(&deep(100)).unwrap()),
        "x".repeat(6 << 20),
    ];
    let long = many[..30_000].to_vec();
    let harmless = [
        asked("hello", json!({"from_node": "x", "revoked": {"a": {"b": []}, "": 1}})),
        asked("hello", json!({"from_node": "x", "revoked": [1, {}, "c", "x".repeat(300)]})),
        asked("revoke", json!({"task_id": long})),
        asked("election", json!({"id": "x", "topic": "t", "action": "boom"})),
        asked("registered", json!({"taskinfoitems": ["__class__", ""]})),
    ];
    for request in dropped.iter().chain(&refused).chain(&harmless) {
        redis.ask::<u64>(&["PUBLISH", "/0.celery.pidbox", request]);
    }
    let replies = "hostile.reply.celery.pidbox";
    let expected = refused.len() + harmless.len();
    eventually("all that is answered is", || {
        (redis.ask::<usize>(&["LLEN", replies]) == expected).then_some(())
    });
    let bodies: Vec<String> = redis.ask(&["LRANGE", replies, "0", "-1"]);
    let errors = bodies.iter().filter(|reply| {
        let reply: Value = serde_json::from_str(reply).unwrap();
        let body = reply["body"].as_str().unwrap();
        let body = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        body.as_object().unwrap().values().all(|reply| !reply["error"].is_null())
    });
    assert_eq!(errors.count(), refused.len());
    assert!(redis.ask::<i64>(&["TTL", replies]) > 0, "nobody fetches them, and they do not stay");
    assert!(host.lives());
    let answered = ask(Celery::BOTH[0], &redis, "ask('ping')");
    assert_eq!(answered, json!([{"ok": "pong"}]));
    assert_eq!(redis.run("observe.sleep_for", json!([0])).to_string(), "SUCCESS 0.0");
    assert!(!host.output().contains("a bug in host"));
}

#[test]
fn a_worker_that_starts_learns_what_a_python_worker_knows_and_tells_what_it_knows() {
    for celery in Celery::BOTH {
        let redis = TestRedis::start();
        let mut python = PythonWorker::start_in_fleet(celery, &redis, 600);
        python.wait_for(" ready.");
        let theirs = Task::new("observe.sleep_for", json!([0])).queue("ours");
        // Only the Python worker is there to hear it, and it will not tell anybody but those who ask.
        ask(celery, &redis, &format!("ask('revoke', task_id='{}')", theirs.id()));
        redis.send(&theirs);
        let mut host = observer(&redis, &["-Q", "ours", "-n", "host@%h"]);
        assert_eq!(redis.answer(theirs.id()).to_string(), REVOKED);
        host.wait_for("synchronized with python@");

        let ours = Task::new("observe.sleep_for", json!([0])).id().to_owned();
        python.kill_9();
        ask(celery, &redis, &format!("ask('revoke', task_id='{ours}')"));
        let mut python = PythonWorker::start_in_fleet(celery, &redis, 600);
        python.wait_for("mingle: sync with 1 nodes");
        python.wait_for(" ready.");
        let code = format!(
            "known = control.inspect(destination=[n for n in control.inspect(timeout=2).ping() if n.startswith('python@')]).revoked()
['{ours}' in ids for ids in known.values()]"
        );
        assert_eq!(ask(celery, &redis, &code), json!([true]));
        let log = python.output();
        assert!(!log.contains(": ERROR") && !log.contains("Traceback"), "{log}");
        assert!(host.lives());
    }
}

#[test]
fn a_restart_beside_others_of_its_kind_waits_for_nobody() {
    let redis = TestRedis::start_alone();
    let mut first = observer(&redis, &["-n", "first@a"]);
    let _second = observer(&redis, &["-n", "second@a"]);
    first.kill_9();
    let begin = Instant::now();
    first.start_again();
    first.wait_for(" ready.");
    // A worker that was killed is not waited for, though its binding is still there; a Python worker waits a second.
    assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
}
