//! Who did what.

use std::sync::Arc;

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{App, access::Caller, input::Parameters, page, problem::Problem};
use crate::{store::Entry, task::Tenant};

/// Which deeds are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// The tenant; for the operator's tokens, which see all tenants' if none is named
    tenant: Option<String>,
    /// At most so many
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the answer before
    cursor: Option<String>,
}

/// Who did what, the newest first
#[derive(Debug, Serialize, ToSchema)]
pub struct Audit {
    entries: Vec<Deed>,
    /// Where to go on, if there may be more
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What somebody did
#[derive(Debug, Serialize, ToSchema)]
pub struct Deed {
    /// When
    at: String,
    /// Who: a token's id, or the user and machine of a command line
    actor: String,
    /// What: `plugin.activate`
    action: String,
    /// Whose it is; the default tenant is the empty text
    tenant: String,
    /// Of what: a plugin's name, a token's id
    subject: String,
    /// The digest of the code that it concerns
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// What else there is to say of it
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// List who did what
#[utoipa::path(get, path = "/v1/audit", tag = "admin", security(("token" = ["audit:read"])), params(AuditQuery), responses((status = OK, body = Audit)))]
pub async fn list_audit(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(query): Parameters<AuditQuery>,
) -> Result<Json<Audit>, Problem> {
    let tenant = caller.tenant_or_all(query.tenant.as_deref())?;
    let (skip, most) = page::bounds(query.cursor.as_deref(), query.limit)?;
    let entries = app.store.records.entries(tenant.as_ref(), skip, most).await?;
    let next = (entries.len() == most).then(|| (skip + most).to_string());
    let deed = |entry: Entry| Deed {
        at: entry.at.to_string(),
        actor: entry.actor,
        action: entry.action,
        tenant: entry.tenant.name().unwrap_or_default().to_owned(),
        subject: entry.subject,
        digest: entry.digest,
        detail: entry.detail,
    };
    Ok(Json(Audit { entries: entries.into_iter().map(deed).collect(), next }))
}

/// What this caller does, to be noted.
pub fn entry(caller: &Caller, action: &str, tenant: &Tenant, subject: &str, detail: Option<String>) -> Entry {
    Entry {
        at: Timestamp::now(),
        actor: caller.actor.clone(),
        action: action.to_owned(),
        tenant: tenant.clone(),
        subject: subject.to_owned(),
        digest: None,
        detail,
    }
}
