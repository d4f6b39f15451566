//! The host's side of one run: everything that the functions a guest imports work on.
//!
//! Invariant: nothing in here outlives the run or is shared with another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use wasmtime::Store;
use wasmtime_wasi::{ResourceTable, WasiCtxView, WasiView, p1::WasiP1Ctx};

use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::{
    Access, Call, Inner, KeyValue, Outbox, ProgressSink, Secrets, TimeLimits, http::Http, limiter::Limiter,
    output::Capture, redact::Redactor, refusals::Refuser, wasi,
};
use crate::task::{Asked, Grants, Request};

/// The state of one run's store.
pub(super) struct Guest {
    /// Made when the guest first calls it, which many never do. Serves components too: it holds the context that both
    /// generations of WASI work on.
    wasi: Option<Box<WasiP1Ctx>>,
    stdio: Stdio,
    pub(super) limiter: Limiter,
    pub(super) request: Arc<Request>,
    pub(super) progress: ProgressSink,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) deadlines: Deadlines,
    /// What becomes of its message if it fails; the last thing it asked for.
    pub(super) asked: Option<Asked>,
    pub(super) shown: Shown,
    access: Arc<Access>,
    /// Made when something is refused or requested for the first time, as [`Http`] is.
    refuser: Option<Refuser>,
    http: Option<Box<Http>>,
    /// The secrets, once it has asked for one.
    secrets: Option<Arc<Secrets>>,
    sandbox: Arc<Inner>,
    /// The most bytes of JSON that it may hand to the host as one value.
    pub(super) largest_value: usize,
}

/// What a program reads and where its output goes.
#[derive(Clone)]
pub(super) struct Stdio {
    /// All of standard input.
    pub(super) stdin: bytes::Bytes,
    /// Where standard output goes.
    pub(super) stdout: Capture,
    /// Where standard error goes.
    pub(super) stderr: Capture,
}

impl Guest {
    /// A store for one run, with every limit set.
    pub(super) fn store(
        sandbox: &Arc<Inner>,
        call: Call,
        deadlines: Deadlines,
        shown: Shown,
        stdio: Stdio,
    ) -> Store<Self> {
        let options = &sandbox.options;
        let guest = Self {
            wasi: None,
            stdio,
            limiter: Limiter::new(call.memory.map_or(options.memory, |memory| memory.min(options.memory))),
            request: call.request,
            progress: call.progress,
            outbox: call.outbox,
            deadlines,
            asked: None,
            shown,
            access: call.access,
            refuser: None,
            http: None,
            secrets: None,
            sandbox: sandbox.clone(),
            largest_value: options.result,
        };
        let mut store = Store::new(&sandbox.engine, guest);
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(options.host_call);
        // The clock only makes a guest yield; the deadlines end it. So a guest that waits and one that
        // computes are ended in the same way.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }
}

impl Guest {
    /// The guest as each function that it calls sees it, which counts the call.
    pub(super) fn called(&mut self) -> &mut Self {
        self.shown.count_call();
        self
    }

    pub(super) fn wasi(&mut self) -> &mut WasiP1Ctx {
        self.shown.count_call();
        let context = || Box::new(wasi::context(self.request.task.as_str(), self.stdio.clone()));
        self.wasi.get_or_insert_with(context)
    }

    /// What a guest holds of the host's.
    pub(super) fn table(&mut self) -> &mut ResourceTable {
        self.wasi().ctx().table
    }

    pub(super) fn grants(&self) -> &Grants {
        &self.access.grants
    }

    /// Refuses what is not granted.
    pub(super) fn refuser(&mut self) -> &Refuser {
        self.refuser.get_or_insert_with(|| Refuser::new(self.access.clone()))
    }

    /// What keeps its tenant's entries, if it was granted that.
    pub(super) fn keyvalue(&self) -> Option<KeyValue> {
        self.access.keyvalue.clone()
    }

    /// Its tenant's secrets, also those that it was not granted.
    pub(super) fn secrets(&mut self) -> Result<Arc<Secrets>, String> {
        if let Some(secrets) = &self.secrets {
            return Ok(secrets.clone());
        }
        let secrets = self.access.secrets.as_ref().map_or_else(|| Ok(Arc::default()), |secrets| secrets())?;
        Ok(self.secrets.insert(secrets).clone())
    }

    /// What takes out the secrets that it has read, if it has.
    pub(super) fn redactor(&self) -> Option<Redactor> {
        let secrets = self.secrets.as_ref()?;
        Some(Redactor::new(secrets, |name| self.grants().allows_secret(name)))
    }

    /// What was refused.
    pub(super) fn refused(&self) -> Vec<String> {
        self.refuser.as_ref().map(Refuser::shown).unwrap_or_default()
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        if self.http.is_none() {
            let refuser = self.refuser().clone();
            self.http = Some(Box::new(Http::new(self.sandbox.http.clone(), refuser)));
        }
        self.wasi();
        let (http, wasi) = (self.http.as_mut(), self.wasi.as_mut());
        let (http, wasi) = http.zip(wasi).expect("both were made above");
        http.view(wasi.ctx().table)
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi().ctx()
    }
}

/// When a run is asked to end, and when it is ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    limits: TimeLimits,
    pub(super) soft: Option<Instant>,
    pub(super) hard: Instant,
}

impl Deadlines {
    /// The limits counted from now. A soft limit that is not before the hard one says nothing.
    pub(super) fn from_now(limits: TimeLimits) -> Self {
        // tokio's timers reach two years; without this, a limit near the end of time overflows.
        const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let now = Instant::now();
        let soft = limits.soft.filter(|soft| *soft < limits.hard);
        Self { limits, soft: soft.map(|soft| now + soft.min(LONGEST)), hard: now + limits.hard.min(LONGEST) }
    }

    /// The limits as they were given.
    pub(super) fn limits(&self) -> TimeLimits {
        self.limits
    }
}

/// What a guest shows of itself, known also while it runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown(Arc<Signs>);

#[derive(Debug, Default)]
struct Signs {
    listens: AtomicBool,
    calls: AtomicU64,
}

impl Shown {
    /// It has asked if it should end.
    pub(super) fn listen(&self) {
        self.0.listens.store(true, Ordering::Relaxed);
    }

    /// Whether it ever has.
    pub(super) fn listens(&self) -> bool {
        self.0.listens.load(Ordering::Relaxed)
    }

    /// It has called a function of the host. Only its own thread counts, so this need not be one step.
    fn count_call(&self) {
        self.0.calls.store(self.calls() + 1, Ordering::Relaxed);
    }

    /// How often it has.
    pub(super) fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::Relaxed)
    }
}
