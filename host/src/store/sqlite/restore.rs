//! Gives back what nobody holds any more, releases what is parked, and drops what has expired.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::{Sqlite, clock, clock::LeaseClock, lists, lists::Place, owners, owners::alive};
use crate::{
    protocol::message::{mark_lost, mark_redelivered},
    store::{
        StoreError,
        scope::{scoped, unscoped},
    },
    task::{OwnedTask, TaskName},
};

/// The most messages that are put back, or rows that are dropped, in one transaction: others wait for it.
const MOST_AT_ONCE: usize = 10_000;

/// After this time an owner that has lost something will not ask for it any more, in microseconds: a day.
const LONGEST_ABSENCE: i64 = 24 * 60 * 60 * 1_000_000;

/// What there is to do.
struct ToDo {
    dead: bool,
    parked: bool,
    expired: bool,
}

impl Sqlite {
    /// See [`crate::store::Broker::restore`]. Looks first: usually there is nothing to do.
    pub(super) async fn restore_all(&self) -> Result<usize, StoreError> {
        let (owner, clock) = (self.owner.clone(), self.clock.clone());
        let todo = self.reads.run(move |connection| look(connection, &owner, &clock)).await?;
        let mut restored = 0;
        let abandoned: Arc<[i64]> = self.abandoned.numbers().into();
        if todo.dead || !abandoned.is_empty() {
            let (owner, clock, numbers) = (self.owner.clone(), self.clock.clone(), abandoned.clone());
            let put_back = move |connection: &Connection| {
                let dead = put_back_of_the_dead(connection, &owner, &clock)?;
                Ok(dead + put_back_abandoned(connection, &owner, &numbers)?)
            };
            restored += self.writes.run(put_back).await?;
            self.abandoned.forget(&abandoned);
        }
        if todo.parked {
            let overdue = "SELECT id, queue, step FROM messages WHERE state = 3 AND due <= ?1
                ORDER BY due DESC, id DESC LIMIT ?2";
            restored += self.writes.run(|connection| unpark(connection, overdue, clock::now())).await?;
        }
        if todo.expired {
            let clock = self.clock.clone();
            self.writes.run(move |connection| drop_expired(connection, &clock)).await?;
        }
        Ok(restored)
    }

    /// See [`crate::store::Broker::leave`]. What nobody has received goes back first: nothing has died with it.
    pub(super) async fn give_up_lease(&self) -> Result<(), StoreError> {
        let abandoned: Arc<[i64]> = self.abandoned.numbers().into();
        let (owner, numbers) = (self.owner.clone(), abandoned.clone());
        let leave = move |connection: &Connection| {
            put_back_abandoned(connection, &owner, &numbers)?;
            owners::leave(connection, &owner)
        };
        self.writes.run(leave).await?;
        self.abandoned.forget(&abandoned);
        Ok(())
    }

    /// See [`crate::store::Broker::release`]. Beyond [`MOST_AT_ONCE`] it takes several steps, the newest first,
    /// so that in the end the oldest is first in line.
    pub(super) async fn release_all(&self, task: &OwnedTask) -> Result<u64, StoreError> {
        let of_task = "SELECT id, queue, step FROM messages WHERE state = 3 AND task = ?1 ORDER BY position DESC LIMIT ?2";
        let mut released = 0;
        loop {
            let task = scoped(&task.tenant, task.task.as_str()).into_owned();
            let count = self.writes.run(move |connection| unpark(connection, of_task, &task)).await?;
            released += count as u64;
            if count < MOST_AT_ONCE {
                return Ok(released);
            }
        }
    }
}

/// A task as the tables name it.
pub fn read_task(name: &str) -> Option<OwnedTask> {
    let (tenant, task) = unscoped(name)?;
    Some(OwnedTask { tenant, task: TaskName::new(task).ok()? })
}

fn look(connection: &Connection, owner: &str, clock: &LeaseClock) -> rusqlite::Result<ToDo> {
    let now = clock::now();
    let parked = "SELECT 1 FROM messages WHERE state = 3 AND due <= ?1 LIMIT 1";
    let expired = "SELECT 1 WHERE EXISTS (SELECT 1 FROM results WHERE expires <= ?1)
        OR EXISTS (SELECT 1 FROM dead_letters WHERE expires <= ?1) OR EXISTS (SELECT 1 FROM revocations WHERE until <= ?1)
        OR EXISTS (SELECT 1 FROM groups WHERE expires <= ?1) OR EXISTS (SELECT 1 FROM once WHERE until <= ?1)";
    Ok(ToDo {
        dead: !owners::dead(connection, owner, clock)?.is_empty(),
        parked: connection.prepare_cached(parked)?.exists([now])?,
        expired: connection.prepare_cached(expired)?.exists([now])?,
    })
}

/// Puts back what dead owners held, the newest first, so that the oldest ends up first in line.
fn put_back_of_the_dead(connection: &Connection, own: &str, clock: &LeaseClock) -> rusqlite::Result<usize> {
    let mut restored = 0;
    for owner in owners::dead(connection, own, clock)? {
        let held = connection
            .prepare_cached(
                "SELECT id, queue, step FROM messages WHERE state = 1 AND owner = ?1 ORDER BY number DESC",
            )?
            .query_map([&owner], Place::read)?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        connection
            .prepare_cached("INSERT OR IGNORE INTO lost SELECT owner, number, ?2 FROM messages WHERE state = 1 AND owner = ?1")?
            .execute(params![owner, clock::now()])?;
        for place in &held {
            let marked = mark_lost(&lists::message(connection, place.id)?);
            lists::to_head(connection, place, marked.as_deref())?;
        }
        restored += held.len();
        tracing::info!(restored = held.len(), %owner, "restored messages of an owner that has died");
    }
    Ok(restored)
}

/// Puts back what this owner holds and nobody has received.
fn put_back_abandoned(connection: &Connection, owner: &str, numbers: &[i64]) -> rusqlite::Result<usize> {
    let mut newest_first = numbers.to_vec();
    newest_first.sort_by_key(|number| std::cmp::Reverse(*number));
    let mut restored = 0;
    for number in newest_first {
        let held = connection
            .prepare_cached(
                "SELECT id, queue, step FROM messages WHERE state = 1 AND owner = ?1 AND number = ?2",
            )?
            .query_map(params![owner, number], Place::read)?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        for place in &held {
            let marked = mark_redelivered(&lists::message(connection, place.id)?);
            lists::to_head(connection, place, marked.as_deref())?;
        }
        restored += held.len();
    }
    Ok(restored)
}

/// Puts parked messages back in the order in which the query gives them; it is told `which` and how many.
fn unpark(connection: &Connection, query: &str, which: impl rusqlite::ToSql) -> rusqlite::Result<usize> {
    let parked = connection
        .prepare_cached(query)?
        .query_map(params![which, MOST_AT_ONCE as i64], Place::read)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    parked.iter().try_for_each(|place| lists::to_head(connection, place, None))?;
    Ok(parked.len())
}

fn drop_expired(connection: &Connection, clock: &LeaseClock) -> rusqlite::Result<()> {
    let (now, most) = (clock::now(), MOST_AT_ONCE as i64);
    for delete in [
        "DELETE FROM results WHERE seq IN (SELECT seq FROM results WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
        "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
        "DELETE FROM groups WHERE group_id IN (SELECT group_id FROM groups WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
        "DELETE FROM once WHERE key IN (SELECT key FROM once WHERE until <= ?1 LIMIT ?2)",
        "DELETE FROM revocations WHERE target IN (SELECT target FROM revocations WHERE until <= ?1 LIMIT ?2)",
    ] {
        connection.execute(delete, params![now, most])?;
    }
    connection.execute("DELETE FROM lost WHERE since <= ?1", [now - LONGEST_ABSENCE])?;
    let dead = concat!(
        "DELETE FROM owners WHERE NOT ",
        alive!(),
        " AND NOT EXISTS (SELECT 1 FROM messages WHERE state = 1 AND messages.owner = owners.owner)"
    );
    let clock = rusqlite::named_params! { ":boot": clock.boot, ":now": clock.now() };
    connection.execute(dead, clock).map(drop)
}
