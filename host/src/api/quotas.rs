//! How much a tenant may send: what is set for it, and what it has sent of that.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use tokio::sync::Mutex;

use super::problem::Problem;
use crate::{
    store::{Broker, Records, StoreError, Table},
    task::Tenant,
    tenant::{SubmitRate, TenantRecord},
};

/// How long what was seen of a tenant counts, and so how much later a change of its quotas holds.
const FRESH: Duration = Duration::from_millis(250);

/// The most tenants that are remembered; an operator can name any.
const MOST: usize = 10_000;

/// Admits what tenants send.
pub struct Quotas {
    records: Arc<dyn Records>,
    broker: Arc<dyn Broker>,
    since: Instant,
    seen: Mutex<HashMap<Tenant, Seen>>,
}

/// What is known of a tenant.
struct Seen {
    looked: Instant,
    record: TenantRecord,
    /// How many messages wait, those that came this way since the look among them.
    waiting: u64,
    rate: SubmitRate,
}

impl Quotas {
    /// Of the tenants that are kept there, who send there.
    pub fn new(records: Arc<dyn Records>, broker: Arc<dyn Broker>) -> Self {
        Self { records, broker, since: Instant::now(), seen: Mutex::default() }
    }

    /// Whether the tenant may send so many messages now.
    pub async fn admit(&self, tenant: &Tenant, messages: u64) -> Result<(), Problem> {
        let mut seen = self.seen.lock().await;
        if seen.len() >= MOST {
            seen.clear();
        }
        let earlier = seen.remove(tenant);
        let mut known = match earlier {
            Some(known) if known.looked.elapsed() < FRESH => known,
            earlier => self.look(tenant, earlier.map(|earlier| earlier.rate).unwrap_or_default()).await?,
        };
        let admitted = known.admit(messages, self.since.elapsed());
        seen.insert(tenant.clone(), known);
        admitted
    }

    async fn look(&self, tenant: &Tenant, rate: SubmitRate) -> Result<Seen, StoreError> {
        let looked = Instant::now();
        let stored = self.records.record(Table::Tenants, TenantRecord::key(tenant)).await?;
        // What cannot be read is not what was set, and then what holds for everybody holds.
        let record = stored.and_then(|stored| TenantRecord::parse(tenant, &stored.value).ok());
        let record = record.unwrap_or_else(|| TenantRecord::unset(tenant));
        let mut waiting = 0;
        if record.quotas.queued.is_some() {
            for queue in self.broker.queues().await?.iter().filter(|queue| queue.owner().0 == *tenant) {
                waiting += self.broker.length(queue).await?;
            }
        }
        Ok(Seen { looked, record, waiting, rate })
    }
}

impl Seen {
    fn admit(&mut self, messages: u64, now: Duration) -> Result<(), Problem> {
        let too_many = |kind, detail| Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, kind, detail));
        if let Err(over) = self.record.quotas.admit_messages(self.waiting, messages) {
            return too_many("queue-full", over.to_string());
        }
        if let Err(wait) = self.rate.admit(self.record.quotas.submit_rate, messages, now) {
            let detail =
                format!("the tenant's quota `submit_rate` is used up for {:.1} s", wait.as_secs_f64());
            return too_many("too-fast", detail);
        }
        self.waiting += messages;
        Ok(())
    }
}
