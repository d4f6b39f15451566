//! What each plugin may reach: what it asks for, cut down to what its tenant may have, which is learnt from the store and followed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
};

use futures_util::FutureExt;

use super::{Outage, Worker, secrets::KnownSecrets};
use crate::{
    plugin::Plugin,
    sandbox::{self, Access, Refusals},
    store::{KeyValue, RecordNews, StoreError, Table},
    task::{Bucket, Grants, Tenant},
    tenant::TenantRecord,
};

/// The accesses of all plugins that have run. Asked for each task, so it is found, not made.
pub(super) struct Accesses {
    entries: Arc<dyn KeyValue>,
    secrets: Arc<KnownSecrets>,
    refusals: Refusals,
    allowed: Mutex<Allowed>,
    made: RwLock<Made>,
}

/// By the plugins' addresses, which nothing else gets as long as somebody remembers the plugin.
type Made = HashMap<usize, (Weak<Plugin>, Arc<Access>)>;

/// What tenants may be granted at most, as far as this worker knows.
#[derive(Default)]
struct Allowed {
    revision: u64,
    tenants: HashMap<Tenant, Grants>,
}

impl Accesses {
    pub fn new(entries: Arc<dyn KeyValue>, secrets: Arc<KnownSecrets>) -> Self {
        Self {
            entries,
            secrets,
            refusals: Refusals::default(),
            allowed: Mutex::default(),
            made: RwLock::default(),
        }
    }

    /// What plugins were refused.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// What runs of this plugin may reach.
    pub fn of(&self, tenant: &Tenant, plugin: &Arc<Plugin>) -> Arc<Access> {
        let address = Arc::as_ptr(plugin) as usize;
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, access)) = made.get(&address) {
            return access.clone();
        }
        drop(made);
        // Held from here on: what is learnt meanwhile of grants comes after this, and lets it be made anew.
        let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
        let granted = self.granted(tenant, &plugin.grants);
        let keyvalue = keyvalue(self.entries.clone(), tenant.clone(), granted.keyvalue);
        let access = Access::new(tenant.clone(), &plugin.name, granted, &self.refusals);
        let (secrets, owner) = (self.secrets.clone(), tenant.clone());
        let access = access.with_keyvalue(keyvalue).with_secrets(Arc::new(move || secrets.of(&owner)));
        let access = Arc::new(access);
        made.retain(|_, (plugin, _)| plugin.strong_count() > 0);
        made.insert(address, (Arc::downgrade(plugin), access.clone()));
        access
    }

    /// The plugins of the default tenant are the operator's own, or were approved by one, and get what they ask for.
    fn granted(&self, tenant: &Tenant, asked: &Grants) -> Grants {
        if tenant.is_default() {
            return asked.clone();
        }
        let allowed = self.allowed();
        asked.within(allowed.tenants.get(tenant).unwrap_or(&TenantRecord::unset(tenant).grants))
    }

    /// Takes note of what has changed. Runs that have begun keep what they have.
    fn learn(&self, news: RecordNews) {
        let mut allowed = self.allowed();
        for record in &news.changed {
            let Some(tenant) = TenantRecord::tenant(&record.key) else { continue };
            match TenantRecord::parse(&tenant, &record.value) {
                Ok(read) => drop(allowed.tenants.insert(tenant, read.grants)),
                Err(error) => {
                    tracing::error!("plugins of {tenant} are granted nothing more: {error}");
                    allowed.tenants.remove(&tenant);
                }
            }
        }
        allowed.tenants.retain(|tenant, _| {
            let key = TenantRecord::key(tenant);
            news.keys.binary_search_by(|known| known.as_str().cmp(key)).is_ok()
        });
        allowed.revision = news.revision;
        drop(allowed);
        self.made.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn allowed(&self) -> MutexGuard<'_, Allowed> {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks once for what is new of grants and secrets.
pub(super) async fn catch_up(worker: &Worker) -> Result<u64, StoreError> {
    let records = &worker.store.records;
    let known = worker.accesses.allowed().revision;
    let news = records.records_since(Table::Tenants, known).await?;
    let revision = news.revision;
    if !news.changed.is_empty() || revision != known {
        worker.accesses.learn(news);
    }
    worker.secrets.catch_up(&**records).await?;
    Ok(revision)
}

/// Follows both for as long as the worker lives.
pub(super) async fn follow(worker: &Worker) {
    let mut outage = Outage::new("learn what plugins may reach");
    loop {
        match catch_up(worker).await {
            Ok(known) => {
                outage.over();
                worker.store.records.records_news(known).await;
            }
            Err(error) => outage.wait(&error, &worker.shutdown).await,
        }
    }
}

/// What answers the plugins of a tenant: buckets of no other tenant can be named.
fn keyvalue(entries: Arc<dyn KeyValue>, tenant: Tenant, quota: u64) -> sandbox::KeyValue {
    Arc::new(move |name, query| {
        let (entries, bucket) = (entries.clone(), Bucket { tenant: tenant.clone(), name });
        async move {
            entries.keyvalue(&bucket, quota, &query).await.map_err(|error| {
                tracing::warn!(%error, "what a guest keeps was not reached");
                "the store was not reached".to_owned()
            })
        }
        .boxed()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{self, Record, Store};

    fn news(records: &[(&str, &str)], keys: &[&str]) -> RecordNews {
        let record = |(key, value): &(&str, &str)| Record {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            revision: 1,
        };
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        RecordNews { revision: 1, changed: records.iter().map(record).collect(), keys }
    }

    #[tokio::test]
    async fn a_tenant_s_plugins_get_what_they_ask_for_and_no_more_than_its_record_says() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store").display());
        let store = Store::open(&url, None, store::Options::default()).await.unwrap();
        let accesses = Accesses::new(store.keyvalue, Arc::new(KnownSecrets::new(None)));
        let (acme, other) = (Tenant::new("acme").unwrap(), Tenant::new("other").unwrap());
        let hosts = |hosts: &[&str]| hosts.iter().map(|host| host.parse().unwrap()).collect();
        let http = hosts(&["a.example.org", "b.org"]);
        let asked = Grants { http, keyvalue: 100, ..Grants::default() };
        let granted = |tenant: &Tenant| accesses.granted(tenant, &asked);

        assert_eq!(granted(&Tenant::DEFAULT), asked);
        assert_eq!(granted(&acme), Grants::default());
        let record = r#"{"version": 1, "grants": {"http": ["*.example.org"], "keyvalue": 10}}"#;
        accesses.learn(news(&[("acme", record)], &["acme"]));
        let some = Grants { http: hosts(&["a.example.org"]), keyvalue: 10, ..Grants::default() };
        assert_eq!((granted(&acme), granted(&other)), (some.clone(), Grants::default()));
        accesses.learn(news(&[], &["acme"]));
        assert_eq!(granted(&acme), some, "what has not changed stays");
        accesses.learn(news(&[("acme", "{")], &["acme"]));
        assert_eq!(granted(&acme), Grants::default(), "what cannot be read grants nothing");
        accesses.learn(news(&[("acme", record)], &["acme"]));
        accesses.learn(news(&[], &[]));
        assert_eq!(granted(&acme), Grants::default(), "what is gone grants nothing");
    }
}
