//! Uploaded plugins: their versions, who may choose among them, and what is no plugin.

use axum::{
    body::Body,
    http::{Method, Request},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use super::{Answer, Server};
use crate::tenant::Scope;

/// A plugin whose only task takes so many numbers.
fn plugin(params: usize) -> Vec<u8> {
    let params = "(param f64)".repeat(params);
    wat::parse_str(format!(r#"(module (func (export "divide") {params} (result f64) f64.const 1))"#)).unwrap()
}

async fn push(server: &Server, path: &str, wasm: Vec<u8>, token: &str) -> Answer {
    let request = Request::post(path).header("host", "localhost").header("content-type", "application/wasm");
    let request =
        if token.is_empty() { request } else { request.header("authorization", format!("Bearer {token}")) };
    server.send(request.body(Body::from(wasm)).unwrap()).await
}

#[tokio::test]
async fn versions_are_uploaded_chosen_and_removed() {
    let server = Server::start().await;
    let look = push(&server, "/v1/plugins/app?then=look", plugin(1), "").await;
    assert_eq!(look.status, 200, "{look:?}");
    assert!(look.json()["changes"][0].as_str().unwrap().contains("app.divide"), "{look:?}");
    assert_eq!(server.get("/v1/plugins").await.json(), json!({"plugins": []}), "a look changes nothing");

    let first = push(&server, "/v1/plugins/app", plugin(1), "").await.json();
    let (one, shown) = (first["digest"].as_str().unwrap().to_owned(), &first["plugin"]);
    assert_eq!(
        (&shown["active"], &shown["versions"][0]["by"]),
        (&json!(one), &json!("anonymous")),
        "{first}"
    );
    let second = json!({"wasm": BASE64_STANDARD.encode(plugin(2)), "manifest": "time_limit = 5"});
    let second = server.post("/v1/plugins/app?then=stored", second).await.json();
    let two = second["digest"].as_str().unwrap().to_owned();
    assert_eq!(second["plugin"]["active"], json!(one), "{second}");

    let whole = server.get(&format!("/v1/plugins/app?version={}", &two[..8])).await.json();
    assert_eq!(whole["shown"]["facts"]["manifest"], "time_limit = 5", "{whole}");
    assert!(whole["shown"]["facts"]["tasks"][0].as_str().unwrap().starts_with("app.divide("), "{whole}");
    let activated = server.post("/v1/plugins/app/activate", json!({"version": &two[..8]})).await.json();
    assert_eq!((&activated["active"], &activated["before"]), (&json!(two), &json!(one)));
    let back = server.ask(Method::POST, "/v1/plugins/app/rollback", None, &[]).await.json();
    assert_eq!(back["active"], json!(one));
    let trial = server.post("/v1/plugins/app/canary", json!({"version": two, "share": 10})).await.json();
    assert_eq!(trial["canary"]["share"], 10, "{trial}");
    let ended = server.ask(Method::DELETE, "/v1/plugins/app/canary", None, &[]).await.json();
    assert_eq!(ended["canary"], json!(null));
    assert_eq!(server.ask(Method::POST, "/v1/plugins/app/canary/promote", None, &[]).await.problem().0, 409);
    let removed = server.ask(Method::DELETE, &format!("/v1/plugins/app?version={two}"), None, &[]).await;
    assert_eq!(removed.status, 204, "{removed:?}");
    assert_eq!(server.ask(Method::DELETE, "/v1/plugins/app", None, &[]).await.status, 204);
    assert_eq!(server.get("/v1/plugins/app").await.problem().0, 404);
    let audit = server.get("/v1/audit").await.json();
    let actions: Vec<_> =
        audit["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert!(actions.contains(&"plugin.push") && actions.contains(&"plugin.remove"), "{actions:?}");
}

#[tokio::test]
async fn what_is_no_plugin_is_refused() {
    let server = Server::start().await;
    for (path, wasm, status) in [
        ("/v1/plugins/app", b"nonsense".to_vec(), 422),
        ("/v1/plugins/app", Vec::new(), 422),
        ("/v1/plugins/..", plugin(1), 422),
        ("/v1/plugins/a%2Fb", plugin(1), 422),
        ("/v1/plugins/app?then=canary", plugin(1), 422),
        ("/v1/plugins/app?then=canary&share=100", plugin(1), 422),
        ("/v1/plugins/app?then=never", plugin(1), 400),
    ] {
        assert_eq!(push(&server, path, wasm, "").await.problem().0, status, "{path}");
    }
    for body in [json!({"wasm": "?"}), json!({}), json!({"wasm": "", "nonsense": 1})] {
        assert_eq!(server.post("/v1/plugins/app", body.clone()).await.problem().0, 422, "{body}");
    }
    let plain =
        Request::post("/v1/plugins/app").header("host", "localhost").header("content-type", "text/plain");
    assert_eq!(server.send(plain.body(Body::from(plugin(1))).unwrap()).await.problem().0, 415);
    assert_eq!(server.get("/v1/plugins").await.json(), json!({"plugins": []}));
}

#[tokio::test]
async fn the_plugins_of_another_tenant_are_not_there() {
    let server = Server::start().await;
    let scopes = [Scope::PluginsRead, Scope::PluginsWrite];
    let acme = server.token(Some("acme"), &scopes).await;
    let other = server.token(Some("other"), &scopes).await;
    assert_eq!(push(&server, "/v1/plugins/app", plugin(1), &acme).await.status, 200);
    let ask = async |token: &str, method: Method, path: &str| {
        server.ask(method, path, None, &[("authorization", &*format!("Bearer {token}"))]).await
    };
    assert_eq!(ask(&acme, Method::GET, "/v1/plugins").await.json()["plugins"][0]["name"], "app");
    assert_eq!(ask(&other, Method::GET, "/v1/plugins").await.json(), json!({"plugins": []}));
    for (method, path) in [
        (Method::GET, "/v1/plugins/app"),
        (Method::DELETE, "/v1/plugins/app"),
        (Method::POST, "/v1/plugins/app/rollback"),
    ] {
        let theirs = ask(&other, method.clone(), path).await;
        let nobodys = ask(&other, method, &path.replace("app", "none")).await;
        assert_eq!(theirs.status, 404, "{path}");
        assert_eq!(
            theirs.json()["detail"].as_str().map(|text| text.replace("app", "none")),
            nobodys.json()["detail"].as_str().map(str::to_owned)
        );
    }
    let digest = "a".repeat(64);
    let body = Some(json!({"version": digest}));
    let approved = server
        .ask(Method::POST, "/v1/plugins/app/approve", body, &[("authorization", &*format!("Bearer {acme}"))])
        .await;
    assert_eq!(approved.problem().1, "scope-missing", "a tenant cannot approve its own");
}
