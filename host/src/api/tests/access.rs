//! Who may do what: every route with every kind of token, and what a browser may not.

use axum::http::Method;
use serde_json::{Value, json};

use super::Server;
use crate::{
    api::tokens,
    tenant::{Scope, Token},
};

/// The routes by what they ask for, out of the document: method, path, and the scope; none is any token.
fn routes(document: &Value) -> Vec<(Method, String, Option<Scope>)> {
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = &operation["security"];
            assert!(security.is_array(), "{method} {path} does not say what it asks for");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            if security[0] == json!({}) {
                assert!(path == "/livez" || path == "/readyz", "only health is open, not {path}");
                continue;
            }
            let scope = security[0]["token"][0].as_str().map(|scope| scope.parse().unwrap());
            routes.push((method, path.replace("{", "x").replace("}", ""), scope));
        }
    }
    assert!(routes.len() > 5, "{routes:?}");
    routes
}

/// A route that changes something asks for a scope of those who may change things.
#[tokio::test]
async fn nothing_is_changed_with_a_token_for_reading() {
    let server = Server::start().await;
    for (method, path, scope) in routes(&server.get("/openapi.json").await.json()) {
        let scope = scope.unwrap();
        let writes = scope == Scope::Admin || scope.as_str().ends_with(":write");
        assert!(writes || method == Method::GET, "{method} {path} asks only for {scope}");
    }
}

#[tokio::test]
async fn each_route_is_for_those_with_its_scope_and_for_nobody_else() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await.json();
    let mut tokens: Vec<(Option<Scope>, String)> = vec![
        (None, String::new()),
        (None, "nonsense".to_owned()),
        (None, format!("host_{}_{}", "0".repeat(12), "0".repeat(64))),
    ];
    for scope in Scope::ALL {
        let tenant = (!scope.is_operators()).then_some("acme");
        tokens.push((Some(scope), server.token(tenant, &[scope]).await));
    }
    let revoked = server.token(Some("acme"), &Scope::ALL[..6]).await;
    tokens::revoke(&*server.store.records, &revoked[5..17], "test").await.unwrap();
    tokens.push((None, revoked));
    let expired = server.token(None, &[Scope::Admin]).await;
    expire(&server, &expired[5..17]).await;
    tokens.push((None, expired));
    tokio::time::sleep(super::super::access::FRESH).await;

    // Streams end at once, and waits too.
    server.api.end();
    let mut asked = 0;
    for (method, path, wanted) in routes(&document) {
        for (scope, token) in &tokens {
            let headers = [("authorization", &*format!("Bearer {token}"))];
            let headers = if token.is_empty() { &[][..] } else { &headers[..] };
            let answer = server.ask(method.clone(), &path, None, headers).await;
            let may = scope
                .is_some_and(|scope| scope == Scope::Admin || wanted.is_none_or(|wanted| wanted == scope));
            match (scope, may) {
                (None, _) => assert_eq!(answer.problem().0, 401, "{method} {path} with {token:?}"),
                (Some(scope), false) => {
                    assert_eq!(answer.problem().1, "scope-missing", "{method} {path} with {scope}");
                }
                (Some(scope), true) => {
                    assert!(
                        ![401, 403].contains(&answer.status.as_u16()),
                        "{method} {path} with {scope}: {answer:?}"
                    );
                }
            }
            asked += 1;
        }
    }
    assert!(asked > 100, "{asked}");
}

async fn expire(server: &Server, id: &str) {
    use crate::store::{Change, Entry, Table};
    let record = server.store.records.record(Table::Tokens, id).await.unwrap().unwrap();
    let token: Token = serde_json::from_str(&record.value).unwrap();
    let token = Token { expires: Some(jiff::Timestamp::now()), ..token };
    let value = Some(serde_json::to_string(&token).unwrap());
    let change = Change { table: Table::Tokens, key: record.key, was: Some(record.revision), value };
    let entry = Entry {
        at: jiff::Timestamp::now(),
        actor: String::new(),
        action: String::new(),
        tenant: Default::default(),
        subject: String::new(),
        digest: None,
        detail: None,
    };
    server.store.records.change(&[change], &entry).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_scanner_without_a_token_reaches_nothing_but_health() {
    let server = Server::start().await;
    server.token(None, &[Scope::Admin]).await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(
            (server.get(path).await.status.as_u16(), server.get(path).await.body),
            (200, b"ok\n".to_vec())
        );
    }
    for path in [
        "/",
        "/openapi.json",
        "/v1",
        "/v1/",
        "/metrics",
        "/admin",
        "/.env",
        "/v1/../livez",
        "/livez/",
        "//livez",
        "/%2e%2e/",
        "/v1/tasks/%00",
        "/v1/tasks/../../livez",
    ] {
        for method in [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
            Method::HEAD,
            Method::TRACE,
        ] {
            let answer = server.ask(method.clone(), path, None, &[]).await;
            assert_eq!(answer.status, 401, "{method} {path}");
        }
    }
    let methods = [Method::POST, Method::DELETE];
    for method in methods {
        let answer = server.ask(method, "/livez", None, &[]).await;
        assert!([401, 405].contains(&answer.status.as_u16()), "{answer:?}");
    }
}

#[tokio::test]
async fn without_tokens_a_web_page_reaches_nothing() {
    let server = Server::start().await;
    let call = json!({"task": "f"});
    for headers in [
        [("sec-fetch-site", "cross-site"), ("accept", "*/*")],
        [("origin", "http://evil.example"), ("accept", "*/*")],
        [("host", "evil.example"), ("accept", "*/*")],
    ] {
        let answer = server.ask(Method::POST, "/v1/tasks", Some(call.clone()), &headers).await;
        assert!([400, 403].contains(&answer.problem().0), "{headers:?}");
    }
    assert!(server.store.broker.queues().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_token_acts_for_its_own_tenant_only() {
    let server = Server::start().await;
    let acme = server.token(Some("acme"), &[Scope::TasksWrite]).await;
    let operator = server.token(None, &[Scope::TasksWrite]).await;
    let send = async |token: &str, query: &str| {
        let headers = [("authorization", &*format!("Bearer {token}"))];
        server.ask(Method::POST, &format!("/v1/tasks{query}"), Some(json!({"task": "f"})), &headers).await
    };
    assert_eq!(send(&acme, "").await.status, 202);
    assert_eq!(send(&acme, "?tenant=acme").await.status, 202);
    assert_eq!(send(&operator, "?tenant=acme").await.status, 202);
    let lengths = async |queue: &str| {
        server.store.broker.length(&crate::task::QueueName::new(queue).unwrap()).await.unwrap()
    };
    assert_eq!((lengths("acme/celery").await, lengths("celery").await), (3, 0));
    for other in ["?tenant=", "?tenant=other", "?tenant=never-was"] {
        assert_eq!(send(&acme, other).await.problem().1, "other-tenant");
    }
}

#[tokio::test]
async fn what_is_done_to_tokens_is_noted() {
    let server = Server::start().await;
    let made = server.post("/v1/tokens", json!({"tenant": null, "scopes": ["admin"], "label": "me"})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let (id, token) =
        (made.json()["id"].as_str().unwrap().to_owned(), made.json()["token"].as_str().unwrap().to_owned());
    tokio::time::sleep(super::super::access::FRESH).await;
    let ask = async |method, path: &str, body, token: &str| {
        server.ask(method, path, body, &[("authorization", &*format!("Bearer {token}"))]).await
    };
    assert_eq!(server.get("/v1/tokens").await.status, 401, "now one is needed");
    let listed = ask(Method::GET, "/v1/tokens", None, &token).await;
    assert_eq!(listed.json()["tokens"][0]["id"], id.as_str());
    assert!(!String::from_utf8(listed.body).unwrap().contains("sha256"));
    let rotated =
        ask(Method::POST, &format!("/v1/tokens/{id}/rotate"), Some(json!({"overlap": 0})), &token).await;
    let second = rotated.json()["token"].as_str().unwrap().to_owned();
    tokio::time::sleep(super::super::access::FRESH).await;
    assert_eq!(ask(Method::GET, "/v1/tokens", None, &token).await.status, 401);
    assert_eq!(ask(Method::DELETE, &format!("/v1/tokens/{id}"), None, &second).await.status, 204);
    tokio::time::sleep(super::super::access::FRESH).await;
    assert_eq!(ask(Method::GET, "/v1/tokens", None, &second).await.status, 401);
    assert_eq!(
        server.get("/v1/tokens").await.status,
        401,
        "without tokens it was open before, and is not again"
    );
    let noted: Vec<_> = server
        .store
        .records
        .entries(None, 0, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| (entry.actor, entry.action))
        .collect();
    let expected = [("token.revoke", true), ("token.rotate", true), ("token.create", false)];
    for ((actor, action), (expected, by_token)) in noted.iter().zip(expected) {
        assert_eq!((action.as_str(), *actor == format!("token {id}")), (expected, by_token));
    }
    assert_eq!(noted.len(), 3);
}
