//! Uploaded code on SQLite, and how often it was run.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Sqlite, clock};
use crate::store::{Blobs, Count, Counts, StoreError};

/// How long a count is kept to which nobody adds, in microseconds.
const LIFETIME: i64 = 7 * 24 * 60 * 60 * 1_000_000;

#[async_trait]
impl Blobs for Sqlite {
    async fn put_blob(&self, digest: &str, bytes: &Bytes) -> Result<(), StoreError> {
        let (digest, bytes) = (digest.to_owned(), bytes.clone());
        let put = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "INSERT INTO blobs (digest, since, bytes) VALUES (?1, ?2, ?3)
                     ON CONFLICT (digest) DO UPDATE SET since = excluded.since",
                )?
                .execute(params![digest, clock::now(), &bytes[..]])
                .map(drop)
        };
        self.writes.run(put).await
    }

    async fn blob(&self, digest: &str) -> Result<Option<Bytes>, StoreError> {
        let digest = digest.to_owned();
        let get = move |connection: &Connection| {
            connection
                .prepare_cached("SELECT bytes FROM blobs WHERE digest = ?1")?
                .query_row([&digest], |row| row.get::<_, Vec<u8>>(0))
                .optional()
        };
        Ok(self.reads.run(get).await?.map(Bytes::from))
    }

    async fn blobs(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let list = |connection: &Connection| {
            connection
                .prepare_cached("SELECT digest, length(bytes) FROM blobs ORDER BY digest")?
                .query_map((), |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?
                .collect()
        };
        self.reads.run(list).await
    }

    async fn drop_blobs(&self, digests: &[String], unused: Duration) -> Result<u64, StoreError> {
        let digests = digests.to_vec();
        let unused = i64::try_from(unused.as_micros()).unwrap_or(i64::MAX);
        let remove = move |connection: &Connection| {
            let before = clock::now().saturating_sub(unused);
            let mut delete =
                connection.prepare_cached("DELETE FROM blobs WHERE digest = ?1 AND since <= ?2")?;
            digests
                .iter()
                .try_fold(0, |dropped, digest| Ok(dropped + delete.execute(params![digest, before])? as u64))
        };
        self.writes.run(remove).await
    }
}

#[async_trait]
impl Counts for Sqlite {
    async fn count(&self, counts: &[Count]) -> Result<(), StoreError> {
        if counts.is_empty() {
            return Ok(());
        }
        let counts = counts.to_vec();
        let add = move |connection: &Connection| {
            let now = clock::now();
            connection.prepare_cached("DELETE FROM counts WHERE expires <= ?1")?.execute([now])?;
            let mut add = connection.prepare_cached(
                "INSERT INTO counts (name, calls, failures, expires) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO UPDATE SET calls = calls + excluded.calls,
                    failures = failures + excluded.failures, expires = excluded.expires",
            )?;
            for Count { name, calls, failures } in &counts {
                add.execute(params![name, *calls as i64, *failures as i64, now + LIFETIME])?;
            }
            Ok(())
        };
        self.writes.run(add).await
    }

    async fn counted(&self, names: &[String]) -> Result<Vec<Count>, StoreError> {
        let names = names.to_vec();
        let look = move |connection: &Connection| {
            let mut look = connection
                .prepare_cached("SELECT calls, failures FROM counts WHERE name = ?1 AND expires > ?2")?;
            let count = |name: &String| {
                let found = look.query_row(params![name, clock::now()], |row| {
                    Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs()))
                });
                let (calls, failures) = found.optional()?.unwrap_or_default();
                Ok(Count { name: name.clone(), calls, failures })
            };
            names.iter().map(count).collect()
        };
        self.reads.run(look).await
    }
}
