//! What workflows come to. The expected results are those of Celery's own worker.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::World;
use crate::{
    canvas::{Sent, Setting, Workflow, after},
    protocol::message::{MessageLimits, decode},
    task::{Exception, Failure, Outcome, QueueName, Tenant},
};

fn s(task: &str, args: Value) -> Value {
    json!({"task": task, "args": args})
}

fn si(task: &str, args: Value) -> Value {
    json!({"task": task, "args": args, "immutable": true})
}

fn chain(tasks: &[Value]) -> Value {
    json!({"task": "celery.chain", "kwargs": {"tasks": tasks}, "subtask_type": "chain"})
}

fn group(tasks: &[Value]) -> Value {
    json!({"task": "celery.group", "kwargs": {"tasks": tasks}, "subtask_type": "group"})
}

fn chord(header: &[Value], body: Value) -> Value {
    json!({"task": "celery.chord", "kwargs": {"header": header, "body": body, "kwargs": {}}, "subtask_type": "chord"})
}

fn with(mut signature: Value, options: Value) -> Value {
    signature["options"] = options;
    signature
}

/// The result of a workflow that succeeds.
#[track_caller]
fn succeeds(signature: Value) -> Value {
    let mut world = World::default();
    let (state, result) = world.run(signature);
    assert_eq!(state, "SUCCESS", "{result}, after {:?}", world.ran);
    result
}

/// The exception of a workflow that fails: its class and its first argument.
#[track_caller]
fn fails(signature: Value) -> String {
    let mut world = World::default();
    let (state, result) = world.run(signature);
    assert_eq!(state, "FAILURE", "{result}, after {:?}", world.ran);
    format!("{}: {}", result["exc_type"].as_str().unwrap(), result["exc_message"][0].as_str().unwrap())
}

#[test]
fn chains_pass_results_on() {
    assert_eq!(
        succeeds(chain(&[s("add", json!([1, 2])), s("add", json!([10])), s("add", json!([100]))])),
        113
    );
    assert_eq!(succeeds(chain(&[s("add", json!([1])), si("add", json!([5, 5]))])), 10);
    let inner = chain(&[s("add", json!([2])), s("add", json!([3]))]);
    assert_eq!(succeeds(chain(&[s("add", json!([1])), inner.clone(), s("add", json!([4]))])), 10);
    assert_eq!(succeeds(chain(&[chain(&[inner.clone(), inner]), s("add", json!([1]))])), 11);
    assert_eq!(succeeds(chain(&[group(&[s("add", json!([1]))]), s("add", json!([1]))])), 2, "a group of one");
}

#[test]
fn every_task_of_a_chain_knows_its_root_and_its_parent() {
    let mut world = World::default();
    world.run(chain(&[s("a", json!([])), s("b", json!([])), s("c", json!([]))]));
    let ids: Vec<_> = world.requests.iter().map(|request| request.id.to_string()).collect();
    let roots: Vec<_> = world.requests.iter().map(|request| request.root_id.to_string()).collect();
    let parents: Vec<_> =
        world.requests.iter().map(|request| request.parent_id.clone().unwrap().to_string()).collect();
    assert_eq!(parents[1..], ids[..2]);
    assert!(roots[1..].iter().all(|root| *root == roots[0]), "{roots:?}");
    assert_eq!(world.children[&ids[0]], json!([[[ids[1], null], null]]));
    assert_eq!(world.children[&ids[2]], json!([]));
}

#[test]
fn groups_are_the_headers_of_chords() {
    let parts = [s("add", json!([2, 2])), s("add", json!([4, 4]))];
    assert_eq!(succeeds(chord(&parts, s("sum", json!([])))), 12);
    assert_eq!(
        succeeds(chain(&[
            s("add", json!([1, 1])),
            group(&[s("add", json!([10])), s("add", json!([20]))]),
            s("sum", json!([])),
            s("add", json!([1000]))
        ])),
        1034
    );
    assert_eq!(succeeds(chord(&[], s("sum", json!([])))), 0, "nothing to wait for");
    assert_eq!(
        succeeds(chord(&[chord(&parts, s("sum", json!([]))), s("add", json!([4]))], s("sum", json!([])))),
        16
    );
    let nested = [
        chain(&[s("add", json!([1, 1])), s("add", json!([2]))]),
        group(&[s("add", json!([3, 3])), s("add", json!([4, 4]))]),
    ];
    assert_eq!(succeeds(chord(&nested, s("sum", json!([])))), 18);
    let fifty: Vec<_> = (0..50).map(|i| s("add", json!([i, i]))).collect();
    assert_eq!(succeeds(chord(&fifty, s("sum", json!([])))), 2450);
}

#[test]
fn a_chord_in_a_header_may_have_a_group_as_its_body() {
    let inner = chord(
        &[s("add", json!([1])), s("add", json!([2]))],
        group(&[s("sum", json!([])), s("sum", json!([]))]),
    );
    assert_eq!(succeeds(chord(&[inner, s("add", json!([4]))], s("echo", json!([])))), json!([[[3, 3], 4]]));
}

#[test]
fn the_results_of_a_header_keep_their_order_and_their_shape() {
    let parts: Vec<_> = (0..12).map(|i| s("add", json!([i]))).collect();
    assert_eq!(succeeds(chord(&parts, s("echo", json!([])))), json!([(0..12).collect::<Vec<_>>()]));
    let fan = chain(&[s("add", json!([1])), group(&[s("add", json!([1])), s("add", json!([2]))])]);
    assert_eq!(
        succeeds(chord(&[fan.clone(), s("add", json!([5]))], s("echo", json!([])))),
        json!([[[2, 3], 5]])
    );
    assert_eq!(succeeds(chord(&[fan], s("echo", json!([])))), json!([[[2, 3]]]));
}

#[test]
fn a_chord_in_the_middle_goes_on() {
    let tasks = [
        s("add", json!([1])),
        chord(&[s("add", json!([1])), s("add", json!([2]))], s("sum", json!([]))),
        s("add", json!([10])),
    ];
    assert_eq!(succeeds(chain(&tasks)), 15);
    let twice = [
        group(&[s("add", json!([1])), s("add", json!([2]))]),
        group(&[s("sum", json!([])), s("sum", json!([]))]),
        s("sum", json!([])),
    ];
    assert_eq!(succeeds(chain(&twice)), 6);
    let body = chain(&[s("sum", json!([])), s("add", json!([1])), s("add", json!([1]))]);
    assert_eq!(succeeds(chord(&[s("add", json!([1])), s("add", json!([2]))], body)), 5);
    let body = chord(&[s("sum", json!([])), s("sum", json!([]))], s("sum", json!([])));
    assert_eq!(succeeds(chord(&[s("add", json!([1])), s("add", json!([2]))], body)), 6);
}

#[test]
fn callbacks_get_the_result_and_failures_call_errbacks() {
    let mut world = World::default();
    let one = with(s("add", json!([1, 2])), json!({"link": s("add", json!([10]))}));
    assert_eq!(world.run(one).1, 3);
    assert_eq!(world.ran, ["add(1, 2)", "add(3, 10)"]);

    let mut world = World::default();
    let two = with(s("add", json!([1, 2])), json!({"link": [s("add", json!([10])), si("add", json!([20]))]}));
    let id = world.apply(two);
    world.drain();
    assert_eq!(world.ran, ["add(1, 2)", "add(3, 10)", "add(20,)"]);
    let group = &world.children[&id][0];
    assert_eq!(
        (group[1][0][1].clone(), group[1].as_array().unwrap().len()),
        (Value::Null, 2),
        "one group: {group}"
    );
    assert_eq!(world.requests[2].group_index, Some(1));

    let mut world = World::default();
    let fails = with(
        s("fail", json!(["x"])),
        json!({"link_error": [s("note", json!([7]))], "link": s("add", json!([]))}),
    );
    let id = world.apply(fails);
    world.drain();
    assert_eq!(world.ran, ["fail('x',)".to_owned(), format!("note('{id}', 7)")]);
    assert_eq!(world.requests[1].parent_id.as_ref().unwrap().as_str(), id);
}

#[test]
fn an_errback_that_takes_several_arguments_is_told_more() {
    let mut world = World::default();
    let fails = with(
        s("fail", json!(["x"])),
        json!({"link_error": [s("several", json!([7])), s("note", json!([]))]}),
    );
    let id = world.apply(fails);
    world.drain();
    assert_eq!(world.ran[2], format!("note('{id}',)"));
    let args: Value = serde_json::from_str(world.requests[1].args.get()).unwrap();
    assert_eq!(
        (&args[0]["id"], &args[0]["task"], &args[0]["args"]),
        (&json!(id), &json!("fail"), &json!(["x"]))
    );
    assert_eq!((&args[1]["exc_type"], &args[2], &args[3]), (&json!("ValueError"), &Value::Null, &json!(7)));

    let mut world = World::default();
    let body = with(s("sum", json!([])), json!({"link_error": s("several", json!([]))}));
    world.run(chord(&[s("fail", json!([1])), s("add", json!([1]))], body));
    let last: Value = serde_json::from_str(world.requests.last().unwrap().args.get()).unwrap();
    assert_eq!((&last[0]["task"], &last[1]["exc_type"]), (&json!("sum"), &json!("ChordError")));
}

#[test]
fn what_comes_after_a_failure_fails_with_it() {
    let mut world = World::default();
    let ids = ["a", "b", "c"].map(|id| id.to_owned());
    let task = |task, id: &str| with(s(task, json!([1])), json!({"task_id": id}));
    world.run(chain(&[task("fail", "a"), task("add", "b"), task("add", "c")]));
    for id in &ids {
        assert_eq!(world.results[id], ("FAILURE".to_owned(), world.results["a"].1.clone()), "{id}");
    }
    assert_eq!(
        fails(chord(&[s("add", json!([1])), s("fail", json!([2]))], s("sum", json!([]))))
            .split(" raised ")
            .nth(1)
            .unwrap(),
        "ValueError('2')"
    );
}

#[test]
fn a_chord_that_cannot_be_ends_in_an_error_once() {
    let note = |label: &str| s("note", json!([label]));
    for (header, what) in [
        (vec![s("fail", json!([1])), s("fail", json!([2]))], "two parts fail"),
        (vec![s("revoke", json!([])), s("add", json!([1]))], "a part is revoked"),
        (
            vec![chain(&[s("fail", json!([1])), s("add", json!([1]))]), s("add", json!([1]))],
            "a part never comes",
        ),
        (vec![chain(&[s("revoke", json!([])), s("add", json!([1]))])], "nor after a revoked one"),
        (
            vec![chain(&[s("fail", json!([1])), group(&[s("add", json!([1])), s("add", json!([1]))])])],
            "nor a group of parts",
        ),
        (
            vec![chain(&[
                s("fail", json!([1])),
                chord(&[s("add", json!([1])), s("add", json!([1]))], s("sum", json!([]))),
            ])],
            "nor a chord",
        ),
        (
            vec![chord(&[s("fail", json!([1])), s("add", json!([1]))], s("sum", json!([])))],
            "a chord in it fails",
        ),
        (
            vec![chord(
                &[s("fail", json!([1])), s("add", json!([1]))],
                chain(&[s("sum", json!([])), s("add", json!([1]))]),
            )],
            "with a chain as its body",
        ),
        (
            vec![chain(&[
                chord(&[s("fail", json!([1])), s("add", json!([1]))], s("sum", json!([]))),
                s("add", json!([1])),
            ])],
            "with more after it",
        ),
    ] {
        let mut world = World::default();
        let body = with(s("sum", json!([])), json!({"link_error": note("body")}));
        let (state, result) = world.run(chord(&header, body));
        assert_eq!(
            (state.as_str(), result["exc_type"].as_str()),
            ("FAILURE", Some("ChordError")),
            "{what}: {:?}",
            world.ran
        );
        let notes = world.ran.iter().filter(|ran| ran.starts_with("note(")).count();
        assert_eq!(notes, 1, "{what}: {:?}", world.ran);
    }
}

#[test]
fn a_body_that_never_runs_is_one_part_however_much_it_is_made_of() {
    let inner = |body| chord(&[s("fail", json!([1])), s("add", json!([1]))], body);
    // Celery 5.4 writes an id, and what the body is a part of, on the chain and the chord themselves too.
    for body in [
        with(chain(&[s("sum", json!([])), s("add", json!([1]))]), json!({"task_id": "c"})),
        with(
            chain(&[s("sum", json!([])), group(&[s("add", json!([1])), s("add", json!([2]))])]),
            json!({"task_id": "c"}),
        ),
        with(
            chord(&[s("sum", json!([])), s("add", json!([1]))], s("sum", json!([]))),
            json!({"task_id": "c"}),
        ),
        inner(s("sum", json!([]))),
        group(&[s("sum", json!([])), chain(&[s("sum", json!([])), s("add", json!([1]))])]),
    ] {
        let mut world = World::default();
        let outer = chord(&[inner(body), s("add", json!([1]))], s("sum", json!([])));
        let (state, result) = world.run(outer);
        assert_eq!(
            (state.as_str(), result["exc_type"].as_str()),
            ("FAILURE", Some("ChordError")),
            "{:?}",
            world.ran
        );
    }
}

#[test]
fn a_chain_after_a_chord_that_fails_is_told() {
    let tasks = [
        group(&[s("fail", json!([1])), s("add", json!([1]))]),
        s("sum", json!([])),
        s("add", json!([1])),
        s("add", json!([2])),
    ];
    assert!(fails(chain(&tasks)).starts_with("ChordError: Dependency "));
}

#[test]
fn a_replaced_task_passes_its_place_on() {
    assert_eq!(succeeds(s("replace", json!([s("add", json!([1, 2]))]))), 3);
    let chained = [s("replace", json!([s("add", json!([1, 2]))])), s("add", json!([10]))];
    assert_eq!(succeeds(chain(&chained)), 13);
    let by_chain = [
        s("replace", json!([chain(&[s("add", json!([1, 2])), s("add", json!([3]))])])),
        s("add", json!([10])),
    ];
    assert_eq!(succeeds(chain(&by_chain)), 16);
    let by_group = s("replace", json!([group(&[s("add", json!([1, 2])), s("add", json!([3]))])]));
    assert_eq!(succeeds(by_group.clone()), json!([3, 3]));
    assert_eq!(succeeds(chain(&[by_group, s("sum", json!([]))])), 6);
    let in_chord = [s("replace", json!([s("add", json!([1, 2]))])), s("add", json!([4]))];
    assert_eq!(succeeds(chord(&in_chord, s("sum", json!([])))), 7);
    let mut world = World::default();
    let id = world.apply(with(
        s("replace", json!([s("fail", json!([1]))])),
        json!({"link_error": s("note", json!([]))}),
    ));
    world.drain();
    assert_eq!(world.ran[2..], [format!("note('{id}',)")]);
    assert_eq!(world.requests[1].replaced_task_nesting, 1);
}

#[test]
fn celerys_own_tasks() {
    let map = |task: &str, kind: &str, it: Value| json!({"task": task, "kwargs": {"task": s("add", json!([])), "it": it}, "subtask_type": kind, "immutable": true});
    assert_eq!(succeeds(map("celery.map", "xmap", json!([1, 2]))), json!([1, 2]));
    assert_eq!(succeeds(map("celery.starmap", "xstarmap", json!([[1, 2], [3, 4]]))), json!([3, 7]));
    let chunks = json!({"task": "celery.chunks", "kwargs": {"task": s("add", json!([])), "it": [[1, 1], [2, 2], [3, 3]], "n": 2}, "subtask_type": "chunks"});
    assert_eq!(succeeds(chain(&[chunks, s("echo", json!([]))])), json!([[[2, 4], [6]]]));
    assert_eq!(succeeds(json!({"task": "celery.accumulate", "args": [1, 2], "kwargs": {"index": -1}})), 2);
    assert!(fails(s("celery.chain", json!([]))).starts_with("NotImplementedError"));
    assert!(fails(s("celery.map", json!([]))).starts_with("TypeError"));
    let mut world = World::default();
    world.run(json!({"task": "celery.group", "kwargs": {"tasks": [s("add", json!([1])), s("add", json!([2]))], "group_id": "g", "partial_args": [5]}}));
    assert_eq!(world.ran[1..], ["add(5, 1)", "add(5, 2)"]);
}

#[test]
fn options_reach_the_messages_they_are_for() {
    let mut world = World::default();
    let options = json!({"queue": "slow", "priority": 7, "countdown": 10, "expires": 60, "time_limit": 5, "soft_time_limit": 2.5,
        "shadow": "shown", "headers": {"trace": "t", "id": "no"}, "stamped_headers": ["on"], "on": ["monday"], "ignore_result": true});
    world.apply(with(s("add", json!([1])), options));
    world.drain();
    let request = &world.requests[0];
    assert_eq!(
        (request.priority, request.shadow.as_deref(), request.ignore_result),
        (7, Some("shown"), true)
    );
    assert_eq!(request.eta.unwrap().to_string(), "2030-01-31T12:00:10Z");
    assert_eq!(request.expires.unwrap().to_string(), "2030-01-31T12:01:00Z");
    assert_eq!(
        (request.limits.hard.unwrap().as_secs_f64(), request.limits.soft.unwrap().as_secs_f64()),
        (5.0, 2.5)
    );
    assert_eq!(
        crate::protocol::message::stamps(&request.headers),
        [("on".to_owned(), vec!["monday".to_owned()])]
    );
    let headers: Value = serde_json::from_str(request.headers.get()).unwrap();
    assert_eq!((&headers["trace"], &headers["id"]), (&json!("t"), &json!(request.id.as_str())));
    let properties: Value = serde_json::from_str(request.properties.get()).unwrap();
    assert_eq!(properties["delivery_info"]["routing_key"], "slow");
}

#[test]
fn a_chord_that_nobody_counts_is_unlocked_by_a_task_that_looks_for_its_results() {
    let unlock = |body: Value| {
        let results = json!([[["a", null], null], [["g", null], [[["b", null], null]]]]);
        json!({
            "task": "celery.chord_unlock",
            "args": ["group", with(body, json!({"task_id": "body"}))],
            "kwargs": {"interval": 0.5, "result": results},
        })
    };
    let part = |task, id: &str| with(s(task, json!([4])), json!({"task_id": id}));
    let outcome = |world: &World| world.results["body"].clone();

    // It is first in the queue, so it has to wait.
    let mut world = World::default();
    world.apply(unlock(s("echo", json!([]))));
    world.apply(part("add", "a"));
    world.apply(part("add", "b"));
    world.drain();
    assert_eq!(outcome(&world), ("SUCCESS".to_owned(), json!([[4, [4]]])));

    let mut world = World::default();
    world.apply(part("add", "a"));
    world.apply(part("fail", "b"));
    world.apply(unlock(s("echo", json!([]))));
    world.drain();
    assert_eq!(
        (outcome(&world).0.as_str(), &outcome(&world).1["exc_type"]),
        ("FAILURE", &json!("ChordError"))
    );
}

#[test]
fn what_can_be_no_number_and_no_text_is_told_as_it_was_written() {
    let embed = r#"{"errbacks": [{"task": "note", "args": [], "kwargs": {}, "options": {}}]}"#;
    let body = format!(r#"[[1e999, "\ud800"], {{"x": -1e999}}, {embed}]"#);
    let headers = json!({"task": "f", "id": "i"});
    let message = json!({"headers": headers, "properties": {}, "body": body}).to_string();
    let request = decode(message.as_bytes(), Tenant::DEFAULT, &MessageLimits::default()).unwrap();
    let workflow = Workflow::of(&request).unwrap();
    let failure = Failure::without_traceback(Exception::builtin("ValueError", "no"));
    let queue = QueueName::new("celery").unwrap();
    let setting = Setting { queue: &queue, now: Timestamp::UNIX_EPOCH, takes_several: &|_| true };
    let follow = after(&request, &workflow, &Outcome::Failure(failure), Sent::default(), setting).unwrap();
    let told = follow.sends[0].args.get();
    assert!(told.contains(r#""args":[1e999, "\ud800"],"kwargs":{"x": -1e999}"#), "{told}");
}
