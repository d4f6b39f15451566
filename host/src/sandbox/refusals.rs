//! What guests were refused because it was not granted: counted for each tenant, told in the log, and shown in the run's failure.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Access, output::visible};
use crate::task::{Grants, Tenant};

/// What can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A request by `wasi:http`.
    Http,
    /// A call of `wasi:keyvalue`.
    KeyValue,
    /// A name asked of `wasi:config`.
    Config,
    /// A task sent by `host:tasks/workflow`.
    Submit,
}

/// All kinds.
const KINDS: [Kind; 4] = [Kind::Http, Kind::KeyValue, Kind::Config, Kind::Submit];

/// How often each tenant was refused something.
#[derive(Debug, Default)]
pub struct Refusals {
    tenants: Mutex<HashMap<Tenant, Arc<OfTenant>>>,
}

/// How often one tenant was refused something.
#[derive(Debug, Default)]
pub(super) struct OfTenant {
    counts: [AtomicU64; KINDS.len()],
    log: Mutex<Log>,
}

/// The lines that a tenant's refusals may still write.
#[derive(Debug, Default)]
struct Log {
    since: Option<Instant>,
    lines: u32,
}

/// How many lines the refusals of a tenant write into the log in each [`MINUTE`]; the others are only counted.
const LINES: u32 = 10;

const MINUTE: Duration = Duration::from_secs(60);

/// How many refusals a run's failure shows.
const SHOWN: usize = 5;

/// The longest line of one, in bytes.
const LONGEST: usize = 300;

impl Kind {
    /// Its name in figures: `http`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::KeyValue => "keyvalue",
            Self::Config => "config",
            Self::Submit => "submit",
        }
    }
}

impl Refusals {
    /// What was refused since the start.
    pub fn counts(&self) -> Vec<(Tenant, Kind, u64)> {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = |(tenant, known): (&Tenant, &Arc<OfTenant>)| {
            let (tenant, known) = (tenant.clone(), known.clone());
            KINDS.map(move |kind| (tenant.clone(), kind, known.counts[kind as usize].load(Ordering::Relaxed)))
        };
        let mut counts: Vec<_> = tenants.iter().flat_map(of_one).filter(|(_, _, count)| *count > 0).collect();
        counts.sort();
        counts
    }

    pub(super) fn of(&self, tenant: &Tenant) -> Arc<OfTenant> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.entry(tenant.clone()).or_default().clone()
    }
}

impl OfTenant {
    /// Whether another line may be written.
    fn may_log(&self) -> bool {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.since.is_none_or(|since| since.elapsed() >= MINUTE) {
            *log = Log { since: Some(Instant::now()), lines: 0 };
        }
        log.lines += 1;
        log.lines <= LINES
    }
}

/// Refuses what one run asks for.
#[derive(Clone)]
pub(super) struct Refuser {
    access: Arc<Access>,
    shown: Arc<Mutex<Vec<String>>>,
}

impl Refuser {
    pub(super) fn new(access: Arc<Access>) -> Self {
        Self { access, shown: Arc::default() }
    }

    pub(super) fn tenant(&self) -> &Tenant {
        &self.access.tenant
    }

    pub(super) fn grants(&self) -> &Grants {
        &self.access.grants
    }

    /// Notes that this was refused, in words such as `http to 10.0.0.1 (not in [grants] http)`.
    pub(super) fn refuse(&self, kind: Kind, what: &str) {
        let what: String =
            what.chars().take(LONGEST).map(visible).map(|c| if c == '\n' { ' ' } else { c }).collect();
        let known = &self.access.refused;
        known.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
        if known.may_log() {
            tracing::warn!("plugin {} of {} was refused: {what}", self.access.plugin, self.access.tenant);
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.len() < SHOWN && !shown.contains(&what) {
            shown.push(what);
        }
    }

    /// What this run was refused; of much the first.
    pub(super) fn shown(&self) -> Vec<String> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_tenant_and_fill_neither_log_nor_failure() {
        let refusals = Refusals::default();
        let acme = Tenant::new("acme").unwrap();
        let refuser = Refuser::new(Arc::new(Access::none(acme.clone(), "app", &refusals)));
        for n in 0..100 {
            refuser.refuse(Kind::Http, &format!("http to 10.0.0.{n}\n{}", "x".repeat(9_999)));
        }
        refuser.refuse(Kind::Submit, "task other.f");
        assert_eq!(refusals.counts(), [(acme.clone(), Kind::Http, 100), (acme.clone(), Kind::Submit, 1)]);
        assert_eq!(refuser.shown().len(), SHOWN);
        assert!(refuser.shown().iter().all(|line| line.len() <= LONGEST && !line.contains('\n')));
        let known = refusals.of(&acme);
        assert!(!known.may_log(), "101 refusals have used up the lines of this minute");
        assert!(refusals.of(&Tenant::DEFAULT).may_log(), "another tenant's are its own");
    }
}
