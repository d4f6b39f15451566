//! What a running worker may still do, as the kernel tells it: of each of its threads.

use std::{fs, path::PathBuf};

use serde_json::json;

use crate::support::{TestHost, TestRedis, eventually, guests};

#[test]
fn a_worker_has_no_rights_left_that_it_does_not_need_and_shows_no_secrets() {
    let redis = TestRedis::start();
    redis.ask::<()>(&["ACL", "SETUSER", "worker", "on", ">hunter2", "~*", "&*", "+@all"]);
    let url = redis.url().replace("redis://", "redis://worker:hunter2@");
    let mut host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["--broker", &url]);
    assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5");

    let threads = statuses(host.pid());
    assert!(threads.len() > 3, "guests, the broker, the clock");
    for status in &threads {
        for (line, value) in [("NoNewPrivs:", "1"), ("Seccomp:", "2")] {
            assert_eq!(after(status, line), value, "{status}");
        }
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(after(status, set), "0000000000000000", "{status}");
        }
        if after(status, "Uid:").starts_with('0') {
            assert_eq!(after(status, "CapBnd:"), "0000000000000000", "{status}");
        }
        assert_eq!(after(status, "Umask:"), "0077", "{status}");
    }
    let limits = fs::read_to_string(of(host.pid(), "limits")).expect("it runs");
    let core = after(&limits, "Max core file size");
    assert!(core.starts_with("0 "), "{core}");

    // Whom the kernel does not let look has nothing to look for.
    let environment = fs::read_to_string(of(host.pid(), "environ")).unwrap_or_default();
    assert!(!environment.contains("redis://") && !environment.contains("PATH"), "{environment:?}");
    let typed = fs::read_to_string(of(host.pid(), "cmdline")).expect("everybody may look");
    assert!(typed.contains("redis://worker:*******@") && !typed.contains("hunter2"), "{typed:?}");

    // All that it does it still can: load what is new, and compile it.
    host.put("new", &fs::read(guests::NUMBERS).expect("the guest is built"));
    host.wait_for("plugin new.wasm added");
    assert_eq!(redis.run("new.add", json!([1, 2])).to_string(), "SUCCESS 3");
    let says = host.output();
    let as_root = threads.iter().any(|status| after(status, "Uid:").starts_with('0'));
    assert_eq!(says.contains("not all of the second wall stands: it runs as root"), as_root, "{says}");
}

#[test]
fn the_second_wall_can_be_left_out() {
    let redis = TestRedis::start();
    let host = TestHost::start_with(&redis, &[("app", guests::DIVIDE)], &["--unconfined"]);
    assert!(statuses(host.pid()).iter().all(|status| after(status, "Seccomp:") == "0"));
    assert_eq!(redis.run("app.divide", json!([1, 2])).to_string(), "SUCCESS 0.5");
}

/// What the kernel says of each thread.
fn statuses(pid: u32) -> Vec<String> {
    eventually("its threads can be read", || {
        let threads = fs::read_dir(of(pid, "task")).ok()?.flatten();
        // A thread may end while it is looked at.
        let status = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status")).ok();
        Some(threads.filter_map(status).collect::<Vec<_>>()).filter(|all| !all.is_empty())
    })
}

fn of(pid: u32, file: &str) -> PathBuf {
    format!("/proc/{pid}/{file}").into()
}

fn after<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
}
