//! Queues, dead letters, tenants and numbers.

use axum::http::Method;
use bytes::Bytes;
use serde_json::json;

use super::Server;
use crate::{
    api::tenants,
    store::{Cause, Change, Entry, Fate, Publication, Settlement, Table},
    task::{Bucket, KeyValueQuery, QueueName, Tenant},
    tenant::Scope,
};

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

/// Makes a dead letter in a queue.
async fn bury(server: &Server, name: &str, reason: &str) {
    let message = Bytes::from(
        r#"{"body": "e30=", "headers": {"id": "i", "task": "t"}, "properties": {"delivery_info": {}}}"#,
    );
    let publication = Publication { queue: queue(name), priority: 0, due: None, message };
    server.store.broker.publish(&[publication]).await.unwrap();
    let taken = server.store.broker.take(&[queue(name)], 1).await.unwrap();
    let cause = Cause { reason: reason.to_owned(), ..Cause::default() };
    let settlement = Settlement {
        tag: taken.deliveries[0].tag.clone(),
        results: Vec::new(),
        groups: Vec::new(),
        sends: Vec::new(),
        fate: Fate::DeadLetter(Box::new(cause)),
    };
    server.store.broker.settle(&[settlement]).await.unwrap();
}

#[tokio::test]
async fn a_tenant_sees_and_changes_only_its_own_queues_and_letters() {
    let server = Server::start().await;
    for name in ["celery", "acme/celery", "other/mail"] {
        bury(&server, name, name).await;
        bury(&server, name, "another").await;
    }
    let scopes = [Scope::QueuesRead, Scope::QueuesWrite];
    let (acme, operator) = (server.token(Some("acme"), &scopes).await, server.token(None, &scopes).await);
    let ask = async |token: &str, method: Method, path: &str| {
        server.ask(method, path, None, &[("authorization", &*format!("Bearer {token}"))]).await
    };
    let names = async |token: &str, path: &str| -> Vec<String> {
        let queues = ask(token, Method::GET, path).await.json();
        let shown = |queue: &serde_json::Value| {
            format!("{}:{}", queue["tenant"].as_str().unwrap(), queue["name"].as_str().unwrap())
        };
        queues["queues"].as_array().unwrap().iter().map(shown).collect()
    };
    assert_eq!(names(&acme, "/v1/queues").await, ["acme:celery"]);
    assert_eq!(names(&operator, "/v1/queues").await, ["acme:celery", ":celery", "other:mail"]);
    assert_eq!(names(&operator, "/v1/queues?tenant=other").await, ["other:mail"]);

    let letters = ask(&acme, Method::GET, "/v1/dead-letters").await.json();
    let letters = letters["dead_letters"].as_array().unwrap();
    assert_eq!(
        letters.iter().map(|letter| letter["reason"].as_str().unwrap()).collect::<Vec<_>>(),
        ["another", "acme/celery"]
    );
    let all = ask(&operator, Method::GET, "/v1/dead-letters?limit=4").await.json();
    assert_eq!((all["dead_letters"].as_array().unwrap().len(), &all["next"]), (4, &json!("4")));
    let rest = ask(&operator, Method::GET, "/v1/dead-letters?limit=4&cursor=4").await.json();
    assert_eq!(rest["dead_letters"].as_array().unwrap().len(), 2);
    assert!(rest.get("next").is_none(), "{rest}");

    let foreign = all["dead_letters"][0]["id"].as_str().unwrap();
    assert_eq!(all["dead_letters"][0]["tenant"], "other");
    for (method, path) in [
        (Method::GET, format!("/v1/dead-letters/{foreign}")),
        (Method::DELETE, format!("/v1/dead-letters/{foreign}")),
        (Method::POST, format!("/v1/dead-letters/{foreign}/replay")),
    ] {
        let (theirs, nobodys) =
            (ask(&acme, method.clone(), &path).await, ask(&acme, method, "/v1/dead-letters/none").await);
        assert_eq!(
            (theirs.status, nobodys.status.as_u16() % 100),
            (axum::http::StatusCode::NOT_FOUND, nobodys.status.as_u16() % 100)
        );
    }
    let own = letters[0]["id"].as_str().unwrap();
    assert_eq!(ask(&acme, Method::GET, &format!("/v1/dead-letters/{own}")).await.json()["reason"], "another");
    assert_eq!(ask(&acme, Method::POST, &format!("/v1/dead-letters/{own}/replay")).await.status, 204);
    assert_eq!(server.store.broker.length(&queue("acme/celery")).await.unwrap(), 1);
    assert_eq!(
        ask(&acme, Method::DELETE, &format!("/v1/dead-letters/{own}")).await.status,
        404,
        "it is gone"
    );
    assert_eq!(ask(&acme, Method::POST, "/v1/queues/celery/purge").await.json(), json!({"purged": 1}));
    assert_eq!(ask(&acme, Method::POST, "/v1/queues/other%2Fmail/purge").await.status, 422);
    assert_eq!(server.store.dead_letters.dead_count().await.unwrap(), 5);
}

#[tokio::test]
async fn a_queue_is_paused_once_and_it_is_noted_who_did() {
    let server = Server::start().await;
    for _ in 0..2 {
        assert_eq!(server.ask(Method::POST, "/v1/queues/mail/pause", None, &[]).await.status, 204);
    }
    let mail = json!({"tenant": "", "name": "mail", "messages": 0, "paused": true});
    assert_eq!(server.get("/v1/queues").await.json()["queues"], json!([mail]));
    for _ in 0..2 {
        assert_eq!(server.ask(Method::POST, "/v1/queues/mail/resume", None, &[]).await.status, 204);
    }
    assert_eq!(server.get("/v1/queues").await.json()["queues"], json!([]));
    for number in 0..=100 {
        let answer =
            server.ask(Method::POST, &format!("/v1/queues/q{number}/pause?tenant=acme"), None, &[]).await;
        assert_eq!(answer.status, if number < 100 { 204 } else { 429 }, "{answer:?}");
    }
    let audit = server.get("/v1/audit?tenant=").await.json();
    let told: Vec<_> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                entry["action"].as_str().unwrap(),
                entry["subject"].as_str().unwrap(),
                entry["actor"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [("queue.resume", "mail", "anonymous"), ("queue.pause", "mail", "anonymous")]);
    let first = server.get("/v1/audit?tenant=&limit=1").await.json();
    assert_eq!(first["next"], "1");
    assert_eq!(
        server.get("/v1/audit?tenant=&limit=1&cursor=1").await.json()["entries"][0]["action"],
        "queue.pause"
    );
    for bad in ["limit=0", "limit=1001", "cursor=x", "cursor=-1", "cursor=99999999999"] {
        assert_eq!(server.get(&format!("/v1/audit?{bad}")).await.problem().0, 422, "{bad}");
    }
}

#[tokio::test]
async fn what_is_set_for_a_tenant_holds_for_what_it_sends() {
    let server = Server::start().await;
    let set = async |name: &str, record: serde_json::Value| {
        server.ask(Method::PATCH, &format!("/v1/tenants/{name}"), Some(record), &[]).await
    };
    assert_eq!(
        set("acme", json!({"quotas": {"queued": 3, "submit_rate": null}})).await.json()["record"]["quotas"]["queued"],
        3
    );
    let send = async || server.post("/v1/tasks?tenant=acme", json!({"task": "f"})).await;
    for _ in 0..3 {
        assert_eq!(send().await.status, 202);
    }
    let refused = send().await;
    assert_eq!(refused.problem().1, "queue-full");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(server.post("/v1/tasks", json!({"task": "f"})).await.status, 202, "another tenant");
    assert_eq!(set("-", json!({"quotas": {"submit_rate": 1}})).await.status, 200);
    tokio::time::sleep(crate::api::access::FRESH).await;
    let batch = json!({"tasks": [{"task": "f"}, {"task": "f"}]});
    server.post("/v1/tasks/batch", batch.clone()).await;
    assert_eq!(server.post("/v1/tasks/batch", batch).await.problem().1, "too-fast");

    for (name, record) in [
        ("acme", json!({"weight": 0})),
        ("acme", json!({"qoutas": {}})),
        ("Acme", json!({})),
        ("acme", json!([])),
    ] {
        assert_eq!(set(name, record.clone()).await.problem().0, 422, "{name} {record}");
    }
    let listed = server.get("/v1/tenants").await.json();
    assert_eq!(
        listed["tenants"].as_array().unwrap().iter().map(|tenant| tenant["name"].clone()).collect::<Vec<_>>(),
        ["-", "acme"]
    );
    assert_eq!(server.ask(Method::DELETE, "/v1/tenants/acme", None, &[]).await.status, 204);
    assert_eq!(server.ask(Method::DELETE, "/v1/tenants/acme", None, &[]).await.status, 404);
    assert_eq!(
        server.get("/v1/tenants/acme").await.json()["record"]["weight"],
        1,
        "what holds for everybody"
    );
}

#[tokio::test]
async fn a_tenant_that_is_removed_has_no_tokens() {
    let server = Server::start().await;
    let operator = server.token(None, &[Scope::Admin]).await;
    let acme = server.token(Some("acme"), &[Scope::TasksRead]).await;
    let ask = async |token: &str, method, path: &str| {
        server
            .ask(method, path, None, &[("authorization", &*format!("Bearer {token}"))])
            .await
            .status
            .as_u16()
    };
    assert_eq!(ask(&acme, Method::GET, "/v1/tasks/x").await, 200);
    assert_eq!(ask(&operator, Method::DELETE, "/v1/tenants/acme").await, 204);
    tokio::time::sleep(crate::api::access::FRESH).await;
    assert_eq!(ask(&acme, Method::GET, "/v1/tasks/x").await, 401);
}

#[tokio::test]
async fn who_gets_the_name_of_a_tenant_that_was_removed_finds_nothing_of_it() {
    let server = Server::start().await;
    let (store, acme) = (&server.store, Tenant::new("acme").unwrap());
    let mut keys = Vec::new();
    for table in [Table::Secrets, Table::Plugins, Table::Versions] {
        for key in ["acme/x", "acme2/x", "-/x"] {
            keys.push((table, key));
            let change = Change { table, key: key.to_owned(), was: None, value: Some("{}".to_owned()) };
            let entry = Entry {
                at: jiff::Timestamp::now(),
                actor: "test".to_owned(),
                action: "set".to_owned(),
                tenant: Tenant::DEFAULT,
                subject: key.to_owned(),
                digest: None,
                detail: None,
            };
            store.records.change(&[change], &entry).await.unwrap().unwrap();
        }
    }
    let entry = KeyValueQuery::Change(vec![("k".to_owned(), Some(Bytes::from("v")))]);
    let bucket = Bucket { tenant: acme.clone(), name: "b".to_owned() };
    store.keyvalue.keyvalue(&bucket, 1_000, &entry).await.unwrap();

    assert!(tenants::remove(store, &acme, "test").await.unwrap());
    for (table, key) in keys {
        let is_there = store.records.record(table, key).await.unwrap().is_some();
        assert_eq!(is_there, !key.starts_with("acme/"), "{table:?} {key}");
    }
    assert_eq!(store.keyvalue.keyvalue_used(&acme).await.unwrap(), 0);
    assert!(!tenants::remove(store, &acme, "test").await.unwrap());
}

#[tokio::test]
async fn numbers_are_told_in_the_text_format() {
    let server = Server::start().await;
    server.post("/v1/tasks?tenant=acme", json!({"task": "f"})).await;
    server.get("/nothing/there").await;
    let metrics = server.get("/metrics").await;
    let text = String::from_utf8(metrics.body).unwrap();
    for line in [
        r#"host_queue_messages{tenant="acme",queue="celery"} 1"#,
        "host_messages_held 0",
        r#"host_http_requests_total{route="/v1/tasks",status="202"} 1"#,
        r#"host_http_requests_total{route="none",status="404"} 1"#,
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}
