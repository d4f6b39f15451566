//! Sending tasks and asking about them.

use axum::http::Method;
use serde_json::{Value, json};

use super::Server;
use crate::{
    protocol::{message, result},
    store::StoredResult,
    task::{QueueName, State, TaskId},
};

/// The messages that wait in a queue.
async fn waiting(server: &Server, queue: &str) -> Vec<crate::task::Request> {
    let queue = QueueName::new(queue).unwrap();
    let messages = server.store.broker.peek(&[queue], 100).await.unwrap();
    let read = |(_, message): (_, bytes::Bytes)| {
        message::decode(&message, Default::default(), &Default::default()).unwrap()
    };
    messages.into_iter().map(read).collect()
}

#[tokio::test]
async fn a_task_that_is_sent_waits_in_its_queue() {
    let server = Server::start().await;
    let call = json!({
        "task": "app.divide", "args": [1, 2.50], "kwargs": {"sleep": null}, "queue": "mail", "priority": 3,
        "countdown": 60, "expires": 120, "time_limit": 1.5, "soft_time_limit": 1,
    });
    let sent = server.post("/v1/tasks", call).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let id = sent.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(sent.headers["location"], format!("/v1/tasks/{id}"));
    assert_eq!(sent.json()["checked"], false);
    let [request] = waiting(&server, "mail").await.try_into().unwrap();
    assert_eq!((request.id.as_str(), request.task.as_str(), request.priority), (&*id, "app.divide", 3));
    assert_eq!((request.args.get(), request.kwargs.get()), ("[1,2.5]", r#"{"sleep":null}"#));
    assert!(request.eta.is_some() && request.expires > request.eta);
    assert_eq!(request.limits.hard.unwrap().as_secs_f64(), 1.5);
    let status = server.get(&format!("/v1/tasks/{id}")).await;
    assert_eq!(status.json(), json!({"id": id, "state": "PENDING"}));
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_by_name() {
    let server = Server::start().await;
    let deep = |levels: usize| {
        serde_json::from_str::<Value>(&format!("{}{}", "[".repeat(levels), "]".repeat(levels))).unwrap()
    };
    for (call, parameter) in [
        (json!({"task": ""}), Some("task")),
        (json!({"task": "a\nb"}), Some("task")),
        (json!({"task": "f", "args": {}}), Some("args")),
        (json!({"task": "f", "args": "x"}), Some("args")),
        (json!({"task": "f", "kwargs": []}), Some("kwargs")),
        (json!({"task": "f", "queue": "other/celery"}), Some("queue")),
        (json!({"task": "f", "queue": ""}), Some("queue")),
        (json!({"task": "f", "priority": 10}), Some("priority")),
        (json!({"task": "f", "countdown": -1}), Some("countdown")),
        (json!({"task": "f", "countdown": 1e300}), Some("countdown")),
        (json!({"task": "f", "countdown": 2678401}), Some("countdown")),
        (json!({"task": "f", "eta": "tomorrow"}), Some("eta")),
        (json!({"task": "f", "eta": "2030-01-01T00:00:00"}), Some("eta")),
        (json!({"task": "f", "eta": "9999-01-01T00:00:00Z"}), Some("eta")),
        (json!({"task": "f", "eta": "2020-01-01T00:00:00Z", "countdown": 1}), Some("eta")),
        (json!({"task": "f", "expires": -0.5}), Some("expires")),
        (json!({"task": "f", "time_limit": 0}), Some("time_limit")),
        (json!({"task": "f", "args": [deep(100)]}), None),
        (json!({"task": "f", "nonsense": 1}), None),
        (json!({"task": 7}), None),
        (json!({}), None),
        (json!([]), None),
    ] {
        let (status, kind, named) = server.post("/v1/tasks", call.clone()).await.problem();
        assert_eq!((status, named.as_deref()), (422, parameter), "{call} {kind}");
    }
    assert!(server.store.broker.queues().await.unwrap().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn bodies_are_json_of_a_bounded_size() {
    let server = Server::start().await;
    let post = async |body: &'static [u8], kind: &str| {
        let request =
            axum::http::Request::post("/v1/tasks").header("host", "localhost").header("content-type", kind);
        server.send(request.body(body.into()).unwrap()).await.problem()
    };
    assert_eq!(post(b"{", "application/json").await.0, 400);
    assert_eq!(post(b"{\"task\": \"\xff\"}", "application/json").await.0, 400);
    assert_eq!(post(b"", "application/json").await.0, 400);
    assert_eq!(post(b"{}", "text/plain").await.0, 415);
    assert_eq!(post(b"{}", "application/x-www-form-urlencoded").await.0, 415);
    let large = json!({"task": "f", "args": ["x".repeat(1 << 20)]});
    assert_eq!(server.post("/v1/tasks", large).await.problem().0, 413);
}

#[tokio::test]
async fn a_key_sends_once() {
    let server = Server::start().await;
    let send = async |key: &str, call: Value| {
        server.ask(Method::POST, "/v1/tasks", Some(call), &[("idempotency-key", key)]).await
    };
    let call = json!({"task": "f", "args": [1]});
    let (first, again) = (send("k", call.clone()).await, send("k", call.clone()).await);
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (202, 202));
    assert_eq!(first.json(), again.json());
    assert_eq!(first.headers["location"], again.headers["location"]);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(waiting(&server, "celery").await.len(), 1);
    let other = send("k", json!({"task": "f", "args": [2]})).await.problem();
    assert_eq!((other.0, other.1.as_str(), other.2.as_deref()), (422, "key-reused", Some("Idempotency-Key")));
    assert_ne!(send("l", call.clone()).await.json(), first.json());
    assert_eq!(send("", call).await.problem().2.as_deref(), Some("Idempotency-Key"));
    let batch = json!({"tasks": [{"task": "f"}, {"task": ""}]});
    let batches = async || {
        server.ask(Method::POST, "/v1/tasks/batch", Some(batch.clone()), &[("idempotency-key", "b")]).await
    };
    assert_eq!(batches().await.json(), batches().await.json());
    assert_eq!(waiting(&server, "celery").await.len(), 3);
}

#[tokio::test]
async fn of_a_batch_each_is_answered_in_its_place() {
    let server = Server::start().await;
    let batch =
        json!({"tasks": [{"task": "a"}, {"task": "b", "priority": 77}, {"task": "c", "queue": "mail"}]});
    let answer = server.post("/v1/tasks/batch", batch).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let tasks = answer.json()["tasks"].clone();
    assert_eq!(tasks[1]["parameter"], "priority");
    assert_eq!(waiting(&server, "celery").await[0].id.as_str(), tasks[0]["id"]);
    assert_eq!(waiting(&server, "mail").await[0].id.as_str(), tasks[2]["id"]);
    assert_eq!(
        server.post("/v1/tasks/batch", json!({"tasks": []})).await.problem().2.as_deref(),
        Some("tasks")
    );
    let many: Vec<_> = (0..1001).map(|_| json!({"task": "a"})).collect();
    assert_eq!(server.post("/v1/tasks/batch", json!({"tasks": many})).await.problem().0, 422);
}

/// Stores a result of a task.
async fn store(server: &Server, id: &TaskId, state: State, text: &str) {
    let exception = crate::task::Exception::builtin("ZeroDivisionError", "division by zero");
    let value = serde_json::value::RawValue::from_string(text.to_owned()).unwrap();
    let result = match state {
        State::Failure => result::MetaResult::Exception(&exception),
        _ => result::MetaResult::Value(&value),
    };
    let meta = result::encode(&result::Meta {
        id,
        state: &state,
        result,
        traceback: None,
        children: &[],
        date_done: None,
        group_id: None,
        parent_id: None,
        ran: None,
    });
    server
        .store
        .backend
        .store(&Default::default(), &StoredResult { id: id.clone(), state, meta })
        .await
        .unwrap();
}

#[tokio::test]
async fn results_are_told_at_once_or_awaited() {
    let server = Server::start().await;
    let id = TaskId::random();
    let path = format!("/v1/tasks/{id}");
    assert_eq!(server.get(&format!("{path}?wait=0.01")).await.json()["state"], "PENDING");
    let waited = format!("{path}?wait=60");
    let end = store(&server, &id, State::Success, "{\"b\":1,\"a\":[0.10]}");
    let ((), answer) = tokio::join!(end, server.get_later(&waited));
    assert_eq!(answer.json()["result"].to_string(), r#"{"b":1,"a":[0.1]}"#);
    let failed = TaskId::random();
    store(&server, &failed, State::Failure, "null").await;
    let status = server.get(&format!("/v1/tasks/{failed}?wait=60")).await.json();
    assert_eq!(
        (&status["error"]["type"], &status["error"]["message"]),
        (&json!("ZeroDivisionError"), &json!("division by zero"))
    );
    assert!(status.get("result").is_none());
    for bad in ["wait=61", "wait=-1", "wait=NaN"] {
        assert_eq!(server.get(&format!("{path}?{bad}")).await.problem().2.as_deref(), Some("wait"), "{bad}");
    }
    for bad in ["wait=x", "nonsense=1", "wait=1&wait=2"] {
        assert_eq!(server.get(&format!("{path}?{bad}")).await.problem().0, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_stream_tells_each_state_and_ends_with_the_task() {
    let server = Server::start().await;
    let id = TaskId::random();
    store(&server, &id, State::Started, "null").await;
    let path = format!("/v1/tasks/{id}/events");
    let ((), answer) = tokio::join!(store(&server, &id, State::Success, "5"), server.get_later(&path));
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.starts_with("event: state\ndata: {"), "{text}");
    assert!(text.contains(r#""state":"SUCCESS","result":5"#), "{text}");
}

#[tokio::test]
async fn a_revoked_task_is_known_to_all() {
    let server = Server::start().await;
    let answer = server.post("/v1/tasks/abc/revoke", json!({"terminate": true})).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let (revoked, _) = server.store.revocations.revoked_since(0).await.unwrap();
    assert!(revoked.len() == 1 && revoked[0].terminate, "{revoked:?}");
}

#[tokio::test]
async fn tasks_are_listed_by_where_they_are() {
    let server = Server::start().await;
    for (task, queue) in [("a", "celery"), ("b", "mail"), ("a", "mail")] {
        server.post("/v1/tasks", json!({"task": task, "queue": queue, "args": [1]})).await;
    }
    server.post("/v1/tasks?tenant=acme", json!({"task": "a"})).await;
    let names = async |path: &str| -> Vec<String> {
        let list = server.get(path).await.json();
        let shown = |task: &Value| {
            format!(
                "{}:{}:{}",
                task["task"].as_str().unwrap_or("?"),
                task["queue"].as_str().unwrap_or("-"),
                task["state"].as_str().unwrap()
            )
        };
        let mut names: Vec<_> =
            list["tasks"].as_array().unwrap_or_else(|| panic!("{list}")).iter().map(shown).collect();
        names.sort();
        names
    };
    assert_eq!(
        names("/v1/tasks?stage=waiting").await,
        ["a:celery:PENDING", "a:mail:PENDING", "b:mail:PENDING"]
    );
    assert_eq!(names("/v1/tasks?stage=waiting&task=b").await, ["b:mail:PENDING"]);
    assert_eq!(names("/v1/tasks?stage=waiting&tenant=acme").await, ["a:celery:PENDING"]);
    assert!(
        names("/v1/tasks?stage=delayed").await.is_empty()
            && names("/v1/tasks?stage=running").await.is_empty()
    );
    for state in [State::Success, State::Failure, State::Success] {
        store(&server, &TaskId::random(), state, "1").await;
    }
    assert_eq!(names("/v1/tasks").await, ["?:-:FAILURE", "?:-:SUCCESS", "?:-:SUCCESS"]);
    assert_eq!(names("/v1/tasks?state=FAILURE").await, ["?:-:FAILURE"]);
    assert!(names("/v1/tasks?tenant=acme").await.is_empty());
    let first = server.get("/v1/tasks?limit=2").await.json();
    assert_eq!(first["tasks"].as_array().unwrap().len(), 2);
    assert_eq!(
        names(&format!("/v1/tasks?limit=2&cursor={}", first["next"].as_str().unwrap())).await.len(),
        1
    );
    for bad in ["stage=gone", "limit=0", "cursor=x", "cursor=-1", "nonsense=1"] {
        assert!([400, 422].contains(&server.get(&format!("/v1/tasks?{bad}")).await.problem().0), "{bad}");
    }
}
