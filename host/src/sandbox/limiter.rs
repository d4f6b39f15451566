//! How much memory a run may take.

use wasmtime::ResourceLimiter;

use super::engine::{CORE_INSTANCES, MEMORIES, TABLE_ELEMENTS, TABLES};

/// Sums the memories of a run. A growth over the limit is refused the WebAssembly way, so that the guest can
/// react, and remembered, so that its death is called by its cause.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: usize,
    memory: usize,
    table_elements: usize,
    refused: Option<Refused>,
}

/// The limit that the run ran into last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its memory, with the limit in bytes.
    Memory(usize),
    /// The elements of its tables, with the limit.
    TableElements(usize),
}

impl Limiter {
    /// At most `limit` bytes for all memories together.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, memory: 0, table_elements: 0, refused: None }
    }

    /// The size of all memories together. They never shrink, so this is also the most there was.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// What was refused, if anything.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.refused
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let sum = (self.memory - current).saturating_add(desired);
        if sum > self.limit {
            self.refused = Some(Refused::Memory(self.limit));
            return Ok(false);
        }
        // A growth over the maximum that the guest itself declares fails without our doing.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.memory = sum;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let sum = (self.table_elements - current).saturating_add(desired);
        if sum > TABLE_ELEMENTS {
            self.refused = Some(Refused::TableElements(TABLE_ELEMENTS));
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.table_elements = sum;
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_of_a_run_share_one_limit() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap(), "a second memory fits");
        assert_eq!(limiter.refused(), None);
        assert!(!limiter.memory_growing(40, 41, None).unwrap());
        assert_eq!(limiter.refused(), Some(Refused::Memory(100)));
        assert_eq!(limiter.memory(), 100);
    }

    #[test]
    fn a_guest_that_hits_its_own_maximum_was_not_refused_by_the_host() {
        let mut limiter = Limiter::new(100);
        assert!(!limiter.memory_growing(0, 60, Some(50)).unwrap());
        assert_eq!((limiter.refused(), limiter.memory()), (None, 0));
    }
}
