//! On what terms tenants share this worker: what is set for them, learnt from the store and followed.
//!
//! Quotas are those of all workers together: each has an equal part, of whole tasks, and who they are it learns from their
//! heartbeats. So nothing is asked for a task, and a worker that comes or goes is counted within a few seconds.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::sleep;

use super::{Outage, Worker, lease::BEAT};
use crate::{
    store::{RecordNews, Report, StoreError, Table},
    task::{QueueName, Tenant},
    tenant::{Quotas, TenantRecord, Terms},
};

/// What is set for tenants, as far as this worker knows.
#[derive(Default)]
pub(super) struct Settings(Mutex<Known>);

#[derive(Default)]
struct Known {
    revision: u64,
    records: BTreeMap<Tenant, TenantRecord>,
}

impl Settings {
    /// Takes note of what has changed.
    fn learn(&self, news: RecordNews) {
        let mut known = self.lock();
        for record in &news.changed {
            let Some(tenant) = TenantRecord::tenant(&record.key) else {
                tracing::error!("there is a record for {:?}, which is no tenant's name", record.key);
                continue;
            };
            match TenantRecord::parse(&tenant, &record.value) {
                Ok(read) => drop(known.records.insert(tenant, read)),
                // What held before still does: a quota must not go because a record is broken.
                Err(error) => tracing::error!("what is set for {tenant} stays as it was: {error}"),
            }
        }
        known.records.retain(|tenant, _| {
            let key = TenantRecord::key(tenant);
            news.keys.binary_search_by(|known| known.as_str().cmp(key)).is_ok()
        });
        known.revision = news.revision;
    }

    /// The terms of all for whom something is set, when `workers` share their quotas; `own` is the report of this one.
    fn terms(&self, memory: u64, own: &Report, workers: &[Report]) -> HashMap<Tenant, Terms> {
        let known = self.lock();
        let terms = known.records.iter().map(|(tenant, record)| {
            let part = Part::of(tenant, own, workers);
            (tenant.clone(), part.terms(record, memory))
        });
        terms.collect()
    }

    /// The queues of those for whom some are set.
    fn queues(&self) -> HashMap<Tenant, Vec<QueueName>> {
        let known = self.lock();
        let own = known
            .records
            .iter()
            .filter_map(|(tenant, record)| Some((tenant.clone(), record.queues.clone()?)));
        own.collect()
    }

    /// Whether anything is set that workers have to divide.
    fn has_quotas(&self) -> bool {
        let has = |record: &TenantRecord| {
            let Quotas { in_flight, memory, cpu_per_minute, .. } = record.quotas;
            in_flight.or(memory).or(cpu_per_minute).is_some()
        };
        self.lock().records.values().any(has)
    }

    fn revision(&self) -> u64 {
        self.lock().revision
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which part of a tenant's quotas is this worker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    /// How many workers come before this one.
    before: u64,
    /// How many there are.
    of: u64,
}

impl Part {
    fn of(tenant: &Tenant, own: &Report, workers: &[Report]) -> Self {
        let name = |report: &Report| (report.node.clone(), report.pid);
        let serves = |report: &&Report| report.tenants.iter().any(|load| load.tenant == *tenant);
        let others = workers.iter().filter(serves).map(name).filter(|other| *other != name(own));
        let others: Vec<_> = others.collect();
        let before = others.iter().filter(|other| **other < name(own)).count();
        Self { before: before as u64, of: others.len() as u64 + 1 }
    }

    fn terms(self, record: &TenantRecord, memory: u64) -> Terms {
        let Quotas { in_flight, memory: all_memory, cpu_per_minute, .. } = record.quotas;
        let in_memory = all_memory.map(|bytes| bytes / memory.max(1));
        let tasks = [in_flight, in_memory].into_iter().flatten().min();
        let part = |tasks: u64| tasks / self.of + u64::from(self.before < tasks % self.of);
        let cpu = |seconds: u64| Duration::from_secs(seconds).div_f64(self.of as f64);
        Terms {
            weight: record.weight,
            in_flight: tasks.map(|tasks| usize::try_from(part(tasks)).unwrap_or(usize::MAX)),
            cpu_per_minute: cpu_per_minute.map(cpu),
        }
    }
}

/// Learns what is set, once.
pub(super) async fn learn(worker: &Worker) -> Result<(), StoreError> {
    let known = worker.settings.revision();
    let news = worker.store.records.records_since(Table::Tenants, known).await?;
    if news.revision != known {
        worker.settings.learn(news);
        worker.queues.set_own(worker.settings.queues());
    }
    divide(worker).await
}

/// Follows what is set, and who shares it, for ever.
pub(super) async fn follow(worker: &Worker) {
    let mut outage = Outage::new("learn what is set for tenants");
    loop {
        match learn(worker).await {
            Ok(()) => outage.over(),
            Err(error) => outage.wait(&error, &worker.shutdown).await,
        }
        let news = worker.store.records.records_news(worker.settings.revision());
        // The others come and go.
        let beat = async {
            match worker.settings.has_quotas() {
                true => sleep(BEAT).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            () = news => {}
            () = beat => {}
        }
    }
}

/// Takes this worker's part of all quotas.
async fn divide(worker: &Worker) -> Result<(), StoreError> {
    let is_shared = worker.settings.has_quotas();
    let workers = if is_shared { worker.store.broker.workers().await? } else { Vec::new() };
    worker.shares.set_terms(worker.settings.terms(worker.options.memory, &worker.report(), &workers));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Record, TenantLoad};

    fn acme() -> Tenant {
        Tenant::new("acme").unwrap()
    }

    fn report(node: &str, tenants: &[Tenant]) -> Report {
        let load = |tenant: &Tenant| TenantLoad { tenant: tenant.clone(), ..TenantLoad::default() };
        let tenants = tenants.iter().map(load).collect();
        Report { node: node.to_owned(), pid: 1, active: 0, processed: 0, tenants }
    }

    #[test]
    fn all_workers_together_have_the_quota_and_no_more() {
        let record = r#"{"weight": 2, "quotas": {"in_flight": 10, "memory": 1050, "cpu_per_minute": 30}}"#;
        let record = TenantRecord::parse(&acme(), record).unwrap();
        let others =
            [report("idle", &[]), report("a", &[acme()]), report("b", &[acme()]), report("c", &[acme()])];
        for (memory, tasks) in [(100, [4, 3, 3]), (210, [2, 2, 1]), (2000, [0, 0, 0])] {
            let terms = others[1..].iter().map(|own| Part::of(&acme(), own, &others).terms(&record, memory));
            let terms: Vec<_> = terms.collect();
            assert_eq!(terms.iter().map(|terms| terms.in_flight.unwrap()).collect::<Vec<_>>(), tasks);
            assert!(terms.iter().all(|terms| terms.cpu_per_minute == Some(Duration::from_secs(10))));
        }
        let new = Part::of(&acme(), &report("bb", &[acme()]), &others);
        assert_eq!(new, Part { before: 2, of: 4 }, "one that has just come counts itself");
    }

    #[test]
    fn a_broken_record_changes_nothing_and_one_that_is_gone_is_forgotten() {
        let settings = Settings::default();
        let learn = |revision, value: Option<&str>| {
            let record = |value: &str| Record { key: "acme".to_owned(), value: value.to_owned(), revision };
            let keys = if revision == 3 { Vec::new() } else { vec!["acme".to_owned()] };
            settings.learn(RecordNews { revision, changed: value.map(record).into_iter().collect(), keys });
        };
        let weight = || settings.lock().records.get(&acme()).map_or(1, |record| record.weight.get());
        learn(1, Some(r#"{"weight": 7}"#));
        assert_eq!(weight(), 7);
        learn(2, Some(r#"{"weight": 0}"#));
        assert_eq!((weight(), settings.revision()), (7, 2));
        learn(3, None);
        assert_eq!(weight(), 1);
    }
}
