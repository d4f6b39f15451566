//! Who uses the machine: many tests at once, or one alone that measures.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::new(());

/// Held by each test while it runs.
#[expect(dead_code, reason = "a turn is held, never looked at")]
pub enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Turn {
    pub fn shared() -> Self {
        // Poisoned means that another test failed, which is no reason for this one to fail.
        Self::Shared(MACHINE.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn alone() -> Self {
        Self::Alone(MACHINE.write().unwrap_or_else(PoisonError::into_inner))
    }
}
