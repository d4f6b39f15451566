//! Flower, started as the tutorial starts it, shows `host` and commands it: its pages and every route of its HTTP API.
//!
//! What is expected of `host` is expected of Celery's own worker too: see [`a_python_worker_shows_and_obeys_in_flower`].

use serde_json::{Value, json};

use crate::support::{Browser, Celery, Flower, PythonWorker, TestHost, TestRedis, eventually, guests};

/// The worker, whatever it is.
const NODE: &str = "flowered@test";

fn host(redis: &TestRedis) -> TestHost {
    TestHost::start_with(redis, &[("app", guests::DIVIDE)], &["-c", "2", "-n", NODE])
}

#[test]
fn host_shows_and_obeys_in_flower() {
    for celery in Celery::BOTH {
        let redis = TestRedis::start();
        let mut host = host(&redis);
        let flower = Flower::start(celery, &redis);
        flower_shows(&flower, celery, &redis);
        flower_commands(&flower, celery, &redis);
        flower_shuts_down(&flower);
        assert!(host.wait().success());
    }
}

/// The control.
#[test]
fn a_python_worker_shows_and_obeys_in_flower() {
    for celery in Celery::BOTH {
        let redis = TestRedis::start();
        let mut python =
            PythonWorker::start_app(celery, &redis, "reference", &["--concurrency=2", "--hostname", NODE]);
        let flower = Flower::start(celery, &redis);
        flower_shows(&flower, celery, &redis);
        flower_commands(&flower, celery, &redis);
        flower_shuts_down(&flower);
        assert!(python.wait().success());
    }
}

#[test]
fn flowers_pages_show_host_in_a_browser() {
    let celery = Celery::BOTH[0];
    let redis = TestRedis::start();
    let _host = host(&redis);
    let flower = Flower::start(celery, &redis);
    let [good, bad] = send_until_seen(&flower, celery, &redis);
    let browser = Browser::start();

    browser.open(&flower.url("/"));
    browser.wait_for(&[NODE, "Online"]);
    browser.screenshot("flower-workers");

    // That page shows what Flower asked for before.
    flower.get("/api/workers?refresh=1");
    browser.open(&flower.url(&format!("/worker/{NODE}")));
    browser.wait_for(&[NODE, "Worker pool options", "Worker PID"]);
    browser.screenshot("flower-worker");
    browser.click("a[href='#tab-tasks']");
    browser.wait_for(&["Processed", "app.divide"]);
    browser.screenshot("flower-worker-tasks");
    browser.click("a[href='#tab-pool']");
    browser.click("#worker-pool-grow");
    browser.wait_for(&[&format!("Growing '{NODE}' worker's pool by 1")]);

    browser.open(&flower.url("/tasks"));
    browser.wait_for(&["app.divide", &good, &bad, "SUCCESS", "FAILURE", "(1, 2)", "0.5", NODE]);
    browser.screenshot("flower-tasks");

    browser.open(&flower.url(&format!("/task/{good}")));
    browser.wait_for(&["app.divide", &good, "SUCCESS", "(1, 2)", "{}", "0.5", "Runtime", NODE]);
    browser.screenshot("flower-task");
    browser.open(&flower.url(&format!("/task/{bad}")));
    browser.wait_for(&[&bad, "FAILURE", "(1, 0)", "ZeroDivisionError('division by zero')", "Traceback"]);
    browser.screenshot("flower-task-failed");

    browser.open(&flower.url("/broker"));
    browser.wait_for(&["celery"]);
    browser.screenshot("flower-broker");
}

/// All that Flower shows of a worker and its tasks, without a browser.
#[track_caller]
fn flower_shows(flower: &Flower, celery: Celery, redis: &TestRedis) {
    let [good, bad] = send_until_seen(flower, celery, redis);

    let rows = flower.get("/workers?json=1").json();
    let row = rows["data"].as_array().unwrap().iter().find(|row| row["hostname"] == NODE).unwrap().clone();
    assert_eq!(row["status"], true, "{row}");
    for name in
        ["pid", "heartbeats", "active", "processed", "loadavg", "sw_ident", "sw_ver", "sw_sys", "freq"]
    {
        assert!(!row[name].is_null(), "{name} in {row}");
    }
    for name in ["task-received", "task-started", "task-succeeded", "task-failed"] {
        assert!(row[name].as_u64() >= Some(1), "{name} in {row}");
    }

    let task = flower.get(&format!("/api/task/info/{good}")).json();
    for (name, value) in [
        ("uuid", json!(good)),
        ("name", json!("app.divide")),
        ("state", json!("SUCCESS")),
        ("args", json!("(1, 2)")),
        ("kwargs", json!("{}")),
        ("result", json!("0.5")),
        ("worker", json!(NODE)),
    ] {
        assert_eq!(task[name], value, "{name} in {task}");
    }
    assert!(task["runtime"].is_f64() && task["received"].is_f64() && task["started"].is_f64(), "{task}");
    let task = flower.get(&format!("/api/task/info/{bad}")).json();
    assert_eq!(task["state"], "FAILURE");
    assert_eq!(task["exception"], "ZeroDivisionError('division by zero')");
    assert!(task["traceback"].as_str().unwrap().contains("ZeroDivisionError: division by zero"));

    let page = flower.get(&format!("/task/{good}"));
    assert_eq!(page.status, 200);
    for text in
        [&good, "app.divide", "SUCCESS", "(1, 2)", "0.5", "Runtime", "Received", "Started", "Succeeded"]
    {
        assert!(page.text.contains(text), "{text} in {}", page.text);
    }
    let listed = flower.get("/api/tasks?taskname=app.divide&state=FAILURE").json();
    assert!(listed.get(&bad).is_some() && listed.get(&good).is_none(), "{listed}");
    assert_eq!(flower.get("/api/task/types").json(), json!({"task-types": ["app.divide"]}));

    let workers = flower.get(&format!("/api/workers?refresh=1&workername={NODE}")).json();
    let worker = &workers[NODE];
    for name in ["stats", "active_queues", "registered", "scheduled", "active", "reserved", "revoked", "conf"]
    {
        assert!(!worker[name].is_null(), "{name} in {worker}");
    }
    assert!(worker["stats"]["total"]["app.divide"].as_u64() >= Some(2), "{worker}");
    assert_eq!(worker["stats"]["broker"]["transport"], "redis");
    assert_eq!(worker["active_queues"][0]["name"], "celery");
    assert!(worker["registered"].as_array().unwrap().contains(&json!("app.divide")), "{worker}");
    assert_eq!(flower.get("/api/workers?status=1").json(), json!({NODE: true}));

    let page = flower.get(&format!("/worker/{NODE}"));
    assert_eq!(page.status, 200);
    for text in [NODE, "Worker pool options", "Broker options", "Active queues", "app.divide", "celery"] {
        assert!(page.text.contains(text), "{text} in {}", page.text);
    }
    assert_eq!(
        flower.get("/api/queues/length").json(),
        json!({"active_queues": [{"name": "celery", "messages": 0}]})
    );
    assert!(flower.get("/broker").text.contains("celery"));
    for (path, text) in [("/", NODE), ("/workers", NODE), ("/tasks", "tasks-table"), ("/api/workers", NODE)] {
        let page = flower.get(path);
        assert!(page.status == 200 && page.text.contains(text), "{path}: {page:?}");
    }
    assert_eq!(flower.get("/healthcheck").status, 200);
    let metrics = flower.get("/metrics").text;
    for line in [
        format!(r#"flower_events_total{{task="app.divide",type="task-succeeded",worker="{NODE}"}}"#),
        format!(r#"flower_worker_online{{worker="{NODE}"}} 1.0"#),
    ] {
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
}

/// Every route of Flower's API that changes something, but the last.
#[track_caller]
fn flower_commands(flower: &Flower, celery: Celery, redis: &TestRedis) {
    assert_command(flower, "/api/worker/pool/grow", &[("n", "2")], "Growing");
    assert_command(flower, "/api/worker/pool/shrink", &[("n", "1")], "Shrinking");

    // Neither worker was started so that it could do this, and both say so.
    for (route, form, error) in [
        ("autoscale", &[("max", "4"), ("min", "1")][..], "Autoscale not enabled"),
        ("restart", &[], "Pool restarts not enabled"),
    ] {
        let response = flower.post(&format!("/api/worker/pool/{route}/{NODE}"), form);
        assert_eq!(response.status, 403, "{route}: {}", response.text);
        assert!(response.text.contains(error), "{route}: {}", response.text);
    }

    assert_command(flower, "/api/worker/queue/add-consumer", &[("queue", "more")], "add consumer more");
    let more = celery.evaluate(redis, "divide.apply_async((1, 4), queue='more').get(timeout=20)");
    assert_eq!(more, 0.25);
    let gone = "no longer consuming from more";
    assert_command(flower, "/api/worker/queue/cancel-consumer", &[("queue", "more")], gone);
    let sent = celery.evaluate(redis, "divide.apply_async((1, 4), queue='more').id");

    let of_node = ("workername", NODE);
    let route = "/api/task/timeout/app.divide";
    let response = flower.post(route, &[of_node, ("hard", "50"), ("soft", "40")]);
    assert_eq!((response.status, response.json()), (200, json!({"message": "time limits set successfully"})));
    let response = flower.post("/api/task/rate-limit/app.divide", &[of_node, ("ratelimit", "1000/s")]);
    assert_eq!(
        (response.status, response.json()),
        (200, json!({"message": "new rate limit set successfully"}))
    );
    let response = flower.post("/api/task/rate-limit/app.divide", &[of_node, ("ratelimit", "fast")]);
    assert_eq!(response.status, 403, "{}", response.text);

    let call = json!({"args": [1, 2]});
    let applied = flower.post_json("/api/task/apply/app.divide", &call);
    assert_eq!((applied.status, &applied.json()["result"]), (200, &json!(0.5)));
    for route in ["async-apply", "send-task"] {
        let sent = flower.post_json(&format!("/api/task/{route}/app.divide"), &call).json();
        let id = sent["task-id"].as_str().unwrap();
        let result = flower.get(&format!("/api/task/result/{id}?timeout=20")).json();
        assert_eq!(result["result"], 0.5);
        // Flower looks at the state before it waits for the result.
        assert_eq!(flower.get(&format!("/api/task/result/{id}")).json()["state"], "SUCCESS");
    }

    // One that runs, and one that waits.
    let [running, waiting] = ["'sleep': 60}", "'sleep': 0}, countdown=60"].map(|more| {
        let id = celery.evaluate(redis, &format!("celery.send_task('app.divide', [1, 2], {{{more}).id"));
        id.as_str().unwrap().to_owned()
    });
    eventually("Flower shows that it runs", || {
        let task = flower.get(&format!("/api/task/info/{running}"));
        (task.status == 200 && task.json()["state"] == "STARTED").then_some(())
    });
    let response = flower.post(&format!("/api/task/revoke/{running}"), &[("terminate", "true")]);
    assert_eq!((response.status, response.json()), (200, json!({"message": format!("Revoked '{running}'")})));
    assert_eq!(redis.answer(&running).to_string(), "REVOKED celery.exceptions.TaskRevokedError: terminated");
    eventually("Flower shows it as revoked", || {
        (flower.get(&format!("/api/task/info/{running}")).json()["state"] == "REVOKED").then_some(())
    });
    assert_eq!(flower.post(&format!("/api/task/revoke/{waiting}"), &[]).status, 200);
    eventually("Flower lists it as revoked", || {
        let workers = flower.get("/api/workers?refresh=1").json();
        workers[NODE]["revoked"].as_array()?.contains(&json!(waiting)).then_some(())
    });

    let aborted = flower.post(&format!("/api/task/abort/{sent}", sent = sent.as_str().unwrap()), &[]);
    assert_eq!(aborted.status, 200, "{}", aborted.text);
    assert_eq!(redis.stored(sent.as_str().unwrap()).unwrap().status, "ABORTED");
}

fn flower_shuts_down(flower: &Flower) {
    let response = flower.post(&format!("/api/worker/shutdown/{NODE}"), &[]);
    assert_eq!((response.status, response.json()), (200, json!({"message": "Shutting down!"})));
    eventually("Flower shows that it is gone", || {
        (flower.get("/api/workers?status=1").json() == json!({NODE: false})).then_some(())
    });
}

#[track_caller]
fn assert_command(flower: &Flower, route: &str, form: &[(&str, &str)], message: &str) {
    let response = flower.post(&format!("{route}/{NODE}"), form);
    assert_eq!(response.status, 200, "{route}: {}", response.text);
    let text = response.json()["message"].as_str().unwrap().to_owned();
    assert!(text.starts_with(message), "{route}: {text}");
}

/// Runs one task that succeeds and one that fails, and returns their ids. Flower asks workers for events when it starts, so
/// what ran before a worker heard it is not seen: then they run anew.
#[track_caller]
fn send_until_seen(flower: &Flower, celery: Celery, redis: &TestRedis) -> [String; 2] {
    eventually("Flower knows the worker", || {
        flower.get("/api/workers?refresh=1").json().get(NODE).map(|_| ())
    });
    eventually("Flower has seen tasks from their beginning to their end", || {
        let code = "tasks = [divide.delay(1, 2), divide.delay(1, 0)]
for task in tasks: task.get(timeout=20, propagate=False)
[task.id for task in tasks]";
        let ids = celery.evaluate(redis, code);
        let ids = [0, 1].map(|n| ids[n].as_str().expect("an id").to_owned());
        let state = |id: &str, state: &str| {
            let task = flower.get(&format!("/api/task/info/{id}"));
            task.status == 200 && task.json()["state"] == state && task.json()["received"] != Value::Null
        };
        let seen = (0..20).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            state(&ids[0], "SUCCESS") && state(&ids[1], "FAILURE")
        });
        seen.then_some(ids)
    })
}
