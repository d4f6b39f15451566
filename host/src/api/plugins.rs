//! Uploaded plugins: new versions, and which of them runs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::{IntoParams, ToSchema};

use super::{
    App,
    access::Caller,
    input::{self, JsonBody, Parameters},
    problem::Problem,
    tasks::Whose,
};
use crate::{
    task::Tenant,
    uploads::{Live, Upload, UploadError, UploadErrorKind, Uploaded, Uploads, Version},
};

/// The most bytes of an upload as it is, and as JSON, where the code is written in base64.
const LARGEST: usize = 33 << 20;
const LARGEST_JSON: usize = 45 << 20;

/// The most uploads at once, and the most of one tenant: each is in memory as a whole, and is compiled.
const MOST: usize = 16;
const MOST_OF_TENANT: usize = 2;

/// Who may upload now.
pub struct Gate {
    all: Arc<Semaphore>,
    tenants: Arc<Mutex<HashMap<Tenant, usize>>>,
}

/// A place in the gate, which is left when this is dropped.
struct Entered {
    tenant: Tenant,
    tenants: Arc<Mutex<HashMap<Tenant, usize>>>,
    _place: OwnedSemaphorePermit,
}

impl Default for Gate {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(MOST)), tenants: Arc::default() }
    }
}

impl Gate {
    fn enter(&self, tenant: &Tenant) -> Result<Entered, Problem> {
        let busy = || {
            let detail =
                format!("there are {MOST} uploads at once, {MOST_OF_TENANT} of one tenant; try again");
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-uploads", detail)
        };
        let place = self.all.clone().try_acquire_owned().map_err(|_| busy())?;
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let own = tenants.entry(tenant.clone()).or_default();
        if *own >= MOST_OF_TENANT {
            return Err(busy());
        }
        *own += 1;
        Ok(Entered { tenant: tenant.clone(), tenants: self.tenants.clone(), _place: place })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = tenants.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                tenants.remove(&self.tenant);
            }
        }
    }
}

/// The plugins that a tenant has uploaded
#[derive(Debug, Serialize, ToSchema)]
pub struct PluginList {
    /// By their names
    plugins: Vec<ShownPlugin>,
}

/// A plugin and its versions
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownPlugin {
    /// What it is called
    name: String,
    /// The digest of the version that runs
    active: Option<String>,
    /// The digest of the version to which a roll back leads
    before: Option<String>,
    /// The version on trial
    canary: Option<ShownCanary>,
    /// The version that was pushed last first
    versions: Vec<ShownVersion>,
}

/// A version on trial
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownCanary {
    digest: String,
    /// So many calls of a hundred go to it
    share: u8,
    /// Since when
    since: String,
}

/// A version of a plugin
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownVersion {
    /// Names it
    digest: String,
    /// The SHA-256 of its code
    code: String,
    /// The bytes of its code
    size: u64,
    /// When it was pushed
    at: String,
    /// By whom
    by: String,
    /// The public key that has signed it
    key: Option<String>,
    /// What it asks for and was not granted: it is not run before an admin has approved it
    held: Option<Vec<String>>,
    /// It was a canary and was rolled back
    failed: bool,
}

/// A plugin, and what one of its versions is made of
#[derive(Debug, Serialize, ToSchema)]
pub struct WholePlugin {
    #[serde(flatten)]
    plugin: ShownPlugin,
    /// The version that is told of: its digest, tasks with their signatures, what is no task, what it may use of the host, and its manifest
    #[schema(value_type = std::collections::HashMap<String, serde_json::Value>)]
    shown: Value,
}

/// What became of an upload
#[derive(Debug, Serialize, ToSchema)]
pub struct Pushed {
    /// The digest of the version
    digest: String,
    /// A line for each thing that it changes beside the active version
    changes: Vec<String>,
    /// What it asks for and was not granted: it is held until an admin has approved it
    held: Vec<String>,
    /// The plugin as it is now; not there if this was only a look
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<ShownPlugin>,
}

/// An upload as JSON
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVersion {
    /// The `.wasm` file, in base64
    wasm: String,
    /// The manifest beside it, as TOML
    manifest: Option<String>,
    /// The signature of both, as `host plugin sign` prints it
    signature: Option<String>,
}

/// How a version is uploaded.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PushQuery {
    /// The tenant; for the operator's tokens
    tenant: Option<String>,
    /// What becomes of it: it is run at once, takes a share of the calls, is only stored, or is only looked at
    #[serde(default)]
    #[param(inline)]
    then: Then,
    /// Of `then=canary`: so many calls of a hundred go to it
    #[param(minimum = 1, maximum = 99)]
    share: Option<u8>,
    /// Of a body that is the `.wasm` file itself: its signature
    signature: Option<String>,
}

/// What becomes of an upload
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Then {
    /// It is run at once
    #[default]
    Active,
    /// It takes a share of the calls
    Canary,
    /// It is stored
    Stored,
    /// It is looked at, and nothing is changed
    Look,
}

/// Which version is meant
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// Its digest, or the beginning of it
    version: String,
}

/// Which version goes on trial
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Its digest, or the beginning of it
    version: String,
    /// So many calls of a hundred go to it
    #[schema(minimum = 1, maximum = 99)]
    share: u8,
}

/// Which plugin or version is asked about.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VersionQuery {
    /// The tenant; for the operator's tokens
    tenant: Option<String>,
    /// The version, by its digest or the beginning of it
    version: Option<String>,
}

fn shown(name: &str, uploaded: Uploaded) -> ShownPlugin {
    let canary = uploaded.canary.map(|canary| ShownCanary {
        digest: canary.digest,
        share: canary.share,
        since: canary.since.to_string(),
    });
    let version = |version: Version| ShownVersion {
        digest: version.digest,
        code: version.code,
        size: version.size,
        at: version.at.to_string(),
        by: version.by,
        key: version.key,
        held: version.held.map(|held| held.asks),
        failed: version.failed,
    };
    ShownPlugin {
        name: name.to_owned(),
        active: uploaded.active,
        before: uploaded.before,
        canary,
        versions: uploaded.versions.into_iter().map(version).collect(),
    }
}

/// List uploaded plugins
#[utoipa::path(get, path = "/v1/plugins", tag = "plugins", security(("token" = ["plugins:read"])), params(Whose), responses((status = OK, body = PluginList)))]
pub async fn list_plugins(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(whose): Parameters<Whose>,
) -> Result<Json<PluginList>, Problem> {
    let tenant = caller.tenant(whose.tenant.as_deref())?;
    let plugins = app.uploads.list(&tenant).await?;
    Ok(Json(PluginList {
        plugins: plugins.into_iter().map(|(name, uploaded)| shown(&name, uploaded)).collect(),
    }))
}

/// Show a plugin
///
/// With the tasks and signatures of one version: the one that is named, else the active one, else the newest.
#[utoipa::path(get, path = "/v1/plugins/{name}", tag = "plugins", security(("token" = ["plugins:read"])), params(VersionQuery, ("name" = String, Path, description = "The plugin")), responses((status = OK, body = WholePlugin)))]
pub async fn show_plugin(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Parameters(query): Parameters<VersionQuery>,
) -> Result<Json<WholePlugin>, Problem> {
    let tenant = caller.tenant(query.tenant.as_deref())?;
    let uploaded = app.uploads.show(&tenant, &name).await?;
    let newest = || uploaded.versions.first().map(|version| version.digest.as_str());
    let asked = query.version.as_deref().or(uploaded.active.as_deref()).or_else(newest).unwrap_or_default();
    let digest = uploaded.version(asked)?.digest.clone();
    let facts = app.uploads.facts(&tenant, &name, &digest).await?;
    Ok(Json(WholePlugin { plugin: shown(&name, uploaded), shown: json!({"digest": digest, "facts": facts}) }))
}

/// Upload a version of a plugin
///
/// The body is the `.wasm` file (`application/wasm`), or JSON with a manifest beside it. It is compiled, and what it changes beside the active
/// version is told; `then` says what becomes of it. All workers have it within two seconds. What asks for more than was granted is held until an
/// admin approves it.
#[utoipa::path(
    post, path = "/v1/plugins/{name}", tag = "plugins", security(("token" = ["plugins:write"])),
    params(PushQuery, ("name" = String, Path, description = "The plugin: `app` offers `app.divide`")),
    request_body(content((String = "application/wasm"), (NewVersion = "application/json"))),
    responses((status = OK, body = Pushed)),
)]
pub async fn push_plugin(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Parameters(query): Parameters<PushQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Pushed>, Problem> {
    let tenant = caller.tenant(query.tenant.as_deref())?;
    let live = match (query.then, query.share) {
        (Then::Canary, Some(share @ 1..=99)) => Live::Canary(share),
        (Then::Canary, _) => return Err(Problem::invalid("share", "a share is 1 to 99 calls of a hundred")),
        (Then::Active, _) => Live::Active,
        (Then::Stored | Then::Look, _) => Live::Stored,
    };
    let Some(sandbox) = &app.sandbox else {
        let detail = "this server takes no uploads: it cannot compile them";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-sandbox", detail));
    };
    let _entered = app.gate.enter(&tenant)?;
    let (wasm, manifest, signature) = read(&headers, body, query.signature).await?;
    let upload = Upload { tenant, plugin: name.clone(), wasm, manifest, signature };
    let tenant = upload.tenant.clone();
    let prepared = app.uploads.prepare(sandbox, upload).await?;
    let before = match app.uploads.show(&tenant, &name).await {
        Err(error) if error.kind() == UploadErrorKind::NotFound => Uploaded::default(),
        before => before?,
    };
    let (digest, changes) = (prepared.digest().to_owned(), prepared.diff().lines());
    if query.then == Then::Look {
        return Ok(Json(Pushed { digest, changes, held: prepared.asks(&before), plugin: None }));
    }
    let uploaded = app.uploads.push(&prepared, live, &caller.actor).await?;
    let held = uploaded.version(&digest)?.held.as_ref().map(|held| held.asks.clone()).unwrap_or_default();
    Ok(Json(Pushed { digest, changes, held, plugin: Some(shown(&name, uploaded)) }))
}

type Parts = (Bytes, Option<String>, Option<String>);

async fn read(headers: &HeaderMap, body: Body, signature: Option<String>) -> Result<Parts, Problem> {
    if input::is(headers, "application/wasm") {
        return Ok((input::upload(body, LARGEST).await?, None, signature));
    }
    if !input::is(headers, "application/json") {
        let problem = Problem::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        return Err(Problem {
            detail: "send `Content-Type: application/wasm` or `application/json`".to_owned(),
            ..problem
        });
    }
    let new: NewVersion = input::json(&input::upload(body, LARGEST_JSON).await?)?;
    let wasm = BASE64_STANDARD.decode(&new.wasm).map_err(|_| Problem::invalid("wasm", "it is no base64"))?;
    Ok((wasm.into(), new.manifest, new.signature))
}

/// Have all calls go to a version
#[utoipa::path(post, path = "/v1/plugins/{name}/activate", tag = "plugins", security(("token" = ["plugins:write"])), params(Whose, ("name" = String, Path, description = "The plugin")), request_body = Chosen, responses((status = OK, body = ShownPlugin)))]
pub async fn activate(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Parameters(whose): Parameters<Whose>,
    JsonBody { value, .. }: JsonBody<Chosen, 1024>,
) -> Result<Json<ShownPlugin>, Problem> {
    let tenant = caller.tenant(whose.tenant.as_deref())?;
    let uploaded = app.uploads.activate(&tenant, &name, &value.version, &caller.actor).await?;
    Ok(Json(shown(&name, uploaded)))
}

/// Have all calls go to the version that was active before
#[utoipa::path(post, path = "/v1/plugins/{name}/rollback", tag = "plugins", security(("token" = ["plugins:write"])), params(Whose, ("name" = String, Path, description = "The plugin")), responses((status = OK, body = ShownPlugin)))]
pub async fn roll_back(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Parameters(whose): Parameters<Whose>,
) -> Result<Json<ShownPlugin>, Problem> {
    let tenant = caller.tenant(whose.tenant.as_deref())?;
    let uploaded = app.uploads.roll_back(&tenant, &name, &caller.actor).await?;
    Ok(Json(shown(&name, uploaded)))
}

/// Put a version on trial
///
/// It takes a share of the calls, and goes by itself if it fails more often than the active version.
#[utoipa::path(post, path = "/v1/plugins/{name}/canary", tag = "plugins", security(("token" = ["plugins:write"])), params(Whose, ("name" = String, Path, description = "The plugin")), request_body = Trial, responses((status = OK, body = ShownPlugin)))]
pub async fn start_canary(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Parameters(whose): Parameters<Whose>,
    JsonBody { value, .. }: JsonBody<Trial, 1024>,
) -> Result<Json<ShownPlugin>, Problem> {
    let tenant = caller.tenant(whose.tenant.as_deref())?;
    let uploads: &Uploads = &app.uploads;
    let uploaded = uploads.start_canary(&tenant, &name, &value.version, value.share, &caller.actor).await?;
    Ok(Json(shown(&name, uploaded)))
}

/// End the trial: no more calls go to it
#[utoipa::path(delete, path = "/v1/plugins/{name}/canary", tag = "plugins", security(("token" = ["plugins:write"])), params(Whose, ("name" = String, Path, description = "The plugin")), responses((status = OK, body = ShownPlugin)))]
pub async fn stop_canary(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Parameters(whose): Parameters<Whose>,
) -> Result<Json<ShownPlugin>, Problem> {
    let tenant = caller.tenant(whose.tenant.as_deref())?;
    let uploaded = app.uploads.stop_canary(&tenant, &name, &caller.actor).await?;
    Ok(Json(shown(&name, uploaded)))
}

/// End the trial: all calls go to it
#[utoipa::path(post, path = "/v1/plugins/{name}/canary/promote", tag = "plugins", security(("token" = ["plugins:write"])), params(Whose, ("name" = String, Path, description = "The plugin")), responses((status = OK, body = ShownPlugin)))]
pub async fn promote_canary(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Parameters(whose): Parameters<Whose>,
) -> Result<Json<ShownPlugin>, Problem> {
    let tenant = caller.tenant(whose.tenant.as_deref())?;
    let uploaded = app.uploads.promote_canary(&tenant, &name, &caller.actor).await?;
    Ok(Json(shown(&name, uploaded)))
}

/// Approve a version that asks for more than was granted
#[utoipa::path(post, path = "/v1/plugins/{name}/approve", tag = "plugins", security(("token" = ["admin"])), params(Whose, ("name" = String, Path, description = "The plugin")), request_body = Chosen, responses((status = OK, body = ShownPlugin)))]
pub async fn approve(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Parameters(whose): Parameters<Whose>,
    JsonBody { value, .. }: JsonBody<Chosen, 1024>,
) -> Result<Json<ShownPlugin>, Problem> {
    let tenant = caller.tenant(whose.tenant.as_deref())?;
    let uploaded = app.uploads.approve(&tenant, &name, &value.version, &caller.actor).await?;
    Ok(Json(shown(&name, uploaded)))
}

/// Remove a plugin with all its versions, or one version that does not run
#[utoipa::path(delete, path = "/v1/plugins/{name}", tag = "plugins", security(("token" = ["plugins:write"])), params(VersionQuery, ("name" = String, Path, description = "The plugin")), responses((status = NO_CONTENT)))]
pub async fn remove_plugin(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Parameters(query): Parameters<VersionQuery>,
) -> Result<StatusCode, Problem> {
    let tenant = caller.tenant(query.tenant.as_deref())?;
    match query.version {
        Some(version) => drop(app.uploads.remove_version(&tenant, &name, &version, &caller.actor).await?),
        None => app.uploads.remove(&tenant, &name, &caller.actor).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        let (status, kind) = match error.kind() {
            UploadErrorKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-upload"),
            UploadErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            UploadErrorKind::Quota => (StatusCode::TOO_MANY_REQUESTS, "quota"),
            UploadErrorKind::Conflict => (StatusCode::CONFLICT, "conflict"),
            UploadErrorKind::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            UploadErrorKind::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            UploadErrorKind::Unavailable | UploadErrorKind::Internal => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a request over HTTP could not be done"
                );
                return Self::of_status(match error.kind() {
                    UploadErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                });
            }
        };
        Self::new(status, kind, error.to_string())
    }
}
