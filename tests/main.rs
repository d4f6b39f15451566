//! End to end: the built `host`, a real Redis, real Celery clients. `tests/run` runs it all.
//!
//! - [`celery_compat`]: an unmodified Python client, in two versions, cannot tell `host` from a Python worker.
//! - [`canvases`]: random canvases come out of `host` as they come out of a Python worker, whichever worker dies.
//! - [`workflows`]: chains, groups and chords of every client come to their known ends, as with a Python worker.
//! - [`celery_cli`]: Celery's own command line asks and commands `host`.
//! - [`control`]: workers are asked and told over the broker, by Python's `app.control`.
//! - [`control_under_load`]: and are answered at once when there is very much to do.
//! - [`events`]: workers tell what happens, and nobody has to wait for that.
//! - [`results`]: what is stored for a task, in every shape of plugin and every type of value.
//! - [`limits`]: whatever a guest does, only its own task fails, in time and by a name.
//! - [`limits_table`]: every limit in the table that people read, line by line.
//! - [`log`]: what a worker writes, and that nobody who reads it can hold the worker up.
//! - [`delivery`]: the order of messages, and that none is lost when the worker or Redis dies.
//! - [`delayed`]: very many tasks that wait for their time, and the worker's memory meanwhile.
//! - [`fleet`]: `host` and Python workers on one Redis: nothing lost, and nothing run twice while its worker lives.
//! - [`flower`]: Flower shows and commands `host`, by its pages and its API.
//! - [`fuzz_seeds`]: what strangers can send, changed in many small ways, makes nothing panic.
//! - [`beside`]: a tenant whose tasks are as bad as can be does not spoil another's.
//! - [`hostile`]: messages that no client should send neither stop the worker nor block the queue.
//! - [`compiling`]: files that take all time and memory there is to compile.
//! - [`plugins`]: plugins come, change and go while the worker runs.
//! - [`grants`]: plugins reach what they were granted, and nothing else.
//! - [`registry`]: plugins that are uploaded while workers run: which version runs which call.
//! - [`rate_limits`]: tasks that may not be run as often as they are called.
//! - [`receipts`]: a result says what its run took, and the worker adds it up.
//! - [`retries`]: tasks that fail for now, and how often they may.
//! - [`processes`]: a worker of several processes, which live and end together.
//! - [`shares`]: tenants share a worker by their weights, and none holds up another.
//! - [`second_wall`]: what a running worker may still do.
//! - [`tenants`]: what is one tenant's is no other's, with Redis users and Celery clients of their own.
//! - [`shutdown`]: what a worker does with its tasks when it is asked to end.
//! - [`sending`]: tasks that send others, or hand their place to another.
//! - [`revoking`]: revoked tasks do not run, whoever was there to hear of it.
//! - [`parking`]: a task that no plugin offers yet waits for one that does.
//! - [`dead_letters`]: what failed for good is kept, and what kills its workers ends there.
//! - [`dev`]: tasks run on a machine with nothing else installed.
//! - [`cli`]: the command line: what it prints and how it exits.
//! - [`inspecting`]: workers of all kinds are looked at and commanded by `host` itself.
//! - [`api`]: tasks are sent, awaited and looked after over HTTP.
//! - [`api_hostile`]: requests that no client should send are refused, and the server serves on.
//! - [`api_schema`]: the OpenAPI document is what the server does.
//! - [`memory`]: a worker does not grow.
//! - [`checklist`]: which of these tests show each line of the wire contract's checklist.

#[cfg(test)]
mod api;
#[cfg(test)]
mod api_hostile;
#[cfg(test)]
mod api_schema;
#[cfg(test)]
mod beside;
#[cfg(test)]
mod canvases;
#[cfg(test)]
mod celery_cli;
#[cfg(test)]
mod celery_compat;
#[cfg(test)]
mod checklist;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod compiling;
#[cfg(test)]
mod control;
#[cfg(test)]
mod control_under_load;
#[cfg(test)]
mod dead_letters;
#[cfg(test)]
mod delayed;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod dev;
#[cfg(test)]
mod events;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod flower;
#[cfg(test)]
mod fuzz_seeds;
#[cfg(test)]
mod grants;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod inspecting;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod limits_table;
#[cfg(test)]
mod log;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod parking;
#[cfg(test)]
mod plugins;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod rate_limits;
#[cfg(test)]
mod receipts;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod results;
#[cfg(test)]
mod retries;
#[cfg(test)]
mod revoking;
#[cfg(test)]
mod second_wall;
#[cfg(test)]
mod sending;
#[cfg(test)]
mod shares;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
#[expect(dead_code, reason = "the fault suite uses the rest")]
mod support;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod workflows;

/// A guest that no test runs is dead weight, or a forgotten test.
#[test]
fn every_guest_is_run_by_a_test() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    let mut tests = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "rs") {
            tests += &std::fs::read_to_string(path).unwrap();
        }
    }
    for name in artifacts::NAMES {
        assert!(
            tests.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == *name),
            "no test uses the guest {name}"
        );
    }
}
