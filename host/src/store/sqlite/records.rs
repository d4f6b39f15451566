//! Records and their audit on SQLite.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Sqlite, broker::LONGEST_WAIT};
use crate::{
    store::{
        Change, Entry, Record, RecordNews, Records, StoreError, Table,
        records::{MOST_ENTRIES, MOST_ENTRIES_OF_ONE},
    },
    task::Tenant,
};

#[async_trait]
impl Records for Sqlite {
    async fn revision(&self) -> Result<u64, StoreError> {
        self.reads.run(revision).await
    }

    async fn records_news(&self, known: u64) {
        let mut news = self.watch.records.subscribe();
        if self.revision().await.is_ok_and(|revision| revision != known) {
            return;
        }
        // Running out of time is one of the two ways to return.
        let _ = tokio::time::timeout(LONGEST_WAIT, news.changed()).await;
    }

    async fn records_since(&self, table: Table, known: u64) -> Result<RecordNews, StoreError> {
        let since = move |connection: &Connection| {
            let revision = revision(connection)?;
            let after = if known > revision { 0 } else { i64::try_from(known).unwrap_or(0) };
            let changed = connection
                .prepare_cached(
                    "SELECT key, value, revision FROM records WHERE kind = ?1 AND revision > ?2 ORDER BY key",
                )?
                .query_map(params![table.name(), after], record)?
                .collect::<Result<_, _>>()?;
            let keys = connection
                .prepare_cached("SELECT key FROM records WHERE kind = ?1 ORDER BY key")?
                .query_map([table.name()], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            Ok(RecordNews { revision, changed, keys })
        };
        self.reads.run(since).await
    }

    async fn record(&self, table: Table, key: &str) -> Result<Option<Record>, StoreError> {
        let key = key.to_owned();
        let get = move |connection: &Connection| {
            connection
                .prepare_cached("SELECT key, value, revision FROM records WHERE kind = ?1 AND key = ?2")?
                .query_row(params![table.name(), key], record)
                .optional()
        };
        self.reads.run(get).await
    }

    async fn change(&self, changes: &[Change], entry: &Entry) -> Result<Option<u64>, StoreError> {
        let (changes, entry) = (changes.to_vec(), entry.clone());
        self.writes.run(move |connection| change(connection, &changes, &entry)).await
    }

    async fn entries(
        &self,
        tenant: Option<&Tenant>,
        skip: usize,
        most: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let tenant = tenant.map(listed);
        let [skip, most] = [skip, most].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        let list = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "SELECT entry FROM audit WHERE tenant IS ?1 ORDER BY id DESC LIMIT ?3 OFFSET ?2",
                )?
                .query_map(params![tenant, skip, most], |row| row.get(0))?
                .collect::<Result<Vec<String>, _>>()
        };
        let entries = self.reads.run(list).await?;
        // What cannot be read was written by somebody else, or by a version that notes other things.
        Ok(entries.iter().filter_map(|entry| serde_json::from_str(entry).ok()).collect())
    }
}

/// How often records were changed.
pub fn revision(connection: &Connection) -> rusqlite::Result<u64> {
    let mut revision = connection.prepare_cached("SELECT value FROM counters WHERE name = 'records'")?;
    revision.query_row((), |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

fn change(connection: &Connection, changes: &[Change], entry: &Entry) -> rusqlite::Result<Option<u64>> {
    let mut known = connection.prepare_cached("SELECT revision FROM records WHERE kind = ?1 AND key = ?2")?;
    for Change { table, key, was, .. } in changes {
        let found: Option<i64> = known.query_row(params![table.name(), key], |row| row.get(0)).optional()?;
        if found.map(i64::unsigned_abs) != *was {
            return Ok(None);
        }
    }
    if !changes.is_empty() {
        connection
            .prepare_cached("UPDATE counters SET value = value + 1 WHERE name = 'records'")?
            .execute(())?;
    }
    let reached = revision(connection)?;
    for Change { table, key, value, .. } in changes {
        match value {
            Some(value) => connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO records (kind, key, revision, value) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![table.name(), key, reached as i64, value])?,
            None => connection
                .prepare_cached("DELETE FROM records WHERE kind = ?1 AND key = ?2")?
                .execute(params![table.name(), key])?,
        };
    }
    note(connection, None, entry, MOST_ENTRIES)?;
    note(connection, Some(listed(&entry.tenant)), entry, MOST_ENTRIES_OF_ONE)?;
    Ok(Some(reached))
}

/// Adds an entry to a list, and drops the oldest if there are too many.
fn note(connection: &Connection, list: Option<String>, entry: &Entry, most: usize) -> rusqlite::Result<()> {
    let entry = serde_json::to_string(entry).expect("an entry is made of texts");
    connection
        .prepare_cached("INSERT INTO audit (tenant, entry) VALUES (?1, ?2)")?
        .execute(params![list, entry])?;
    connection
        .prepare_cached(
            "DELETE FROM audit WHERE tenant IS ?1 AND id <= (
                SELECT id FROM audit WHERE tenant IS ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![list, most as i64])
        .map(drop)
}

/// How a tenant's entries are told from those of others.
fn listed(tenant: &Tenant) -> String {
    tenant.name().unwrap_or_default().to_owned()
}

/// From key, value and revision.
fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record { key: row.get(0)?, value: row.get(1)?, revision: row.get::<_, i64>(2)?.unsigned_abs() })
}
