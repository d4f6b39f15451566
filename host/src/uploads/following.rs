//! A worker runs what the records say: it loads the versions that are active or on trial, offers them in place of the earlier ones,
//! and adds up how often they are called. A version that cannot be loaded here never takes away one that works.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use futures_util::{StreamExt, stream};

use super::{
    UploadError, Uploaded, Uploads, Version,
    record::{self, key, version_key},
    sha256,
};
use crate::{
    plugin::{Calls, Offer, Plugin, Registry},
    sandbox::Sandbox,
    store::{Count, Record, RecordNews, Store, StoreError, Table},
    task::Tenant,
};

/// The most versions that are kept ready because a workflow stays on them.
const MOST_PINNED: usize = 32;

/// What a worker knows of uploads, and runs of them.
pub struct Following {
    uploads: Uploads,
    sandbox: Sandbox,
    registry: Arc<Registry>,
    /// Only the uploads of these tenants, or all.
    only: Option<Vec<Tenant>>,
    state: Mutex<State>,
    /// One at a time looks at the records, or loads a version for a workflow.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// The revision of the records up to which all is known.
    known: u64,
    /// By the keys of their records.
    plugins: BTreeMap<String, Followed>,
    /// Versions on which workflows stay, those that were asked for last at the end.
    pinned: Vec<Arc<Plugin>>,
    /// The counts that are added up, each with its name.
    counting: Vec<(String, Arc<Calls>)>,
}

/// A plugin as it is run here.
#[derive(Clone, Default)]
struct Followed {
    uploaded: Uploaded,
    active: Option<Arc<Plugin>>,
    canary: Option<Arc<Plugin>>,
}

/// A version that is to be loaded.
struct Wanted<'a> {
    tenant: Tenant,
    plugin: &'a str,
    version: &'a Version,
}

impl Following {
    /// Follows the uploads in this store, of these tenants or of all, and offers them in `registry`. Nothing is looked at yet.
    pub fn new(store: &Store, sandbox: &Sandbox, registry: Arc<Registry>, only: Option<Vec<Tenant>>) -> Self {
        let (uploads, sandbox) = (Uploads::new(store), sandbox.clone());
        Self { uploads, sandbox, registry, only, state: Mutex::default(), looking: Default::default() }
    }

    /// Waits until the records have changed, or the store fails.
    pub async fn news(&self) {
        let (known, records) = (self.lock().known, &self.uploads.records);
        while records.revision().await.is_ok_and(|revision| revision == known) {
            records.records_news(known).await;
        }
    }

    /// Looks at what has changed, loads it and offers it. Fails if the store does; then nothing is offered that was not before.
    pub async fn look(&self) -> Result<(), StoreError> {
        let _turn = self.looking.lock().await;
        let known = self.lock().known;
        let RecordNews { revision, changed, keys } =
            self.uploads.records.records_since(Table::Plugins, known).await?;
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let renew = |record: Record| async move {
            let followed = self.renew(&record).await;
            (record.key, followed)
        };
        let renewed: Vec<_> = stream::iter(changed).map(renew).buffered(threads).collect().await;
        let mut changed = BTreeMap::new();
        for (key, followed) in renewed {
            changed.extend(followed?.map(|followed| (key, followed)));
        }
        let mut state = self.lock();
        let before = state.plugins.len();
        state.plugins.retain(|key, _| {
            let stays = keys.binary_search(key).is_ok();
            if !stays {
                tracing::info!("uploaded plugin {} removed", key.trim_start_matches('/'));
            }
            stays
        });
        state.known = revision;
        if before == state.plugins.len() && changed.is_empty() {
            return Ok(());
        }
        state.plugins.extend(changed);
        let offers = state.plugins.values().filter_map(Followed::offer).collect();
        drop(state);
        for (task, file) in self.registry.offer(offers) {
            tracing::warn!("skipped the uploaded {task}: {file:?} offers it already, and keeps it");
        }
        Ok(())
    }

    /// A plugin as its record says, as far as it can be loaded. What is not followed is none.
    async fn renew(&self, record: &Record) -> Result<Option<Followed>, StoreError> {
        let Some((tenant, plugin)) = record::of_key(&record.key) else { return Ok(None) };
        if self.only.as_ref().is_some_and(|only| !only.contains(&tenant)) {
            return Ok(None);
        }
        let shown = format!("{}{plugin}", tenant.prefix());
        let uploaded = match Uploaded::read(record) {
            Ok(uploaded) => uploaded,
            Err(error) => {
                tracing::error!(%error, "the uploaded plugin {shown} stays as it is");
                return Ok(None);
            }
        };
        let before = self.lock().plugins.get(&record.key).cloned().unwrap_or_default();
        let trial = uploaded.canary.as_ref().map(|canary| &canary.digest);
        let digests = [uploaded.active.as_ref(), trial];
        let mut loaded = Vec::new();
        for digest in digests {
            let is = |version: &&Version| digest == Some(&version.digest);
            let version = uploaded.versions.iter().find(is);
            let wanted = version.map(|version| Wanted { tenant: tenant.clone(), plugin, version });
            loaded.push(match wanted {
                Some(wanted) => self.ready(&wanted).await.map(Some),
                None => Ok(None),
            });
        }
        let mut versions = Vec::new();
        for ((loaded, earlier), what) in
            loaded.into_iter().zip([before.active, before.canary]).zip(["active version", "canary"])
        {
            versions.push(match loaded {
                Ok(Some(version)) => {
                    let is_known = earlier.is_some_and(|earlier| earlier.version == version.version);
                    if !is_known {
                        tracing::info!("uploaded plugin {shown}: {what} {}", brief(&version));
                    }
                    Some(version)
                }
                Ok(None) => None,
                Err(UploadError::Store(error)) => return Err(error),
                Err(error) => {
                    // A canary that cannot be run is none; and what is run is run on.
                    let earlier = earlier.filter(|_| what == "active version");
                    let stays = if earlier.is_some() { "; the earlier version stays" } else { "" };
                    let error = one_line(&error);
                    tracing::error!(
                        "the {what} of the uploaded plugin {shown} cannot be loaded here{stays}: {error}"
                    );
                    earlier
                }
            });
        }
        let (canary, active) = (versions.pop().flatten(), versions.pop().flatten());
        Ok(Some(Followed { uploaded, active, canary }))
    }

    /// A version, ready to run: as it was loaded before, or loaded now.
    async fn ready(&self, wanted: &Wanted<'_>) -> Result<Arc<Plugin>, UploadError> {
        if let Some(known) = self.lock().find(wanted) {
            return Ok(known);
        }
        let Wanted { tenant, plugin, version } = wanted;
        let facts = self.uploads.facts(tenant, plugin, &version.digest).await?;
        let gone =
            || UploadError::Broken { key: version.code.clone(), reason: "its code is gone".to_owned() };
        let code = self.uploads.blobs.blob(&version.code).await?.ok_or_else(gone)?;
        let (sandbox, tenant, name) = (self.sandbox.clone(), tenant.clone(), (*plugin).to_owned());
        let (digest, known_as) = (version.digest.clone(), version.code.clone());
        let load = move || {
            // The store is no part of this process: what it gives is looked at before it is run.
            if sha256(&code) != known_as {
                let reason = "its code is not what was uploaded".to_owned();
                return Err(UploadError::Broken { key: known_as, reason });
            }
            Ok(Plugin::uploaded(&sandbox, tenant, &name, &digest, &code, facts.manifest.as_deref())?)
        };
        let loaded = tokio::task::spawn_blocking(load).await.unwrap_or_else(|panic| {
            Err(UploadError::Broken { key: version.code.clone(), reason: panic.to_string() })
        });
        let loaded = Arc::new(loaded?);
        let name = version_key(&wanted.tenant, wanted.plugin, &version.digest);
        self.lock().counting.push((name, loaded.calls.clone()));
        Ok(loaded)
    }

    /// The version on which a workflow of this tenant wants to stay, if the tenant has it and it may be run.
    pub async fn pinned(&self, tenant: &Tenant, plugin: &str, digest: &str) -> Option<Arc<Plugin>> {
        let key = key(tenant, plugin);
        let known = self.lock().plugins.get(&key).map(|followed| followed.uploaded.clone());
        let find =
            |uploaded: &Uploaded| uploaded.versions.iter().find(|version| version.digest == digest).cloned();
        let version = match known.as_ref().and_then(find) {
            Some(version) => version,
            // It may have come just now; and whoever has written it into the message may know nothing.
            None => find(&self.uploads.show(tenant, plugin).await.ok()?)?,
        };
        if version.held.is_some() || version.failed {
            return None;
        }
        let wanted = Wanted { tenant: tenant.clone(), plugin, version: &version };
        if let Some(known) = self.lock().find(&wanted) {
            return Some(known);
        }
        let _turn = self.looking.lock().await;
        let ready = self.ready(&wanted).await.inspect_err(|error| {
            tracing::warn!(%error, "a workflow cannot stay on its version of {plugin}, and goes on with the active one");
        });
        let ready = ready.ok()?;
        let mut state = self.lock();
        if state.pinned.len() >= MOST_PINNED {
            state.pinned.remove(0);
        }
        state.pinned.push(ready.clone());
        Some(ready)
    }

    /// Adds up what was called here, and rolls back canaries that fail too often.
    pub async fn report(&self) -> Result<(), StoreError> {
        let taken: Vec<_> = {
            let mut state = self.lock();
            let take = |(name, calls): &(String, Arc<Calls>)| (name.clone(), calls.clone(), calls.take());
            let taken = state.counting.iter().map(take).filter(|(_, _, (ended, _))| *ended > 0).collect();
            // What only this list still knows is called no more.
            state.counting.retain(|(_, calls)| Arc::strong_count(calls) > 1);
            taken
        };
        if taken.is_empty() {
            return Ok(());
        }
        let count = |(name, _, (calls, failures)): &(String, Arc<Calls>, (u64, u64))| Count {
            name: name.clone(),
            calls: *calls,
            failures: *failures,
        };
        let counts: Vec<_> = taken.iter().map(count).collect();
        if let Err(error) = self.uploads.counts.count(&counts).await {
            taken.iter().for_each(|(_, calls, numbers)| calls.give_back(*numbers));
            return Err(error);
        }
        let on_trial: Vec<_> = self
            .lock()
            .plugins
            .iter()
            .filter_map(|(key, followed)| {
                let canary = followed.uploaded.canary.as_ref()?;
                let name = format!("{key}/{}", canary.digest);
                counts.iter().any(|count| count.name == name).then(|| key.clone())
            })
            .collect();
        for key in on_trial {
            let Some((tenant, plugin)) = record::of_key(&key) else { continue };
            match self.uploads.judge(&tenant, plugin).await {
                Ok(None) => {}
                Ok(Some(digest)) => tracing::warn!(
                    "canary {} of the uploaded plugin {}{plugin} failed too often and was rolled back",
                    &digest[..12.min(digest.len())],
                    tenant.prefix()
                ),
                Err(UploadError::Store(error)) => return Err(error),
                Err(error) => tracing::warn!(%error, "a canary cannot be judged"),
            }
        }
        Ok(())
    }

    /// Drops code that nobody needs.
    pub async fn clean_up(&self) {
        if let Err(error) = self.uploads.clean_up().await {
            tracing::warn!(%error, "uploaded code that nobody needs stays for now");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A version that is loaded already.
    fn find(&self, wanted: &Wanted<'_>) -> Option<Arc<Plugin>> {
        let is = |plugin: &&Arc<Plugin>| {
            plugin.version.as_deref() == Some(&*wanted.version.digest)
                && plugin.tenant == wanted.tenant
                && plugin.name == wanted.plugin
        };
        let followed = self.plugins.get(&key(&wanted.tenant, wanted.plugin));
        let loaded = followed.into_iter().flat_map(|followed| [&followed.active, &followed.canary]).flatten();
        loaded.chain(&self.pinned).find(is).cloned()
    }
}

impl Followed {
    fn offer(&self) -> Option<Offer> {
        let plugin = self.active.clone()?;
        let canary = self.canary.clone().zip(self.uploaded.canary.as_ref().map(|canary| canary.share));
        Some(Offer { plugin, canary })
    }
}

/// As much of a version's digest as people need.
fn brief(plugin: &Plugin) -> &str {
    let digest = plugin.version.as_deref().unwrap_or_default();
    digest.get(..12).unwrap_or(digest)
}

/// An error with its causes, in one line.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text.replace('\n', "; ")
}
