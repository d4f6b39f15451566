//! What one tenant does, sees and spoils is its own: with the Redis users that `host/docs/tenants.md` gives, and Celery's own
//! clients.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{Celery, Task, TestHost, TestRedis, eventually, guests, host};

/// For the code of each: a client of a tenant, as the document has it, and what it may not do.
const PRELUDE: &str = "
import os, redis as wire
from celery import Celery, chain, chord, group
where = os.environ['CELERY_BROKER_URL'].split('//')[1]
def url(user):
    return f'redis://{user}:{user}s-password@{where}' if user else f'redis://{where}'
def client(user):
    app = Celery('app', broker=url(user), backend=url(user), set_as_current=False)
    if user:
        options = {'global_keyprefix': user + '/'}
        app.conf.update(broker_transport_options=options, result_backend_transport_options=options)
    return app
acme, other, default = client('acme'), client('other'), client('')
def call(app, name, *args, **options):
    return app.send_task(name, args, **options)
def task(name, *args, **options):
    return acme.signature(name, args=args, options=options)
def get(result):
    try:
        return result.get(timeout=20)
    except Exception as error:
        return f'{type(error).__name__}: {error}'
";

/// What a client of a tenant does and sees.
const WORKS: &[(&str, &str)] = &[
    ("get(call(acme, 'app.divide', 1, 2))", "0.5"),
    (
        "get(chain(task('canvas.add', 1, 2), task('canvas.add', 10), task('canvas.add', 100)).apply_async())",
        "113",
    ),
    ("get(group(task('canvas.add', i, i) for i in range(3)).apply_async())", "[0, 2, 4]"),
    ("get(chord([task('canvas.add', i, i) for i in range(20)], task('canvas.tsum')).apply_async())", "380"),
    (
        "get(chain(group(task('canvas.add', i, i) for i in range(3)), task('canvas.tsum'), task('canvas.add', 1)).apply_async())",
        "7",
    ),
    ("get(call(acme, 'celery.starmap', kwargs={'task': task('canvas.add'), 'it': [[1, 2], [3, 4]]}))", "[3, 7]"),
    // The same id in three tenants.
    (
        "
from celery.utils import uuid
id = uuid()
results = [call(acme, 'app.divide', 1, 2, task_id=id), call(other, 'app.divide', 1, 4, task_id=id),
    call(default, 'app.divide', 1, 8, task_id=id)]
[get(result) for result in results]",
        "[0.5, 0.25, 0.125]",
    ),
    // Whatever it is called, what is not its own is unknown.
    (
        "[get(call(acme, name, 1, 2)) for name in ('other/app.divide', 'acme/app.divide', 'mine.divide', 'theirs.divide')]",
        r#"["NotRegistered: 'other/app.divide'", "NotRegistered: 'acme/app.divide'", "NotRegistered: 'mine.divide'", "NotRegistered: 'theirs.divide'"]"#,
    ),
    // Nor does a task of the default tenant reach what is a tenant's.
    (
        "
linked = call(default, 'app.divide', 1, 2, link=default.signature('canvas.add', queue='acme/celery'))
get(linked).split('celery\"')[0]",
        r#""ValueError: cannot go on with the workflow: signature of acme/celery: its queue: queue name \"acme/""#,
    ),
    // What a tenant's task sends stays with the tenant, whatever the queue is called.
    (
        "
sent = chain(task('canvas.add', 1, 2), task('canvas.add', 3, queue='other/celery')).apply_async()
get(sent.parent)
server = wire.Redis.from_url(url(''))
lengths = [server.llen('acme/other/celery'), server.llen('other/celery')]
server.delete('acme/other/celery')
lengths",
        "[1, 0]",
    ),
    // What the user of Redis is not allowed.
    (
        "
def refused(command):
    try:
        wire.Redis.from_url(url('acme')).execute_command(*command)
    except wire.exceptions.NoPermissionError:
        return True
get(call(other, 'app.divide', 1, 2, task_id='known'))
get(call(default, 'app.divide', 1, 2, task_id='known'))
forbidden = [
    ('LPUSH', 'celery', 'x'), ('LPUSH', 'other/celery', 'x'), ('LPUSH', 'acme2/celery', 'x'),
    ('GET', 'other/_celery-task-meta-known'), ('GET', 'celery-task-meta-known'),
    ('SUBSCRIBE', 'other/_celery-task-meta-known'), ('PUBLISH', '/0.celery.pidbox', 'x'),
    ('MGET', 'acme/x', 'other/_celery-task-meta-known'), ('DEL', 'unacked'), ('LLEN', 'unacked'),
    ('GET', 'host:revoked:revision'), ('LPUSH', 'host:delayed', 'x'), ('SADD', '_kombu.binding.celery', 'x'),
    ('EVAL', 'return 1', 0), ('KEYS', '*'), ('SCAN', 0), ('FLUSHALL',), ('CONFIG', 'GET', '*'), ('ACL', 'LIST'),
    ('CLIENT', 'LIST'), ('MONITOR',), ('RENAME', 'acme/x', 'acme/y'), ('COPY', 'acme/x', 'celery'),
]
[command for command in forbidden if not refused(command)]",
        "[]",
    ),
];

#[test]
fn a_tenant_with_a_redis_user_of_its_own_reaches_what_is_its_own_and_nothing_else() {
    let redis = TestRedis::start();
    for line in acl() {
        redis.ask::<String>(&line.split(' ').collect::<Vec<_>>());
        if line.contains(" acme ") {
            let line = line.replace("acme", "other");
            redis.ask::<String>(&line.split(' ').collect::<Vec<_>>());
        }
    }
    let broker = redis.url().replace("://", "://worker:workers-password@");
    let plugins = [
        ("app", guests::DIVIDE),
        ("mine", guests::DIVIDE),
        ("canvas", guests::CANVAS),
        ("acme/app", guests::DIVIDE),
        ("acme/canvas", guests::CANVAS),
    ];
    let worker = TestHost::start_with(&redis, &plugins, &["--broker", &broker, "--park-unknown", "0"]);
    // A tenant that comes while the worker runs.
    worker.put("other/app", &fs::read(guests::DIVIDE).unwrap());
    worker.put("other/theirs", &fs::read(guests::DIVIDE).unwrap());
    eventually("the new tenant has its tasks", || {
        let called = host(&redis, &["call", "--tenant", "other", "--wait", "theirs.divide", "1", "2"]);
        called.status.success().then_some(())
    });
    for celery in Celery::BOTH {
        let code: Vec<_> = WORKS.iter().map(|(code, _)| format!("{PRELUDE}\n{code}")).collect();
        let code: Vec<&str> = code.iter().map(String::as_str).collect();
        let seen = celery.evaluate_each(&redis, &code);
        for ((code, expected), seen) in WORKS.iter().zip(seen) {
            let expected: Value = serde_json::from_str(expected).expect("it is JSON");
            assert_eq!(seen, expected, "{celery:?}: {code}");
        }
    }
    // A sender can write into our notes, but gains nothing by it.
    let notes = json!({"parked_until": "2099-01-01T00:00:00+00:00", "deaths": 1, "admitted": true});
    let forged = Task::new("nobody.offers_this", json!([])).header("host", notes);
    redis.push("acme/celery", forged.message().as_bytes());
    let key = format!("acme/_celery-task-meta-{}", forged.id());
    let failed = eventually("it is not parked", || redis.ask::<Option<String>>(&["GET", &key]));
    assert!(failed.contains("NotRegistered"), "{failed}");
    let refused: Vec<redis::Value> = redis.ask(&["ACL", "LOG", "1000"]);
    let of = |user: &str| {
        let told = refused.iter().map(|refused| format!("{refused:?}"));
        told.filter(|refused| refused.contains(user)).collect::<Vec<_>>()
    };
    assert!(!of("user=acme").is_empty(), "what is refused is noted");
    assert_eq!(of("user=worker"), [""; 0], "the worker lacks what it needs");
    let log = worker.output();
    assert!(log.contains("Task acme/app.divide["), "operators see whose a task is");
}

#[test]
fn operators_name_the_tenant_they_mean() {
    let redis = TestRedis::start();
    let plugins = [("app", guests::DIVIDE), ("acme/app", guests::DIVIDE), ("other/app", guests::DIVIDE)];
    let _worker = TestHost::start_with(&redis, &plugins, &["--tenants", "acme,other"]);
    let run = |arguments: &[&str]| {
        let output = host(&redis, arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // An id that is revoked in one tenant is another's to use.
    let id = "11111111-2222-3333-4444-555555555555";
    assert_eq!(run(&["revoke", "--tenant", "acme", id]), (Some(0), format!("revoked {id}")));
    for tenant in ["acme", "other"] {
        let message = Task::new("app.divide", json!([1, 2])).header("id", id.into());
        redis.push(&format!("{tenant}/celery"), message.message().as_bytes());
    }
    let result = |tenant| run(&["result", "--wait", "--timeout", "20", "--tenant", tenant, id]);
    assert_eq!(result("other"), (Some(0), "SUCCESS 0.5".to_owned()));
    let (exit, revoked) = result("acme");
    assert!(exit == Some(1) && revoked.starts_with("REVOKED"), "{revoked}");
    assert_eq!(run(&["result", id]).1, "PENDING", "the default tenant has no such task");

    // The default tenant is not served here, and its queue is not that of another.
    redis.send(&Task::new("app.divide", json!([1, 2])));
    assert_eq!(run(&["call", "--tenant", "acme", "--wait", "app.divide", "1", "4"]).1, "SUCCESS 0.25");
    let (_, queues) = run(&["queues", "--json"]);
    let queues: Value = serde_json::from_str(&queues).unwrap();
    assert_eq!(queues["queues"], json!({"celery": 1, "acme/celery": 0, "other/celery": 0}));

    // A message that is given up, for it has no id.
    let nameless = Task::new("app.divide", json!([1, 2])).header("id", Value::Null);
    redis.push("acme/celery", nameless.message().as_bytes());
    let letter = eventually("it is a dead letter", || {
        let letters: Value = serde_json::from_str(&run(&["dead", "list", "--json"]).1).unwrap();
        letters.get(0).cloned()
    });
    assert_eq!(letter["task"], "acme/app.divide");
    for (task, dropped) in [("app.divide", 0), ("other/app.divide", 0), ("acme/app.divide", 1)] {
        let told = run(&["dead", "drop", "--all", "--json", "--task", task]).1;
        assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), json!({"dropped": dropped}), "{task}");
    }
    let (exit, _) = run(&["call", "-Q", "acme/celery", "app.divide", "1", "2"]);
    assert_ne!(exit, Some(0), "it has to be asked for by --tenant");
}

/// The users that the document gives.
fn acl() -> Vec<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tenants.md");
    let text = fs::read_to_string(document).expect("the document is there");
    let lines: Vec<_> =
        text.lines().filter(|line| line.starts_with("ACL SETUSER ")).map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "one for a tenant, one for the worker");
    lines
}
