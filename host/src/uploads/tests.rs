//! Uploads in a store of a test's own, with plugins of a few bytes.

use bytes::Bytes;

use super::*;
use crate::{
    plugin::Registry,
    sandbox::{self, Sandbox},
    store::{self, Change, Entry},
    task::TaskName,
};

struct Place {
    _folder: tempfile::TempDir,
    store: Store,
    uploads: Uploads,
    sandbox: Sandbox,
}

const ANN: &str = "ann@box";

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/host.db", folder.path().display());
        let store = Store::open(&url, None, store::Options::default()).await.unwrap();
        let sandbox = Sandbox::new(sandbox::Options { slots: 1, ..sandbox::Options::default() }).unwrap();
        let uploads = Uploads { grace: Duration::ZERO, ..Uploads::new(&store) };
        Self { _folder: folder, store, uploads, sandbox }
    }

    async fn set(&self, tenant: &Tenant, record: &str) {
        let (table, key) = (Table::Tenants, TenantRecord::key(tenant).to_owned());
        let was = self.store.records.record(table, &key).await.unwrap().map(|record| record.revision);
        let entry = Entry {
            at: jiff::Timestamp::now(),
            actor: ANN.to_owned(),
            action: "tenant.set".to_owned(),
            tenant: tenant.clone(),
            subject: key.clone(),
            digest: None,
            detail: None,
        };
        let change = Change { table, key, was, value: Some(record.to_owned()) };
        self.store.records.change(&[change], &entry).await.unwrap().unwrap();
    }

    async fn prepare(&self, upload: Upload) -> Result<Prepared, UploadError> {
        self.uploads.prepare(&self.sandbox, upload).await
    }

    async fn push(&self, upload: Upload, live: Live) -> Result<(String, Uploaded), UploadError> {
        let prepared = self.prepare(upload).await?;
        let uploaded = self.uploads.push(&prepared, live, ANN).await?;
        Ok((prepared.digest().to_owned(), uploaded))
    }

    /// What was done to the default tenant's plugins, the last first.
    async fn audit(&self) -> Vec<String> {
        let entries = self.store.records.entries(Some(&Tenant::DEFAULT), 0, 100).await.unwrap();
        entries.into_iter().map(|entry| format!("{} {}", entry.actor, entry.action)).collect()
    }
}

/// A version of the plugin `app`, told from others by this number.
fn version(number: usize) -> Upload {
    let text = format!("(module (func (export \"f\") (result i32) i32.const {number}))");
    Upload {
        tenant: Tenant::DEFAULT,
        plugin: "app".to_owned(),
        wasm: Bytes::from(wat::parse_str(text).unwrap()),
        manifest: None,
        signature: None,
    }
}

fn acme() -> Tenant {
    Tenant::new("acme").unwrap()
}

fn error<T>(result: Result<T, UploadError>) -> (UploadErrorKind, String) {
    let error = result.map(drop).unwrap_err();
    (error.kind(), error.to_string())
}

#[tokio::test]
async fn what_is_pushed_is_active_and_can_be_rolled_back() {
    let place = Place::new().await;
    let uploads = &place.uploads;
    let (first, uploaded) = place.push(version(1), Live::Active).await.unwrap();
    assert_eq!((uploaded.active.as_ref(), &uploaded.before), (Some(&first), &None));
    assert_eq!(error(uploads.roll_back(&Tenant::DEFAULT, "app", ANN).await).0, UploadErrorKind::Conflict);
    let (second, uploaded) = place.push(version(2), Live::Active).await.unwrap();
    assert_eq!((uploaded.active.as_ref(), uploaded.before.as_ref()), (Some(&second), Some(&first)));
    let uploaded = uploads.roll_back(&Tenant::DEFAULT, "app", ANN).await.unwrap();
    assert_eq!((uploaded.active.as_ref(), uploaded.before.as_ref()), (Some(&first), Some(&second)));
    let (third, uploaded) = place.push(version(3), Live::Stored).await.unwrap();
    assert_eq!(uploaded.active.as_ref(), Some(&first), "it is only stored");
    let uploaded = uploads.activate(&Tenant::DEFAULT, "app", &third[..8], ANN).await.unwrap();
    assert_eq!(uploaded.active.as_ref(), Some(&third));
    assert_eq!(uploads.show(&Tenant::DEFAULT, "app").await.unwrap(), uploaded);
    let code = place.store.blobs.blob(&uploaded.versions[0].code).await.unwrap();
    assert_eq!(code, Some(version(3).wasm));
    let facts = uploads.facts(&Tenant::DEFAULT, "app", &third).await.unwrap();
    assert_eq!(facts.tasks, ["app.f() -> s32"]);
    assert_eq!(
        place.audit().await,
        ["plugin.activate", "plugin.push", "plugin.rollback", "plugin.push", "plugin.push"]
            .map(|action| format!("{ANN} {action}"))
    );
}

#[tokio::test]
async fn the_same_version_again_changes_nothing_and_another_manifest_is_another_version() {
    let place = Place::new().await;
    let (first, before) = place.push(version(1), Live::Active).await.unwrap();
    let (again, after) = place.push(version(1), Live::Active).await.unwrap();
    assert_eq!((first.clone(), before), (again, after));
    assert_eq!(place.audit().await.len(), 1);
    let with_manifest = Upload { manifest: Some("max_retries = 1".to_owned()), ..version(1) };
    let (second, uploaded) = place.push(with_manifest, Live::Active).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(uploaded.versions[0].code, uploaded.versions[1].code);
    let facts = place.uploads.facts(&Tenant::DEFAULT, "app", &second).await.unwrap();
    assert_eq!(facts.manifest.as_deref(), Some("max_retries = 1"));
}

#[tokio::test]
async fn what_cannot_be_run_is_not_stored() {
    let place = Place::new().await;
    for (upload, expected) in [
        (Upload { wasm: Bytes::from_static(b"hello"), ..version(1) }, "is not WebAssembly"),
        (Upload { manifest: Some("x = 1".to_owned()), ..version(1) }, "means nothing here"),
        (Upload { plugin: "../app".to_owned(), ..version(1) }, "cannot name a plugin"),
        (Upload { plugin: "-".to_owned(), ..version(1) }, "cannot name a plugin"),
        (Upload { plugin: String::new(), ..version(1) }, "cannot name a plugin"),
    ] {
        let (kind, text) = error(place.push(upload, Live::Active).await);
        assert!(kind == UploadErrorKind::Invalid && text.contains(expected), "{text}");
    }
    assert_eq!(place.store.blobs.blobs().await.unwrap(), []);
    assert_eq!(place.uploads.list(&Tenant::DEFAULT).await.unwrap(), []);
}

#[tokio::test]
async fn versions_that_nobody_needs_go_with_their_code() {
    let place = Place::new().await;
    let (first, _) = place.push(version(0), Live::Active).await.unwrap();
    let mut uploaded = Uploaded::default();
    for number in 1..=30 {
        uploaded = place.push(version(number), Live::Stored).await.unwrap().1;
    }
    assert_eq!(uploaded.versions.len(), 11, "the newest ten, and the active one");
    assert_eq!(uploaded.active.as_ref(), Some(&first));
    assert_eq!(place.store.blobs.blobs().await.unwrap().len(), 11);
    assert_eq!(place.store.records.records(Table::Versions).await.unwrap().1.len(), 11);
    let usage = place.uploads.usage(&Tenant::DEFAULT).await.unwrap();
    assert_eq!(usage, Usage { plugins: 1, bytes: uploaded.size() });
    // Another tenant's needs the same code.
    place.push(Upload { tenant: acme(), ..version(0) }, Live::Active).await.unwrap();
    let oldest = uploaded.versions[9].digest.clone();
    let uploads = &place.uploads;
    assert_eq!(
        error(uploads.remove_version(&Tenant::DEFAULT, "app", &first, ANN).await).0,
        UploadErrorKind::Conflict
    );
    uploads.remove_version(&Tenant::DEFAULT, "app", &oldest, ANN).await.unwrap();
    assert_eq!(place.store.blobs.blobs().await.unwrap().len(), 10);
    uploads.remove(&Tenant::DEFAULT, "app", ANN).await.unwrap();
    assert_eq!(place.store.blobs.blobs().await.unwrap().len(), 1);
    assert_eq!(uploads.usage(&Tenant::DEFAULT).await.unwrap(), Usage::default());
    assert_eq!(error(uploads.remove(&Tenant::DEFAULT, "app", ANN).await).0, UploadErrorKind::NotFound);
}

#[tokio::test]
async fn of_many_that_push_at_once_none_is_lost() {
    let place = Place::new().await;
    let pushes = (0..8).map(|number| {
        let plugin = if number % 2 == 0 { "app" } else { "other" };
        place.push(Upload { plugin: plugin.to_owned(), ..version(number) }, Live::Active)
    });
    for pushed in futures_util::future::join_all(pushes).await {
        pushed.unwrap();
    }
    let plugins = place.uploads.list(&Tenant::DEFAULT).await.unwrap();
    assert_eq!(plugins.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["app", "other"]);
    assert!(plugins.iter().all(|(_, uploaded)| uploaded.versions.len() == 4));
    let bytes = plugins.iter().map(|(_, uploaded)| uploaded.size()).sum();
    assert_eq!(place.uploads.usage(&Tenant::DEFAULT).await.unwrap(), Usage { plugins: 2, bytes });
}

#[tokio::test]
async fn a_version_that_asks_for_more_than_was_granted_is_held_until_it_is_approved() {
    let place = Place::new().await;
    let (uploads, tenant) = (&place.uploads, acme());
    place.set(&tenant, r#"{"grants": {"http": ["*.example.org"]}}"#).await;
    let asking = |number, hosts: &str| Upload {
        tenant: acme(),
        manifest: Some(format!("[grants]\nhttp = [{hosts}]")),
        ..version(number)
    };
    let (first, uploaded) = place.push(asking(1, "\"a.example.org\""), Live::Active).await.unwrap();
    assert_eq!(uploaded.active.as_ref(), Some(&first), "the tenant may have that");

    let (more, uploaded) =
        place.push(asking(2, "\"a.example.org\", \"b.example.org\""), Live::Active).await.unwrap();
    assert_eq!(uploaded.active.as_ref(), Some(&first), "more than the active one has");
    assert_eq!(uploaded.version(&more).unwrap().held.as_ref().unwrap().asks, ["http \"b.example.org\""]);
    let (kind, text) = error(uploads.activate(&tenant, "app", &more, ANN).await);
    assert!(kind == UploadErrorKind::Forbidden && text.contains("b.example.org"), "{text}");
    assert_eq!(
        error(uploads.start_canary(&tenant, "app", &more, 5, ANN).await).0,
        UploadErrorKind::Forbidden
    );
    let (again, uploaded) =
        place.push(asking(2, "\"a.example.org\", \"b.example.org\""), Live::Active).await.unwrap();
    assert_eq!((&again, uploaded.active.as_ref()), (&more, Some(&first)), "to push it again is no way round");
    let uploaded = uploads.approve(&tenant, "app", &more, ANN).await.unwrap();
    assert_eq!(uploaded.active.as_ref(), Some(&more));

    let (foreign, uploaded) = place.push(asking(3, "\"evil.com\""), Live::Canary(10)).await.unwrap();
    assert!(uploaded.version(&foreign).unwrap().held.is_some() && uploaded.canary.is_none());
    let uploaded = uploads.approve(&tenant, "app", &foreign, ANN).await.unwrap();
    assert_eq!(uploaded.canary.unwrap().share, 10, "what was asked for when it was pushed");
}

#[tokio::test]
async fn a_tenant_has_no_more_than_its_quotas_allow() {
    let place = Place::new().await;
    let of_acme =
        |plugin: &str, number| Upload { tenant: acme(), plugin: plugin.to_owned(), ..version(number) };
    let size = version(1).wasm.len();
    let quotas = |module: usize, all: usize| {
        format!(r#"{{"quotas": {{"module_size": {module}, "modules": 2, "modules_size": {all}}}}}"#)
    };
    place.set(&acme(), &quotas(size, size * 3)).await;
    for plugin in ["a", "b"] {
        place.push(of_acme(plugin, 1), Live::Active).await.unwrap();
    }
    let (kind, text) = error(place.push(of_acme("c", 1), Live::Active).await);
    assert!(kind == UploadErrorKind::Quota && text.contains("`modules`"), "{text}");
    place.push(of_acme("a", 2), Live::Active).await.unwrap();
    let (kind, text) = error(place.push(of_acme("a", 3), Live::Active).await);
    assert!(kind == UploadErrorKind::Quota && text.contains("`modules_size`"), "{text}");
    place.set(&acme(), &quotas(size - 1, size * 9)).await;
    let (kind, text) = error(place.push(of_acme("a", 3), Live::Active).await);
    assert!(kind == UploadErrorKind::TooLarge && text.contains("`module_size`"), "{text}");
}

#[tokio::test]
async fn a_tenant_with_upload_keys_has_no_unsigned_version() {
    let place = Place::new().await;
    let (key, _) = SigningKey::generate();
    place.set(&acme(), &format!(r#"{{"upload_keys": ["{}"]}}"#, key.public())).await;
    let unsigned = Upload { tenant: acme(), ..version(1) };
    let code = sha256(&unsigned.wasm);
    let signed = |tenant: &Tenant| Upload {
        signature: Some(key.sign(tenant, "app", &code, None)),
        ..unsigned.clone()
    };
    for refused in [unsigned.clone(), signed(&Tenant::DEFAULT)] {
        assert_eq!(error(place.push(refused, Live::Active).await).0, UploadErrorKind::Forbidden);
    }
    let (_, uploaded) = place.push(signed(&acme()), Live::Active).await.unwrap();
    assert_eq!(uploaded.versions[0].key, Some(key.public().to_string()));
}

#[tokio::test]
async fn a_tenant_sees_nothing_of_another() {
    let place = Place::new().await;
    let (digest, _) = place.push(Upload { tenant: acme(), ..version(1) }, Live::Active).await.unwrap();
    for other in [Tenant::DEFAULT, Tenant::new("acm").unwrap()] {
        assert_eq!(place.uploads.list(&other).await.unwrap(), []);
        assert_eq!(place.uploads.usage(&other).await.unwrap(), Usage::default());
        for plugin in ["app", "acme/app", "/acme/app", "-", ""] {
            assert_eq!(error(place.uploads.show(&other, plugin).await).0, UploadErrorKind::NotFound);
            let done = place.uploads.activate(&other, plugin, &digest, ANN).await;
            assert_eq!(error(done).0, UploadErrorKind::NotFound, "{other} {plugin}");
            assert_eq!(
                error(place.uploads.facts(&other, plugin, &digest).await).0,
                UploadErrorKind::NotFound
            );
        }
    }
    assert_eq!(place.uploads.list(&acme()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_canary_that_fails_more_often_is_rolled_back_once() {
    let place = Place::new().await;
    let (uploads, tenant) = (&place.uploads, Tenant::DEFAULT);
    let error_without_active = error(place.push(version(1), Live::Canary(10)).await);
    assert_eq!(error_without_active.0, UploadErrorKind::Conflict);
    let (first, _) = place.push(version(1), Live::Active).await.unwrap();
    let count = |digest: &str, calls, failures| store::Count {
        name: record::version_key(&Tenant::DEFAULT, "app", digest),
        calls,
        failures,
    };
    place.store.counts.count(&[count(&first, 1_000, 1_000)]).await.unwrap();
    for share in [0, 101] {
        let pushed = place.push(version(2), Live::Canary(share)).await;
        assert_eq!(error(pushed).0, UploadErrorKind::Invalid);
    }
    let (second, uploaded) = place.push(version(2), Live::Canary(10)).await.unwrap();
    let canary = uploaded.canary.unwrap();
    assert_eq!((canary.share, canary.begin[0]), (10, Runs { calls: 1_000, failures: 1_000 }));
    place.store.counts.count(&[count(&first, 100, 0), count(&second, 19, 19)]).await.unwrap();
    assert_eq!(uploads.judge(&tenant, "app").await.unwrap(), None, "it has had too few calls");
    place.store.counts.count(&[count(&second, 1, 0)]).await.unwrap();
    let (one, other) = tokio::join!(uploads.judge(&tenant, "app"), uploads.judge(&tenant, "app"));
    assert!(one.unwrap().is_some() != other.unwrap().is_some(), "one of the two");
    let uploaded = uploads.show(&tenant, "app").await.unwrap();
    assert!(uploaded.canary.is_none() && uploaded.version(&second).unwrap().failed);
    assert_eq!(uploaded.active.as_ref(), Some(&first));
    assert_eq!(place.audit().await[0], "host plugin.canary.rollback");

    uploads.start_canary(&tenant, "app", &second, 50, ANN).await.unwrap();
    assert_eq!(uploads.judge(&tenant, "app").await.unwrap(), None, "what was counted before does not count");
    let uploaded = uploads.promote_canary(&tenant, "app", ANN).await.unwrap();
    assert_eq!((uploaded.active.as_ref(), uploaded.canary), (Some(&second), None));
    uploads.start_canary(&tenant, "app", &first, 50, ANN).await.unwrap();
    let uploaded = uploads.stop_canary(&tenant, "app", ANN).await.unwrap();
    assert_eq!((uploaded.active.as_ref(), uploaded.canary), (Some(&second), None));
    assert_eq!(error(uploads.stop_canary(&tenant, "app", ANN).await).0, UploadErrorKind::Conflict);
}

#[tokio::test]
async fn what_cannot_be_loaded_leaves_the_earlier_version() {
    let place = Place::new().await;
    let (registry, others) = (Arc::new(Registry::default()), Arc::new(Registry::default()));
    let following = Following::new(&place.store, &place.sandbox, registry.clone(), None);
    let of_acme = Following::new(&place.store, &place.sandbox, others.clone(), Some(vec![acme()]));
    let runs = |registry: &Registry| {
        let entry = registry.find(&Tenant::DEFAULT, &TaskName::new("app.f").unwrap());
        entry.and_then(|entry| entry.plugin.version.as_deref().map(str::to_owned))
    };
    let (first, _) = place.push(version(1), Live::Active).await.unwrap();
    following.look().await.unwrap();
    assert_eq!(runs(&registry), Some(first.clone()));
    // Somebody has spoilt the store.
    place.store.blobs.put_blob(&sha256(&version(2).wasm), &version(3).wasm).await.unwrap();
    let (second, _) = place.push(version(2), Live::Active).await.unwrap();
    following.look().await.unwrap();
    assert_eq!(runs(&registry), Some(first.clone()), "what is not what was uploaded is not run");
    assert!(following.pinned(&Tenant::DEFAULT, "app", &second).await.is_none());
    let (fourth, _) = place.push(version(4), Live::Active).await.unwrap();
    following.look().await.unwrap();
    assert_eq!(runs(&registry), Some(fourth));
    let stays = following.pinned(&Tenant::DEFAULT, "app", &first).await.unwrap();
    assert_eq!(stays.version.as_deref(), Some(&*first));
    for (tenant, plugin, digest) in
        [(acme(), "app", &*first), (Tenant::DEFAULT, "b", &*first), (Tenant::DEFAULT, "app", "0")]
    {
        assert!(following.pinned(&tenant, plugin, digest).await.is_none(), "{tenant} {plugin} {digest}");
    }
    of_acme.look().await.unwrap();
    assert_eq!(runs(&others), None, "it serves another tenant");
    place.uploads.remove(&Tenant::DEFAULT, "app", ANN).await.unwrap();
    following.look().await.unwrap();
    assert_eq!(runs(&registry), None);
}
