//! Groups and their chords on SQLite. All workers of a file are on one machine, so a complete chord is left to none of them:
//! whoever looks first finishes it.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Sqlite, settle};
use crate::{
    store::{
        Chords, Finish, Settled, StoreError,
        delivery::strays,
        scope::{scoped, unscoped},
    },
    task::{ChordPart, CompleteChord, GroupChange, TaskId, Tenant},
};

/// The most chords in one answer. Their endings may be many.
const MOST: i64 = 50;

/// How often is looked for what others have left.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

#[async_trait]
impl Chords for Sqlite {
    async fn complete(&self) -> Result<Vec<CompleteChord>, StoreError> {
        self.reads.run(complete).await
    }

    async fn finish(&self, tenant: &Tenant, group: &TaskId, finish: &Finish) -> Result<Settled, StoreError> {
        let group = scoped(tenant, group.as_str()).into_owned();
        let (tenant, finish, options) = (tenant.clone(), finish.clone(), self.options.clone());
        let finished = self
            .writes
            .run(move |connection| {
                let lifetimes = settle::Lifetimes::of(&options);
                settle::alone(connection, |connection| {
                    finish_one(connection, &tenant, &group, &finish, lifetimes)
                })
            })
            .await?;
        self.note_complete(&finished);
        Ok(finished.settled)
    }

    async fn chord_news(&self) {
        // Running out of time is one of the two ways to return.
        let _ = tokio::time::timeout(LONGEST_WAIT, self.chord_complete.notified()).await;
    }
}

fn complete(connection: &Connection) -> rusqlite::Result<Vec<CompleteChord>> {
    let mut groups = connection
        .prepare_cached("SELECT group_id, chord, shape FROM groups WHERE chord IS NOT NULL LIMIT ?1")?;
    let groups = groups
        .query_map([MOST], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<Vec<(String, String, Option<String>)>>>()?;
    let mut complete = Vec::new();
    for (id, chord, shape) in groups {
        let Some((tenant, group)) = unscoped(&id) else { continue };
        let Ok(group) = TaskId::new(group) else { continue };
        let mut endings = connection
            .prepare_cached("SELECT ending FROM parts WHERE group_id = ?1 ORDER BY place, ending")?;
        let endings =
            endings.query_map([&id], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
        complete.push(CompleteChord { tenant, group, chord, endings, shape });
    }
    Ok(complete)
}

fn finish_one(
    connection: &Connection,
    tenant: &Tenant,
    group: &str,
    finish: &Finish,
    lifetimes: settle::Lifetimes,
) -> rusqlite::Result<settle::Ended> {
    if let Some(why) = strays(&finish.sends, tenant) {
        return Ok(Settled::Refused(why).into());
    }
    let finished = connection
        .prepare_cached("UPDATE groups SET chord = NULL WHERE group_id = ?1 AND chord IS NOT NULL")?
        .execute([group])?;
    if finished == 0 {
        return Ok(Settled::NotHeld.into());
    }
    connection.prepare_cached("DELETE FROM parts WHERE group_id = ?1")?.execute([group])?;
    let Finish { results, groups, sends } = finish;
    settle::with(connection, tenant, results, groups, sends, lifetimes)
}

/// Notes what has become known of a tenant's groups; answers whether any chord is complete by it.
pub fn change(
    connection: &Connection,
    tenant: &Tenant,
    groups: &[(TaskId, GroupChange)],
    lifetime: Option<i64>,
) -> rusqlite::Result<bool> {
    let mut is_complete = false;
    for (group, change) in groups {
        let group = &*scoped(tenant, group.as_str());
        connection
            .prepare_cached(
                "INSERT INTO groups (group_id, expires) VALUES (?1, ?2)
                 ON CONFLICT (group_id) DO UPDATE SET expires = excluded.expires",
            )?
            .execute(params![group, lifetime])?;
        match change {
            // A group that is sent again, under the same id, is counted anew.
            GroupChange::Size(size) => drop(
                connection
                    .prepare_cached("UPDATE groups SET size = ?2, complete = 0 WHERE group_id = ?1")?
                    .execute(params![group, i64::try_from(*size).unwrap_or(i64::MAX)])?,
            ),
            GroupChange::Saved(shape) => drop(
                connection
                    .prepare_cached("UPDATE groups SET shape = ?2 WHERE group_id = ?1")?
                    .execute(params![group, shape])?,
            ),
            GroupChange::Part(part) => is_complete |= count(connection, group, part)?,
        }
    }
    Ok(is_complete)
}

/// Counts a part, once; answers whether the chord is complete by it.
fn count(connection: &Connection, group: &str, part: &ChordPart) -> rusqlite::Result<bool> {
    let ChordPart { id, index, ending, chord } = part;
    let complete: Option<bool> = connection
        .prepare_cached("SELECT complete FROM groups WHERE group_id = ?1")?
        .query_row([group], |row| row.get(0))
        .optional()?;
    if complete == Some(true) {
        return Ok(false);
    }
    let counted = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO parts (group_id, place, task_id, ending) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![group, index.unwrap_or(i64::MAX), id.as_str(), ending])?;
    connection
        .prepare_cached("UPDATE groups SET parts = parts + ?2 WHERE group_id = ?1")?
        .execute(params![group, counted as i64])?;
    let complete = connection
        .prepare_cached("UPDATE groups SET chord = ?2, complete = 1 WHERE group_id = ?1 AND parts = size")?
        .execute(params![group, chord])?;
    Ok(complete > 0)
}

impl Sqlite {
    /// Wakes whoever waits for complete chords, if there may be one.
    pub(super) fn note_complete(&self, ended: &settle::Ended) {
        if ended.chord_complete {
            self.chord_complete.notify_one();
        }
    }
}
