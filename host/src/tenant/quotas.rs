//! How much a tenant may have.

use serde::{Deserialize, Serialize};

/// How much a tenant may have; `None` (`null` in JSON) is as much as it likes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// Tasks that run at once. With 0 nothing of it is run; its messages wait.
    pub in_flight: Option<u64>,
    /// Bytes of memory that its running tasks may take together: each counts with its memory limit, whatever it has.
    pub memory: Option<u64>,
    /// Seconds of processor time that its tasks may take in a minute.
    pub cpu_per_minute: Option<u64>,
    /// Messages that it may submit over the API in a second.
    pub submit_rate: Option<u64>,
    /// Messages that may wait in its queues; what would be more is not accepted by the API.
    pub queued: Option<u64>,
    /// Bytes that its tasks may keep in the key-value store.
    pub stored_bytes: Option<u64>,
    /// Plugins that it may have uploaded.
    pub modules: Option<u64>,
    /// Bytes that one uploaded `.wasm` may have.
    pub module_size: Option<u64>,
    /// Bytes that all its uploaded `.wasm` may have together, old versions among them.
    pub modules_size: Option<u64>,
}

impl Default for Quotas {
    /// Of a tenant that has a name. What bounds memory and disk that others need is bounded; what shares divide, slots and
    /// processor, is not: whoever is alone may have all of it.
    fn default() -> Self {
        Self {
            in_flight: None,
            memory: None,
            cpu_per_minute: None,
            submit_rate: None,
            // About 100 MB of Redis.
            queued: Some(100_000),
            stored_bytes: Some(64 << 20),
            modules: Some(100),
            // Plugins that bring an interpreter along have up to 18 MB.
            module_size: Some(32 << 20),
            modules_size: Some(500 << 20),
        }
    }
}

/// Something would be more than a tenant may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the tenant's quota `{quota}` is {limit}, and this would make {would_be}")]
pub struct OverQuota {
    /// The quota, by its name in [`Quotas`].
    pub quota: &'static str,
    /// How much there may be.
    pub limit: u64,
    /// How much there would be.
    pub would_be: u64,
}

impl Quotas {
    /// No limits.
    pub const UNLIMITED: Self = Self {
        in_flight: None,
        memory: None,
        cpu_per_minute: None,
        submit_rate: None,
        queued: None,
        stored_bytes: None,
        modules: None,
        module_size: None,
        modules_size: None,
    };

    /// Whether so many messages may be added to those that wait.
    pub fn admit_messages(&self, waiting: u64, more: u64) -> Result<(), OverQuota> {
        within("queued", self.queued, waiting.saturating_add(more))
    }

    /// Whether the tenant may keep so many bytes in the key-value store.
    pub fn admit_stored(&self, bytes: u64) -> Result<(), OverQuota> {
        within("stored_bytes", self.stored_bytes, bytes)
    }

    /// Whether a `.wasm` of `size` bytes may be uploaded, after which there are `modules` plugins of `modules_size` bytes in all.
    pub fn admit_module(&self, size: u64, modules: u64, modules_size: u64) -> Result<(), OverQuota> {
        within("module_size", self.module_size, size)?;
        within("modules", self.modules, modules)?;
        within("modules_size", self.modules_size, modules_size)
    }
}

fn within(quota: &'static str, limit: Option<u64>, would_be: u64) -> Result<(), OverQuota> {
    match limit {
        Some(limit) if would_be > limit => Err(OverQuota { quota, limit, would_be }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_than_a_quota_is_refused_with_both_numbers() {
        let quotas = Quotas::default();
        assert_eq!(quotas.admit_messages(99_999, 1), Ok(()));
        let error = quotas.admit_messages(99_999, 2).unwrap_err();
        assert_eq!(error.to_string(), "the tenant's quota `queued` is 100000, and this would make 100001");
        assert!(quotas.admit_messages(u64::MAX, 1).is_err());
        assert_eq!(quotas.admit_module(32 << 20, 100, 500 << 20), Ok(()));
        for (size, modules, total, quota) in [
            ((32 << 20) + 1, 1, 33 << 20, "module_size"),
            (1, 101, 1 << 20, "modules"),
            (1, 1, (500 << 20) + 1, "modules_size"),
        ] {
            assert_eq!(quotas.admit_module(size, modules, total).unwrap_err().quota, quota);
        }
        assert_eq!(quotas.admit_stored((64 << 20) + 1).unwrap_err().quota, "stored_bytes");
    }

    #[test]
    fn without_limits_everything_goes() {
        assert_eq!(Quotas::UNLIMITED.admit_messages(u64::MAX, 1), Ok(()));
        assert_eq!(Quotas::UNLIMITED.admit_module(u64::MAX, u64::MAX, u64::MAX), Ok(()));
        assert_eq!(Quotas::UNLIMITED.admit_stored(u64::MAX), Ok(()));
    }
}
