//! What can go wrong with a store.

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL of the store is not usable.
    #[error("cannot use the URL {url:?}: {reason}")]
    Url {
        /// The URL without its password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store could not be reached, or went away, or did not answer in time. What was asked may have been done.
    #[error("{address} is not reachable")]
    Unreachable {
        /// Where it was looked for, without a password.
        address: String,
        /// What the connection said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store is in a condition that passes: it loads its data, fails over, or has no memory left.
    #[error("{address} cannot do this at the moment")]
    NotReady {
        /// The store, without a password.
        address: String,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store answered with an error that will not pass by itself.
    #[error("{address} refused")]
    Refused {
        /// The store, without a password.
        address: String,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether trying again later may help. Everything in the traits of this room may be tried
    /// again: what was done already has no second effect, but for [`super::Broker::publish`], which may then send
    /// messages twice.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NotReady { .. })
    }
}
