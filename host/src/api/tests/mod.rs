//! The routes, on a store of their own, without a network.

mod access;
mod admin;
mod plugins;
mod tasks;

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode},
};
use http_body_util::BodyExt;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

use super::{Api, Options};
use crate::{
    api::tokens::{self, Wanted},
    sandbox::Sandbox,
    store::{self, Store},
    task::Tenant,
    tenant::Scope,
};

/// A server on an empty store.
struct Server {
    store: Store,
    api: Api,
    _folder: tempfile::TempDir,
}

/// What was answered.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Vec<u8>,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(Options { open: true, ..Options::default() }).await
    }

    async fn start_with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store").display());
        let store = Store::open(&url, None, store::Options::default()).await.unwrap();
        let api = Api::new(store.clone(), None, Some(sandbox()), options);
        Self { store, api, _folder: folder }
    }

    /// Makes a token; `None`: the operator's.
    async fn token(&self, tenant: Option<&str>, scopes: &[Scope]) -> String {
        let tenant =
            tenant.map(|name| if name.is_empty() { Tenant::DEFAULT } else { Tenant::new(name).unwrap() });
        let scopes = scopes.iter().copied().collect();
        let wanted = Wanted { tenant, scopes, label: "test".to_owned(), expires: None };
        let (_, secret) = tokens::create(&*self.store.records, wanted, "test").await.unwrap();
        tokio::time::sleep(super::access::FRESH).await;
        secret.text
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let service = TowerToHyperService::new(self.router());
        let response = hyper::service::Service::call(&service, request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: head.status, headers: head.headers, body }
    }

    fn router(&self) -> Router {
        self.api.router()
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None, &[]).await
    }

    /// The same, begun a moment later than what it is joined with.
    async fn get_later(&self, path: &str) -> Answer {
        tokio::task::yield_now().await;
        self.get(path).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body), &[]).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }
}

/// One for all tests of the process: it reserves much address space.
fn sandbox() -> Arc<Sandbox> {
    static SANDBOX: LazyLock<Arc<Sandbox>> = LazyLock::new(|| {
        let options = crate::sandbox::Options { slots: 1, ..Default::default() };
        Arc::new(Sandbox::new(options).unwrap())
    });
    SANDBOX.clone()
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The kind of problem, and the parameter that it is about.
    #[track_caller]
    fn problem(&self) -> (u16, String, Option<String>) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        let kind = problem["type"].as_str().unwrap().strip_prefix("urn:host:problem:").unwrap();
        (self.status.as_u16(), kind.to_owned(), problem["parameter"].as_str().map(str::to_owned))
    }
}
