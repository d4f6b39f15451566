//! Where messages wait: each queue is one list per priority step, as with Kombu, and within it messages have
//! positions. The tail is the largest position, the head the smallest, and there is always room before and behind.
//!
//! Messages whose time has come stay where they waited for it: before all others of their list, the longest due first.

use rusqlite::{Connection, OptionalExtension, params};

use super::clock;
use crate::{
    store::Publication,
    task::{QueueName, Tenant},
};

/// Each queue is this many lists; a message is in the list of the largest step up to its priority.
pub const PRIORITY_STEPS: [u8; 4] = [0, 3, 6, 9];

/// A message and the list that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The message's row.
    pub id: i64,
    /// Its queue.
    pub queue: String,
    /// Its priority step.
    pub step: u8,
}

impl Place {
    /// From the columns `id, queue, step`, which come first.
    pub fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { id: row.get(0)?, queue: row.get(1)?, step: row.get(2)? })
    }

    /// Whose queue it is.
    pub fn tenant(&self) -> Tenant {
        Tenant::split(&self.queue).0
    }
}

/// The step whose list holds messages of `priority`.
fn step(priority: u8) -> u8 {
    PRIORITY_STEPS.into_iter().rfind(|step| *step <= priority).unwrap_or(0)
}

/// Sends: to the tail of its list, or to wait for its time.
pub fn send(connection: &Connection, publication: &Publication) -> rusqlite::Result<()> {
    let Publication { queue, priority, due, message } = publication;
    bind(connection, queue)?;
    match due {
        None => append(connection, queue.as_str(), step(*priority), message),
        Some(due) => connection
            .prepare_cached(
                "INSERT INTO messages (state, queue, step, due, message) VALUES (2, ?1, ?2, ?3, ?4)",
            )?
            .execute(params![queue.as_str(), step(*priority), clock::micros(*due), &message[..]])
            .map(drop),
    }
}

/// A new message at the tail of a list.
pub fn append(connection: &Connection, queue: &str, step: u8, message: &[u8]) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO messages (state, queue, step, position, message) VALUES (0, ?1, ?2,
                (SELECT coalesce(max(position), 0) + 1 FROM messages WHERE state = 0 AND queue = ?1 AND step = ?2), ?3)",
        )?
        .execute(params![queue, step, message])
        .map(drop)
}

/// Puts a message that did not wait in a list to its tail, with another text.
pub fn to_tail(connection: &Connection, place: &Place, message: &[u8]) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE messages SET state = 0, owner = NULL, number = NULL, message = ?4, position =
                (SELECT coalesce(max(position), 0) + 1 FROM messages WHERE state = 0 AND queue = ?2 AND step = ?3)
             WHERE id = ?1",
        )?
        .execute(params![place.id, place.queue, place.step, message])
        .map(drop)
}

/// Puts a message that did not wait in a list to its head, before those whose time has come, with another text if
/// there is one.
pub fn to_head(connection: &Connection, place: &Place, message: Option<&[u8]>) -> rusqlite::Result<()> {
    let due = connection
        .prepare_cached(
            "SELECT id FROM messages WHERE state = 2 AND queue = ?1 AND step = ?2 AND due <= ?3 AND id != ?4
             ORDER BY due DESC, id DESC",
        )?
        .query_map(params![place.queue, place.step, clock::now(), place.id], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    for id in due {
        put_first(connection, &Place { id, ..place.clone() }, None)?;
    }
    put_first(connection, place, message)
}

fn put_first(connection: &Connection, place: &Place, message: Option<&[u8]>) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE messages SET state = 0, owner = NULL, number = NULL, due = NULL, task = NULL,
                message = coalesce(?4, message), position =
                (SELECT coalesce(min(position), 0) - 1 FROM messages WHERE state = 0 AND queue = ?2 AND step = ?3)
             WHERE id = ?1",
        )?
        .execute(params![place.id, place.queue, place.step, message])
        .map(drop)
}

/// The text of a message.
pub fn message(connection: &Connection, id: i64) -> rusqlite::Result<Vec<u8>> {
    connection.prepare_cached("SELECT message FROM messages WHERE id = ?1")?.query_row([id], |row| row.get(0))
}

/// Notes that a queue exists.
pub fn bind(connection: &Connection, queue: &QueueName) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT OR IGNORE INTO queues VALUES (?1)")?.execute([queue.as_str()]).map(drop)
}

/// When the next message of a list is due; it may be already.
pub fn next_due(connection: &Connection, queue: &str, step: u8) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT due FROM messages WHERE state = 2 AND queue = ?1 AND step = ?2 ORDER BY due LIMIT 1",
        )?
        .query_row(params![queue, step], |row| row.get(0))
        .optional()
}

/// Whether a list has messages that wait for nothing.
pub fn has_waiting(connection: &Connection, queue: &str, step: u8) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM messages WHERE state = 0 AND queue = ?1 AND step = ?2 LIMIT 1")?
        .exists(params![queue, step])
}

#[cfg(test)]
mod tests {
    use super::step;

    #[test]
    fn a_message_is_in_the_list_of_the_largest_step_up_to_its_priority() {
        for (priority, expected) in [(0, 0), (2, 0), (3, 3), (5, 3), (6, 6), (9, 9), (255, 9)] {
            assert_eq!(step(priority), expected, "priority {priority}");
        }
    }
}
