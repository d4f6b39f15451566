//! Why something cannot be done with an upload.

use crate::{plugin::PluginError, store::StoreError, tenant::OverQuota};

/// Why something cannot be done with an upload. Nothing in it tells of another tenant.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The name cannot be a plugin's.
    #[error(
        "{name:?} cannot name a plugin: use letters, digits, `_` and `.`, at most 100 of them, the first no `.`"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// The code or its manifest cannot be used.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A value that cannot be.
    #[error("{what} cannot be {value}: {reason}")]
    Value {
        /// What it is for.
        what: &'static str,
        /// The value.
        value: String,
        /// What it can be.
        reason: &'static str,
    },
    /// The tenant's quotas do not allow it.
    #[error(transparent)]
    Quota(#[from] OverQuota),
    /// The tenant has upload keys and the upload is not signed with one of them.
    #[error(
        "uploads of this tenant must be signed with one of its upload keys: {reason}; see `host plugin sign`"
    )]
    Unsigned {
        /// What is wrong.
        reason: &'static str,
    },
    /// There is no such plugin.
    #[error("there is no uploaded plugin {plugin:?}")]
    NoPlugin {
        /// What was asked for.
        plugin: String,
    },
    /// The plugin has no such version.
    #[error("the plugin has no version {digest:?}; `host plugin show` lists them")]
    NoVersion {
        /// What was asked for.
        digest: String,
    },
    /// Several digests begin so.
    #[error("several versions begin with {digest:?}; give more of the digest")]
    Ambiguous {
        /// What was asked for.
        digest: String,
    },
    /// An admin has to approve it first.
    #[error("version {digest} is held until an admin approves it, because it asks for {}", asks.join(", "))]
    Held {
        /// Its digest.
        digest: String,
        /// What it asks for beyond what was granted.
        asks: Vec<String>,
    },
    /// It cannot be done as things are.
    #[error("{reason}")]
    Conflict {
        /// Why.
        reason: String,
    },
    /// The store has failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// What is stored cannot be used.
    #[error("what is stored of {key:?} cannot be used: {reason}")]
    Broken {
        /// The record.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What kind of failure it is, for those who answer with a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadErrorKind {
    /// What was sent cannot be used, whoever sends it.
    Invalid,
    /// It has too many bytes.
    TooLarge,
    /// The tenant may not have so much.
    Quota,
    /// It cannot be done as things are.
    Conflict,
    /// There is no such thing.
    NotFound,
    /// Whoever asks may not do it.
    Forbidden,
    /// The store is not there, or not now.
    Unavailable,
    /// What is stored cannot be used: nobody who asks can help it.
    Internal,
}

impl UploadError {
    /// What kind of failure it is.
    pub fn kind(&self) -> UploadErrorKind {
        use crate::sandbox::LoadError;
        match self {
            Self::Plugin(PluginError::Load(LoadError::TooLarge { .. })) => UploadErrorKind::TooLarge,
            Self::Quota(over) if over.quota == "module_size" => UploadErrorKind::TooLarge,
            Self::Name { .. } | Self::Plugin(_) | Self::Value { .. } | Self::Ambiguous { .. } => {
                UploadErrorKind::Invalid
            }
            Self::Quota(_) => UploadErrorKind::Quota,
            Self::Unsigned { .. } | Self::Held { .. } => UploadErrorKind::Forbidden,
            Self::NoPlugin { .. } | Self::NoVersion { .. } => UploadErrorKind::NotFound,
            Self::Conflict { .. } => UploadErrorKind::Conflict,
            Self::Store(_) => UploadErrorKind::Unavailable,
            Self::Broken { .. } => UploadErrorKind::Internal,
        }
    }

    pub(super) fn unreadable(key: &str, error: &impl std::fmt::Display) -> Self {
        Self::Broken { key: key.to_owned(), reason: error.to_string() }
    }

    pub(super) fn conflict(reason: impl Into<String>) -> Self {
        Self::Conflict { reason: reason.into() }
    }
}
