//! `host`: runs WebAssembly plugins as Celery tasks.
//!
//! # The rooms, lowest first
//!
//! - [`fail_point`]: where the fault suite may kill the process, each step by its name.
//! - [`walls`]: what the kernel is told that a process may not do.
//! - [`task`]: the words everything else is said in: ids, names, requests, outcomes. No I/O.
//! - [`tenant`]: who may have how much, and who may do what: weights, quotas, fair shares, tokens. No I/O.
//! - [`protocol`]: Celery's wire format; bytes to words and back. No I/O.
//! - [`sandbox`]: compiles and runs WebAssembly; the only room that knows wasmtime.
//! - [`plugin`]: which `.wasm` file answers which task name, kept up to date while files change.
//! - [`canvas`]: what is sent once a task has ended: chains, groups, chords, links. No I/O.
//! - [`store`]: what must outlive a process: queues, deliveries, results. The only room that knows Redis.
//! - [`client`]: sends a task and awaits its result; asks workers and collects their replies.
//! - [`uploads`]: plugins that are uploaded while workers run: their versions, and which of them is run.
//! - [`api`]: the HTTP API: the same over HTTP, and looking after the installation.
//! - [`worker`]: takes messages, runs tasks, records results; the life of a task is `worker/execute.rs`.
//! - [`config`]: what was typed becomes checked options.
//! - [`commands`]: one file per command line verb.
//!
//! A room imports only rooms above it in this list, as the table in `layers.rs` says and tests.
//!
//! # What always holds
//!
//! - A message is never only in memory: it is in a queue or in the broker's record of unacknowledged deliveries
//!   until its result is stored.
//! - What a guest does wrong is an [`task::Outcome`], never an `Err`. An `Err` means that the host failed, and
//!   then the delivery goes back.
//! - Every run gets a fresh instance; nothing of it survives.

pub mod api;
pub mod canvas;
pub mod client;
pub mod commands;
pub mod config;
pub mod fail_point;
pub mod plugin;
pub mod protocol;
pub mod sandbox;
pub mod store;
pub mod task;
pub mod tenant;
pub mod uploads;
pub mod walls;
pub mod worker;

#[cfg(test)]
mod layers;
