//! Events as Python's API hears them, in two versions.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Celery, Task, TestHost, TestRedis, eventually, guests};

/// For the code of a test: `hear(look)` hears events until `look` of all that were heard is true. `ready` is set in Redis
/// once it listens.
const HEAR: &str = "
import time
heard = []
def hear(look, seconds=40):
    with celery.connection() as connection:
        receiver = celery.events.Receiver(connection, handlers={'*': heard.append})
        end = time.monotonic() + seconds
        with receiver.consumer_context(wakeup=False) as (channel, *_):
            def drain():
                try: channel.drain_events(timeout=0.2)
                except OSError: pass
            # Only now it subscribes.
            drain()
            celery.backend.client.set('ready', 1)
            while not look():
                assert time.monotonic() < end, heard
                drain()
def of(kind):
    return [event for event in heard if event['type'] == kind]
def send(*args, **options):
    return celery.send_task(*args, **options).id
";

fn hear(celery: Celery, redis: &TestRedis, code: &str) -> Value {
    celery.evaluate(redis, &format!("{HEAR}\n{code}"))
}

/// Hears while `act` does something; begins with it once it listens.
fn hear_meanwhile(celery: Celery, redis: &TestRedis, code: &str, act: impl FnOnce()) -> Value {
    redis.ask::<u64>(&["DEL", "ready"]);
    thread::scope(|scope| {
        let listening = scope.spawn(|| hear(celery, redis, code));
        eventually("somebody listens", || (redis.ask::<u64>(&["EXISTS", "ready"]) == 1).then_some(()));
        act();
        listening.join().expect("it has heard all")
    })
}

#[test]
fn a_worker_tells_that_it_comes_that_it_is_there_and_that_it_goes() {
    for celery in Celery::BOTH {
        let redis = TestRedis::start();
        let code = "
state = celery.events.State()
hear(lambda: of('worker-offline'))
for event in heard: state.event(dict(event))
beats = [event['timestamp'] for event in of('worker-online') + of('worker-heartbeat')]
({
    'types': [event['type'] for event in heard],
    'clocks': [event['clock'] for event in heard],
    'longest_pause': max(b - a for a, b in zip(beats, beats[1:])),
    'late': [abs(event['timestamp'] - event['local_received']) for event in heard],
    'event': heard[1],
    'alive_at_the_end': [worker.alive for worker in state.workers.values()],
})";
        let seen = hear_meanwhile(celery, &redis, code, || {
            let mut host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-n", "w@box"]);
            assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5");
            // Three heartbeats.
            thread::sleep(Duration::from_secs(7));
            host.signal("TERM");
            assert!(host.wait().success());
        });
        let types = seen["types"].as_array().unwrap();
        let (first, last) = (&types[0], &types[types.len() - 1]);
        assert_eq!((first, last), (&json!("worker-online"), &json!("worker-offline")));
        assert!(types.len() >= 5 && types[1..types.len() - 1].iter().all(|kind| kind == "worker-heartbeat"));
        let clocks: Vec<u64> = serde_json::from_value(seen["clocks"].clone()).unwrap();
        assert!(clocks.is_sorted_by(|a, b| a < b), "{clocks:?}");
        assert!(seen["longest_pause"].as_f64().unwrap() < 2.5, "{seen}");
        let event = &seen["event"];
        for (field, expected) in [("hostname", json!("w@box")), ("freq", json!(2.0)), ("processed", json!(1))]
        {
            assert_eq!(event[field], expected, "{field}");
        }
        let numbers = ["active", "pid", "utcoffset", "timestamp"];
        assert!(numbers.iter().all(|field| event[field].is_number()), "{event}");
        assert_eq!(event["loadavg"].as_array().unwrap().len(), 3);
        assert!(["sw_ident", "sw_ver", "sw_sys"].iter().all(|field| event[field].is_string()), "{event}");
        assert_eq!(seen["alive_at_the_end"], json!([false]));
    }
}

#[test]
fn task_events_come_once_somebody_asks_for_them_whole_and_in_order() {
    for celery in Celery::BOTH {
        let redis = TestRedis::start();
        let plugins = [("app", guests::DIVIDE), ("observe", guests::OBSERVE), ("retry", guests::RETRY)];
        let _host = TestHost::start_with(&redis, &plugins, &["-n", "w@box"]);
        let code = "
quiet = send('app.divide', [1, 2], queue='celery')
celery.AsyncResult(quiet).get(timeout=10)
celery.control.enable_events(reply=True, timeout=0.5)
ids = {}
def act():
    ids['good'] = send('app.divide', [1, 2], kwargs={}, shadow='shown', argsrepr='(<secret>,)')
    ids['bad'] = send('app.divide', [1, 0], root_id='root', parent_id='parent')
    ids['retried'] = send('retry.ask_until', [1])
    ids['rejected'] = send('retry.reject', [False])
    ids['requeued'] = send('retry.reject_once')
    ids['ignored'] = send('retry.ignore')
    ids['later'] = send('app.divide', [1, 2], countdown=1, expires=3600)
    ids['expired'] = send('app.divide', [1, 2], expires=-1)
    ids['stopped'] = send('observe.sleep_for', [100])
    ids['never'] = send('app.divide', [1, 2], countdown=2)
    celery.control.revoke(ids['never'])
acted = []
def look():
    if not acted:
        acted.append(act())
    started = {event['uuid'] for event in of('task-started')}
    if ids['stopped'] in started and len(acted) == 1:
        acted.append(celery.control.revoke(ids['stopped'], terminate=True, signal='SIGKILL'))
    ended = {event['uuid'] for kind in ('succeeded', 'failed', 'revoked') for event in of('task-' + kind)}
    wanted = {id for name, id in ids.items() if name != 'ignored'}
    return wanted <= ended and ids['ignored'] in started
hear(look)
state = celery.events.State()
for event in sorted(heard, key=lambda event: event['clock']): state.event(dict(event))
names = {id: name for name, id in ids.items()}
clocks = [event['clock'] for event in heard]
({
    'quiet': [event for event in heard if event.get('uuid') == quiet],
    'in_order': clocks == sorted(clocks),
    'states': {name: state.tasks[id].state for name, id in ids.items()},
    'received': {name: event for event in of('task-received') for name in [names[event['uuid']]]},
    'types': {name: [event['type'][5:] for event in heard if event.get('uuid') == id] for name, id in ids.items()},
    'events': {name + '-' + event['type'][5:]: event for event in heard if event['type'].startswith('task-')
        for name in [names[event['uuid']]]},
    'disabled': [list(r.values()) for r in celery.control.disable_events(reply=True, timeout=0.5)],
})";
        let seen = hear(celery, &redis, code);
        assert_eq!(seen["quiet"], json!([]), "nobody had asked for it");
        assert_eq!(seen["in_order"], json!(true));
        assert_eq!(seen["disabled"], json!([[{"ok": "task events disabled"}]]));
        let whole = |end: &str| json!(["received", "started", end]);
        for (name, types, state) in [
            ("good", whole("succeeded"), "SUCCESS"),
            ("bad", whole("failed"), "FAILURE"),
            ("rejected", whole("failed"), "FAILURE"),
            ("ignored", json!(["received", "started"]), "STARTED"),
            ("later", json!(["received", "received", "started", "succeeded"]), "SUCCESS"),
            ("expired", json!(["revoked"]), "REVOKED"),
            ("stopped", whole("revoked"), "REVOKED"),
        ] {
            assert_eq!(seen["types"][name], types, "{name}");
            assert_eq!(seen["states"][name], json!(state), "{name}");
        }
        assert_eq!(seen["states"]["never"], json!("REVOKED"));
        // What is back in its queue may be taken before anybody can tell why it is there.
        for (name, why) in [("requeued", "rejected"), ("retried", "retried")] {
            let types = seen["types"][name].as_array().unwrap().iter();
            let (told, others): (Vec<_>, Vec<_>) = types.partition(|kind| *kind == why);
            assert!(!told.is_empty(), "{name}");
            assert_eq!(others[..2], ["received", "started"], "{name}");
            assert_eq!(others[others.len() - 3..], ["received", "started", "succeeded"], "{name}");
        }
        assert_eq!(seen["states"]["requeued"], json!("SUCCESS"));

        let event = |name: &str| seen["events"][name].clone();
        let received = event("good-received");
        for (field, expected) in [
            ("name", json!("shown")),
            ("args", json!("(<secret>,)")),
            ("kwargs", json!("{}")),
            ("retries", json!(0)),
            ("eta", Value::Null),
            ("expires", Value::Null),
            ("parent_id", Value::Null),
            ("hostname", json!("w@box")),
        ] {
            assert_eq!(received[field], expected, "{field}");
        }
        assert_eq!(received["root_id"], received["uuid"]);
        assert_eq!(event("bad-received")["root_id"], json!("root"));
        assert_eq!(event("bad-received")["parent_id"], json!("parent"));
        assert!(event("later-received")["eta"].as_str().unwrap().ends_with("+00:00"));
        assert!(event("later-received")["expires"].as_str().unwrap().ends_with("+00:00"));
        assert_eq!(event("good-succeeded")["result"], json!("0.5"));
        assert!(event("good-succeeded")["runtime"].as_f64().unwrap() < 5.0);
        assert_eq!(event("bad-failed")["exception"], json!("ZeroDivisionError('division by zero')"));
        assert!(event("bad-failed")["traceback"].as_str().unwrap().starts_with("Traceback"));
        assert!(event("retried-retried")["exception"].is_string());
        assert_eq!(event("requeued-rejected")["requeue"], json!(true));
        for (name, terminated, signum, expired) in [
            ("expired-revoked", false, Value::Null, true),
            ("stopped-revoked", true, json!(9), false),
            ("never-revoked", false, Value::Null, false),
        ] {
            let event = event(name);
            assert_eq!(
                (&event["terminated"], &event["signum"], &event["expired"]),
                (&json!(terminated), &signum, &json!(expired)),
                "{name}"
            );
        }
    }
}

#[test]
fn a_worker_that_was_started_with_task_events_keeps_them_and_says_that_its_tasks_run() {
    let redis = TestRedis::start();
    let flags = ["-E", "--track-started", "-n", "w@box"];
    let _host = TestHost::start_with(&redis, &[("observe", guests::OBSERVE)], &flags);
    // A second question right behind the first would get no reply: the client takes it for one to the first.
    let code = "
def disable():
    return [list(r.values()) for r in celery.control.broadcast('disable_events', reply=True, timeout=5, limit=1)]
[disable(), disable()]";
    let already = json!([{"ok": "task events already disabled"}]);
    assert_eq!(hear(Celery::BOTH[0], &redis, code), json!([[already], [already]]));
    let task = Task::new("observe.sleep_for", json!([8]));
    let code = "hear(lambda: of('task-started'))\nlen(of('task-started'))";
    let seen = hear_meanwhile(Celery::BOTH[1], &redis, code, || drop(redis.send(&task)));
    assert_eq!(seen, json!(1));
    let id = task.id();
    let started = eventually("it is said that it runs", || redis.stored(id));
    assert_eq!(started.status, "STARTED");
    assert_eq!(started.result["hostname"], json!("w@box"));
    assert!(started.result["pid"].as_u64().is_some_and(|pid| pid > 1));
    assert_eq!(redis.answer(id).to_string(), "SUCCESS 8.0");
}

#[test]
fn a_listener_that_does_not_read_slows_no_task_down_and_costs_no_memory() {
    let redis = TestRedis::start_alone();
    let host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-E"]);
    let run = |count: usize| {
        let tasks: Vec<_> = (0..count).map(|n| Task::new("app.divide", json!([n, 1]))).collect();
        redis.send_all(&tasks);
        let begin = Instant::now();
        redis.wait_for_all(&tasks);
        begin.elapsed()
    };
    run(5_000);
    let alone = run(20_000);
    let mut listener = TcpStream::connect(redis.address()).unwrap();
    listener.write_all(b"PSUBSCRIBE /0.celeryev/*\r\n").unwrap();
    let mut confirmed = [0; 1];
    listener.read_exact(&mut confirmed).unwrap();
    let before = host.resident_memory();
    let watched = run(20_000);
    let again = run(20_000);
    eprintln!("20,000 tasks: alone {alone:?}, with a listener that does not read {watched:?}, {again:?}");
    assert!(watched.min(again) < alone * 2 + Duration::from_secs(1), "{alone:?} {watched:?} {again:?}");
    let grown = host.resident_memory().saturating_sub(before);
    assert!(grown < 64 << 10, "the worker grew by {grown} KiB");
}

#[test]
fn a_worker_says_again_that_it_is_there_and_listens_after_the_broker_was_away() {
    let mut redis = TestRedis::start();
    let mut host = TestHost::start_with(&redis, &[("observe", guests::OBSERVE)], &["-n", "w@box"]);
    let running = redis.send(&Task::new("observe.report", json!(["PROGRESS", null, 3])));
    eventually("the task runs", || redis.stored(&running));
    redis.stop();
    thread::sleep(Duration::from_secs(10));
    redis.start_again();
    let ping = "
replies = []
while not replies:
    replies = celery.control.broadcast('ping', reply=True, timeout=2, limit=1)
[list(r.values()) for r in replies]";
    assert_eq!(Celery::BOTH[0].evaluate(&redis, ping), json!([[{"ok": "pong"}]]));
    assert_eq!(redis.answer(&running).to_string(), "SUCCESS null", "no result is lost");
    assert!(host.lives());

    // The same for a listener that was there before: only the worker's connection breaks.
    let clients: String = redis.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    let of_worker =
        clients.split_once("id=").and_then(|(_, rest)| rest.split_once(' ')).unwrap().0.to_owned();
    assert_eq!(clients.lines().count(), 1, "{clients}");
    let code = "hear(lambda: of('worker-online'))\nof('worker-online')[0]['hostname']";
    let seen = hear_meanwhile(Celery::BOTH[1], &redis, code, || {
        assert_eq!(redis.ask::<u64>(&["CLIENT", "KILL", "ID", &of_worker]), 1);
    });
    assert_eq!(seen, json!("w@box"));
}
