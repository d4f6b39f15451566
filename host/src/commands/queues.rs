//! `host queues`: how many messages wait, are held by workers, are set aside, and are dead; and what tenants with quotas do.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use super::{Exit, print};
use crate::{
    config::StoreArgs,
    store::{self, Report},
    task::QueueName,
};

/// Show how many messages wait in each queue
#[derive(Debug, Args)]
pub struct Queues {
    #[command(flatten)]
    store: StoreArgs,

    /// The queues to show, with commas between; acme/mail is that of a tenant [default: all that are known]
    #[arg(short = 'Q', long, value_name = "A,B", value_delimiter = ',')]
    queues: Vec<QueueName>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Queues {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let store = self.store.open(store::Options::default()).await?;
        let names = if self.queues.is_empty() { known(&store).await? } else { self.queues.clone() };
        let mut lengths = Vec::new();
        for name in names {
            lengths.push((name.to_string(), store.broker.length(&name).await?));
        }
        let (held, delayed) = (store.broker.held().await?, store.broker.delayed().await?);
        let parked: u64 = store.broker.parked().await?.iter().map(|(_, messages)| messages).sum();
        let aside: u64 = store.rate_limits.set_aside().await?.iter().map(|(_, messages)| messages).sum();
        let dead = store.dead_letters.dead_count().await?;
        let tenants = tenants(&store.broker.workers().await?);
        if self.json {
            let queues: serde_json::Map<_, _> =
                lengths.into_iter().map(|(name, n)| (name, n.into())).collect();
            print::json(&json!({
                "queues": queues,
                "held": held,
                "delayed": delayed,
                "set_aside": aside,
                "parked": parked,
                "dead_letters": dead,
                "tenants": tenants,
            }));
        } else {
            let mut rows = vec![["queue".to_owned(), "messages".to_owned()]];
            rows.extend(lengths.into_iter().map(|(name, length)| [name, length.to_string()]));
            print::table(&rows);
            print::line(format!(
                "\nheld by workers: {held}\ndelayed: {delayed}\nset aside by rate limits: {aside}\nparked: {parked}\n\
                dead letters: {dead}"
            ));
            for (tenant, Quoted { workers, in_flight, cpu_seconds, held_back, .. }) in tenants {
                let held_back = if held_back { "; its quotas are reached, so it waits" } else { "" };
                print::line(format!(
                    "tenant {tenant}: {in_flight} in flight, {cpu_seconds:.1} s of processor in the last minute, \
                    {workers} workers{held_back}"
                ));
            }
        }
        Ok(Exit::Success)
    }
}

/// All queues that the store knows, and the default queue even if nothing was ever sent to it.
async fn known(store: &store::Store) -> anyhow::Result<Vec<QueueName>> {
    let mut names = store.broker.queues().await?;
    let default = QueueName::new("celery")?;
    if !names.contains(&default) {
        names.insert(0, default);
    }
    Ok(names)
}

/// What a tenant with quotas does in all workers.
#[derive(Debug, Default, serde::Serialize)]
struct Quoted {
    workers: u64,
    in_flight: u64,
    most_in_flight: Option<u64>,
    cpu_seconds: f64,
    held_back: bool,
}

fn tenants(workers: &[Report]) -> BTreeMap<String, Quoted> {
    let mut tenants = BTreeMap::<_, Quoted>::new();
    for load in workers.iter().flat_map(|worker| &worker.tenants) {
        let tenant = tenants.entry(load.tenant.name().unwrap_or("-").to_owned()).or_default();
        tenant.workers += 1;
        tenant.in_flight += load.in_flight;
        if let Some(most) = load.most_in_flight {
            *tenant.most_in_flight.get_or_insert(0) += most;
        }
        tenant.cpu_seconds += load.cpu_ms as f64 / 1e3;
        tenant.held_back |= load.held_back;
    }
    tenants
}
