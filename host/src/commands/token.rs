//! `host token`: who may use the HTTP API.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use super::{Exit, print};
use crate::{
    api::tokens,
    config::{self, StoreArgs},
    store::{self, Store},
    task::Tenant,
    tenant::{Scope, Token},
};

/// Make, list, rotate and revoke the tokens of the HTTP API
#[derive(Debug, Args)]
pub struct Tokens {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token and print it; it cannot be shown again
    Create(Create),
    /// Show the tokens, without their secrets
    List(Listing),
    /// Give a token a new secret and print it; the old one holds for a while
    Rotate(Rotate),
    /// Make a token unusable
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Create {
    /// Whose token it is; without this it is the operator's, who acts for every tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,

    /// What it may be used for, with commas between: tasks:read, tasks:write, queues:read, queues:write, plugins:read,
    /// plugins:write, audit:read; for the operator also metrics:read, and admin, which is everything
    #[arg(long, value_name = "A,B", value_delimiter = ',', required = true)]
    scopes: Vec<Scope>,

    /// What is said of it in lists
    #[arg(long, value_name = "TEXT", default_value = "")]
    label: String,

    /// It can be used for so many days
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: Option<u32>,

    #[command(flatten)]
    store: StoreArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Listing {
    #[command(flatten)]
    store: StoreArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Rotate {
    /// The token's id, as `host token list` shows it
    id: String,

    /// The old secret holds for so many seconds more
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = config::seconds)]
    overlap: Duration,

    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
struct Revoke {
    /// The token's id, as `host token list` shows it
    id: String,

    #[command(flatten)]
    store: StoreArgs,
}

impl Tokens {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        match self.what {
            What::Create(create) => create.execute().await,
            What::List(listing) => listing.execute().await,
            What::Rotate(rotate) => rotate.execute().await,
            What::Revoke(revoke) => revoke.execute().await,
        }
    }
}

async fn open(store: &StoreArgs) -> anyhow::Result<Store> {
    Ok(store.open(store::Options::default()).await?)
}

impl Create {
    async fn execute(self) -> anyhow::Result<Exit> {
        let store = open(&self.store).await?;
        let expires = self.days.map(|days| Timestamp::now() + Duration::from_secs(u64::from(days) * 86_400));
        let wanted = tokens::Wanted {
            tenant: self.tenant,
            scopes: self.scopes.into_iter().collect::<BTreeSet<_>>(),
            label: self.label,
            expires,
        };
        let (token, secret) = tokens::create(&*store.records, wanted, &super::actor()).await?;
        match self.json {
            true => print::json(&json!({"id": token.id, "token": secret.text})),
            false => print::line(secret.text),
        }
        Ok(Exit::Success)
    }
}

impl Listing {
    async fn execute(self) -> anyhow::Result<Exit> {
        let store = open(&self.store).await?;
        let tokens = tokens::all(&*store.records).await?;
        if self.json {
            print::json(&json!(tokens.iter().map(tokens::shown).collect::<Vec<_>>()));
            return Ok(Exit::Success);
        }
        let mut rows = vec![["id", "tenant", "scopes", "state", "label"].map(str::to_owned)];
        rows.extend(tokens.iter().map(row));
        print::table(&rows);
        Ok(Exit::Success)
    }
}

fn row(token: &Token) -> [String; 5] {
    let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.as_str()).collect();
    let tenant = token.tenant.as_ref().map_or("(operator)".to_owned(), |tenant| match tenant.name() {
        Some(name) => name.to_owned(),
        None => "(default)".to_owned(),
    });
    let state = match (token.revoked, token.expires) {
        (Some(at), _) => format!("revoked {at:.0}"),
        (None, Some(expires)) if expires <= Timestamp::now() => format!("expired {expires:.0}"),
        (None, Some(expires)) => format!("until {expires:.0}"),
        (None, None) => "usable".to_owned(),
    };
    [token.id.clone(), tenant, scopes.join(","), state, token.label.clone()]
}

impl Rotate {
    async fn execute(self) -> anyhow::Result<Exit> {
        let store = open(&self.store).await?;
        let secret = tokens::rotate(&*store.records, &self.id, self.overlap, &super::actor()).await?;
        let secret = secret.with_context(|| format!("there is no usable token {:?}", self.id))?;
        print::line(secret.text);
        Ok(Exit::Success)
    }
}

impl Revoke {
    async fn execute(self) -> anyhow::Result<Exit> {
        let store = open(&self.store).await?;
        if !tokens::revoke(&*store.records, &self.id, &super::actor()).await? {
            bail!("there is no token {:?}", self.id);
        }
        print::line(format!("revoked {}", self.id));
        Ok(Exit::Success)
    }
}
