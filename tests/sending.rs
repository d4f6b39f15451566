//! Tasks that send other tasks, and tasks that hand their place to another.

use serde_json::{Value, json};

use crate::support::{Celery, Task, TestHost, TestRedis, eventually, guests};

fn start(redis: &TestRedis) -> TestHost {
    TestHost::start(redis, &[("sender", guests::SENDER), ("canvas", guests::CANVAS)])
}

fn add(x: i64) -> Value {
    json!({"task": "canvas.add", "args": [x, 1]})
}

#[test]
fn what_a_task_sends_is_among_its_children() {
    let redis = TestRedis::start();
    let _host = start(&redis);
    for celery in Celery::BOTH {
        let seen = celery.evaluate(
            &redis,
            "from celery import chain, chord, group\n\
             add = lambda *args: celery.signature('canvas.add', args=args)\n\
             tasks = [add(1, 2), chain(add(1, 2), add(3)), group(add(1, 2), add(3, 4)),\n\
                      chord([add(1, 2), add(3, 4)], celery.signature('canvas.tsum'))]\n\
             sent = celery.send_task('sender.send', [tasks])\n\
             ids = sent.get(timeout=20)\n\
             [[Result(ids[0]).get(timeout=20), Result(ids[1]).get(timeout=20), Result(ids[3]).get(timeout=20)],\n\
              [type(child).__name__ for child in sent.children], ids[0] == sent.children[0].id,\n\
              sent.children[2].get(timeout=20), sent.children[1].get(timeout=20)]",
        );
        let kinds = ["AsyncResult", "AsyncResult", "GroupResult", "GroupResult"];
        assert_eq!(seen, json!([[3, 6, 10], kinds, true, [3, 7], 3]));
    }
}

#[test]
fn a_run_that_fails_has_sent_nothing() {
    let redis = TestRedis::start();
    let _host = start(&redis);
    let failed = redis.run("sender.send", json!([[add(1)], true]));
    assert_eq!(failed.to_string(), "FAILURE builtins.ValueError: after sending");
    assert_eq!(failed.meta["children"], json!([]));
    redis.wait_until_idle();
    assert_eq!(redis.ask::<Vec<String>>(&["KEYS", "celery-task-meta-*"]).len(), 1, "only its own result");
}

#[test]
fn a_replaced_task_is_done_when_what_takes_its_place_is() {
    let redis = TestRedis::start();
    let _host = start(&redis);
    for celery in Celery::BOTH {
        let seen = celery.evaluate(
            &redis,
            "from celery import chain, chord, group\n\
             add = lambda *args: celery.signature('canvas.add', args=args)\n\
             tsum = celery.signature('canvas.tsum')\n\
             replace = lambda task: celery.signature('sender.replace', args=[task])\n\
             [result.get(timeout=20) for result in [task.apply_async() for task in [\n\
              replace(add(1, 2)), chain(replace(add(1, 2)), add(10)), chain(replace(chain(add(1, 2), add(3))), add(10)),\n\
              replace(group(add(1, 2), add(3, 4))), chain(replace(group(add(1, 2), add(3, 4))), tsum),\n\
              chord([replace(add(1, 2)), add(3, 4)], tsum), replace(replace(add(1, 1)))]]]",
        );
        assert_eq!(seen, json!([3, 13, 16, [3, 7], 10, 10, 2]));
    }
}

#[test]
fn what_cannot_be_sent_is_refused_with_the_reason() {
    let redis = TestRedis::start();
    let _host = start(&redis);
    for (signature, reason) in [
        (json!({"args": []}), r#"{"args":[]} is no signature: it names no task"#),
        (json!(5), "5 is no signature: it is no object"),
        (json!({"task": "a", "subtask_type": "b"}), "there is no subtask_type \"b\""),
    ] {
        for task in ["sender.send", "sender.replace"] {
            let args = if task == "sender.send" { json!([[signature]]) } else { json!([signature]) };
            let answer = redis.run(task, args).to_string();
            assert!(answer.contains(reason), "{answer}");
        }
    }
    // What is wrong only when it is sent is the failure of the task.
    let unusable = redis.run("sender.send", json!([[{"task": "a", "options": {"countdown": "soon"}}]]));
    let expected = "FAILURE builtins.ValueError: cannot go on with the workflow: signature of a: its countdown is \"soon\", but must be a number of seconds";
    assert_eq!(unusable.to_string(), expected);
    let flood = redis.run("sender.flood", json!([add(1), 5_000]));
    assert_eq!(flood.to_string(), r#"SUCCESS [1000,"a task may send 1000 others; send a group"]"#);
}

#[test]
fn what_is_sent_waits_for_its_countdown_and_goes_to_its_queue() {
    let redis = TestRedis::start();
    let _host = start(&redis);
    let elsewhere =
        json!({"task": "canvas.add", "args": [1, 2], "options": {"queue": "elsewhere", "task_id": "e"}});
    let later = json!({"task": "canvas.add", "args": [1, 2], "options": {"countdown": 3600, "task_id": "l"}});
    let ids = redis.run("sender.send", json!([[elsewhere, later]]));
    assert_eq!(ids.result, json!(["e", "l"]));
    assert_eq!(redis.ask::<usize>(&["LLEN", "elsewhere"]), 1);
    assert_eq!(redis.ask::<usize>(&["ZCARD", "host:delayed"]), 1);
}

#[test]
fn what_a_task_sends_is_sent_once_though_its_worker_dies() {
    let redis = TestRedis::start();
    let mut host = start(&redis);
    let tasks: Vec<_> = (0..300)
        .map(|i| {
            let child = json!({"task": "canvas.call", "args": [i], "options": {"queue": "counted"}});
            Task::new("sender.send", json!([[child]]))
        })
        .collect();
    redis.send_all(&tasks);
    eventually("some have ended", || (redis.ready(&tasks) > 50).then_some(()));
    host.kill_9();
    host.start_again();
    redis.wait_for_all(&tasks);
    redis.wait_until_idle();
    assert_eq!(redis.ask::<usize>(&["LLEN", "counted"]), tasks.len());
}
