//! Results on SQLite.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Sqlite, clock, expires};
use crate::{
    store::{
        Backend, StoreError, StoredResult,
        scope::{scoped, unscoped},
    },
    task::{State, TaskId, Tenant},
};

/// How many results one look passes by at most.
const LONGEST_LOOK: i64 = 10_000;

/// The first and the longest pause between attempts to read a file that cannot be read at the moment.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

#[async_trait]
impl Backend for Sqlite {
    async fn store(&self, tenant: &Tenant, result: &StoredResult) -> Result<(), StoreError> {
        let (tenant, result, lifetime) = (tenant.clone(), result.clone(), self.options.result_lifetime);
        self.writes.run(move |connection| store(connection, &tenant, &result, expires(lifetime))).await
    }

    async fn get(&self, tenant: &Tenant, id: &TaskId) -> Result<Option<String>, StoreError> {
        let id = scoped(tenant, id.as_str()).into_owned();
        let get = move |connection: &Connection| {
            connection
                .prepare_cached("SELECT meta FROM results WHERE task_id = ?1 AND ifnull(expires > ?2, true)")?
                .query_row(params![id, clock::now()], |row| row.get(0))
                .optional()
        };
        self.reads.run(get).await
    }

    async fn results(
        &self,
        tenant: &Tenant,
        from: Option<&str>,
        most: usize,
    ) -> Result<(Vec<TaskId>, Option<String>), StoreError> {
        let (tenant, from) = (tenant.clone(), from.and_then(|from| from.parse().ok()).unwrap_or(i64::MAX));
        let look = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT seq, task_id FROM results WHERE seq < ?1 AND ifnull(expires > ?2, true) ORDER BY seq DESC LIMIT ?3",
            )?;
            let mut rows = statement.query(params![from, clock::now(), LONGEST_LOOK])?;
            let (mut ids, mut looked, mut last) = (Vec::new(), 0, from);
            while ids.len() < most {
                let Some(row) = rows.next()? else { break };
                (looked, last) = (looked + 1, row.get(0)?);
                let scoped: String = row.get(1)?;
                let own = unscoped(&scoped).filter(|(owner, _)| *owner == tenant);
                ids.extend(own.and_then(|(_, id)| TaskId::new(id).ok()));
            }
            let is_all = ids.len() < most && looked < LONGEST_LOOK;
            Ok((ids, (!is_all).then(|| last.to_string())))
        };
        self.reads.run(look).await
    }

    /// Of states that follow each other at once only the last may be seen.
    async fn wait(
        &self,
        tenant: &Tenant,
        id: &TaskId,
        is_final: &(dyn for<'t> Fn(&'t str) -> bool + Sync),
    ) -> Result<String, StoreError> {
        // Listening comes before looking, so what is stored after the look is heard.
        let listener = self.watch.listener(&scoped(tenant, id.as_str()));
        let mut pause = PAUSES.0;
        loop {
            match self.get(tenant, id).await {
                Ok(Some(text)) if is_final(&text) => return Ok(text),
                Ok(_) => {
                    pause = PAUSES.0;
                    listener.heard().await;
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, task = %id, "waiting for a result; trying again");
                    tokio::time::sleep(pause).await;
                    pause = PAUSES.1.min(pause * 2);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Stores a result of a tenant. A stored SUCCESS stays; a task that has ended in another way may be run again and end anew, but
/// is not put back into a state of a running one, as a late word of its progress would.
pub fn store(
    connection: &Connection,
    tenant: &Tenant,
    result: &StoredResult,
    expires: Option<i64>,
) -> rusqlite::Result<()> {
    let id = scoped(tenant, result.id.as_str());
    let stored: Option<String> = connection
        .prepare_cached("SELECT state FROM results WHERE task_id = ?1 AND ifnull(expires > ?2, true)")?
        .query_row(params![id, clock::now()], |row| row.get(0))
        .optional()?;
    if stored.is_some_and(|stored| stays(&State::from(stored.as_str()), &result.state)) {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO results (task_id, state, meta, expires) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![id, result.state.as_str(), result.meta, expires])
        .map(drop)
}

fn stays(stored: &State, next: &State) -> bool {
    let is_end_of_a_run = next.is_ready() || *next == State::Retry;
    *stored == State::Success || (stored.is_ready() && !is_end_of_a_run)
}
