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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::Record, task::Secret};

    #[test]
    fn a_secret_is_known_as_long_as_it_is_kept_and_to_its_tenant_only() {
        let key = MasterKey::parse(&"0a".repeat(32)).unwrap();
        let known = KnownSecrets::new(Some(key.clone()));
        let (acme, other) = (Tenant::new("acme").unwrap(), Tenant::new("other").unwrap());
        let sealed = |tenant: &Tenant, name: &str| {
            key.seal(tenant, name, &Secret::new(format!("secret of {name}"))).unwrap().to_json()
        };
        let learn = |records: &[(&str, String)], keys: &[&str]| {
            let record = |(key, value): &(&str, String)| Record {
                key: (*key).to_owned(),
                value: value.clone(),
                revision: 1,
            };
            let keys = keys.iter().map(|&key| key.to_owned()).collect();
            let changed = records.iter().map(record).collect();
            known.learn(&key, RecordNews { revision: 1, changed, keys });
        };
        let names = |tenant: &Tenant| known.of(tenant).unwrap().keys().cloned().collect::<Vec<_>>();

        // The last was moved from one tenant to the other by somebody who can write to the store.
        let records =
            [("acme/A", sealed(&acme, "A")), ("acme/B", sealed(&acme, "B")), ("other/A", sealed(&acme, "A"))];
        learn(&records, &["acme/A", "acme/B", "other/A"]);
        assert_eq!((names(&acme), names(&other)), (vec!["A".to_owned(), "B".to_owned()], vec![]));
        assert_eq!(known.of(&acme).unwrap()["A"].as_str(), "secret of A");
        learn(&[("nonsense", String::new())], &["acme/B", "nonsense"]);
        assert_eq!(names(&acme), ["B"]);
        assert!(KnownSecrets::new(None).of(&acme).is_err(), "without a key nobody knows");
    }
}
