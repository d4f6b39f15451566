//! Canvases whose results are known, of clients in two versions: what comes out, and what is on the wire meanwhile.
//!
//! What is expected of `host` is expected of Celery's own worker too: see [`a_python_worker_brings_them_to_the_same_end`].
//! Canvases of all other shapes are in [`crate::canvases`].

use serde_json::{Value, json};

use crate::support::{Celery, PythonWorker, TestHost, TestRedis, guests};

/// For the code of each: `task` and `add` make signatures; `message` takes the next message out of a queue, `pass_on` has a
/// worker run it as well, and both return its headers and its body.
const PRELUDE: &str = "
import base64, json, time
from celery import chain, chord, group
from celery.canvas import chunks, xmap, xstarmap
from celery.result import GroupResult
from celery.utils import uuid
redis = celery.backend.client
def task(name, *args, **options):
    return celery.signature(name if '.' in name else 'canvas.' + name, args=args, options=options)
def add(*args, **options):
    return task('add', *args, **options)
def until(look):
    end = time.monotonic() + 30
    while not look():
        assert time.monotonic() < end
        time.sleep(0.01)
    return True
def message(queue, pass_on=False):
    _, text = redis.brpop(queue, 20)
    if pass_on: redis.lpush('celery', text)
    envelope = json.loads(text)
    return envelope['headers'], json.loads(base64.b64decode(envelope['body']))
def pass_on(queue):
    return message(queue, pass_on=True)
";

/// What a client sends, and what it sees, whoever the worker is.
fn canvases() -> Vec<(&'static str, Value)> {
    vec![
        // A link gets the value before its own arguments, and is a child.
        (
            "
linked = add(1, 2).apply_async(link=task('call', 'x'))
linked.get(timeout=20)
[child.get(timeout=20) for child in linked.children]",
            json!(["call(3,x)"]),
        ),
        // An errback that no worker has gets the id of what failed, as a task of its own.
        (
            "
failing = task('fail', link_error=[task('nobody.note', 'x', queue='errors')])
result = chain(add(1, 1), failing).apply_async()
headers, body = message('errors')
[headers['task'], body[0] == [result.id, 'x'], headers['parent_id'] == result.id,
    headers['root_id'] == result.parent.id]",
            json!(["nobody.note", true, true, true]),
        ),
        ("chain(add(1, 2), add(10), add(100)).apply_async().get(timeout=20)", json!(113)),
        // Each message of a chain names the one before and the first. It carries what is to come, the next at the end.
        (
            "
first, second, third = add(1, 2), add(10, queue='paused'), add(100, queue='paused')
fourth = chain(first, second, third, add(1000)).apply_async()
third = fourth.parent
second, first = third.parent, third.parent.parent
def seen(result, parent):
    headers, (args, _, embed) = pass_on('paused')
    right = (headers['id'], headers['parent_id'], headers['root_id']) == (result.id, parent.id, first.id)
    return [right, args, [signature['args'] for signature in embed['chain']]]
[seen(second, first), seen(third, second), fourth.get(timeout=20),
    celery.backend.get_task_meta(fourth.id)['parent_id'] == third.id]",
            json!([[true, [3, 10], [[1000], [100]]], [true, [13, 100], [[1000]]], 1113, true]),
        ),
        // What was to come after a failure has failed with it.
        (
            "
result = chain(add(1, 2), task('fail'), add(10), add(100)).apply_async()
error = raised(result.get, timeout=20)
results = [result.parent.parent.parent, result.parent.parent, result.parent, result]
until(lambda: all(each.ready() for each in results))
[error, [each.state for each in results], result.result]",
            json!([
                "builtins.ValueError('fail')",
                ["SUCCESS", "FAILURE", "FAILURE", "FAILURE"],
                "builtins.ValueError('fail')"
            ]),
        ),
        // A group, and the same by its id alone. A restored one waits for ever in 5.4 if it is asked before all is there.
        (
            "
result = group(add(1, 1), add(2, 2), add(3, 3)).apply_async()
result.save()
values = result.get(timeout=20)
again = GroupResult.restore(result.id, app=celery)
[values, again == result, again.get(timeout=20), again.successful()]",
            json!([[2, 4, 6], true, [2, 4, 6], true]),
        ),
        // A chord: its body is sent once, when the last part has ended, and what was counted is gone.
        (
            "
result = chord([add(i, i) for i in range(50)], task('tsum', queue='paused')).apply_async()
headers, _ = pass_on('paused')
header = result.parent
counted = ['celery-taskset-meta-' + header.id + end for end in ('.j', '.s', '.t')]
[result.get(timeout=20), header.get(timeout=20) == [2 * i for i in range(50)], headers['id'] == result.id,
    redis.llen('paused'), until(lambda: not redis.exists(*counted))]",
            json!([2450, true, true, 0, true]),
        ),
        // A chord with a part that fails: so does the body, and its errback is told once.
        (
            "
body = task('tsum', link_error=[task('nobody.note', 'x', queue='errors')])
result = chord([add(1, 2), task('fail'), add(3, 4)], body).apply_async()
error = raised(result.get, timeout=20)
until(lambda: result.ready())
headers, body = message('errors')
header = result.parent
until(lambda: header.ready() and not redis.llen('celery') + redis.hlen('unacked'))
[error, result.state, type(result.result).__name__, str(result.result).replace(header[1].id, 'ID'),
    body[0] == [result.id, 'x'], headers['parent_id'] == result.id, redis.llen('errors')]",
            json!([
                "builtins.ValueError('fail')",
                "FAILURE",
                "ChordError",
                "Dependency ID raised ValueError('fail')",
                true,
                true,
                0
            ]),
        ),
        // A group in a chain, a chord in a chord, chains in a chord.
        (
            "
tsum = lambda: task('tsum')
inner = chord([add(1, 2), add(3, 4)], tsum())
[result.get(timeout=20) for result in [canvas.apply_async() for canvas in [
    add(1, 1) | group(add(10), add(20)) | tsum() | add(1000),
    chord([add(1, 2), inner, add(1, 2)], tsum()),
    chord([chain(add(1, 2), add(3)), chain(add(3, 4), add(5))], tsum()),
]]]",
            json!([1034, 16, 18]),
        ),
        // A member of a group that is no chord is not counted; the newer client sends bodies of chords so.
        (
            "
result = add(1, 2).apply_async(group_id='no-chord', group_index=0)
result.get(timeout=20)
until(lambda: not redis.hlen('unacked'))
[celery.backend.get_task_meta(result.id)['group_id'], redis.keys('celery-taskset-meta-no-chord*')]",
            json!(["no-chord", []]),
        ),
        // A chord of a client whose results are elsewhere: a task looks for the results of the parts until they are there.
        (
            "
def unlocked(*parts):
    body = celery.AsyncResult(uuid())
    parts = [part.apply_async(countdown=0.5) for part in parts]
    celery.send_task('celery.chord_unlock', args=['unlocked', task('tsum', task_id=body.id)], kwargs={
        'interval': 0.2, 'result': [part.as_tuple() for part in parts]})
    return body
good, bad = unlocked(add(1, 2), add(3, 4)), unlocked(add(1, 2), task('fail'))
[good.get(timeout=20), type(bad.get(timeout=20, propagate=False)).__name__]",
            json!([10, "ChordError"]),
        ),
        // What is immutable is called with its own arguments alone.
        (
            "
alone = celery.signature('canvas.call', args=['x'], immutable=True)
linked = add(1, 2).apply_async(link=alone.clone())
linked.get(timeout=20)
[chain(add(1, 2), alone).apply_async().get(timeout=20), linked.children[0].get(timeout=20)]",
            json!(["call(x)", "call(x)"]),
        ),
        // A part of a chord whose result nobody wants is counted all the same.
        (
            "
result = chord([add(1, 2).set(ignore_result=True), add(3, 4)], task('tsum')).apply_async()
[result.get(timeout=20), [redis.exists('celery-task-meta-' + part.id) for part in result.parent]]",
            json!([10, [0, 1]]),
        ),
        // One task for each of many arguments.
        (
            "
[result.get(timeout=20) for result in [
    xmap(task('tsum'), [[1, 2], [3]]).apply_async(),
    xstarmap(task('add'), [(1, 2), (3, 4)]).apply_async(),
    chunks(task('add'), [(n, n) for n in range(5)], 2).apply_async(),
]]",
            json!([[3, 3], [3, 7], [[0, 2], [4, 6], [8]]]),
        ),
    ]
}

#[test]
fn canvases_of_every_client_come_to_their_known_ends() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("canvas", guests::CANVAS)]);
    for celery in Celery::BOTH {
        apply_all(celery, &redis);
    }
}

/// The control.
#[test]
fn a_python_worker_brings_them_to_the_same_end() {
    for celery in Celery::BOTH {
        let redis = TestRedis::start();
        let _worker = PythonWorker::start_app(celery, &redis, "canvas", &["--concurrency=2"]);
        apply_all(celery, &redis);
    }
}

fn apply_all(celery: Celery, redis: &TestRedis) {
    let (code, expected): (Vec<_>, Vec<_>) = canvases().into_iter().unzip();
    let whole: Vec<_> = code.iter().map(|code| format!("{PRELUDE}\n{code}")).collect();
    let whole: Vec<_> = whole.iter().map(String::as_str).collect();
    for ((code, seen), expected) in code.iter().zip(celery.evaluate_each(redis, &whole)).zip(expected) {
        assert_eq!(seen, expected, "{celery:?}:\n{code}");
    }
}

/// Each gives a part of a chord that has no result, whatever happens.
const NEVER_FINISHED: [(&str, &str); 5] = [
    ("expired", "add(3, 4).set(expires=datetime.now(timezone.utc) - timedelta(seconds=60))"),
    ("revoked", "revoked(add(3, 4).set(task_id=uuid()))"),
    ("ignored", "task('retry.ignore')"),
    ("rejected", "task('retry.reject', False)"),
    ("a dead letter", "task('nobody.knows')"),
];

#[test]
fn a_chord_with_a_part_that_never_finishes_ends_in_its_error_path() {
    let redis = TestRedis::start();
    let plugins = [("canvas", guests::CANVAS), ("retry", guests::RETRY)];
    let _host = TestHost::start_with(&redis, &plugins, &["--park-unknown", "0"]);
    for celery in Celery::BOTH {
        let code = NEVER_FINISHED.map(|(_, part)| {
            format!(
                "{PRELUDE}
from datetime import datetime, timedelta, timezone
def revoked(part):
    assert celery.control.revoke(part.options['task_id'], reply=True, timeout=5, limit=1)
    return part
body = task('tsum', link_error=[task('nobody.note', queue='errors')])
result = chord([add(1, 2), {part}], body).apply_async()
ended = type(result.get(timeout=20, propagate=False)).__name__
_, told = message('errors')
[ended, told[0] == [result.id], redis.llen('errors')]"
            )
        });
        let seen = celery.evaluate_each(&redis, &code.each_ref().map(String::as_str));
        for ((what, _), seen) in NEVER_FINISHED.iter().zip(seen) {
            assert_eq!(seen, json!(["ChordError", true, 0]), "{celery:?}, a part is {what}");
        }
    }
}
