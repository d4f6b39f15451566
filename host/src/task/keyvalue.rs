//! What is asked of the entries of a bucket, and answered.

use bytes::Bytes;

/// A bucket of a tenant: entries by their keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// Whose it is.
    pub tenant: super::Tenant,
    /// What its owner calls it.
    pub name: String,
}

/// A question, or a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyValueQuery {
    /// The values of these keys.
    Get(Vec<String>),
    /// Whether there is such a key.
    Has(String),
    /// The keys in the order of their bytes.
    Keys {
        /// How many are left out at the beginning.
        skip: u64,
        /// How many there may be.
        most: usize,
    },
    /// Gives these keys these values; a key without a value goes. All of it happens or nothing.
    Change(Vec<(String, Option<Bytes>)>),
    /// Adds to a number in decimal digits; what is not there is 0.
    Add {
        /// The number's key.
        key: String,
        /// What is added.
        delta: i64,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyValueAnswer {
    /// To [`KeyValueQuery::Get`], in the order asked.
    Values(Vec<Option<Bytes>>),
    /// To [`KeyValueQuery::Has`].
    Is(bool),
    /// To [`KeyValueQuery::Keys`].
    Keys(Vec<String>),
    /// It is changed.
    Changed,
    /// To [`KeyValueQuery::Add`].
    Sum(i64),
    /// What is there is no number, or the sum is none of 64 bits.
    NoNumber,
    /// Nothing is changed: the tenant's entries would take more bytes than they may.
    Full {
        /// What they take.
        used: u64,
    },
}

impl Bucket {
    /// What each entry takes besides its key and its value.
    pub const OVERHEAD: u64 = 64;

    /// What an entry takes of its tenant's quota.
    pub fn cost(key: &str, value: &[u8]) -> u64 {
        key.len() as u64 + value.len() as u64 + Self::OVERHEAD
    }
}
