//! Dead letters on SQLite.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Sqlite, clock, lists, lists::Place};
use crate::{
    store::{Cause, DeadLetter, DeadLetters, StoreError},
    task::QueueName,
};

/// The most dead letters that are kept.
const MOST: i64 = 10_000;

/// The most bytes of messages and causes that are kept, unless a single letter is larger.
const LARGEST: i64 = 64 << 20;

/// What [`letter`] reads.
const COLUMNS: &str = "id, queue, cause, since, expires, message";

#[async_trait]
impl DeadLetters for Sqlite {
    async fn dead_count(&self) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM dead_letters WHERE expires > ?1").await
    }

    async fn dead_letters(&self, skip: usize, most: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let [skip, most] = [skip, most].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        let list = move |connection: &Connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM dead_letters WHERE expires > ?1 ORDER BY id DESC LIMIT ?3 OFFSET ?2"
                ))?
                .query_map(params![clock::now(), skip, most], letter)?
                .collect()
        };
        self.reads.run(list).await
    }

    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, StoreError> {
        let Some(id) = row_of(id) else { return Ok(None) };
        let get = move |connection: &Connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM dead_letters WHERE id = ?1 AND expires > ?2"
                ))?
                .query_row([id, clock::now()], letter)
                .optional()
        };
        self.reads.run(get).await
    }

    async fn replay(&self, id: &str, message: &[u8]) -> Result<bool, StoreError> {
        let Some(id) = row_of(id) else { return Ok(false) };
        let message = message.to_vec();
        let replay = move |connection: &Connection| {
            let removed: Option<(String, u8)> = connection
                .prepare_cached(
                    "DELETE FROM dead_letters WHERE id = ?1 AND expires > ?2 RETURNING queue, step",
                )?
                .query_row([id, clock::now()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            match &removed {
                Some((queue, step)) => lists::append(connection, queue, *step, &message).map(|()| true),
                None => Ok(false),
            }
        };
        self.writes.run(replay).await
    }

    async fn drop_dead_letters(&self, ids: &[String]) -> Result<u64, StoreError> {
        let ids: Vec<_> = ids.iter().filter_map(|id| row_of(id)).collect();
        let remove = move |connection: &Connection| {
            let mut delete = connection.prepare_cached("DELETE FROM dead_letters WHERE id = ?1")?;
            ids.iter().try_fold(0, |dropped, id| Ok(dropped + delete.execute([id])? as u64))
        };
        self.writes.run(remove).await
    }
}

/// Makes a dead letter of a held message, which stays where it is, and drops the oldest if there are too many.
pub fn add(
    connection: &Connection,
    place: &Place,
    cause: &Cause,
    expires: Option<i64>,
) -> rusqlite::Result<()> {
    let cause = serde_json::to_string(cause).expect("a cause has only texts and numbers");
    connection
        .prepare_cached(
            "INSERT INTO dead_letters (queue, step, cause, since, expires, message)
             SELECT queue, step, ?2, ?3, ?4, message FROM messages WHERE id = ?1",
        )?
        .execute(params![place.id, cause, clock::now(), expires.unwrap_or(i64::MAX)])?;
    let is = |condition: &str, limit: i64| {
        let query = format!("SELECT value > ?1 FROM counters WHERE name = '{condition}'");
        connection.prepare_cached(&query)?.query_row([limit], |row| row.get::<_, bool>(0))
    };
    while is("dead_count", MOST)? || (is("dead_bytes", LARGEST)? && is("dead_count", 1)?) {
        connection
            .prepare_cached("DELETE FROM dead_letters WHERE id = (SELECT min(id) FROM dead_letters)")?
            .execute(())?;
    }
    Ok(())
}

/// The row that an id names.
fn row_of(id: &str) -> Option<i64> {
    id.parse().ok()
}

/// From [`COLUMNS`]. What cannot be read was written by somebody else; the message is shown all the same.
fn letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let queue: String = row.get(1)?;
    let cause: String = row.get(2)?;
    Ok(DeadLetter {
        id: row.get::<_, i64>(0)?.to_string(),
        queue: QueueName::new(&queue).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, error.into())
        })?,
        cause: serde_json::from_str(&cause).unwrap_or_else(|_| Cause { reason: cause, ..Cause::default() }),
        since: clock::timestamp(row.get(3)?),
        expires: clock::timestamp(row.get(4)?),
        message: row.get::<_, Vec<u8>>(5)?.into(),
    })
}
