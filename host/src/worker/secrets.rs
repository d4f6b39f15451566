//! What this worker knows of tenants' secrets: a copy of the store's, opened.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    sandbox::Secrets,
    store::{RecordNews, Records, StoreError, Table},
    task::Tenant,
    tenant::{MasterKey, SealedSecret},
};

/// The known secrets. Without a key there are none.
pub(super) struct KnownSecrets {
    key: Option<MasterKey>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    revision: u64,
    /// Whole for each tenant, so that a run that has asked for one keeps what it has seen.
    tenants: HashMap<Tenant, Arc<Secrets>>,
}

impl KnownSecrets {
    pub fn new(key: Option<MasterKey>) -> Self {
        Self { key, known: Mutex::default() }
    }

    /// The secrets of a tenant, or why nobody can know them.
    pub fn of(&self, tenant: &Tenant) -> Result<Arc<Secrets>, String> {
        if self.key.is_none() {
            return Err("this worker has no key to open secrets with (HOST_SECRET_KEY)".to_owned());
        }
        Ok(self.lock().tenants.get(tenant).cloned().unwrap_or_default())
    }

    /// Asks once for what is new.
    pub async fn catch_up(&self, records: &dyn Records) -> Result<(), StoreError> {
        let Some(key) = &self.key else { return Ok(()) };
        let known = self.lock().revision;
        self.learn(key, records.records_since(Table::Secrets, known).await?);
        Ok(())
    }

    fn learn(&self, key: &MasterKey, news: RecordNews) {
        let mut known = self.lock();
        let mut tenants: BTreeMap<Tenant, Secrets> = BTreeMap::new();
        for (tenant, secrets) in &known.tenants {
            let is_there = |name: &String| {
                let key = SealedSecret::key(tenant, name).unwrap_or_default();
                news.keys.binary_search(&key).is_ok()
            };
            let stay = secrets.iter().filter(|(name, _)| is_there(name));
            tenants
                .insert(tenant.clone(), stay.map(|(name, secret)| (name.clone(), secret.clone())).collect());
        }
        for record in &news.changed {
            let Some((tenant, name)) = SealedSecret::owner(&record.key) else {
                tracing::error!("there is a secret under {:?}, which is no name of one", record.key);
                continue;
            };
            let secrets = tenants.entry(tenant.clone()).or_default();
            match key.open(&tenant, name, &record.value) {
                Ok(secret) => drop(secrets.insert(name.to_owned(), secret)),
                Err(error) => {
                    secrets.remove(name);
                    tracing::error!("the secret {name} of {tenant} cannot be read: {error}");
                }
            }
        }
        known.tenants = tenants.into_iter().map(|(tenant, secrets)| (tenant, Arc::new(secrets))).collect();
        known.revision = news.revision;
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
