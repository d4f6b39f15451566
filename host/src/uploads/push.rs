//! A version comes: looked at first, without changing anything, and then pushed.

use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    Diff, Facts, Held, Live, UploadError, Uploaded, Uploads, Version,
    change::{Changing, Step},
    clean_up::GRACE,
    digest, live,
    record::shown,
    signature,
};
use crate::{
    plugin::{Plugin, PluginError},
    sandbox::{LoadError, Sandbox},
    task::{Grants, Tenant},
    tenant::TenantRecord,
};

/// The most bytes of a version's tasks that are kept to be shown.
const SHOWN: usize = 32 << 10;

/// The most bytes of hosts and names that a version may ask for.
const MOST_GRANTS: usize = 8 << 10;

/// What somebody uploads.
#[derive(Debug, Clone)]
pub struct Upload {
    /// In whose name.
    pub tenant: Tenant,
    /// What it is called: `app` offers `app.divide`.
    pub plugin: String,
    /// The code.
    pub wasm: Bytes,
    /// The manifest beside it.
    pub manifest: Option<String>,
    /// An ed25519 signature, in base64, of what [`super::SigningKey::sign`] says.
    pub signature: Option<String>,
}

/// An upload that can be pushed.
pub struct Prepared {
    tenant: Tenant,
    record: TenantRecord,
    plugin: String,
    wasm: Bytes,
    version: Version,
    facts: Facts,
    diff: Diff,
}

impl Prepared {
    /// What names the version.
    pub fn digest(&self) -> &str {
        &self.version.digest
    }

    /// What it is made of.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What it changes beside the version that is active now.
    pub fn diff(&self) -> &Diff {
        &self.diff
    }

    /// For what it would be held if it were pushed now: what it asks for beyond what was granted.
    pub fn asks(&self, uploaded: &Uploaded) -> Vec<String> {
        let grants = &self.version.grants;
        let mut asks = grants.exceeding(&self.record.grants);
        let active = uploaded.active.as_deref().and_then(|active| uploaded.version(active).ok());
        let more = active.map_or(Vec::new(), |active| grants.exceeding(&active.grants));
        asks.extend(more.into_iter().filter(|more| !asks.contains(more)).collect::<Vec<_>>());
        asks
    }
}

impl Uploads {
    /// Looks at an upload: whether it may be there at all, whether it can be run, and what it would change. Nothing is stored.
    pub async fn prepare(&self, sandbox: &Sandbox, upload: Upload) -> Result<Prepared, UploadError> {
        let Upload { tenant, plugin, wasm, manifest, signature } = upload;
        let name = Plugin::named(&plugin).ok_or_else(|| UploadError::Name { name: shown(&plugin) })?;
        let record = self.tenant(&tenant).await?;
        record.quotas.admit_module(wasm.len() as u64, 0, 0)?;
        let code = digest::sha256(&wasm);
        let of = (&tenant, &*name, &*code, manifest.as_deref());
        let key = signature::check(&record.upload_keys, signature.as_deref(), of)?;

        let (sandbox, owner, called) = (sandbox.clone(), tenant.clone(), name.clone());
        let (bytes, beside) = (wasm.clone(), manifest.clone());
        let digest = digest::version(&code, manifest.as_deref());
        let named = digest.clone();
        let load = move || Plugin::uploaded(&sandbox, owner, &called, &named, &bytes, beside.as_deref());
        let loaded = tokio::task::spawn_blocking(load).await.unwrap_or_else(|panic| {
            let reason = panic.to_string();
            Err(PluginError::Load(LoadError::Panic { file: format!("{name}.wasm"), reason }))
        })?;

        let facts = facts(&loaded, manifest);
        let grants = Grants { config: Default::default(), ..Grants::clone(&loaded.grants) };
        let size = serde_json::to_string(&grants).map_or(usize::MAX, |text| text.len());
        if size > MOST_GRANTS {
            let (what, reason) = ("the list of grants", "it may have 8192 bytes");
            return Err(UploadError::Value { what, value: format!("{size} bytes long"), reason });
        }
        let version = Version {
            digest,
            code,
            size: wasm.len() as u64,
            at: Timestamp::now(),
            by: String::new(),
            key: key.map(|key| key.to_string()),
            grants,
            held: None,
            failed: false,
        };
        let diff = self.diff(&tenant, &name, (&facts, &version.grants)).await?;
        Ok(Prepared { tenant, record, plugin: name, wasm, version, facts, diff })
    }

    /// Stores a version and does with it what was asked for, on all workers; or holds it, if it asks for more than was granted,
    /// until an admin approves it. A version that is there already only becomes what was asked for.
    pub async fn push(&self, prepared: &Prepared, live: Live, actor: &str) -> Result<Uploaded, UploadError> {
        let Prepared { tenant, record, plugin, wasm, version, facts, .. } = prepared;
        self.blobs.put_blob(&version.code, wasm).await?;
        let put = Instant::now();
        let mut has_removed = false;
        let push = |uploaded: &mut Uploaded| {
            if put.elapsed() > GRACE / 2 {
                return Err(UploadError::conflict("the store was too slow; try again"));
            }
            let before = uploaded.clone();
            let digest = &version.digest;
            let known = uploaded.versions.iter().position(|known| known.digest == *digest);
            let known = known.map(|at| uploaded.versions.remove(at));
            let asks = match &known {
                Some(known) if known.held.is_none() => Vec::new(),
                _ => prepared.asks(uploaded),
            };
            let held = (!asks.is_empty()).then(|| Held { asks: asks.clone(), then: live });
            let new = Version { by: actor.to_owned(), at: Timestamp::now(), held, ..version.clone() };
            let is_held = new.held.is_some();
            let failed = known.as_ref().is_some_and(|known| known.failed);
            uploaded.versions.insert(0, Version { failed, ..new });
            if !is_held {
                live::set_live(uploaded, digest, live)?;
            }
            has_removed = !uploaded.trim().is_empty();
            let is_same = known.is_some()
                && (&before.active, &before.canary) == (&uploaded.active, &uploaded.canary)
                && !is_held;
            if is_same {
                *uploaded = before;
                return Ok(None);
            }
            let detail = match live {
                _ if is_held => format!("held: {}", asks.join(", ")),
                Live::Active => "active".to_owned(),
                Live::Canary(share) => format!("canary, {share} of 100 calls"),
                Live::Stored => "stored".to_owned(),
            };
            let facts = known.is_none().then(|| facts.clone());
            let digest = Some(digest.clone());
            Ok(Some(Step { action: "plugin.push", digest, detail: Some(detail), facts }))
        };
        let allow = |usage: &super::Usage| {
            Ok(record.quotas.admit_module(version.size, usage.plugins, usage.bytes)?)
        };
        let uploaded = self.change(&Changing { tenant, plugin, actor }, allow, push).await?;
        if has_removed {
            self.clean_up().await?;
        }
        Ok(uploaded)
    }

    /// What a version would change beside the one that is active.
    async fn diff(&self, tenant: &Tenant, plugin: &str, new: (&Facts, &Grants)) -> Result<Diff, UploadError> {
        let uploaded = match self.show(tenant, plugin).await {
            Ok(uploaded) => uploaded,
            Err(UploadError::NoPlugin { .. }) => Uploaded::default(),
            Err(error) => return Err(error),
        };
        let active = uploaded.active.as_deref().and_then(|active| uploaded.version(active).ok());
        let Some(active) = active else { return Ok(Diff::of(None, new)) };
        let facts = self.facts(tenant, plugin, &active.digest).await?;
        Ok(Diff::of(Some((&facts, &active.grants)), new))
    }
}

/// What is kept of a plugin to be shown.
fn facts(plugin: &Plugin, manifest: Option<String>) -> Facts {
    let program = &plugin.program;
    let skipped = plugin.skipped().map(|skipped| format!("{}: {}", skipped.name, skipped.reason));
    Facts {
        manifest,
        shape: program.shape().to_string(),
        tasks: bounded(plugin.signatures()),
        skipped: bounded(skipped),
        imports: bounded(program.imports().iter().cloned()),
    }
}

/// As many of these as may be kept, and how many more there are.
fn bounded(texts: impl Iterator<Item = String>) -> Vec<String> {
    let (mut kept, mut size, mut more) = (Vec::new(), 0, 0);
    for text in texts {
        size += text.len();
        if size <= SHOWN { kept.push(text) } else { more += 1 }
    }
    if more > 0 {
        kept.push(format!("... and {more} more"));
    }
    kept
}
