//! A folder on disk, with plugins of a few bytes, looked at until something has changed.

use super::*;
use crate::{
    sandbox::Options,
    task::{TaskName, Tenant},
};

const MODULE: &str = r#"(module (func (export "f")) (func (export "g")))"#;

fn opened(path: &Path) -> (Folder, Vec<Change>) {
    let sandbox = Sandbox::new(Options { slots: 1, ..Options::default() }).unwrap();
    Folder::open(path, Arc::new(sandbox)).unwrap()
}

/// A folder with the plugin `app`, already followed.
fn with_app() -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("app.wasm"), wat::parse_str(MODULE).unwrap()).unwrap();
    let (folder, changes) = opened(dir.path());
    assert_eq!(told(&changes), ["added app.wasm"]);
    (dir, folder)
}

fn told(changes: &[Change]) -> Vec<String> {
    let line = |change: &Change| match change {
        Change::Added(plugin) => format!("added {}", plugin.file),
        Change::Replaced(plugin) => format!("replaced {}", plugin.file),
        Change::Removed(plugin) => format!("removed {}", plugin.file),
        Change::Broken { file, reason, earlier_stays } => format!("broken {file} {earlier_stays}: {reason}"),
    };
    changes.iter().map(line).collect()
}

/// Looks until something has changed, as [`follow`](super::super::follow) does.
fn next_change(folder: &mut Folder) -> Vec<String> {
    let started = Instant::now();
    loop {
        let changes = folder.look().unwrap();
        if !changes.is_empty() {
            return told(&changes);
        }
        assert!(started.elapsed() < Duration::from_secs(30), "nothing changed");
        std::thread::sleep(REST / 4);
    }
}

fn max_retries(folder: &Folder, task: &str) -> Option<u32> {
    folder
        .registry()
        .find(&Tenant::DEFAULT, &TaskName::new(task).unwrap())
        .unwrap()
        .options()
        .retry
        .max_retries
}

#[test]
fn a_manifest_is_followed_as_its_plugin_is() {
    let (dir, mut folder) = with_app();
    let manifest = dir.path().join("app.toml");
    assert_eq!(max_retries(&folder, "app.f"), Some(3));

    std::fs::write(&manifest, "max_retries = 5\n[tasks.g]\nmax_retries = 6\n").unwrap();
    assert_eq!(next_change(&mut folder), ["replaced app.wasm"]);
    assert_eq!((max_retries(&folder, "app.f"), max_retries(&folder, "app.g")), (Some(5), Some(6)));

    std::fs::write(&manifest, "max_retries = \"unlimited\"\n").unwrap();
    assert_eq!(next_change(&mut folder), ["replaced app.wasm"]);
    assert_eq!((max_retries(&folder, "app.f"), max_retries(&folder, "app.g")), (None, None));

    std::fs::remove_file(&manifest).unwrap();
    assert_eq!(next_change(&mut folder), ["replaced app.wasm"]);
    assert_eq!(max_retries(&folder, "app.f"), Some(3));
}

#[test]
fn a_broken_manifest_takes_nothing_away() {
    let (dir, mut folder) = with_app();
    let manifest = dir.path().join("app.toml");
    std::fs::write(&manifest, "max_retries = 5\n").unwrap();
    next_change(&mut folder);

    std::fs::write(&manifest, "max_retries = true\n").unwrap();
    assert_eq!(
        next_change(&mut folder),
        [concat!(
            r#"broken app.wasm true: "app.toml" has max_retries = true, but it must be "#,
            r#"a whole number from 0 to 4294967295, or "unlimited""#
        )]
    );
    assert_eq!(max_retries(&folder, "app.f"), Some(5), "the earlier version stays");

    std::fs::write(&manifest, "max_retries = 6\n").unwrap();
    assert_eq!(next_change(&mut folder), ["replaced app.wasm"]);
    assert_eq!(max_retries(&folder, "app.f"), Some(6));
}

#[test]
fn a_manifest_is_read_when_the_folder_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["good", "bad"] {
        std::fs::write(dir.path().join(format!("{name}.wasm")), wat::parse_str(MODULE).unwrap()).unwrap();
    }
    std::fs::write(dir.path().join("good.toml"), "[tasks.f]\nmax_retries = 7\n[tasks.h]\n").unwrap();
    std::fs::write(dir.path().join("bad.toml"), "max_retries = 5 6").unwrap();
    std::fs::write(dir.path().join("alone.toml"), "of no plugin").unwrap();
    let (folder, changes) = opened(dir.path());
    let lines = told(&changes);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with(r#"broken bad.wasm false: "bad.toml" is not TOML: line 1: "#), "{lines:?}");
    assert_eq!(lines[1], "added good.wasm");
    assert_eq!((max_retries(&folder, "good.f"), max_retries(&folder, "good.g")), (Some(7), Some(3)));
    let skipped: Vec<_> = folder.plugins.values().flat_map(|plugin| plugin.skipped()).collect();
    assert_eq!(skipped.len(), 1);
    assert_eq!(skipped[0].name, "h");
}

#[test]
fn a_folder_below_is_that_of_a_tenant_whenever_it_comes() {
    let (dir, mut folder) = with_app();
    let acme = Tenant::new("acme").unwrap();
    let find = |folder: &Folder, tenant: &Tenant, task: &str| {
        folder.registry().find(tenant, &TaskName::new(task).unwrap()).map(|entry| entry.plugin.file.clone())
    };
    std::fs::create_dir(dir.path().join("acme")).unwrap();
    folder.look().unwrap();
    assert_eq!(
        folder.registry().tenants(),
        std::slice::from_ref(&acme),
        "it is known before it has a plugin"
    );

    let wasm = dir.path().join("acme").join("app.wasm");
    std::fs::write(&wasm, wat::parse_str(r#"(module (func (export "h")))"#).unwrap()).unwrap();
    std::fs::write(wasm.with_extension("toml"), "max_retries = 5\n").unwrap();
    assert_eq!(next_change(&mut folder), ["added acme/app.wasm"]);
    assert_eq!(find(&folder, &acme, "app.h").as_deref(), Some("acme/app.wasm"));
    assert_eq!(find(&folder, &acme, "app.f"), None, "that of the default tenant");
    assert_eq!(find(&folder, &Tenant::DEFAULT, "app.f").as_deref(), Some("app.wasm"));
    for foreign in ["app.h", "acme/app.h"] {
        assert_eq!(find(&folder, &Tenant::DEFAULT, foreign), None, "{foreign}");
    }
    let shown: Vec<_> = folder.registry().tasks().iter().map(|(task, _)| task.to_string()).collect();
    assert_eq!(shown, ["app.f", "app.g", "acme/app.h"]);

    std::fs::write(&wasm, wat::parse_str(MODULE).unwrap()).unwrap();
    assert_eq!(next_change(&mut folder), ["replaced acme/app.wasm"]);
    assert_eq!(find(&folder, &acme, "app.f").as_deref(), Some("acme/app.wasm"));
    std::fs::remove_dir_all(dir.path().join("acme")).unwrap();
    assert_eq!(next_change(&mut folder), ["removed acme/app.wasm"]);
    assert_eq!(folder.registry().tenants(), []);
}

#[test]
fn a_folder_that_is_no_tenant_s_is_told_of_once() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["Acme", ".git", "acme", "acme/deeper"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name).join("app.wasm"), wat::parse_str(MODULE).unwrap()).unwrap();
    }
    let (mut folder, changes) = opened(dir.path());
    let reason = "it is not made of a-z, 0-9, - and _, beginning with a letter or a digit";
    assert_eq!(
        told(&changes),
        [
            format!("broken Acme false: tenant \"Acme\" is not usable: {reason}"),
            "added acme/app.wasm".to_owned()
        ]
    );
    assert_eq!(told(&folder.look().unwrap()), [""; 0]);
}
