//! The wasmtime engine: which WebAssembly it takes, where instances live, and the clock that interrupts them.
//!
//! Invariant: a run holds a slot, and the pool has room for a whole component in each slot; so the pool never
//! says no.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    num::NonZeroUsize,
    sync::mpsc,
    thread,
    time::Duration,
};

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::WasmFeatures;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails,
};

use super::{Options, SandboxError, inspect::FEATURES};

/// How often a running guest is made to yield to the others on its thread. Also the grain of the time limits
/// of a guest that computes.
const TICK: Duration = Duration::from_millis(10);

/// Core instances in one component: a Rust guest has 4, CPython 21.
pub(super) const CORE_INSTANCES: u32 = 40;
/// Memories in one component: QuickJS has 2, the others 1.
pub(super) const MEMORIES: u32 = 2;
/// Tables in one component: Rust has 2.
pub(super) const TABLES: u32 = 4;
/// Elements of all tables of one run: StarlingMonkey has 7,693.
pub(super) const TABLE_ELEMENTS: usize = 20_000;

/// Makes the engine.
pub(super) fn engine(options: &Options) -> Result<Engine, SandboxError> {
    let slots = u32::try_from(options.slots).ok().filter(|slots| *slots > 0);
    let slots = slots.ok_or(SandboxError::Slots { slots: options.slots })?;
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots, options.memory)));
    Engine::new(&config).map_err(|error| SandboxError::Engine {
        slots: options.slots,
        memory: options.memory,
        reason: super::one_line(&error),
    })
}

/// An engine that compiles for [`engine`] and runs nothing, so that it needs no room.
pub(super) fn compiling() -> wasmtime::Result<Engine> {
    Engine::new(&config())
}

/// What tells apart the engines that cannot run each other's code, and the adapters that are part of it.
pub(super) fn compatibility(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER.hash(&mut hasher);
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER.hash(&mut hasher);
    hasher.finish()
}

/// Whether the kernel can say which pages of an instance were touched (`PAGEMAP_SCAN`, Linux 6.7). Without
/// it, giving an instance back costs about six times as much.
pub(super) fn pagemap_scan_available() -> bool {
    PoolingAllocationConfig::is_pagemap_scan_available()
}

/// The settings of both kinds of engine.
fn config() -> Config {
    let mut config = Config::new();
    // Components that were composed of others talk through glue that wasmtime writes, and that needs several
    // memories. Plugins themselves may not have them: `inspect` validates with `FEATURES` alone.
    let features = FEATURES.union(WasmFeatures::MULTI_MEMORY);
    config
        .wasm_features(features.complement(), false)
        .wasm_features(features, true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(512 << 10)
        // Leaves 1.5 MiB to the host functions that a guest calls from the depth of its own stack.
        .async_stack_size(2 << 20)
        // The default reads an environment variable, and names files of the machine a plugin was built on.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(NonZeroUsize::new(20));
    config
}

fn pool(slots: u32, memory: usize) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES))
        .total_memories(slots.saturating_mul(MEMORIES))
        .total_tables(slots.saturating_mul(TABLES))
        .total_stacks(slots)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_tables_per_module(TABLES)
        .max_memory_size(memory)
        .table_elements(TABLE_ELEMENTS)
        .max_core_instance_size(1 << 20)
        .max_component_instance_size(1 << 20);
    if pagemap_scan_available() {
        // Pages that stay with their slot are wiped by hand instead of being given back to the kernel, which
        // would interrupt every other core. This is the difference between 22,000 and 147,000 runs per second
        // on two cores.
        pool.pagemap_scan(Enabled::Auto).linear_memory_keep_resident(1 << 20).table_keep_resident(64 << 10);
    } else {
        pool.decommit_batch_size(16);
    }
    pool
}

/// Advances the engine's epoch until dropped. A thread of its own: a busy runtime must not stop the clock.
pub(super) struct Ticker {
    _stop: mpsc::Sender<()>,
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> Result<Self, SandboxError> {
        let engine = engine.clone();
        let (stop, stopped) = mpsc::channel::<()>();
        thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || {
                // The channel carries nothing; its other end going away is the signal to end.
                while stopped.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
                    engine.increment_epoch();
                }
            })
            .map_err(SandboxError::Ticker)?;
        Ok(Self { _stop: stop })
    }
}
