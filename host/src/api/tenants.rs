//! What is set for tenants. The command line does it by the same functions.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use utoipa::ToSchema;

use super::{App, access::Caller, input::JsonBody, problem::Problem, tokens};
use crate::{
    store::{Change, Entry, Record, Records, Store, StoreError, Table},
    task::Tenant,
    tenant::{InvalidRecord, TenantRecord},
};

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There can be no such record.
    #[error(transparent)]
    Invalid(#[from] InvalidRecord),
    /// Others change it all the time.
    #[error("the tenant is changed by somebody else; try again")]
    Busy,
}

/// How often a change is tried that somebody else's comes before.
const TRIES: usize = 5;

/// What is set for a tenant, if anything is.
pub async fn find(records: &dyn Records, tenant: &Tenant) -> Result<Option<TenantRecord>, TenantError> {
    let record = records.record(Table::Tenants, TenantRecord::key(tenant)).await?;
    Ok(record.map(|record| TenantRecord::parse(tenant, &record.value)).transpose()?)
}

/// All tenants for which something is set. A record that cannot be read is passed over.
pub async fn all(records: &dyn Records) -> Result<Vec<(Tenant, TenantRecord)>, TenantError> {
    let (_, records) = records.records(Table::Tenants).await?;
    let read = |record: &Record| {
        let tenant = TenantRecord::tenant(&record.key)?;
        let read = TenantRecord::parse(&tenant, &record.value).ok()?;
        Some((tenant, read))
    };
    Ok(records.iter().filter_map(read).collect())
}

/// Sets for a tenant what this text says, which is written like a record; the rest stays.
pub async fn set(
    records: &dyn Records,
    tenant: &Tenant,
    text: &str,
    actor: &str,
) -> Result<TenantRecord, TenantError> {
    for _ in 0..TRIES {
        let stored = records.record(Table::Tenants, TenantRecord::key(tenant)).await?;
        // One that cannot be read is begun anew.
        let before = stored.as_ref().and_then(|stored| TenantRecord::parse(tenant, &stored.value).ok());
        let record = before.unwrap_or_else(|| TenantRecord::unset(tenant)).changed(tenant, text)?;
        let change = Change {
            table: Table::Tenants,
            key: TenantRecord::key(tenant).to_owned(),
            was: stored.map(|stored| stored.revision),
            value: Some(record.to_json()),
        };
        let entry = entry(actor, "tenant.set", tenant, Some(record.to_json()));
        if records.change(&[change], &entry).await?.is_some() {
            return Ok(record);
        }
    }
    Err(TenantError::Busy)
}

/// Forgets a tenant: what is set for it, its secrets, what it has uploaded, and the entries that its guests keep; and revokes its
/// tokens. Who gets its name later finds nothing of it. Of the default tenant, which does not go, only what is set is forgotten and
/// its tokens are revoked. Answers whether there was anything.
pub async fn remove(store: &Store, tenant: &Tenant, actor: &str) -> Result<bool, TenantError> {
    let removed = remove_records(&*store.records, tenant, actor).await?;
    if !tenant.is_default() {
        // Once nothing is granted to it any more; and again if it was removed before and this was not done then.
        store.keyvalue.keyvalue_forget(tenant).await?;
    }
    Ok(removed)
}

async fn remove_records(records: &dyn Records, tenant: &Tenant, actor: &str) -> Result<bool, TenantError> {
    for _ in 0..TRIES {
        let stored = records.record(Table::Tenants, TenantRecord::key(tenant)).await?;
        let forget = stored.map(|stored| Change {
            table: Table::Tenants,
            key: stored.key,
            was: Some(stored.revision),
            value: None,
        });
        let mut changes: Vec<_> = forget.into_iter().collect();
        changes.extend(tokens::revocations(records, tenant).await?);
        changes.extend(removals(records, tenant).await?);
        if changes.is_empty() {
            return Ok(false);
        }
        let detail = format!("{} records", changes.len());
        if records.change(&changes, &entry(actor, "tenant.remove", tenant, Some(detail))).await?.is_some() {
            return Ok(true);
        }
    }
    Err(TenantError::Busy)
}

/// What a tenant with a name has in the tables where keys begin with it.
async fn removals(records: &dyn Records, tenant: &Tenant) -> Result<Vec<Change>, StoreError> {
    let mut removals = Vec::new();
    if tenant.is_default() {
        return Ok(removals);
    }
    for table in [Table::Secrets, Table::Plugins, Table::Versions] {
        let (_, records) = records.records(table).await?;
        let its = records.into_iter().filter(|record| record.key.starts_with(&tenant.prefix()));
        removals.extend(its.map(|Record { key, revision, .. }| Change {
            table,
            key,
            was: Some(revision),
            value: None,
        }));
    }
    Ok(removals)
}

fn entry(actor: &str, action: &str, tenant: &Tenant, detail: Option<String>) -> Entry {
    Entry {
        at: Timestamp::now(),
        actor: actor.to_owned(),
        action: action.to_owned(),
        tenant: tenant.clone(),
        subject: TenantRecord::key(tenant).to_owned(),
        digest: None,
        detail,
    }
}

/// The tenants for which something is set
#[derive(Debug, Serialize, ToSchema)]
pub struct TenantList {
    tenants: Vec<ShownTenant>,
}

/// What holds for a tenant
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownTenant {
    /// Its name; `-` is the default tenant
    name: String,
    /// Its weight, queues, quotas and upload keys
    #[schema(value_type = std::collections::HashMap<String, serde_json::Value>)]
    record: Value,
}

fn shown(tenant: &Tenant, record: &TenantRecord) -> ShownTenant {
    let name = TenantRecord::key(tenant).to_owned();
    ShownTenant { name, record: serde_json::to_value(record).unwrap_or_default() }
}

fn named(name: &str) -> Result<Tenant, Problem> {
    let bad = || {
        Problem::invalid("name", "a tenant's name is 1 to 63 of a-z, 0-9, - and _; the default tenant is -")
    };
    TenantRecord::tenant(name).ok_or_else(bad)
}

/// List tenants
#[utoipa::path(get, path = "/v1/tenants", tag = "admin", security(("token" = ["admin"])), responses((status = OK, body = TenantList)))]
pub(super) async fn list_tenants(State(app): State<Arc<App>>) -> Result<Json<TenantList>, Problem> {
    let tenants = all(&*app.store.records).await?;
    Ok(Json(TenantList { tenants: tenants.iter().map(|(tenant, record)| shown(tenant, record)).collect() }))
}

/// Show what holds for a tenant
#[utoipa::path(get, path = "/v1/tenants/{name}", tag = "admin", security(("token" = ["admin"])), params(("name" = String, Path, description = "The tenant's name, `-` for the default tenant")), responses((status = OK, body = ShownTenant)))]
pub(super) async fn show_tenant(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<ShownTenant>, Problem> {
    let tenant = named(&name)?;
    let record = find(&*app.store.records, &tenant).await?;
    Ok(Json(shown(&tenant, &record.unwrap_or_else(|| TenantRecord::unset(&tenant)))))
}

/// Set something for a tenant
///
/// The body is written like `record`, and says only what is to change: `{"weight": 3, "quotas": {"queued": 1000}}`.
#[utoipa::path(patch, path = "/v1/tenants/{name}", tag = "admin", security(("token" = ["admin"])), params(("name" = String, Path, description = "The tenant's name, `-` for the default tenant")), request_body = std::collections::HashMap<String, serde_json::Value>, responses((status = OK, body = ShownTenant)))]
pub(super) async fn set_tenant(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    JsonBody { value, .. }: JsonBody<Box<RawValue>, { 64 << 10 }>,
) -> Result<Json<ShownTenant>, Problem> {
    let tenant = named(&name)?;
    let record = set(&*app.store.records, &tenant, value.get(), &caller.actor).await?;
    Ok(Json(shown(&tenant, &record)))
}

/// Forget a tenant: what is set for it, its tokens, secrets, uploads and entries
#[utoipa::path(delete, path = "/v1/tenants/{name}", tag = "admin", security(("token" = ["admin"])), params(("name" = String, Path, description = "The tenant's name, `-` for the default tenant")), responses((status = NO_CONTENT)))]
pub(super) async fn remove_tenant(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let tenant = named(&name)?;
    let removed = remove(&app.store, &tenant, &caller.actor).await?;
    removed.then_some(StatusCode::NO_CONTENT).ok_or_else(Problem::not_found)
}

impl From<TenantError> for Problem {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::Store(error) => error.into(),
            TenantError::Busy => Self::conflict(),
            TenantError::Invalid(error) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-record", error.to_string())
            }
        }
    }
}
