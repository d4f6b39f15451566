//! An unmodified Python client, in two versions, cannot tell `host` from a Python worker.
//!
//! The client is the tutorial's `app.py`, as it stands there. What these tests expect they also expect of Celery's own
//! worker: see [`a_python_worker_gives_the_same_answers`].

use serde_json::{Value, json};

use crate::support::{Celery, PythonWorker, Task, TestHost, TestRedis, guests};

/// What a client does, and what it sees, whoever the worker is.
fn conversations() -> Vec<(&'static str, Value)> {
    vec![
        // The tutorial.
        (
            "task = divide.delay(1, 2)
             [task.get(timeout=20), task.state, task.result, task.successful()]",
            json!([0.5, "SUCCESS", 0.5, true]),
        ),
        (
            "task = divide.delay(1, 0)
             error = raised(task.get, timeout=20)
             [error, task.state, isinstance(task.result, ZeroDivisionError), str(task.result)]",
            json!(["builtins.ZeroDivisionError('division by zero')", "FAILURE", true, "division by zero"]),
        ),
        (
            "task = divide.delay(1, 0)
             raised(task.get, timeout=20)
             lines = task.traceback.splitlines()
             [lines[0], lines[-1]]",
            json!(["Traceback (most recent call last):", "ZeroDivisionError: division by zero"]),
        ),
        (
            "task = celery.send_task('app.divide', [1, 2], {'sleep': 0.5})
             [task.state, task.ready(), task.get(timeout=20), task.state]",
            json!(["PENDING", false, 0.5, "SUCCESS"]),
        ),
        (
            "task = celery.send_task('app.divide', [1, 2], {'sleep': 2})
             raised(task.get, timeout=0.2)",
            json!("celery.exceptions.TimeoutError('The operation timed out.')"),
        ),
        // The same result, asked for by its id alone.
        ("Result(divide.delay(1, 4).id).get(timeout=20)", json!(0.25)),
        ("divide.delay(y=4, x=1).get(timeout=20)", json!(0.25)),
        // The client waits for a message from Redis and does not ask again and again.
        (
            "task = celery.send_task('app.divide', [1, 2], {'sleep': 1})
             asked, get = [], celery.backend.get
             celery.backend.get = lambda key: (asked.append(key), get(key))[1]
             task.get(timeout=20)
             celery.backend.get = get
             len(asked) < 5",
            json!(true),
        ),
        (
            "task = divide.delay(1, 2)
             task.get(timeout=20)
             [task.children, task.date_done.utcoffset().total_seconds(), task.traceback]",
            json!([[], 0.0, null]),
        ),
        (
            "task = divide.delay(1, 2)
             task.get(timeout=20)
             task.forget()
             Result(task.id).state",
            json!("PENDING"),
        ),
        // Wrong calls.
        (
            "raised(celery.send_task('app.divide', [1]).get, timeout=20)",
            json!("builtins.TypeError(\"divide() missing 1 required positional argument: 'y'\")"),
        ),
        (
            "raised(celery.send_task('app.divide').get, timeout=20)",
            json!("builtins.TypeError(\"divide() missing 2 required positional arguments: 'x' and 'y'\")"),
        ),
        (
            "raised(celery.send_task('app.divide', [1, 2, 3, 4]).get, timeout=20)",
            json!("builtins.TypeError('divide() takes from 2 to 3 positional arguments but 4 were given')"),
        ),
        (
            "raised(celery.send_task('app.divide', [1, 2], {'z': 3}).get, timeout=20)",
            json!("builtins.TypeError(\"divide() got an unexpected keyword argument 'z'\")"),
        ),
        (
            "raised(celery.send_task('app.divide', [1, 2], {'x': 3}).get, timeout=20)",
            json!("builtins.TypeError(\"divide() got multiple values for argument 'x'\")"),
        ),
        (
            "error = raised(celery.send_task('app.nothing').get, timeout=20)
             [type(error).__module__, type(error).__name__, error.args]",
            json!(["celery.exceptions", "NotRegistered", ["app.nothing"]]),
        ),
        // When.
        (
            "import time
             begin = time.monotonic()
             divide.apply_async((1, 2), countdown=1).get(timeout=20)
             time.monotonic() - begin >= 1",
            json!(true),
        ),
        (
            "task = divide.apply_async((1, 2), expires=-1)
             [raised(task.get, timeout=20), task.state]",
            json!(["celery.exceptions.TaskRevokedError('expired')", "REVOKED"]),
        ),
        // Options that change the message but not the answer.
        ("divide.apply_async((1, 2), compression='zlib').get(timeout=20)", json!(0.5)),
        ("divide.apply_async((1, 2), priority=9).get(timeout=20)", json!(0.5)),
        ("divide.apply_async((1, 2), headers={'trace': 'abc'}, shadow='halve').get(timeout=20)", json!(0.5)),
        ("divide.apply_async((1, 2), task_id='any text: even this').get(timeout=20)", json!(0.5)),
        ("[r.get(timeout=20) for r in [divide.delay(1, n) for n in (1, 2, 4)]]", json!([1.0, 0.5, 0.25])),
    ]
}

#[test]
fn every_client_reads_from_host_what_it_would_read_from_python() {
    let redis = TestRedis::start();
    let _host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["--park-unknown", "0"]);
    for celery in Celery::BOTH {
        converse(celery, &redis);
    }
}

/// The control: without it, these tests would only say what we believe of Celery.
#[test]
fn a_python_worker_gives_the_same_answers() {
    for celery in Celery::BOTH {
        let redis = TestRedis::start();
        let _worker = PythonWorker::start(celery, &redis);
        converse(celery, &redis);
        // The messages that the other tests send are Celery's own too.
        let task = Task::new("app.divide", json!([1])).kwargs(json!({"y": 2})).priority(9);
        assert_eq!(redis.answer(&redis.send(&task)).to_string(), "SUCCESS 0.5");
        assert_eq!(
            redis.run("app.divide", json!([1, 0])).to_string(),
            "FAILURE builtins.ZeroDivisionError: division by zero"
        );
    }
}

fn converse(celery: Celery, redis: &TestRedis) {
    let (code, expected): (Vec<_>, Vec<_>) = conversations().into_iter().unzip();
    // Python minds where a line begins.
    let code: Vec<_> = code.iter().map(|code| code.replace(INDENT, "\n")).collect();
    let code: Vec<_> = code.iter().map(String::as_str).collect();
    for ((code, seen), expected) in code.iter().zip(celery.evaluate_each(redis, &code)).zip(expected) {
        assert_eq!(seen, expected, "{celery:?}:\n{code}");
    }
}

/// How the lines of the conversations are indented here.
const INDENT: &str = "\n             ";

#[test]
fn a_value_of_the_wrong_type_is_a_type_error_that_names_it() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("app", guests::DIVIDE)]);
    for celery in Celery::BOTH {
        let seen = celery.evaluate(&redis, "raised(divide.delay('one', 2).get, timeout=20)");
        assert_eq!(seen, "builtins.TypeError(\"divide() argument 'x' must be float, not str\")");
    }
}

#[test]
fn a_division_by_the_machine_itself_fails_as_a_zero_division_error_too() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("app", guests::DIVIDE)]);
    for celery in Celery::BOTH {
        let seen = celery.evaluate(
            &redis,
            "task = celery.send_task('app.integer_divide', [1, 0])\n\
             error = raised(task.get, timeout=20)\n\
             [error, 'machine_divide' in task.traceback]",
        );
        assert_eq!(seen, json!(["builtins.ZeroDivisionError('division by zero')", true]));
    }
}

#[test]
fn time_limits_are_the_exceptions_that_python_knows() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("observe", guests::OBSERVE)]);
    for celery in Celery::BOTH {
        let seen = celery.evaluate(
            &redis,
            "from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded\n\
             hard = celery.send_task('observe.sleep_for', [60], time_limit=0.5)\n\
             soft = celery.send_task('observe.sleep_for', [60], soft_time_limit=0.5)\n\
             hard, soft = raised(hard.get, timeout=20), raised(soft.get, timeout=20)\n\
             [isinstance(hard, TimeLimitExceeded), hard.args, isinstance(soft, SoftTimeLimitExceeded), soft.args]",
        );
        assert_eq!(seen, json!([true, [0.5], true, []]));
    }
}

#[test]
fn a_client_reads_the_progress_of_a_running_task() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("observe", guests::OBSERVE)]);
    for celery in Celery::BOTH {
        let seen = celery.evaluate(
            &redis,
            "import time\n\
             task = celery.send_task('observe.report', ['PROGRESS', {'done': 3, 'of': 10}, 2])\n\
             while task.state == 'PENDING':\n    time.sleep(0.01)\n\
             [task.state, task.info, task.get(timeout=20), task.state]",
        );
        assert_eq!(seen, json!(["PROGRESS", {"done": 3, "of": 10}, null, "SUCCESS"]));
    }
}

#[test]
fn a_task_whose_result_is_ignored_stores_none() {
    let redis = TestRedis::start();
    let mut host = TestHost::start(&redis, &[("app", guests::DIVIDE)]);
    for celery in Celery::BOTH {
        let id = celery.evaluate(&redis, "divide.apply_async((1, 2), ignore_result=True).id");
        redis.wait_until_idle();
        assert!(redis.stored(id.as_str().unwrap()).is_none());
        host.wait_for(id.as_str().unwrap());
    }
}

#[test]
fn the_most_urgent_of_a_clients_tasks_run_first() {
    let redis = TestRedis::start();
    let plugins = [("app", guests::DIVIDE)];
    for celery in Celery::BOTH {
        let ids =
            celery.evaluate(&redis, "[divide.apply_async((1, 2), priority=p).id for p in (9, 0, 6, 3, 0)]");
        let ids: Vec<_> = ids.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        let _host = TestHost::start_with(&redis, &plugins, &["--concurrency", "1"]);
        let mut done: Vec<_> =
            ids.iter().map(|id| (redis.answer(id).meta["date_done"].to_string(), *id)).collect();
        done.sort();
        let order: Vec<_> = done.into_iter().map(|(_, id)| id).collect();
        assert_eq!(order, [ids[1], ids[4], ids[3], ids[2], ids[0]]);
    }
}

#[test]
fn a_client_sends_to_two_queues_and_one_worker_serves_both() {
    let redis = TestRedis::start();
    let _host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["-Q", "celery,urgent"]);
    for celery in Celery::BOTH {
        let seen = celery.evaluate(
            &redis,
            "[divide.apply_async((1, 2), queue=queue).get(timeout=20) for queue in ('urgent', 'celery')]",
        );
        assert_eq!(seen, json!([0.5, 0.5]));
    }
    let elsewhere = redis.send(&Task::new("app.divide", json!([1, 2])).queue("elsewhere"));
    redis.run("app.divide", json!([1, 2]));
    assert!(redis.stored(&elsewhere).is_none(), "a queue that was not asked for is left alone");
}

#[test]
fn an_exception_is_of_the_clients_own_class_or_a_plain_one_whatever_the_guest_calls_it() {
    let redis = TestRedis::start();
    let plugins = [("echo", guests::ECHO), ("retry", guests::RETRY)];
    let _host = TestHost::start(&redis, &plugins);
    // What would end the client, what is no exception, what can be called, and no name at all.
    let names =
        "['SystemExit', 'KeyboardInterrupt', 'GeneratorExit', 'BaseException', 'os.system', 'system', 'eval',
        'subprocess.Popen', 'object', '__class__', '']";
    let code = format!(
        "
import sys, types
def too_expensive():
    return celery.send_task('echo.complain', [{{'too_expensive': 9.5}}])
unknown = raised(too_expensive().get, timeout=20)
class TooExpensive(Exception):
    __module__ = 'host.guest'
sys.modules['host.guest'] = types.SimpleNamespace(TooExpensive=TooExpensive)
task = too_expensive()
try:
    task.get(timeout=20)
except TooExpensive as error:
    known = error
tasks = [celery.send_task('retry.flaky', [1, name]) for name in {names}]
errors = [raised(task.get, timeout=20) for task in tasks]
[unknown, type(unknown).__mro__[1].__name__, known, type(task.result) is TooExpensive,
    {{(type(error).__mro__[1].__name__, str(error)) for error in errors}} == {{('Exception', 'failed after 0 retries')}},
    {{task.state for task in tasks}} == {{'FAILURE'}}]"
    );
    for celery in Celery::BOTH {
        let expected = json!([
            "celery.exceptions.TooExpensive('9.5')",
            "Exception",
            "host.guest.TooExpensive('9.5')",
            true,
            true,
            true
        ]);
        assert_eq!(celery.evaluate(&redis, &code), expected, "{celery:?}");
    }
}

#[test]
fn what_strict_json_has_no_word_for_comes_back_or_fails_cleanly_and_pickle_is_refused() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("echo", guests::ECHO)]);
    let code = r"
import datetime, decimal, math, uuid
def echo(value, **options):
    return celery.send_task('echo.any', [value], **options)
same = [10**30, -10**30, [10**400], '\ud800', {'\udfff': ['x\ud800']}, decimal.Decimal('0.10'), uuid.UUID(int=7), b'abc',
    b'\xff', datetime.datetime(2026, 11, 23, 6, 22, 57, 5, datetime.timezone.utc), datetime.date(2026, 11, 23)]
none = [math.nan, math.inf, -math.inf]
came_back = [task.get(timeout=20) for task in [echo(value) for value in same]]
failed = [raised(task.get, timeout=20) for task in [echo(value) for value in none]]
pickled = echo({1, 2}, serializer='pickle')
[came_back == same, sorted({type(error).__name__ for error in failed}), raised(pickled.get, timeout=20), pickled.state]";
    for celery in Celery::BOTH {
        let refused = "kombu.exceptions.ContentDisallowed('Refusing to deserialize untrusted content of type pickle \
                       (application/x-python-serialize)')";
        let expected = json!([true, ["DecodeError"], refused, "FAILURE"]);
        assert_eq!(celery.evaluate(&redis, code), expected, "{celery:?}");
        redis.wait_until_idle();
    }
}

#[test]
fn a_client_hears_that_its_task_is_retried_and_nothing_of_one_that_is_ignored() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("retry", guests::RETRY)]);
    // It listens before it sends, as the client does, and hears all that is said of this id until the task is ready.
    let code = "
import json, time
redis = celery.backend.client
def follow(name, args, id):
    heard, states = redis.pubsub(ignore_subscribe_messages=True), []
    heard.subscribe('celery-task-meta-' + id)
    while not heard.subscribed or not redis.pubsub_numsub('celery-task-meta-' + id)[0][1]:
        heard.get_message()
    task = celery.send_task(name, args, task_id=id)
    while not {'SUCCESS', 'FAILURE'} & {*states}:
        message = heard.get_message(timeout=20)
        states += [json.loads(message['data'])['status']] if message else []
    return [task.result, states, task.state]
ignored = celery.send_task('retry.ignore')
seen = [follow('retry.ask_until', [1], 'succeeds ' + ignored.id), follow('retry.ask', [0, 1], 'fails ' + ignored.id)]
while redis.llen('celery') + redis.hlen('unacked'):
    time.sleep(0.01)
[*seen, ignored.state]";
    for celery in Celery::BOTH {
        let expected = json!([
            [1, ["RETRY", "SUCCESS"], "SUCCESS"],
            ["builtins.ConnectionError('no route')", ["RETRY", "FAILURE"], "FAILURE"],
            "PENDING"
        ]);
        assert_eq!(celery.evaluate(&redis, code), expected, "{celery:?}");
    }
}

#[test]
fn an_eta_is_the_same_instant_however_it_is_written() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("app", guests::DIVIDE)]);
    let code = "
import time
from datetime import datetime, timedelta, timezone
from celery.signals import before_task_publish
celery.finalize()
celery.conf.timezone = 'Europe/Paris'
EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-5, minutes=-30))
def written(instant):
    naive = instant.replace(tzinfo=None).isoformat()
    return [naive, naive + 'Z', naive + '+00:00', *[instant.astimezone(zone).isoformat() for zone in (EAST, WEST)]]
def send(text):
    @before_task_publish.connect(weak=False)
    def write(headers, **_):
        sent.append(headers['eta'])
        headers['eta'] = text or headers['eta']
    task = divide.apply_async((1, 2), countdown=3600)
    before_task_publish.disconnect(write)
    return task
sent = []
# Written in the hours of another place, so that each would be hours off without its offset.
past = [send(text).get(timeout=20) for text in written(datetime.now(timezone.utc))]
due = datetime.now(timezone.utc) + timedelta(hours=1)
waiting = {send(text).id for text in written(due)}
paris = send(None).id
def scheduled():
    [waits] = celery.control.broadcast('scheduled', reply=True, timeout=5, limit=1)
    return {each['request']['id']: each['eta'] for replies in waits.values() for each in replies}
while not waiting | {paris} <= scheduled().keys():
    time.sleep(0.05)
seen = scheduled()
in_paris = datetime.fromisoformat(seen[paris]) == datetime.fromisoformat(sent[-1])
[past, {seen[id] for id in waiting} == {due.isoformat()}, sent[-1][-6:] in ('+01:00', '+02:00'), in_paris]";
    for celery in Celery::BOTH {
        let expected = json!([[0.5, 0.5, 0.5, 0.5, 0.5], true, true, true]);
        assert_eq!(celery.evaluate(&redis, code), expected, "{celery:?}");
    }
}
