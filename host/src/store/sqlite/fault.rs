//! What SQLite says when it fails, in the words of the store.

use rusqlite::{Error, ErrorCode};

use super::address::Address;
use crate::store::StoreError;

/// Why a file cannot be used as a store, with the next step.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Something else is in the file.
    #[error("it is not a database of host; name another file, or move this one away")]
    Foreign,
    /// A later version has changed what is in the file.
    #[error(
        "its schema is version {found} and this host knows {known}; use a host at least as new as the one that wrote it"
    )]
    Newer {
        /// The version of the file.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// The file can be read, but not changed.
    #[error("it cannot be written to; see to the permissions of the file and its folder")]
    ReadOnly,
    /// There is nowhere to put the file, or it may not be touched.
    #[error("the file cannot be opened or created; the folder must exist and allow it")]
    CannotOpen,
    /// The file system does not do what several processes need.
    #[error("its file system has no write-ahead log for SQLite; use a local disk")]
    NoLog,
    /// A part of the file is not what SQLite wrote.
    #[error("the file is damaged ({0}); restore it from a backup, or move it away to begin anew")]
    Damaged(String),
}

impl Unusable {
    /// As the store's error.
    pub fn at(self, address: &Address) -> StoreError {
        StoreError::Refused { address: address.to_string(), source: Box::new(self) }
    }
}

/// What the caller is told of a failure.
pub fn explain(error: Error, address: &Address) -> StoreError {
    if is_passing(&error) {
        return StoreError::NotReady { address: address.to_string(), source: Box::new(error) };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Unusable::Foreign.at(address),
        Some(ErrorCode::CannotOpen) => Unusable::CannotOpen.at(address),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Unusable::ReadOnly.at(address),
        Some(ErrorCode::DatabaseCorrupt) => Unusable::Damaged(error.to_string()).at(address),
        _ => StoreError::Refused { address: address.to_string(), source: Box::new(error) },
    }
}

/// Whether a failure may pass by itself: another process has the file, the disk is full or does not answer, memory is short.
pub fn is_passing(error: &Error) -> bool {
    use ErrorCode::{
        DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed, OperationInterrupted, OutOfMemory,
        SystemIoFailure,
    };
    matches!(
        error.sqlite_error_code(),
        Some(
            DatabaseBusy
                | DatabaseLocked
                | DiskFull
                | FileLockingProtocolFailed
                | OperationInterrupted
                | OutOfMemory
                | SystemIoFailure
        )
    )
}
