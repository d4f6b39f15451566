//! Opens the file: its settings, its tables, and whether it is one of ours.

use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::{
    address::Address,
    fault::{Unusable, explain},
};
use crate::store::StoreError;

/// What makes each version of the tables out of the one before; the first out of nothing.
const STEPS: [&str; 5] = [
    include_str!("schema.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
];

/// What this version writes, and the newest that it reads.
const VERSION: i64 = STEPS.len() as i64;

/// Stands in the file's header, so that it is known for ours: "host".
const APPLICATION_ID: i64 = 0x686f_7374;

/// How long a connection waits for another one's lock. Writing takes milliseconds; a worker that got no answer within
/// this time tries again.
const PATIENCE: Duration = Duration::from_secs(5);

/// The write-ahead log is cut down to this length when it is empty. It is about what it grows to anyway.
const LOG_LENGTH: i64 = 8 << 20;

/// Opens the file, and makes it and its tables if they are not there. The folder must be.
pub fn open(address: &Address) -> Result<Connection, StoreError> {
    let explain = |error| explain(error, address);
    // Not SQLITE_OPEN_URI: a path is a path. Not its mutexes: each connection belongs to one thread.
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(address.path(), flags).map_err(explain)?;
    // A lock is held for about a millisecond; SQLite's own handler would soon sleep for a hundred.
    let mut since = Instant::now();
    let wait = move |tries| {
        if tries == 0 {
            since = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(1));
        since.elapsed() < PATIENCE
    };
    connection.busy_handler(Some(wait)).map_err(explain)?;
    if connection.is_readonly("main").map_err(explain)? {
        return Err(Unusable::ReadOnly.at(address));
    }
    let found = check(&connection.transaction().map_err(explain)?, address)?;
    set_up(&connection, address)?;
    if found < VERSION {
        upgrade(&mut connection, address)?;
    }
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

/// Which version of the tables is there, 0 if none is. A file of somebody else is left as it is. In a transaction, because
/// others may just be making the tables.
fn check(connection: &Transaction<'_>, address: &Address) -> Result<i64, StoreError> {
    let number = |query: &str| connection.query_row(query, (), |row| row.get::<_, i64>(0));
    let look = || {
        let (application, version) = (number("PRAGMA application_id")?, number("PRAGMA user_version")?);
        Ok((application, version, number("SELECT count(*) FROM sqlite_schema")? == 0))
    };
    let (application, version, empty) = look().map_err(|error| explain(error, address))?;
    match (application, version) {
        (0, 0) if empty => Ok(0),
        (APPLICATION_ID, found @ 1..=VERSION) => Ok(found),
        (APPLICATION_ID, found) if found > VERSION => {
            Err(Unusable::Newer { found, known: VERSION }.at(address))
        }
        _ => Err(Unusable::Foreign.at(address)),
    }
}

/// What does not outlive a connection, but for the journal's mode, which does.
fn set_up(connection: &Connection, address: &Address) -> Result<(), StoreError> {
    let set = |name: &str, value: &dyn rusqlite::ToSql| {
        connection.pragma_update(None, name, value).map_err(|error| explain(error, address))
    };
    let since = Instant::now();
    loop {
        // Two that make the file at once keep each other from it, and SQLite does not wait here by itself.
        let mode = connection.query_row("PRAGMA journal_mode = WAL", (), |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "wal" => break,
            Ok(_) => return Err(Unusable::NoLog.at(address)),
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && since.elapsed() < PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(explain(error, address)),
        }
    }
    // Each commit is on the disk before it is answered.
    set("synchronous", &"FULL")?;
    set("journal_size_limit", &LOG_LENGTH)?;
    // Sorting in memory needs no other place that could be full.
    set("temp_store", &"MEMORY")
}

/// Makes the tables, or brings them up to this version, once, whoever comes first. Processes of the earlier version that have
/// the file open go on with it: a step adds, and changes nothing that is there.
fn upgrade(connection: &mut Connection, address: &Address) -> Result<(), StoreError> {
    let explain = |error| explain(error, address);
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(explain)?;
    let found = check(&transaction, address)?;
    if found < VERSION {
        for step in STEPS.iter().skip(found as usize) {
            transaction.execute_batch(step).map_err(explain)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(explain)?;
        transaction.pragma_update(None, "user_version", VERSION).map_err(explain)?;
    }
    transaction.commit().map_err(explain)
}
