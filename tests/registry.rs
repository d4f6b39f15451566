//! Plugins that are uploaded while workers run: which version runs which call.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    thread,
    time::{Duration, Instant},
};

use ::host::{
    sandbox::{Options, Sandbox},
    store::{self, Store, Table},
    task::Tenant,
    uploads::{Live, Upload, UploadErrorKind, Uploaded, Uploads},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Task, TestHost, TestRedis, eventually, host};

/// A push must be run by all within this time.
const SOON: Duration = Duration::from_secs(2);

#[test]
fn a_push_is_run_by_three_workers_within_two_seconds() {
    let redis = TestRedis::start_alone();
    let files = Files::new();
    let _workers = ["a", "b", "c"].map(|queue| worker(&redis, &["-Q", queue]));
    let first_at = |queue: &str, version: i64| {
        let call = || redis.answer(&redis.send(&Task::new("app.f", json!([])).queue(queue)));
        eventually("the worker runs the version", || (call().result == json!(version)).then_some(()));
    };
    for version in 1..=3 {
        let begin = Instant::now();
        files.push(&redis, &returning(version), &[]);
        let pushed = begin.elapsed();
        for queue in ["a", "b", "c"] {
            first_at(queue, version);
        }
        println!("pushed after {pushed:?}, run by all three after {:?}", begin.elapsed());
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    }
    let shown = json(&redis, &["plugin", "show", "app", "--json"]);
    assert_eq!(shown["versions"].as_array().map(Vec::len), Some(3));
    let rolled_back = json(&redis, &["plugin", "rollback", "app", "--json"]);
    assert_eq!(rolled_back["active"], shown["before"]);
    first_at("a", 2);
    assert!(host(&redis, &["plugin", "rm", "app"]).status.success());
    eventually("it is gone", || {
        let answer = redis.answer(&redis.send(&Task::new("app.f", json!([])).queue("b")));
        (answer.result["exc_type"] == "NotRegistered").then_some(())
    });
    assert_eq!(host(&redis, &["plugin", "show", "app"]).status.code(), Some(69));
}

#[test]
fn a_plugin_replaced_a_hundred_times_loses_no_call_and_runs_none_on_an_older_version() {
    const REPLACEMENTS: i64 = 100;
    let redis = TestRedis::start_alone();
    let registry = Registry::of(&redis);
    let _worker = worker(&redis, &[]);
    registry.push(&returning(0), Live::Active);
    let answers = |version: i64| {
        eventually("the version runs", || {
            (redis.run("app.f", json!([])).result == json!(version)).then_some(())
        });
    };
    answers(0);
    // The newest version that has run: what is sent from then on must not run on an older one.
    let newest = AtomicI64::new(0);
    let over = AtomicBool::new(false);
    let begin = Instant::now();
    let sent = thread::scope(|scope| {
        let flow = scope.spawn(|| {
            let mut sent = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let since = newest.load(Ordering::Acquire);
                let tasks: Vec<_> = (0..50).map(|_| Task::new("app.f", json!([]))).collect();
                redis.send_all(&tasks);
                sent.push((since, tasks));
                // A thousand a second.
                thread::sleep(Duration::from_millis(50));
            }
            sent
        });
        for version in 1..=REPLACEMENTS {
            registry.push(&returning(version), Live::Active);
            answers(version);
            newest.store(version, Ordering::Release);
        }
        over.store(true, Ordering::Relaxed);
        flow.join().unwrap()
    });
    let calls: usize = sent.iter().map(|(_, tasks)| tasks.len()).sum();
    println!("{REPLACEMENTS} replacements and {calls} calls in {:?}", begin.elapsed());
    for (since, tasks) in &sent {
        redis.wait_for_all(tasks);
        for task in tasks {
            let answer = redis.stored(task.id()).unwrap();
            let version = answer.result.as_i64().unwrap_or_else(|| panic!("{answer}"));
            assert!((*since..=REPLACEMENTS).contains(&version), "version {version} after {since} had run");
        }
    }
    let uploaded = registry.show();
    assert!(uploaded.versions.len() <= 12, "{} versions", uploaded.versions.len());
}

#[test]
fn a_canary_that_fails_is_rolled_back_by_itself() {
    let redis = TestRedis::start();
    let registry = Registry::of(&redis);
    let _workers = [worker(&redis, &[]), worker(&redis, &[])];
    registry.push(&returning(1), Live::Active);
    eventually("it runs", || (redis.run("app.f", json!([])).result == json!(1)).then_some(()));
    registry.push(&failing(), Live::Canary(30));
    let canary = registry.show().canary.unwrap();
    let (mut failed, mut calls) = (0, 0);
    eventually("it is rolled back", || {
        let tasks: Vec<_> = (0..50).map(|_| Task::new("app.f", json!([]))).collect();
        redis.send_all(&tasks);
        redis.wait_for_all(&tasks);
        calls += tasks.len();
        failed += tasks.iter().filter(|task| redis.stored(task.id()).unwrap().status == "FAILURE").count();
        registry.show().canary.is_none().then_some(())
    });
    println!("{failed} of {calls} calls failed until it was rolled back");
    assert!((20..=calls / 2).contains(&failed), "{failed} of {calls}");
    let uploaded = registry.show();
    assert!(uploaded.version(&canary.digest).unwrap().failed);
    let audit = registry.audit();
    assert_eq!((audit[0].0.as_str(), audit[0].1.as_str()), ("host", "plugin.canary.rollback"));
    assert_eq!(audit.iter().filter(|(actor, _)| actor == "host").count(), 1, "one of the two did it");
    // Every worker hears of it.
    eventually("nothing fails any more", || {
        let tasks: Vec<_> = (0..20).map(|_| Task::new("app.f", json!([]))).collect();
        redis.send_all(&tasks);
        redis.wait_for_all(&tasks);
        tasks.iter().all(|task| redis.stored(task.id()).unwrap().status == "SUCCESS").then_some(())
    });
}

#[test]
fn retries_and_the_rest_of_a_chain_stay_on_their_version_if_they_are_pinned() {
    let redis = TestRedis::start();
    let registry = Registry::of(&redis);
    let _worker = worker(&redis, &[]);
    let pinned = |wasm: Upload| Upload { manifest: Some("pin_version = true".to_owned()), ..wasm };
    registry.push(&pinned(returning(1)), Live::Active);
    eventually("it runs", || (redis.run("app.f", json!([])).result == json!(1)).then_some(()));
    let next = |name: &str| {
        let options = json!({"task_id": name, "countdown": 3});
        json!({"task": "app.f", "args": [], "kwargs": {}, "options": options, "subtask_type": null, "immutable": true})
    };
    let first = Task::new("app.f", json!([])).chain(json!([next("second")]));
    assert_eq!(redis.answer(&redis.send(&first)).result, json!(1));
    registry.push(&pinned(returning(2)), Live::Active);
    eventually("it is replaced", || (redis.run("app.f", json!([])).result == json!(2)).then_some(()));
    assert!(redis.stored("second").is_none(), "it is still to come");
    assert_eq!(redis.answer("second").result, json!(1));

    let retried = |seconds: u8| {
        format!(
            "pin_version = true\nautoretry_for = [\"Exception\"]\nmax_retries = 1\nretry_backoff = {seconds}\nretry_jitter = false"
        )
    };
    registry.push(&Upload { manifest: Some(retried(3)), ..failing() }, Live::Active);
    let task = Task::new("app.f", json!([]));
    eventually("it fails", || (redis.run("app.f", json!([])).status == "FAILURE").then_some(()));
    redis.send(&task);
    eventually("it is to be retried", || redis.stored(task.id()).filter(|answer| answer.status == "RETRY"));
    registry.push(&pinned(returning(4)), Live::Active);
    eventually("it is replaced", || (redis.run("app.f", json!([])).result == json!(4)).then_some(()));
    assert_eq!(redis.answer(task.id()).status, "FAILURE", "its retry ran on the version that fails");
    // Anybody can write into a message what version it wants; one that is not the tenant's is nobody's.
    let forged = Task::new("app.f", json!([])).header("host", json!({"pins": {"app": "0".repeat(64)}}));
    assert_eq!(redis.answer(&redis.send(&forged)).result, json!(4));
}

#[test]
fn a_version_that_asks_for_more_is_held_and_an_unsigned_one_is_refused() {
    let redis = TestRedis::start();
    let files = Files::new();
    let _worker = worker(&redis, &[]);
    files.push(&redis, &returning(1), &[]);
    eventually("it runs", || (redis.run("app.f", json!([])).result == json!(1)).then_some(()));
    let asking = Upload { manifest: Some("[grants]\nhttp = [\"example.org\"]".to_owned()), ..returning(2) };
    let told = files.push(&redis, &asking, &[]);
    assert!(told.contains("asks for http \"example.org\""), "{told}");
    let shown = json(&redis, &["plugin", "show", "app", "--json"]);
    let digest = shown["versions"][0]["digest"].as_str().unwrap();
    assert_eq!(shown["versions"][0]["held"], json!(["http \"example.org\""]));
    let refused = host(&redis, &["plugin", "activate", "app", digest]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(redis.run("app.f", json!([])).result, json!(1));
    assert!(host(&redis, &["plugin", "approve", "app", &digest[..10]]).status.success());
    eventually("it runs", || (redis.run("app.f", json!([])).result == json!(2)).then_some(()));

    let key = files.0.path().join("key");
    let key = key.to_str().unwrap();
    let public = json(&redis, &["plugin", "keygen", key, "--json"]);
    let record = json!({"upload_keys": [public["public"]]}).to_string();
    assert!(host(&redis, &["tenant", "set", "acme", &record]).status.success());
    let file = files.write(&returning(3));
    let file = file.to_str().unwrap();
    let push = ["plugin", "push", file, "--yes", "--tenant", "acme"];
    let refused = host(&redis, &push);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && told.contains("must be signed"), "{told}");
    let sign = ["plugin", "sign", file, "--tenant", "acme", "--key", key, "--json"];
    let signature = json(&redis, &sign)["signature"].as_str().unwrap().to_owned();
    let signed = host(&redis, &[&push[..], &["--signature", &signature]].concat());
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    // The tenant has no folder; its queue is taken from all the same, and the others' plugin of this name is another one.
    let call = || {
        let task = Task::new("app.f", json!([])).queue("acme/celery");
        let key = format!("acme/_celery-task-meta-{}", redis.send(&task));
        let stored = eventually("it has a result", || redis.ask::<Option<String>>(&["GET", &key]));
        serde_json::from_str::<Value>(&stored).unwrap()["result"].clone()
    };
    eventually("the tenant's own runs", || (call() == json!(3)).then_some(()));
    assert_eq!(redis.run("app.f", json!([])).result, json!(2));
    // Nobody is there to be asked.
    let unasked = host(&redis, &["plugin", "push", file]);
    assert!(String::from_utf8_lossy(&unasked.stderr).contains("--yes"));
}

#[test]
fn a_thousand_uploads_in_a_row_leave_what_is_needed_and_no_more() {
    const UPLOADS: i64 = 1_000;
    let redis = TestRedis::start();
    let registry = Registry::of(&redis);
    let worker = worker(&redis, &[]);
    registry.push(&returning(-1), Live::Active);
    eventually("it runs", || (redis.run("app.f", json!([])).result == json!(-1)).then_some(()));
    let memory = worker.resident_memory();
    let begin = Instant::now();
    for version in 0..UPLOADS {
        registry.push(&returning(version), Live::Active);
    }
    println!("{UPLOADS} uploads in {:?}", begin.elapsed());
    let last = json!(UPLOADS - 1);
    eventually("the last one runs", || (redis.run("app.f", json!([])).result == last).then_some(()));
    let uploaded = registry.show();
    assert!(uploaded.versions.len() <= 12, "{} versions", uploaded.versions.len());
    eventually("code that nobody needs is gone", || {
        thread::sleep(Duration::from_millis(200));
        registry.clean_up();
        (registry.blobs() <= 12).then_some(())
    });
    assert!(redis.ask::<usize>(&["HLEN", "host:records:versions"]) <= 12);
    assert_eq!(redis.ask::<usize>(&["LLEN", "host:audit:of:"]), 1_000);
    let more = worker.resident_memory().saturating_sub(memory);
    println!("the worker has {more} KiB more");
    assert!(more < 64 << 10, "{more} KiB more");
}

/// A worker without plugins of its own, which says at once when it has no plugin for a task.
fn worker(redis: &TestRedis, flags: &[&str]) -> TestHost {
    TestHost::start_with(redis, &[], &[flags, &["--park-unknown", "0"]].concat())
}

/// A version of `app` whose `f` returns this number.
fn returning(version: i64) -> Upload {
    upload(&format!("(module (func (export \"f\") (result i64) i64.const {version}))"))
}

/// A version of `app` whose `f` fails.
fn failing() -> Upload {
    upload("(module (func (export \"f\") (result i64) unreachable))")
}

fn upload(text: &str) -> Upload {
    Upload {
        tenant: Tenant::DEFAULT,
        plugin: "app".to_owned(),
        wasm: wat::parse_str(text).unwrap().into(),
        manifest: None,
        signature: None,
    }
}

/// What a command prints as JSON.
#[track_caller]
fn json(redis: &TestRedis, arguments: &[&str]) -> Value {
    let output = host(redis, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A folder for what is pushed by the command line.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, upload: &Upload) -> PathBuf {
        let file = self.0.path().join("app.wasm");
        fs::write(&file, &upload.wasm).unwrap();
        match &upload.manifest {
            Some(manifest) => fs::write(file.with_extension("toml"), manifest).unwrap(),
            None => drop(fs::remove_file(file.with_extension("toml"))),
        }
        file
    }

    /// Pushes by the command line; answers what it says.
    #[track_caller]
    fn push(&self, redis: &TestRedis, upload: &Upload, flags: &[&str]) -> String {
        let file = self.write(upload);
        let output = host(redis, &[&["plugin", "push", file.to_str().unwrap(), "--yes"], flags].concat());
        let told =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{told}");
        told
    }
}

/// The uploads of a Redis, as the API uses them.
struct Registry {
    runtime: tokio::runtime::Runtime,
    store: Store,
    uploads: Uploads,
    sandbox: Sandbox,
}

impl Registry {
    fn of(redis: &TestRedis) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let url = redis.url();
        let store = runtime.block_on(Store::open(&url, None, store::Options::default())).unwrap();
        let sandbox = Sandbox::new(Options { slots: 1, ..Options::default() }).unwrap();
        Self { runtime, uploads: Uploads::new(&store), store, sandbox }
    }

    #[track_caller]
    fn push(&self, upload: &Upload, live: Live) {
        let push = async {
            let prepared = self.uploads.prepare(&self.sandbox, upload.clone()).await?;
            self.uploads.push(&prepared, live, "test").await
        };
        self.runtime.block_on(push).unwrap();
    }

    fn show(&self) -> Uploaded {
        let other = self.runtime.block_on(self.uploads.show(&Tenant::new("other").unwrap(), "app"));
        assert_eq!(other.unwrap_err().kind(), UploadErrorKind::NotFound);
        self.runtime.block_on(self.uploads.show(&Tenant::DEFAULT, "app")).unwrap()
    }

    fn clean_up(&self) {
        self.runtime.block_on(self.uploads.clean_up()).unwrap();
    }

    fn blobs(&self) -> usize {
        self.runtime.block_on(self.store.blobs.blobs()).unwrap().len()
    }

    /// Who did what to uploads, the last first.
    fn audit(&self) -> Vec<(String, String)> {
        let (_, records) = self.runtime.block_on(self.store.records.records(Table::Plugins)).unwrap();
        assert_eq!(records.len(), 2, "the plugin, and how much the tenant has");
        let entries = self.runtime.block_on(self.store.records.entries(None, 0, 100)).unwrap();
        entries.into_iter().map(|entry| (entry.actor, entry.action)).collect()
    }
}
