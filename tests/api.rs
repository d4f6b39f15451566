//! The HTTP API beside a worker and alone, as `host/docs/api.md` describes it.

use std::{net::TcpListener, process::Command};

use serde_json::{Value, json};

use crate::support::{Server, TestHost, TestRedis, eventually, guests, host, http, served};

/// A worker that serves HTTP.
fn worker(redis: &TestRedis, flags: &[&str]) -> (TestHost, String) {
    let flags = [&["--http", "127.0.0.1:0"], flags].concat();
    let mut worker = TestHost::start_with(redis, &[("app", guests::DIVIDE)], &flags);
    worker.wait_for("serving http://");
    let url = format!("http://{}", served(&worker.output()));
    (worker, url)
}

fn divide(args: Value) -> Value {
    json!({"task": "app.divide", "args": args})
}

#[test]
fn a_task_that_is_sent_over_http_is_checked_run_and_told_of() {
    let redis = TestRedis::start();
    let (worker, url) = worker(&redis, &["--processes", "2"]);
    let sent = http::post_json(&format!("{url}/v1/tasks"), &divide(json!([1, 4])));
    assert_eq!((sent.status, &sent.json()["checked"]), (202, &json!(true)), "{sent:?}");
    let id = sent.json()["id"].as_str().unwrap().to_owned();
    let status = http::get(&format!("{url}/v1/tasks/{id}?wait=60")).json();
    assert_eq!((&status["state"], &status["result"]), (&json!("SUCCESS"), &json!(0.25)), "{status}");
    let receipt = &status["receipt"];
    assert!(receipt["runtime"].as_f64().unwrap() > 0.0 && receipt["task"] == "app.divide", "{status}");
    let events = http::get(&format!("{url}/v1/tasks/{id}/events")).text;
    assert!(events.contains("event: state") && events.contains(r#""result":0.25"#), "{events}");

    let refused = http::post_json(&format!("{url}/v1/tasks"), &divide(json!([1, "four"])));
    assert_eq!((refused.status, &refused.json()["parameter"]), (422, &json!("y")), "{refused:?}");
    let missing = http::post_json(&format!("{url}/v1/tasks"), &divide(json!([1])));
    assert_eq!((missing.status, &missing.json()["parameter"]), (422, &json!("y")), "{missing:?}");

    let failed = http::post_json(&format!("{url}/v1/tasks"), &divide(json!([1, 0]))).json();
    let status = http::get(&format!("{url}/v1/tasks/{}?wait=60", failed["id"].as_str().unwrap())).json();
    assert_eq!(status["error"]["type"], "ZeroDivisionError", "{status}");
    assert_eq!(worker.output().matches("serving http://").count(), 1, "one of the processes serves");
    let metrics = http::get(&format!("{url}/metrics")).text;
    let counted = |outcome: &str| -> f64 {
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with("host_worker_tasks_total{") && line.contains(outcome));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    assert_eq!((counted("succeeded"), counted("failed")), (1.0, 1.0), "of both processes\n{metrics}");
    let listed = http::get(&format!("{url}/v1/tasks?state=FAILURE")).json();
    assert_eq!(listed["tasks"][0]["task"], "app.divide", "{listed}");
    let workers = http::get(&format!("{url}/v1/workers")).json();
    assert_eq!(workers["workers"].as_array().unwrap().len(), 2, "{workers}");
}

#[test]
fn a_task_is_sent_once_under_a_key() {
    let redis = TestRedis::start();
    let server = Server::start(&["--broker", &redis.url()]);
    let send =
        |args| http::post_with(&server.url("/v1/tasks"), &[("Idempotency-Key", "order-7")], &divide(args));
    let ids: Vec<_> = (0..3).map(|_| send(json!([1, 2])).json()["id"].clone()).collect();
    assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(send(json!([1, 3])).status, 422, "the same key for something else");
    assert_eq!(redis.ask::<usize>(&["LLEN", "celery"]), 1);
}

#[test]
fn nothing_is_taken_from_a_paused_queue_until_it_is_resumed() {
    let redis = TestRedis::start();
    let (worker, url) = worker(&redis, &[]);
    let post = |path: &str| http::post_json(&format!("{url}{path}"), &json!({}));
    assert_eq!(post("/v1/queues/celery/pause").status, 204);
    let takes_from = || {
        String::from_utf8_lossy(&host(&redis, &["inspect", "active_queues", "--json"]).stdout).into_owned()
    };
    eventually("the worker takes from no queue", || (!takes_from().contains("\"celery\"")).then_some(()));
    let sent = http::post_json(&format!("{url}/v1/tasks"), &divide(json!([1, 2]))).json();
    let status = format!("{url}/v1/tasks/{}", sent["id"].as_str().unwrap());
    assert_eq!(http::get(&format!("{status}?wait=0.5")).json()["state"], "PENDING");
    let queues = http::get(&format!("{url}/v1/queues")).json();
    assert_eq!(queues["queues"][0], json!({"tenant": "", "name": "celery", "messages": 1, "paused": true}));
    assert_eq!(post("/v1/queues/celery/resume").status, 204);
    assert_eq!(http::get(&format!("{status}?wait=60")).json()["state"], "SUCCESS");
    let audit = http::get(&format!("{url}/v1/audit")).json();
    let actions: Vec<_> =
        audit["entries"].as_array().unwrap().iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions, ["queue.resume", "queue.pause"]);
    drop(worker);
}

#[test]
fn a_plugin_that_is_uploaded_over_http_is_run_and_its_signature_known() {
    let redis = TestRedis::start();
    let _worker = worker(&redis, &[]);
    let server = Server::start(&["--broker", &redis.url(), "--strict-tasks"]);
    let call = |args: Value| server.post("/v1/tasks", &json!({"task": "up.divide", "args": args}));
    assert_eq!(call(json!([1, 2])).json()["type"], "urn:host:problem:unknown-task");
    let wasm = std::fs::read(guests::DIVIDE).unwrap();
    let pushed = http::post_bytes(&server.url("/v1/plugins/up"), "application/wasm", &wasm);
    assert_eq!((pushed.status, &pushed.json()["held"]), (200, &json!([])), "{pushed:?}");
    let sent = eventually("the server knows the task", || {
        let sent = call(json!([1, 2]));
        (sent.status == 202).then(|| sent.json())
    });
    assert_eq!(call(json!([1, "two"])).json()["parameter"], "y");
    let status = server.get(&format!("/v1/tasks/{}?wait=60", sent["id"].as_str().unwrap())).json();
    assert_eq!((&status["state"], &status["result"]), (&json!("SUCCESS"), &json!(0.5)), "{status}");
    assert_eq!(server.get("/v1/plugins/up").json()["active"], pushed.json()["digest"]);
}

#[test]
fn an_address_of_others_is_served_only_with_tokens() {
    let server = Server::start(&[]);
    let refused = server.fails(&["server", "--http", "0.0.0.0:0"]);
    assert!(refused.contains("host token create") && refused.contains("--insecure-http"), "{refused}");
    let token = server.host(&["token", "create", "--scopes", "admin"]);
    assert!(token.starts_with("host_"), "{token}");
    eventually("the server wants a token", || (server.get("/v1/queues").status == 401).then_some(()));
    let authorization = format!("Bearer {token}");
    let ask = || http::get_with(&server.url("/v1/queues"), &[("Authorization", &authorization)]).status;
    assert_eq!(ask(), 200);
    server.host(&["token", "revoke", &token[5..17]]);
    eventually("the token is refused", || (ask() == 401).then_some(()));
    assert_eq!(server.get("/livez").text, "ok\n");
    let listed = server.host(&["token", "list"]);
    assert!(listed.contains("revoked") && !listed.contains(&token[18..]), "{listed}");
    assert!(server.host(&["tenant", "set", "acme", r#"{"weight": 3}"#]).contains("\"weight\":3"));
}

#[test]
fn a_taken_port_does_not_stop_host_dev() {
    // Whoever has the usual port, it is taken.
    let _taken = TcpListener::bind("127.0.0.1:8000");
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    command.env_clear().current_dir(folder.path()).arg("dev");
    let mut dev = crate::support::Process::start(&mut command, "cargo builds it with the tests");
    dev.wait_for("host call");
    dev.wait_for("HTTP is not served");
}
