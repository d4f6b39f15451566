//! What is stored for a task, in every shape of plugin and every type of value.

use serde_json::{Value, json};

use crate::support::{Task, TestHost, TestRedis, eventually, guests};

#[test]
fn every_type_of_value_travels_both_ways() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("echo", guests::ECHO)]);
    let order = json!({
        "id": 18_446_744_073_709_551_615_u64,
        "items": [{"name": "pen", "price": 2.5, "amount": 3}],
        "ship_to": null,
    });
    let same = [
        ("an_order", order),
        ("a_payment", json!("cash")),
        ("a_payment", json!({"card": "4111"})),
        ("a_payment", json!({"split": [0.5, 1.5]})),
        ("a_size", json!("extra_large")),
        ("some_toppings", json!(["cheese", "red_onion"])),
        ("some_toppings", json!([])),
        ("maybe", json!(7)),
        ("maybe", json!(null)),
        ("bytes", json!({"__type__": "bytes", "__value__": "abc"})),
        ("bytes", json!({"__type__": "base64", "__value__": "/wD+"})),
        ("any", json!({"deep": [1, [null, {"a": "ü\u{1F600}"}]], "big": -1e300})),
        ("any", json!({"__type__": "datetime", "__value__": "2026-11-23T06:22:57+00:00"})),
    ];
    for (function, value) in same {
        let answer = redis.run(&format!("echo.{function}"), json!([value]));
        assert_eq!((answer.status.as_str(), &answer.result), ("SUCCESS", &value), "{function}");
    }
    for (function, values) in [
        ("numbers", json!([255, i64::MIN, u64::MAX, 0.5, -0.0])),
        ("texts", json!(["ß", "any \"text\"\u{0}", true])),
    ] {
        let answer = redis.run(&format!("echo.{function}"), values.clone());
        assert_eq!((answer.status.as_str(), &answer.result), ("SUCCESS", &values), "{function}");
    }
}

#[test]
fn what_a_guest_computes_is_right() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("compute", guests::COMPUTE)]);
    for (task, args, expected) in [
        // From Python's hashlib.
        ("sha256", json!([1]), json!("2edc986847e209b4016e141a6dc8716d3207350f416969382d431539bf292e4a")),
        ("fib", json!([20]), json!(6765)),
        ("halve", json!([0]), json!(0)),
    ] {
        let answer = redis.run(&format!("compute.{task}"), args).to_string();
        assert_eq!(answer, format!("SUCCESS {expected}"));
    }
}

#[test]
fn a_function_can_take_whatever_it_is_called_with() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("echo", guests::ECHO)]);
    let task = Task::new("echo.rest", json!(["a", 1, [2]])).kwargs(json!({"k": {"v": null}}));
    let answer = redis.answer(&redis.send(&task));
    assert_eq!(answer.to_string(), r#"SUCCESS ["a",[1,[2]],[["k",{"v":null}]]]"#);
}

#[test]
fn an_error_that_a_guest_returns_is_an_exception_of_its_name() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("echo", guests::ECHO)]);
    for (about, expected) in [
        (json!(null), "SUCCESS \"all is well\""),
        (json!("not_found"), "FAILURE host.guest.NotFound:"),
        (json!({"too_expensive": 9.5}), "FAILURE host.guest.TooExpensive: 9.5"),
    ] {
        let answer = redis.run("echo.complain", json!([about])).to_string();
        assert!(answer.starts_with(expected), "{answer}");
    }
}

#[test]
fn a_value_that_does_not_fit_its_type_fails_by_its_name() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("echo", guests::ECHO)]);
    for (args, expected) in [
        (
            json!([256, 0, 0, 0, 0]),
            "builtins.OverflowError: numbers() argument 'a' is out of range for u8: 256",
        ),
        (json!(["1", 0, 0, 0, 0]), "builtins.TypeError: numbers() argument 'a' must be int, not str"),
        (json!([1.0, 0, 0, 0, 0]), "builtins.TypeError: numbers() argument 'a' must be int, not float"),
        (json!([1, 0, 0, null, 0]), "builtins.TypeError: numbers() argument 'd' must be float, not NoneType"),
    ] {
        assert_eq!(redis.run("echo.numbers", args).to_string(), format!("FAILURE {expected}"));
    }
}

#[test]
fn a_plugin_may_have_any_of_three_shapes() {
    let redis = TestRedis::start();
    let _host = TestHost::start(
        &redis,
        &[
            ("built_for_wasip1", guests::DIVIDE),
            ("ready_component", guests::DIVIDE_COMPONENT),
            ("command", guests::CAT),
            ("numbers", guests::NUMBERS),
        ],
    );
    for (task, args, expected) in [
        ("built_for_wasip1.divide", json!([1, 2]), json!(0.5)),
        ("ready_component.divide", json!([1, 2]), json!(0.5)),
        ("command", json!([1, "two"]), json!({"args": [1, "two"], "kwargs": {}})),
        ("numbers.add", json!([i64::MAX, -1]), json!(i64::MAX - 1)),
        ("numbers.half", json!([1]), json!(0.5)),
    ] {
        let answer = redis.run(task, args);
        assert_eq!((answer.status.as_str(), &answer.result), ("SUCCESS", &expected), "{task}");
    }
}

#[test]
fn a_function_named_like_its_plugin_is_called_by_the_plugins_name() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("divide", guests::DIVIDE)]);
    assert_eq!(redis.run("divide", json!([1, 2])).to_string(), "SUCCESS 0.5");
    assert_eq!(redis.run("divide.integer_divide", json!([7, 2])).to_string(), "SUCCESS 3");
}

#[test]
fn a_command_fails_with_its_exit_code_and_what_it_said() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("backup", guests::EXIT_3), ("chatter", guests::CHATTER)]);
    let answer = redis.run("backup", json!([]));
    assert_eq!(answer.to_string(), "FAILURE builtins.RuntimeError: exit code 3");
    let traceback = answer.traceback.unwrap();
    assert!(traceback.contains("the disk is full"), "{traceback}");

    let answer = redis.run("chatter", json!([])).to_string();
    assert!(answer.starts_with("FAILURE kombu.exceptions.EncodeError:"), "{answer}");
}

#[test]
fn a_guest_knows_its_own_run() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("observe", guests::OBSERVE)]);
    let task = Task::new("observe.about_me", json!([]))
        .header("retries", json!(2))
        .header("root_id", json!("the-root"))
        .header("parent_id", json!("the-parent"))
        .header("group", json!("the-group"))
        .header("trace", json!({"id": "abc"}))
        .priority(3);
    let about = redis.answer(&redis.send(&task)).result;
    let told = |names: &[&str]| names.iter().map(|name| about[name].clone()).collect::<Value>();
    assert_eq!(
        told(&["id", "name", "retries", "root_id", "parent_id", "group_id"]),
        json!([task.id(), "observe.about_me", 2, "the-root", "the-parent", "the-group"])
    );
    assert_eq!(about["headers"]["trace"], json!({"id": "abc"}));
    assert_eq!(about["properties"]["priority"], 3);
    assert!(about["deadline"].as_u64().unwrap() > 1_700_000_000_000, "{about}");
}

#[test]
fn states_that_celery_gives_a_meaning_cannot_be_set_by_a_guest() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("observe", guests::OBSERVE)]);
    for (state, meta) in
        [("SUCCESS", json!(1)), ("FAILURE", json!(1)), ("REVOKED", json!({})), ("", json!(1))]
    {
        let answer = redis.run("observe.report", json!([state, meta, 0])).to_string();
        assert!(answer.starts_with("FAILURE builtins.RuntimeError:"), "{state:?}: {answer}");
    }
}

#[test]
fn a_result_is_announced_as_it_is_stored_and_ends_after_a_day() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("app", guests::DIVIDE)]);
    let task =
        Task::new("app.divide", json!([1, 2])).header("parent_id", json!("p")).header("group", json!("g"));
    let key = format!("celery-task-meta-{}", task.id());
    let mut connection = redis.connection();
    let mut announced = connection.as_pubsub();
    announced.subscribe(&key).unwrap();
    redis.send(&task);

    let announced: String = announced.get_message().unwrap().get_payload().unwrap();
    assert_eq!(announced, redis.ask::<String>(&["GET", &key]));
    let left: i64 = redis.ask(&["TTL", &key]);
    assert!((86_300..=86_400).contains(&left), "{left} s");

    let meta = redis.answer(task.id()).meta;
    let keys: Vec<_> = meta.as_object().unwrap().keys().collect();
    // As Celery's, and behind them the receipt, which no client of Celery reads.
    let expected = [
        "status",
        "result",
        "traceback",
        "children",
        "date_done",
        "group_id",
        "parent_id",
        "task_id",
        "host",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn a_stored_success_is_never_replaced() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("app", guests::DIVIDE)]);
    let fails = Task::new("app.divide", json!([1, 0]));
    let success =
        json!({"status": "SUCCESS", "result": 42, "traceback": null, "task_id": fails.id()}).to_string();
    redis.ask::<()>(&["SET", &format!("celery-task-meta-{}", fails.id()), &success]);
    redis.send(&fails);
    redis.wait_until_idle();
    assert_eq!(redis.answer(fails.id()).to_string(), "SUCCESS 42");
}

#[test]
fn a_message_is_held_while_its_task_runs_and_gone_afterwards() {
    let redis = TestRedis::start();
    let _host = TestHost::start(&redis, &[("observe", guests::OBSERVE)]);
    let id = redis.send(&Task::new("observe.report", json!(["PROGRESS", null, 0.5])));
    eventually("the task runs", || redis.stored(&id));
    assert_eq!(redis.ask::<u64>(&["HLEN", "unacked"]), 1);
    assert_eq!(redis.ask::<u64>(&["ZCARD", "unacked_index"]), 1);
    redis.answer(&id);
    redis.wait_until_idle();
    assert_eq!(redis.ask::<u64>(&["ZCARD", "unacked_index"]), 0);
}
