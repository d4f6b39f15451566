//! Files that were refused a short while ago: the same bytes need no second process to be refused again.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::LoadError;
use crate::task::Tenant;

/// How long a refusal is remembered. The limits may have been raised, or the machine may have been busy.
const LIFETIME: Duration = Duration::from_secs(300);

/// How many are remembered.
const MOST: usize = 256;

/// What was refused of late, oldest first. Each tenant has its own, so that none learns what files another has.
#[derive(Default)]
pub(super) struct Refusals {
    refused: Mutex<VecDeque<Refused>>,
}

struct Refused {
    tenant: Tenant,
    digest: [u8; 32],
    refusal: LoadError,
    since: Instant,
}

impl Refusals {
    /// Why this tenant's file with this digest was refused, if it was.
    pub(super) fn find(&self, tenant: &Tenant, digest: &[u8; 32]) -> Option<LoadError> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |refused: &&Refused| refused.tenant == *tenant && refused.digest == *digest;
        let found = refused.iter().filter(|refused| refused.since.elapsed() < LIFETIME).find(same)?;
        Some(found.refusal.clone())
    }

    pub(super) fn remember(&self, tenant: &Tenant, digest: &[u8; 32], refusal: LoadError) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|refused| refused.since.elapsed() < LIFETIME);
        if refused.len() == MOST {
            refused.pop_front();
        }
        let (tenant, digest) = (tenant.clone(), *digest);
        refused.push_back(Refused { tenant, digest, refusal, since: Instant::now() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_for_its_tenant_and_there_are_never_too_many() {
        let refusals = Refusals::default();
        let acme = Tenant::new("acme").unwrap();
        let refusal = |n: usize| LoadError::CompileMemory { file: format!("{n}.wasm"), limit: 1 };
        let digest = |n: usize| [u8::try_from(n % 256).unwrap(); 32];
        refusals.remember(&acme, &digest(1), refusal(1));
        assert!(refusals.find(&acme, &digest(1)).is_some());
        assert!(refusals.find(&Tenant::DEFAULT, &digest(1)).is_none(), "it is nobody else's business");
        assert!(refusals.find(&acme, &digest(2)).is_none());
        for n in 2..2 + MOST {
            refusals.remember(&acme, &digest(n), refusal(n));
        }
        assert_eq!(refusals.refused.lock().unwrap().len(), MOST);
    }
}
