//! The HTTP API: sends tasks, tells what becomes of them, and looks after the installation. `docs/api.md` is its manual, and
//! `/openapi.json` its contract, made out of the handlers.
//!
//! # Layout
//!
//! - `server` listens, `guard` looks at heads, `access` asks for tokens, `input` reads bodies, `problem` says no.
//! - `document` is the OpenAPI document; what it says a route asks for is what `access` asks for.
//! - The rest are the routes, a file for each kind of thing; [`router`] names them all.
//!
//! # What always holds
//!
//! - Every answer that is an error is a problem document, and tells nothing of the inside or of another tenant.
//! - Whose something is comes from the token, and from nothing else in the request.
//! - What changes something for others is noted in the audit, in the same step.
//! - Everything has a bound: heads, bodies, lists, waits, connections, streams.

mod access;
mod audit;
mod dead_letters;
mod document;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod health;
mod input;
mod metrics;
mod page;
mod parked;
mod plugins;
mod problem;
mod queues;
mod quotas;
mod server;
mod tasks;
pub mod tenants;
#[cfg(test)]
mod tests;
pub mod tokens;
mod workers;

use std::{sync::Arc, time::Duration};

use axum::{Json, Router, middleware};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    access::{Access, Rules, admit},
    metrics::Requests,
    problem::Problem,
    quotas::Quotas,
};
use crate::{
    client::{Client, Control},
    plugin::Registry,
    sandbox::Sandbox,
    store::{Store, StoreError},
    uploads::Uploads,
};

pub use server::serve;

/// What is to be served, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether whoever asks is the operator for as long as no token was made. Only for a port that nobody else can reach.
    pub open: bool,
    /// Names by which the server is asked, beside addresses and `localhost`.
    pub names: Vec<String>,
    /// Whether only tasks are taken that a plugin offers. If not, others are taken as well: Python workers may run them.
    pub strict: bool,
    /// The longest wait for a result; who asks for longer is answered then.
    pub longest_wait: Duration,
}

impl Default for Options {
    /// Closed, and with waits of a minute: most of what stands between a client and a server cuts longer ones off.
    fn default() -> Self {
        Self { open: false, names: Vec::new(), strict: false, longest_wait: Duration::from_secs(60) }
    }
}

/// The API of one store.
pub struct Api {
    router: Router,
    access: Arc<Access>,
    ending: CancellationToken,
}

/// What the handlers share.
struct App {
    store: Store,
    client: Client,
    control: Control,
    /// The tasks whose signatures are known.
    tasks: Option<Arc<Registry>>,
    uploads: Uploads,
    /// Where uploads are compiled, if they are taken.
    sandbox: Option<Arc<Sandbox>>,
    gate: plugins::Gate,
    options: Options,
    quotas: Quotas,
    requests: Requests,
    /// A permit for each stream of events.
    streams: Arc<Semaphore>,
    /// Whoever waits ends their wait when the server ends.
    ending: CancellationToken,
}

/// The most streams of events at once.
const MOST_STREAMS: usize = 100;

/// The longest that a request may take, but for its body and for what it streams. Longer than the longest wait for a result.
const LONGEST_REQUEST: Duration = Duration::from_secs(90);

impl Api {
    /// Serves this store. `tasks` are those whose arguments are checked; `sandbox` is where uploads are compiled, if they are to
    /// be taken.
    pub fn new(
        store: Store,
        tasks: Option<Arc<Registry>>,
        sandbox: Option<Arc<Sandbox>>,
        options: Options,
    ) -> Self {
        let ending = CancellationToken::new();
        let (routes, document) = router().split_for_parts();
        let document = document::finish(document);
        let document = serde_json::to_value(document).expect("the document is made of texts");
        let rules = Rules::read(&document);
        let access = Arc::new(Access::new(store.records.clone(), rules, &options));
        let requests = Requests::default();
        let app = App {
            client: Client::new(store.clone()),
            control: Control::new(store.clone()),
            quotas: Quotas::new(store.records.clone(), store.broker.clone()),
            requests: requests.clone(),
            uploads: Uploads::new(&store),
            store,
            tasks,
            sandbox,
            gate: plugins::Gate::default(),
            options,
            streams: Arc::new(Semaphore::new(MOST_STREAMS)),
            ending: ending.clone(),
        };
        let document = Arc::new(document);
        let router = routes
            .route("/openapi.json", axum::routing::get(async move || Json(document.clone())))
            .fallback(async || Problem::not_found())
            .with_state(Arc::new(app))
            .layer(middleware::from_fn_with_state(access.clone(), admit))
            .layer(TimeoutLayer::with_status_code(axum::http::StatusCode::REQUEST_TIMEOUT, LONGEST_REQUEST))
            .layer(CatchPanicLayer::new())
            .layer(middleware::from_fn(guard::stand_guard))
            .layer(middleware::from_fn_with_state(requests, Requests::count));
        Self { router, access, ending }
    }

    /// Whether requests need a token: one was made.
    pub async fn wants_tokens(&self) -> Result<bool, StoreError> {
        self.access.wants_tokens().await
    }

    /// The routes.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Ends all waits and streams.
    pub fn end(&self) {
        self.ending.cancel();
    }
}

/// All routes.
fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(document::Beginning::openapi())
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(tasks::submit::submit, tasks::list::list))
        .routes(routes!(tasks::batch::submit_batch))
        .routes(routes!(tasks::status::status))
        .routes(routes!(tasks::events::events))
        .routes(routes!(tasks::revoke::revoke))
        .routes(routes!(plugins::list_plugins))
        .routes(routes!(plugins::show_plugin, plugins::push_plugin, plugins::remove_plugin))
        .routes(routes!(plugins::activate))
        .routes(routes!(plugins::roll_back))
        .routes(routes!(plugins::start_canary, plugins::stop_canary))
        .routes(routes!(plugins::promote_canary))
        .routes(routes!(plugins::approve))
        .routes(routes!(queues::list_queues))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(queues::purge))
        .routes(routes!(dead_letters::list_dead_letters))
        .routes(routes!(dead_letters::show_dead_letter, dead_letters::drop_dead_letter))
        .routes(routes!(dead_letters::replay_dead_letter))
        .routes(routes!(parked::list_parked))
        .routes(routes!(parked::release_parked))
        .routes(routes!(workers::list_workers))
        .routes(routes!(audit::list_audit))
        .routes(routes!(metrics::metrics))
        .routes(routes!(tenants::list_tenants))
        .routes(routes!(tenants::show_tenant, tenants::set_tenant, tenants::remove_tenant))
        .routes(routes!(tokens::list_tokens, tokens::create_token))
        .routes(routes!(tokens::rotate_token))
        .routes(routes!(tokens::revoke_token))
}
