//! Revocations on SQLite.

use async_trait::async_trait;
use rusqlite::{Connection, params};

use super::{Sqlite, broker::LONGEST_WAIT, clock};
use crate::store::{
    Revocation, Revocations, StoreError,
    scope::{scoped, unscoped},
};

#[async_trait]
impl Revocations for Sqlite {
    async fn revoke(&self, revocations: &[Revocation]) -> Result<(), StoreError> {
        if revocations.is_empty() {
            return Ok(());
        }
        let revocations = revocations.to_vec();
        self.writes.run(move |connection| revoke(connection, &revocations)).await
    }

    async fn revoked_since(&self, known: u64) -> Result<(Vec<Revocation>, u64), StoreError> {
        self.reads.run(move |connection| since(connection, known)).await
    }

    async fn revoked_news(&self) {
        // Running out of time is one of the two ways to return.
        let _ = tokio::time::timeout(LONGEST_WAIT, self.watch.revoked.notified()).await;
    }
}

/// How often something was revoked.
pub fn revision(connection: &Connection) -> rusqlite::Result<u64> {
    let mut revision = connection.prepare_cached("SELECT value FROM counters WHERE name = 'revision'")?;
    revision.query_row((), |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

fn revoke(connection: &Connection, revocations: &[Revocation]) -> rusqlite::Result<()> {
    let now = clock::now();
    connection.prepare_cached("DELETE FROM revocations WHERE until <= ?1")?.execute([now])?;
    connection.prepare_cached("UPDATE counters SET value = value + 1 WHERE name = 'revision'")?.execute(())?;
    let mut add = connection.prepare_cached(
        "INSERT INTO revocations (target, revision, terminate, until)
         VALUES (?1, (SELECT value FROM counters WHERE name = 'revision'), ?2, ?3)
         ON CONFLICT (target) DO UPDATE SET revision = excluded.revision, until = max(until, excluded.until),
            terminate = max(terminate, excluded.terminate)",
    )?;
    for Revocation { tenant, target, terminate, until } in revocations {
        let (target, until) =
            (serde_json::to_string(target).expect("a target has only texts"), clock::micros(*until));
        if until > now {
            add.execute(params![scoped(tenant, &target), terminate, until])?;
        }
    }
    Ok(())
}

fn since(connection: &Connection, known: u64) -> rusqlite::Result<(Vec<Revocation>, u64)> {
    let reached = revision(connection)?;
    let after = if known > reached { 0 } else { i64::try_from(known).unwrap_or(0) };
    let mut query = connection.prepare_cached(
        "SELECT target, terminate, until FROM revocations WHERE revision > ?1 AND until > ?2 ORDER BY revision",
    )?;
    let mut rows = query.query([after, clock::now()])?;
    let mut revocations = Vec::new();
    while let Some(row) = rows.next()? {
        let target: String = row.get(0)?;
        // What cannot be read was written by a version that revokes other things, of which this one knows nothing.
        let Some((tenant, target)) = unscoped(&target) else { continue };
        let Ok(target) = serde_json::from_str(target) else { continue };
        let until = clock::timestamp(row.get(2)?);
        revocations.push(Revocation { tenant, target, terminate: row.get(1)?, until });
    }
    Ok((revocations, reached))
}
