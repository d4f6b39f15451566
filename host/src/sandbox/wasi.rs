//! The WASI that a guest sees: clocks, random numbers and captured output, and nothing else.
//!
//! Files and sockets are linked all the same, because the run-times of Python and JavaScript import them
//! whether a program uses them or not; each call of them is refused. What can be granted (`http` and others) is linked
//! for all, and refused in the call to those who were not granted it.

use wasmtime::{Engine, component};
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiView, p1, p1::WasiP1Ctx, p2, p2::pipe::MemoryInputPipe};

use super::{
    config,
    guest::{Guest, Stdio},
    imports, keyvalue,
};

/// The packages that a component may import from.
pub(super) const PACKAGES: &[&str] = &[
    "host:tasks",
    "wasi:cli",
    "wasi:clocks",
    "wasi:config",
    "wasi:filesystem",
    "wasi:http",
    "wasi:io",
    "wasi:keyvalue",
    "wasi:random",
    "wasi:sockets",
];

/// The modules that a core module may import from.
pub(super) const MODULES: &[&str] = &["wasi_snapshot_preview1"];

/// What one `get-random-bytes` may ask for.
const RANDOM_BYTES: u64 = 64 << 10;

/// How many streams, pollables and errors a run may hold at once; the host keeps each of them.
const RESOURCES: usize = 10_000;

/// The host functions, linked once for all plugins.
pub(super) struct Linkers {
    /// For components.
    pub(super) component: component::Linker<Guest>,
    /// For core modules.
    pub(super) module: wasmtime::Linker<Guest>,
}

impl Linkers {
    pub(super) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let mut component = component::Linker::new(engine);
        p2::add_to_linker_async(&mut component)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut component)?;
        keyvalue::add_to_linker(&mut component)?;
        config::add_to_linker(&mut component)?;
        imports::add_to_linker(&mut component)?;
        let mut module = wasmtime::Linker::new(engine);
        p1::add_to_linker_async(&mut module, |guest: &mut Guest| guest.wasi())?;
        Ok(Self { component, module })
    }
}

/// The context of one run. `name` is its `argv[0]`. No environment, no folders, and a network that denies.
pub(super) fn context(name: &str, stdio: Stdio) -> WasiP1Ctx {
    let mut wasi = WasiCtx::builder();
    wasi.arg(name)
        .stdout(stdio.stdout)
        .stderr(stdio.stderr)
        .max_random_size(RANDOM_BYTES)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .allow_blocking_current_thread(false);
    if !stdio.stdin.is_empty() {
        wasi.stdin(MemoryInputPipe::new(stdio.stdin));
    }
    let mut wasi = wasi.build_p1();
    let table: &mut ResourceTable = wasi.ctx().table;
    table.set_max_capacity(RESOURCES);
    wasi
}
