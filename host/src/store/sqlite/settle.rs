//! How deliveries end: done with, put aside, or put back.

use std::{cmp::Reverse, sync::Arc};

use rusqlite::{Connection, OptionalExtension, params};

use super::{Sqlite, backend, chords, clock, dead_letters, expires, fault, lists, lists::Place, tag::OwnTag};
use crate::{
    protocol::message::{mark_redelivered, mark_requeued},
    store::{
        Fate, Options, Publication, Settled, Settlement, StoreError, StoredResult, delivery::strays,
        scope::scoped,
    },
    task::{GroupChange, TaskId, Tenant},
};

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    result: Option<i64>,
    dead_letter: Option<i64>,
}

impl Lifetimes {
    /// Counted from now.
    pub fn of(options: &Options) -> Self {
        Self { result: expires(options.result_lifetime), dead_letter: expires(options.dead_letter_lifetime) }
    }
}

/// What came of ending something.
#[derive(Debug)]
pub struct Ended {
    /// Whether it ended.
    pub settled: Settled,
    /// Whether a chord is complete by it.
    pub chord_complete: bool,
}

impl From<Settled> for Ended {
    fn from(settled: Settled) -> Self {
        Self { settled, chord_complete: false }
    }
}

impl Sqlite {
    /// See [`crate::store::Broker::settle`]: all of it in one transaction.
    pub(super) async fn settle_all(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        if settlements.is_empty() {
            return Ok(Vec::new());
        }
        let settlements: Arc<[Settlement]> = settlements.into();
        let (order, options) = (order(&settlements), self.options.clone());
        let settle = move |connection: &Connection| {
            let lifetimes = Lifetimes::of(&options);
            let mut settled = vec![Settled::NotHeld; settlements.len()];
            let mut chord_complete = false;
            for &i in &order {
                let ended = alone(connection, |connection| settle(connection, &settlements[i], lifetimes))?;
                settled[i] = ended.settled;
                chord_complete |= ended.chord_complete;
            }
            Ok((settled, chord_complete))
        };
        let (settled, chord_complete) = self.writes.run(settle).await?;
        if chord_complete {
            self.chord_complete.notify_one();
        }
        Ok(settled)
    }
}

/// What goes back to the heads comes last, the newest first, so that the oldest ends up first in line.
fn order(settlements: &[Settlement]) -> Vec<usize> {
    let mut order: Vec<_> = (0..settlements.len()).collect();
    order.sort_by_key(|&i| match &settlements[i] {
        Settlement { tag, fate: Fate::Restore, .. } => Some(Reverse(OwnTag::parse(tag))),
        _ => None,
    });
    order
}

/// Ends one of several; what SQLite will never do is undone and refused without harm to the others.
pub fn alone(
    connection: &Connection,
    end: impl FnOnce(&Connection) -> rusqlite::Result<Ended>,
) -> rusqlite::Result<Ended> {
    let run = |sql| connection.prepare_cached(sql)?.execute(()).map(drop);
    run("SAVEPOINT settlement")?;
    let ended = match end(connection) {
        Err(error) if !fault::is_passing(&error) && !connection.is_autocommit() => {
            run("ROLLBACK TO settlement")?;
            Settled::Refused(error.to_string()).into()
        }
        ended => ended?,
    };
    run("RELEASE settlement")?;
    Ok(ended)
}

fn settle(connection: &Connection, settlement: &Settlement, lifetimes: Lifetimes) -> rusqlite::Result<Ended> {
    let Settlement { tag, results, groups, sends, fate } = settlement;
    let Some(place) = held(connection, tag)? else { return Ok(Settled::NotHeld.into()) };
    let tenant = place.tenant();
    if let Some(why) = strays(sends, &tenant) {
        return Ok(Settled::Refused(why).into());
    }
    let ended = with(connection, &tenant, results, groups, sends, lifetimes)?;
    end(connection, &place, fate, lifetimes)?;
    Ok(ended)
}

/// What happens together with the end of something of a tenant.
pub fn with(
    connection: &Connection,
    tenant: &Tenant,
    results: &[StoredResult],
    groups: &[(TaskId, GroupChange)],
    sends: &[Publication],
    lifetimes: Lifetimes,
) -> rusqlite::Result<Ended> {
    for result in results {
        backend::store(connection, tenant, result, lifetimes.result)?;
    }
    let chord_complete = chords::change(connection, tenant, groups, lifetimes.result)?;
    for publication in sends {
        lists::send(connection, publication)?;
    }
    Ok(Ended { settled: Settled::Done, chord_complete })
}

/// Where a held message is; `None` if it is not held under this tag.
pub fn held(connection: &Connection, tag: &crate::store::Tag) -> rusqlite::Result<Option<Place>> {
    let Some(OwnTag { owner, number }) = OwnTag::parse(tag) else { return Ok(None) };
    connection
        .prepare_cached(
            "SELECT id, queue, step FROM messages WHERE state = 1 AND owner = ?1 AND number = ?2",
        )?
        .query_row(params![owner, number], Place::read)
        .optional()
}

fn end(connection: &Connection, place: &Place, fate: &Fate, lifetimes: Lifetimes) -> rusqlite::Result<()> {
    match fate {
        Fate::Acknowledge => remove(connection, place),
        Fate::Restore => {
            // What is no message of Celery's cannot be marked; it goes back as it came.
            let marked = mark_redelivered(&lists::message(connection, place.id)?);
            lists::to_head(connection, place, marked.as_deref())
        }
        Fate::Requeue => {
            let message = lists::message(connection, place.id)?;
            lists::to_tail(connection, place, mark_requeued(&message).as_deref().unwrap_or(&message))
        }
        Fate::Delay(until) => connection
            .prepare_cached("UPDATE messages SET state = 2, owner = NULL, number = NULL, due = ?2 WHERE id = ?1")?
            .execute(params![place.id, clock::micros(*until)])
            .map(drop),
        Fate::Park { task, until, message } => connection
            .prepare_cached(
                "UPDATE messages SET state = 3, owner = NULL, number = NULL, task = ?2, due = ?3, message = ?4, position =
                    (SELECT coalesce(max(position), 0) + 1 FROM messages WHERE state = 3 AND task = ?2)
                 WHERE id = ?1",
            )?
            .execute(params![
                place.id,
                scoped(&place.tenant(), task.as_str()),
                clock::micros(*until),
                &message[..]
            ])
            .map(drop),
        Fate::DeadLetter(cause) => {
            dead_letters::add(connection, place, cause, lifetimes.dead_letter)?;
            remove(connection, place)
        }
    }
}

fn remove(connection: &Connection, place: &Place) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([place.id]).map(drop)
}
