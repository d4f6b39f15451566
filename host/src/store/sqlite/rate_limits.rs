//! Buckets of limited tasks, and the messages that wait for their tokens.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Sqlite, clock, lists, lists::Place, restore::read_task, settle::held};
use crate::{
    store::{
        Admission, Candidate, Pace, RateLimits, Released, StoreError,
        rate_limit::{Bucket, CATCH_UP, HANDS_FULL, PATIENCE, burst, micros},
        scope::scoped,
    },
    task::{OwnedTask, RateLimit},
};

/// The most messages that one step puts back: others wait for it.
const MOST: usize = 1_000;

#[async_trait]
impl RateLimits for Sqlite {
    async fn admit(&self, candidate: &Candidate) -> Result<Admission, StoreError> {
        let candidate = candidate.clone();
        self.writes.run(move |connection| admit(connection, &candidate)).await
    }

    async fn set_aside(&self) -> Result<Vec<(OwnedTask, u64)>, StoreError> {
        let counts = |connection: &Connection| {
            connection
                .prepare_cached("SELECT task, count(*) FROM messages WHERE state = 4 GROUP BY task")?
                .query_map((), |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        let named = |(task, count): (String, i64)| Some((read_task(&task)?, count.unsigned_abs()));
        Ok(self.reads.run(counts).await?.into_iter().filter_map(named).collect())
    }

    async fn release_set_aside(&self, task: &OwnedTask, pace: &Pace) -> Result<Released, StoreError> {
        let task = scoped(&task.tenant, task.task.as_str()).into_owned();
        let mut released = 0;
        loop {
            let (task, pace) = (task.clone(), pace.clone());
            // Looking keeps nobody from writing.
            let (asked, asked_pace) = (task.clone(), pace.clone());
            match self.reads.run(move |connection| look(connection, &asked, &asked_pace)).await? {
                Turn::Never => return Ok(Released { count: released, next: None }),
                Turn::In(micros) => {
                    let next = Duration::from_micros(micros.unsigned_abs());
                    return Ok(Released { count: released, next: Some(next) });
                }
                Turn::Now | Turn::Unfit => {}
            }
            released += self.writes.run(move |connection| release(connection, &task, &pace)).await?;
        }
    }
}

/// When something may be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nothing is set aside.
    Never,
    /// In so many microseconds.
    In(i64),
    Now,
    /// The bucket does not fit the limit and has to be written.
    Unfit,
}

fn admit(connection: &Connection, candidate: &Candidate) -> rusqlite::Result<Admission> {
    let Candidate { tag, task, limit, message } = candidate;
    let Some(place) = held(connection, tag)? else { return Ok(Admission::NotHeld) };
    let task = &*scoped(&place.tenant(), task.as_str());
    let mut bucket = bucket(connection, task)?;
    let is_alone = next_place(connection, task, None)?.is_none();
    if is_alone && bucket.take(clock::now(), micros(limit.interval()), burst(limit)) {
        keep(connection, task, bucket)?;
        return Ok(Admission::Admitted);
    }
    connection
        .prepare_cached(
            "UPDATE messages SET state = 4, owner = NULL, number = NULL, task = ?2, message = ?3, position =
                (SELECT coalesce(max(position), 0) + 1 FROM messages WHERE state = 4 AND task = ?2 AND step = ?4 AND queue = ?5)
             WHERE id = ?1",
        )?
        .execute(params![place.id, task, &message[..], place.step, place.queue])?;
    Ok(Admission::SetAside)
}

fn bucket(connection: &Connection, task: &str) -> rusqlite::Result<Bucket> {
    let next = connection
        .prepare_cached("SELECT next FROM buckets WHERE task = ?1")?
        .query_row([task], |row| row.get(0))
        .optional()?;
    Ok(Bucket { next: next.unwrap_or(0) })
}

fn keep(connection: &Connection, task: &str, bucket: Bucket) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO buckets VALUES (?1, ?2)")?
        .execute(params![task, bucket.next])
        .map(drop)
}

fn look(connection: &Connection, task: &str, pace: &Pace) -> rusqlite::Result<Turn> {
    if next_place(connection, task, None)?.is_none() {
        return Ok(Turn::Never);
    }
    let (mut bucket, now) = (bucket(connection, task)?, clock::now());
    let wait = match pace {
        Pace::Limited(limit) if bucket.fit(now, micros(limit.interval())) => return Ok(Turn::Unfit),
        Pace::Limited(_) => bucket.next - now,
        Pace::Unlimited => 0,
        Pace::Abandoned => bucket.next + micros(PATIENCE) - now,
    };
    if wait > 0 {
        return Ok(Turn::In(wait));
    }
    match open_places(connection, task, pace)?.is_empty() {
        true => Ok(Turn::In(micros(HANDS_FULL))),
        false => Ok(Turn::Now),
    }
}

/// Releases what the pace allows, in one step; answers how many.
fn release(connection: &Connection, task: &str, pace: &Pace) -> rusqlite::Result<u64> {
    // Another worker may have been faster.
    match (look(connection, task, pace)?, pace) {
        (Turn::Now, Pace::Limited(limit)) => release_some(connection, task, limit),
        (Turn::Now, _) => release_all(connection, task, pace),
        (Turn::Unfit, Pace::Limited(limit)) => {
            let mut bucket = bucket(connection, task)?;
            bucket.fit(clock::now(), micros(limit.interval()));
            keep(connection, task, bucket).map(|()| 0)
        }
        _ => Ok(0),
    }
}

/// As many as there are tokens for.
fn release_some(connection: &Connection, task: &str, limit: &RateLimit) -> rusqlite::Result<u64> {
    let mut bucket = bucket(connection, task)?;
    let (now, interval, slack) = (clock::now(), micros(limit.interval()), micros(CATCH_UP));
    let most = usize::try_from(slack / interval).map_or(MOST, |tokens| MOST.min(tokens + 1));
    let waiting = |place: &Place| of_place(connection, task, place, "ASC", most);
    let open = open_places(connection, task, &Pace::Limited(limit.clone()))?;
    let chosen = choose(&open, waiting, || bucket.take(now, interval, slack))?;
    keep(connection, task, bucket)?;
    for of_place in &chosen {
        of_place.iter().rev().try_for_each(|place| lists::to_head(connection, place, None))?;
        if let Some(first) = of_place.first() {
            mark_head(connection, first, task)?;
        }
    }
    Ok(chosen.iter().map(|of_place| of_place.len() as u64).sum())
}

/// All, or as many as fit into one step: the newest first, so that the next step puts older ones before them.
fn release_all(connection: &Connection, task: &str, pace: &Pace) -> rusqlite::Result<u64> {
    let mut count = 0;
    for place in open_places(connection, task, pace)? {
        let newest = of_place(connection, task, &place, "DESC", MOST - count)?;
        newest.iter().try_for_each(|place| lists::to_head(connection, place, None))?;
        count += newest.len();
    }
    Ok(count as u64)
}

/// As many messages as there are tokens, those of a place together, the oldest first: of the most urgent step, the queues taking
/// turns within it.
fn choose(
    open: &[Place],
    waiting_in: impl Fn(&Place) -> rusqlite::Result<Vec<Place>>,
    mut token: impl FnMut() -> bool,
) -> rusqlite::Result<Vec<Vec<Place>>> {
    let mut chosen = Vec::new();
    let mut rest = open;
    while let Some(first) = rest.first() {
        let alike = rest.iter().take_while(|place| place.step == first.step).count();
        let (same_step, later) = rest.split_at(alike);
        let mut waiting = Vec::new();
        for place in same_step {
            waiting.push(waiting_in(place)?.into_iter());
        }
        let mut taken = vec![Vec::new(); waiting.len()];
        let mut turn = clock::now().unsigned_abs() as usize;
        let mut left = waiting.iter().map(ExactSizeIterator::len).sum::<usize>();
        while left > 0 {
            turn += 1;
            let which = turn % waiting.len();
            if waiting[which].len() == 0 {
                continue;
            }
            if !token() {
                chosen.extend(taken);
                return Ok(chosen);
            }
            left -= 1;
            taken[which].extend(waiting[which].next());
        }
        chosen.extend(taken);
        rest = later;
    }
    Ok(chosen)
}

/// Messages of a task that were set aside in one place.
fn of_place(
    connection: &Connection,
    task: &str,
    place: &Place,
    order: &str,
    most: usize,
) -> rusqlite::Result<Vec<Place>> {
    let query = format!(
        "SELECT id, queue, step FROM messages WHERE state = 4 AND task = ?1 AND step = ?2 AND queue = ?3
         ORDER BY position {order} LIMIT ?4"
    );
    connection
        .prepare_cached(&query)?
        .query_map(params![task, place.step, place.queue, most as i64], Place::read)?
        .collect()
}

/// The places where messages of a task are set aside and may go back to, the most urgent step first.
fn open_places(connection: &Connection, task: &str, pace: &Pace) -> rusqlite::Result<Vec<Place>> {
    let (mut open, mut last) = (Vec::new(), None);
    while let Some(place) = next_place(connection, task, last.as_ref())? {
        if *pace == Pace::Unlimited || !is_head_marked(connection, &place)? {
            open.push(place.clone());
        }
        last = Some(place);
    }
    Ok(open)
}

/// The first place after `last` where messages of a task are set aside, with the row of one of them.
fn next_place(connection: &Connection, task: &str, last: Option<&Place>) -> rusqlite::Result<Option<Place>> {
    let (step, queue) = last.map_or((-1, ""), |place| (i64::from(place.step), &place.queue));
    connection
        .prepare_cached(
            "SELECT id, queue, step FROM messages WHERE state = 4 AND task = ?1 AND (step, queue) > (?2, ?3)
             ORDER BY step, queue LIMIT 1",
        )?
        .query_row(params![task, step, queue], Place::read)
        .optional()
}

/// Notes that a message at the head of its list was set aside before.
fn mark_head(connection: &Connection, place: &Place, task: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE messages SET task = ?2 WHERE id = ?1")?
        .execute(params![place.id, task])
        .map(drop)
}

/// Whether a message that was put to the head of this list before is still there.
fn is_head_marked(connection: &Connection, place: &Place) -> rusqlite::Result<bool> {
    let marked = connection
        .prepare_cached(
            "SELECT task IS NOT NULL FROM messages WHERE state = 0 AND queue = ?1 AND step = ?2 ORDER BY position LIMIT 1",
        )?
        .query_row(params![place.queue, place.step], |row| row.get(0))
        .optional()?;
    Ok(marked.unwrap_or(false))
}
