//! Queues on SQLite: publishing, heartbeats, and looking. Taking is in `take`, how deliveries end in `settle`.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{OptionalExtension, params};

use super::{Sqlite, clock, lists, owners, restore::read_task, tag::OwnTag};
use crate::{
    store::{
        Broker, Once, Portion, Publication, Report, Scheduled, Settled, Settlement, StoreError, Tag, Taken,
    },
    task::{OwnedTask, QueueName},
};

/// How long [`Broker::arrival`] waits at most. Nothing depends on it while the file can be read.
pub const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The most bytes of waiting messages that are read to be looked at.
const LARGEST_PEEK: usize = 4 << 20;

/// The most bytes of delayed messages of one queue that are read to be looked at.
const LARGEST_LOOK: usize = 4 << 20;

#[async_trait]
impl Broker for Sqlite {
    async fn publish(&self, publications: &[Publication]) -> Result<(), StoreError> {
        let publications = publications.to_vec();
        let publish = move |connection: &rusqlite::Connection| {
            publications.iter().try_for_each(|publication| lists::send(connection, publication))
        };
        self.writes.run(publish).await
    }

    async fn publish_once(
        &self,
        publications: &[Publication],
        once: &Once,
    ) -> Result<Option<String>, StoreError> {
        let (publications, once) = (publications.to_vec(), once.clone());
        let publish = move |connection: &rusqlite::Connection| {
            let kept: Option<String> = connection
                .prepare_cached("SELECT value FROM once WHERE key = ?1 AND until > ?2")?
                .query_row(params![once.key, clock::now()], |row| row.get(0))
                .optional()?;
            if kept.is_some() {
                return Ok(kept);
            }
            let lifetime = i64::try_from(once.lifetime.as_micros()).unwrap_or(i64::MAX);
            connection
                .prepare_cached("INSERT OR REPLACE INTO once (key, value, until) VALUES (?1, ?2, ?3)")?
                .execute(params![once.key, once.value, clock::now().saturating_add(lifetime)])?;
            publications.iter().try_for_each(|publication| lists::send(connection, publication))?;
            Ok(None)
        };
        self.writes.run(publish).await
    }

    async fn take_portions(&self, portions: &[Portion<'_>], most: usize) -> Result<Taken, StoreError> {
        self.take_from(portions, most).await
    }

    async fn arrival(&self) {
        let until_due = self.next_due.load(Ordering::Relaxed).saturating_sub(clock::now());
        let until_due = Duration::from_micros(u64::try_from(until_due).unwrap_or(0));
        // Running out of time is one of the two ways to return.
        let _ = tokio::time::timeout(LONGEST_WAIT.min(until_due), self.watch.arrived.notified()).await;
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        self.settle_all(settlements).await
    }

    async fn replace(&self, tag: &Tag, message: &[u8]) -> Result<bool, StoreError> {
        let Some(OwnTag { owner, number }) = OwnTag::parse(tag) else { return Ok(false) };
        let message = message.to_vec();
        let replace = move |connection: &rusqlite::Connection| {
            let mut replace = connection.prepare_cached(
                "UPDATE messages SET message = ?3 WHERE state = 1 AND owner = ?1 AND number = ?2",
            )?;
            Ok(replace.execute(params![owner, number, message])? > 0)
        };
        self.writes.run(replace).await
    }

    async fn beat(&self, lease: Duration, report: &Report) -> Result<Vec<Tag>, StoreError> {
        let report = serde_json::to_string(report).expect("a report has only texts and numbers");
        let (owner, clock) = (self.owner.clone(), self.clock.clone());
        self.writes.run(move |connection| owners::beat(connection, &owner, &clock, lease, &report)).await
    }

    async fn leave(&self) -> Result<(), StoreError> {
        self.give_up_lease().await
    }

    async fn restore(&self) -> Result<usize, StoreError> {
        self.restore_all().await
    }

    async fn parked(&self) -> Result<Vec<(OwnedTask, u64)>, StoreError> {
        let parked = |connection: &rusqlite::Connection| {
            connection
                .prepare_cached("SELECT task, count(*) FROM messages WHERE state = 3 GROUP BY task")?
                .query_map((), |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        let parked: Vec<(String, i64)> = self.reads.run(parked).await?;
        let named = |(task, count): (String, i64)| Some((read_task(&task)?, count.unsigned_abs()));
        Ok(parked.into_iter().filter_map(named).collect())
    }

    async fn release(&self, task: &OwnedTask) -> Result<u64, StoreError> {
        self.release_all(task).await
    }

    async fn workers(&self) -> Result<Vec<Report>, StoreError> {
        let clock = self.clock.clone();
        self.reads.run(move |connection| owners::reports(connection, &clock)).await
    }

    async fn length(&self, queue: &QueueName) -> Result<u64, StoreError> {
        let queue = queue.clone();
        let length = move |connection: &rusqlite::Connection| {
            connection
                .prepare_cached(
                    "SELECT (SELECT count(*) FROM messages WHERE state = 0 AND queue = ?1)
                          + (SELECT count(*) FROM messages WHERE state = 2 AND queue = ?1 AND due <= ?2)",
                )?
                .query_row(params![queue.as_str(), clock::now()], |row| row.get::<_, i64>(0))
        };
        self.reads.run(length).await.map(i64::unsigned_abs)
    }

    async fn queues(&self) -> Result<Vec<QueueName>, StoreError> {
        let names = |connection: &rusqlite::Connection| {
            let mut names = connection.prepare_cached("SELECT name FROM queues ORDER BY name")?;
            names.query_map((), |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
        };
        let names = self.reads.run(names).await?;
        Ok(names.iter().filter_map(|name| QueueName::new(name).ok()).collect())
    }

    async fn delayed(&self) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM messages WHERE state = 2 AND due > ?1").await
    }

    async fn peek(&self, queues: &[QueueName], most: usize) -> Result<Vec<(QueueName, Bytes)>, StoreError> {
        let queues = queues.to_vec();
        self.reads.run(move |connection| peek(connection, &queues, most)).await
    }

    async fn scheduled(&self, queues: &[QueueName], most: usize) -> Result<Vec<Scheduled>, StoreError> {
        let queues = queues.to_vec();
        let scheduled = move |connection: &rusqlite::Connection| {
            let mut query = connection.prepare_cached(
                "SELECT due, message FROM messages WHERE state = 2 AND queue = ?1 AND due > ?2 ORDER BY due LIMIT ?3",
            )?;
            let mut scheduled = Vec::new();
            for queue in &queues {
                let mut room = LARGEST_LOOK;
                let mut rows = query.query(params![queue.as_str(), clock::now(), most as i64])?;
                while let Some(row) = rows.next()? {
                    let message = row.get_ref(1)?.as_blob()?;
                    let Some(left) = room.checked_sub(message.len()) else { break };
                    room = left;
                    let (due, message) = (clock::timestamp(row.get(0)?), message.to_vec().into());
                    scheduled.push(Scheduled { due, queue: queue.clone(), message });
                }
            }
            scheduled.sort_by_key(|scheduled| scheduled.due);
            scheduled.truncate(most);
            Ok(scheduled)
        };
        self.reads.run(scheduled).await
    }

    async fn held(&self) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM messages WHERE state = 1 AND ?1").await
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64, StoreError> {
        let queue = queue.clone();
        let purge = move |connection: &rusqlite::Connection| {
            let waiting = "DELETE FROM messages WHERE state = 0 AND queue = ?1";
            let due = "DELETE FROM messages WHERE state = 2 AND queue = ?1 AND due <= ?2";
            let aside = "DELETE FROM messages WHERE state = 4 AND queue = ?1";
            let due = connection.execute(due, params![queue.as_str(), clock::now()])?;
            let aside = connection.execute(aside, [queue.as_str()])?;
            Ok((connection.execute(waiting, [queue.as_str()])? + due + aside) as u64)
        };
        self.writes.run(purge).await
    }
}

fn peek(
    connection: &rusqlite::Connection,
    queues: &[QueueName],
    most: usize,
) -> rusqlite::Result<Vec<(QueueName, Bytes)>> {
    let mut query = connection.prepare_cached(
        "SELECT message FROM messages WHERE state = 0 AND queue = ?1 AND step = ?2 ORDER BY position",
    )?;
    let (mut waiting, mut bytes) = (Vec::new(), 0);
    for step in lists::PRIORITY_STEPS {
        for queue in queues {
            let mut rows = query.query(params![queue.as_str(), step])?;
            while waiting.len() < most && bytes < LARGEST_PEEK {
                let Some(row) = rows.next()? else { break };
                let message = Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?);
                bytes += message.len();
                waiting.push((queue.clone(), message));
            }
        }
    }
    Ok(waiting)
}

impl Sqlite {
    /// A number that is asked for with the time.
    pub(super) async fn count(&self, query: &'static str) -> Result<u64, StoreError> {
        let count = |connection: &rusqlite::Connection| {
            connection.prepare_cached(query)?.query_row([clock::now()], |row| row.get::<_, i64>(0)).optional()
        };
        Ok(self.reads.run(count).await?.map_or(0, i64::unsigned_abs))
    }

    /// Binds queues that this owner has not taken from before. Only those who look need it, so what cannot be bound
    /// now, perhaps because the disk is full, is used all the same and bound later.
    pub(super) async fn bind_new(&self, queues: &[QueueName]) {
        let bound = || self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<_> = {
            let bound = bound();
            queues.iter().filter(|queue| !bound.contains(*queue)).cloned().collect()
        };
        if new.is_empty() {
            return;
        }
        let names = new.clone();
        match self.writes.run(move |c| names.iter().try_for_each(|queue| lists::bind(c, queue))).await {
            Ok(()) => bound().extend(new),
            Err(error) => tracing::debug!(%error, "could not bind queues"),
        }
    }
}
