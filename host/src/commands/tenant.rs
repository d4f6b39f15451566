//! `host tenant`: what is set for tenants.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Exit, print};
use crate::{api::tenants, config::StoreArgs, store, task::Tenant, tenant::TenantRecord};

/// Set and show what tenants may have
#[derive(Debug, Args)]
pub struct Tenants {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Set weight, queues, quotas or upload keys of a tenant; what is not named stays
    Set(Set),
    /// Show the tenants for which something is set
    List(Listing),
    /// Show what holds for a tenant
    Show(Named),
    /// Forget a tenant: what is set for it, its tokens, secrets, uploads and entries
    Rm(Named),
}

#[derive(Debug, Args)]
struct Set {
    #[command(flatten)]
    named: Named,

    /// What is set, as JSON: {"weight": 3, "quotas": {"queued": 1000}}
    record: String,
}

#[derive(Debug, Args)]
struct Listing {
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
struct Named {
    /// The tenant; - is the default tenant
    #[arg(value_parser = named)]
    tenant: Tenant,

    #[command(flatten)]
    store: StoreArgs,
}

fn named(name: &str) -> Result<Tenant, String> {
    if name == "-" { Ok(Tenant::DEFAULT) } else { Tenant::new(name).map_err(|error| error.to_string()) }
}

impl Tenants {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        match self.what {
            What::Set(Set { named, record }) => {
                let store = named.store.open(store::Options::default()).await?;
                let record = tenants::set(&*store.records, &named.tenant, &record, &super::actor()).await?;
                show(&named.tenant, &record)?;
            }
            What::List(listing) => {
                let store = listing.store.open(store::Options::default()).await?;
                for (tenant, record) in tenants::all(&*store.records).await? {
                    show(&tenant, &record)?;
                }
            }
            What::Show(Named { tenant, store }) => {
                let store = store.open(store::Options::default()).await?;
                let record = tenants::find(&*store.records, &tenant).await?;
                show(&tenant, &record.unwrap_or_else(|| TenantRecord::unset(&tenant)))?;
            }
            What::Rm(Named { tenant, store }) => {
                let store = store.open(store::Options::default()).await?;
                if !tenants::remove(&store, &tenant, &super::actor()).await? {
                    bail!(
                        "there is nothing of {tenant}: nothing is set, and it has no tokens, secrets or uploads"
                    );
                }
                print::line(format!("removed {tenant}"));
            }
        }
        Ok(Exit::Success)
    }
}

/// A line of JSON for each tenant.
fn show(tenant: &Tenant, record: &TenantRecord) -> anyhow::Result<()> {
    let record: Value = serde_json::from_str(&record.to_json()).context("cannot show the record")?;
    print::json(&json!({"tenant": TenantRecord::key(tenant), "record": record}));
    Ok(())
}
