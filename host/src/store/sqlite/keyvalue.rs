//! Entries on SQLite.

use std::str;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::Sqlite;
use crate::{
    store::{KeyValue, StoreError},
    task::{Bucket, KeyValueAnswer, KeyValueQuery, Tenant},
};

#[async_trait]
impl KeyValue for Sqlite {
    async fn keyvalue(
        &self,
        bucket: &Bucket,
        quota: u64,
        query: &KeyValueQuery,
    ) -> Result<KeyValueAnswer, StoreError> {
        let (place, query) = (Place::of(bucket), query.clone());
        match query {
            KeyValueQuery::Change(changes) => {
                self.writes.run(move |connection| place.change(connection, &changes, quota)).await
            }
            KeyValueQuery::Add { key, delta } => {
                self.writes.run(move |connection| place.add(connection, &key, delta, quota)).await
            }
            question => self.reads.run(move |connection| place.answer(connection, &question)).await,
        }
    }

    async fn keyvalue_used(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        let tenant = tenant.name().unwrap_or_default().to_owned();
        self.reads.run(move |connection| used(connection, &tenant)).await
    }

    async fn keyvalue_forget(&self, tenant: &Tenant) -> Result<(), StoreError> {
        let tenant = tenant.name().unwrap_or_default().to_owned();
        let forget = move |connection: &Connection| {
            for table in ["entries", "entries_used"] {
                connection
                    .prepare_cached(&format!("DELETE FROM {table} WHERE tenant = ?1"))?
                    .execute([&tenant])?;
            }
            Ok(())
        };
        self.writes.run(forget).await
    }
}

/// A bucket as the tables name it.
struct Place {
    tenant: String,
    bucket: String,
}

impl Place {
    fn of(bucket: &Bucket) -> Self {
        Self { tenant: bucket.tenant.name().unwrap_or_default().to_owned(), bucket: bucket.name.clone() }
    }

    fn answer(&self, connection: &Connection, question: &KeyValueQuery) -> rusqlite::Result<KeyValueAnswer> {
        Ok(match question {
            KeyValueQuery::Get(keys) => {
                let values = keys.iter().map(|key| Ok(self.get(connection, key)?.map(Bytes::from)));
                KeyValueAnswer::Values(values.collect::<rusqlite::Result<_>>()?)
            }
            KeyValueQuery::Has(key) => KeyValueAnswer::Is(self.cost(connection, key)? > 0),
            KeyValueQuery::Keys { skip, most } => {
                let (skip, most) = (i64::try_from(*skip).unwrap_or(i64::MAX), *most as i64);
                let mut keys = connection.prepare_cached(
                    "SELECT key FROM entries WHERE tenant = ?1 AND bucket = ?2 ORDER BY key LIMIT ?3 OFFSET ?4",
                )?;
                let keys = keys.query_map(params![self.tenant, self.bucket, most, skip], |row| row.get(0))?;
                KeyValueAnswer::Keys(keys.collect::<rusqlite::Result<_>>()?)
            }
            KeyValueQuery::Change(_) | KeyValueQuery::Add { .. } => {
                unreachable!("changes are made by the writing lane")
            }
        })
    }

    fn change(
        &self,
        connection: &Connection,
        changes: &[(String, Option<Bytes>)],
        quota: u64,
    ) -> rusqlite::Result<KeyValueAnswer> {
        let used = used(connection, &self.tenant)?;
        let (mut gone, mut come) = (0, 0);
        // A key that is named twice has the last of its values.
        let last = |n: usize, key: &str| !changes[n + 1..].iter().any(|(later, _)| later == key);
        let changes =
            || changes.iter().enumerate().filter(|(n, (key, _))| last(*n, key)).map(|(_, change)| change);
        for (key, value) in changes() {
            gone += self.cost(connection, key)?;
            come += value.as_ref().map_or(0, |value| Bucket::cost(key, value));
        }
        let sum = used + come - gone;
        if sum > quota && sum > used {
            return Ok(KeyValueAnswer::Full { used });
        }
        for (key, value) in changes() {
            match value {
                Some(value) => self.set(connection, key, value)?,
                None => {
                    let mut delete = connection.prepare_cached(
                        "DELETE FROM entries WHERE tenant = ?1 AND bucket = ?2 AND key = ?3",
                    )?;
                    delete.execute(params![self.tenant, self.bucket, key])?;
                }
            }
        }
        self.note(connection, sum)?;
        Ok(KeyValueAnswer::Changed)
    }

    fn add(
        &self,
        connection: &Connection,
        key: &str,
        delta: i64,
        quota: u64,
    ) -> rusqlite::Result<KeyValueAnswer> {
        let (used, known) = (used(connection, &self.tenant)?, self.get(connection, key)?);
        let number = match &known {
            None => Some(0),
            // Written as numbers are written here, and in no other way.
            Some(digits) => str::from_utf8(digits)
                .ok()
                .and_then(|text| text.parse().ok().filter(|number: &i64| number.to_string() == text)),
        };
        let Some(sum) = number.and_then(|number: i64| number.checked_add(delta)) else {
            return Ok(KeyValueAnswer::NoNumber);
        };
        let before = known.map_or(0, |value| Bucket::cost(key, &value));
        // No sum has more than 20 digits.
        if before == 0 && used + Bucket::cost(key, &[0; 20]) > quota {
            return Ok(KeyValueAnswer::Full { used });
        }
        let digits = sum.to_string();
        self.set(connection, key, digits.as_bytes())?;
        self.note(connection, used - before + Bucket::cost(key, digits.as_bytes()))?;
        Ok(KeyValueAnswer::Sum(sum))
    }

    fn get(&self, connection: &Connection, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
        connection
            .prepare_cached("SELECT value FROM entries WHERE tenant = ?1 AND bucket = ?2 AND key = ?3")?
            .query_row(params![self.tenant, self.bucket, key], |row| row.get(0))
            .optional()
    }

    /// What the entry takes now; nothing if it is not there.
    fn cost(&self, connection: &Connection, key: &str) -> rusqlite::Result<u64> {
        let length = connection
            .prepare_cached(
                "SELECT length(value) FROM entries WHERE tenant = ?1 AND bucket = ?2 AND key = ?3",
            )?
            .query_row(params![self.tenant, self.bucket, key], |row| row.get::<_, i64>(0))
            .optional()?;
        Ok(length.map_or(0, |length| length.unsigned_abs() + key.len() as u64 + Bucket::OVERHEAD))
    }

    fn set(&self, connection: &Connection, key: &str, value: &[u8]) -> rusqlite::Result<()> {
        let mut set = connection.prepare_cached(
            "INSERT INTO entries (tenant, bucket, key, value) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (tenant, bucket, key) DO UPDATE SET value = excluded.value",
        )?;
        set.execute(params![self.tenant, self.bucket, key, value]).map(drop)
    }

    fn note(&self, connection: &Connection, sum: u64) -> rusqlite::Result<()> {
        let mut note = connection.prepare_cached(
            "INSERT INTO entries_used (tenant, bytes) VALUES (?1, ?2)
             ON CONFLICT (tenant) DO UPDATE SET bytes = excluded.bytes",
        )?;
        note.execute(params![self.tenant, i64::try_from(sum).unwrap_or(i64::MAX)]).map(drop)
    }
}

/// What a tenant's entries take.
fn used(connection: &Connection, tenant: &str) -> rusqlite::Result<u64> {
    let used = connection
        .prepare_cached("SELECT bytes FROM entries_used WHERE tenant = ?1")?
        .query_row([tenant], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(used.map_or(0, i64::unsigned_abs))
}
