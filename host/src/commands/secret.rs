//! `host secret`: the secrets that plugins read by `wasi:config`.

use std::io::Read;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use super::{Exit, print};
use crate::{
    config::{self, StoreArgs},
    store::{self, Change, Entry, Record, Store, Table},
    task::{Secret, Tenant},
    tenant::{LARGEST_SECRET, SealedSecret},
};

/// Set and remove the secrets that plugins read by wasi:config
#[derive(Debug, Args)]
pub struct Secrets {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Set a secret to what is on standard input, without the line's end. It is sealed with the key in $HOST_SECRET_KEY or in the
    /// file $HOST_SECRET_KEY_FILE, which the workers need as well
    Set(Named),
    /// List the names of a tenant's secrets; nothing shows their values
    List(Listing),
    /// Remove a secret
    Rm(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// The secret's name, as manifests say it
    name: String,

    #[command(flatten)]
    of: Owner,
}

#[derive(Debug, Args)]
struct Listing {
    #[command(flatten)]
    of: Owner,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Owner {
    /// Whose it is [default: the default tenant]
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,

    #[command(flatten)]
    store: StoreArgs,
}

impl Owner {
    fn tenant(&self) -> Tenant {
        self.tenant.clone().unwrap_or_default()
    }

    async fn open(&self) -> anyhow::Result<Store> {
        Ok(self.store.open(store::Options::default()).await?)
    }
}

impl Secrets {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        match self.what {
            What::Set(named) => named.set().await,
            What::List(listing) => listing.execute().await,
            What::Rm(named) => named.remove().await,
        }
    }
}

impl Named {
    async fn set(self) -> anyhow::Result<Exit> {
        let tenant = self.of.tenant();
        let key = SealedSecret::key(&tenant, &self.name)?;
        let master = config::secret_key()?
            .context("set HOST_SECRET_KEY or HOST_SECRET_KEY_FILE to the key of secrets")?;
        let sealed = master.seal(&tenant, &self.name, &typed()?)?;
        let store = self.of.open().await?;
        let was = store.records.record(Table::Secrets, &key).await?;
        let entry = entry("secret.set", tenant, &self.name);
        change(&store, key, was, Some(sealed.to_json()), entry).await?;
        Ok(Exit::Success)
    }

    async fn remove(self) -> anyhow::Result<Exit> {
        let tenant = self.of.tenant();
        let key = SealedSecret::key(&tenant, &self.name)?;
        let store = self.of.open().await?;
        let Some(was) = store.records.record(Table::Secrets, &key).await? else {
            bail!("there is no secret {} of {tenant}", self.name);
        };
        let entry = entry("secret.rm", tenant, &self.name);
        change(&store, key, Some(was), None, entry).await?;
        Ok(Exit::Success)
    }
}

impl Listing {
    async fn execute(self) -> anyhow::Result<Exit> {
        let (tenant, store) = (self.of.tenant(), self.of.open().await?);
        let (_, records) = store.records.records(Table::Secrets).await?;
        let owners = records.iter().filter_map(|record| SealedSecret::owner(&record.key));
        let names: Vec<&str> = owners.filter(|(owner, _)| *owner == tenant).map(|(_, name)| name).collect();
        match self.json {
            true => print::json(&json!(names)),
            false => names.into_iter().for_each(print::line),
        }
        Ok(Exit::Success)
    }
}

/// What is on standard input: never an argument, which everybody on the machine could read.
fn typed() -> anyhow::Result<Secret> {
    let mut value = String::new();
    std::io::stdin()
        .take(LARGEST_SECRET as u64 + 2)
        .read_to_string(&mut value)
        .context("read the secret from standard input: it must be text")?;
    let end = value.trim_end_matches(['\r', '\n']).len();
    value.truncate(end);
    Ok(Secret::new(value))
}

fn entry(action: &str, tenant: Tenant, name: &str) -> Entry {
    Entry {
        at: Timestamp::now(),
        actor: super::actor(),
        action: action.to_owned(),
        tenant,
        subject: name.to_owned(),
        digest: None,
        detail: None,
    }
}

async fn change(
    store: &Store,
    key: String,
    was: Option<Record>,
    value: Option<String>,
    entry: Entry,
) -> anyhow::Result<()> {
    let change = Change { table: Table::Secrets, key, was: was.map(|record| record.revision), value };
    match store.records.change(&[change], &entry).await? {
        Some(_) => Ok(()),
        None => bail!("somebody else has just changed this secret; try again"),
    }
}
