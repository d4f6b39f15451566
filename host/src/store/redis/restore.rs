//! Gives back what nobody holds any more: deliveries of dead owners, deliveries of our own that nobody received, deliveries
//! of Python workers after the visibility timeout, and parked messages whose time has come.
//!
//! A record is a lease: it is the owner's heartbeat that keeps it, not its age, so a long task is never run twice while
//! its worker lives. Only Python workers have no heartbeat; for theirs Kombu's rule holds (celery-protocol.md, 2.3).

use std::collections::{HashMap, HashSet};

use super::{
    Redis,
    ending::{End, Ended, Ending, Then, With},
    keys,
    put_back::{PutBack, of_record},
    record::KombuRecord,
    script,
    tag::OwnTag,
};
use crate::{
    fail_point,
    protocol::message::{mark_lost, mark_redelivered},
    store::StoreError,
    task::{QueueName, Tenant},
};

/// A lock that its holder did not give up is free after this time. Nothing but work done twice depends on it.
const RESTORE_LOCK_MILLIS: u64 = 5_000;

/// Kombu holds it for up to five minutes; a worker of ours that dies with it must not keep others waiting that long.
const UNACKED_MUTEX_MILLIS: u64 = 30_000;

/// The most members in one page of the index.
const PAGE: usize = 1_000;

/// The index of held deliveries, by who made them.
#[derive(Default)]
struct Index {
    ours: Vec<OwnTag>,
    /// Tags of Python workers, with the time at which they were last known to be held.
    theirs: HashMap<Vec<u8>, f64>,
}

impl Redis {
    /// See [`crate::store::Broker::restore`].
    pub(super) async fn restore_abandoned(&self) -> Result<usize, StoreError> {
        let restoring = self.restore_ours_and_theirs();
        Ok(self.locked(keys::RESTORE_LOCK, RESTORE_LOCK_MILLIS, restoring).await?.unwrap_or(0))
    }

    async fn restore_ours_and_theirs(&self) -> Result<usize, StoreError> {
        let index = self.index().await?;
        let restored = self.restore_ours(index.ours).await? + self.unpark().await?;
        let (seconds, micros): (u64, u64) = self.commands.ask(&redis::cmd("TIME")).await?;
        let now = seconds as f64 + micros as f64 / 1e6;
        let oldest = now - self.options.visibility_timeout.as_secs_f64();
        let overdue: Vec<_> =
            index.theirs.into_iter().filter(|(_, seen)| *seen <= oldest).map(|(tag, _)| tag).collect();
        if overdue.is_empty() {
            return Ok(restored);
        }
        let theirs = self.restore_theirs(overdue);
        let theirs = self.locked(keys::UNACKED_MUTEX, UNACKED_MUTEX_MILLIS, theirs).await?;
        Ok(restored + theirs.unwrap_or(0))
    }

    async fn index(&self) -> Result<Index, StoreError> {
        let mut index = Index::default();
        // A scan may give a member twice.
        let mut seen = HashSet::new();
        let mut cursor = 0;
        loop {
            let mut scan = redis::cmd("ZSCAN");
            scan.arg(keys::UNACKED_INDEX).arg(cursor).arg("COUNT").arg(PAGE);
            let (next, page): (u64, Vec<(Vec<u8>, f64)>) = self.commands.ask(&scan).await?;
            for (tag, time) in page {
                match std::str::from_utf8(&tag).ok().and_then(OwnTag::parse) {
                    Some(tag) if seen.insert(tag.text.clone()) => index.ours.push(tag),
                    Some(_) => {}
                    None => drop(index.theirs.insert(tag, time)),
                }
            }
            cursor = next;
            if cursor == 0 {
                return Ok(index);
            }
        }
    }

    async fn restore_ours(&self, held: Vec<OwnTag>) -> Result<usize, StoreError> {
        let others: HashSet<_> =
            held.iter().map(|tag| &tag.owner).filter(|owner| **owner != self.owner).collect();
        let others: Vec<_> = others.into_iter().collect();
        let beats = others.iter().map(|owner| redis::cmd("EXISTS").arg(keys::heartbeat(owner)).to_owned());
        let alive: Vec<bool> = self.commands.ask_all(beats.collect()).await?;
        let dead: HashSet<_> = others
            .into_iter()
            .zip(alive)
            .filter(|(_, alive)| !alive)
            .map(|(owner, _)| owner.clone())
            .collect();

        let mut lost: Vec<_> = held
            .into_iter()
            .filter(|tag| match tag.owner == self.owner {
                true => self.custody.is_abandoned(tag.number),
                false => dead.contains(&tag.owner),
            })
            .collect();
        // The newest goes first, so that the oldest ends up first in line.
        lost.sort_by(|a, b| (&b.owner, b.number).cmp(&(&a.owner, a.number)));
        let put_back = |tag| {
            // What a take brought to nobody was in nobody's hands, so that nothing died with it.
            let tag: &OwnTag = tag;
            let mark = if tag.owner == self.owner { mark_redelivered } else { mark_lost };
            PutBack { tag, end: End::Head, mark, with: With::default() }
        };
        let put_back: Vec<_> = lost.iter().map(put_back).collect();
        let done = self.put_back(&put_back).await?;
        let (mut restored, mut without_record) = (0, Vec::new());
        for (tag, done) in lost.iter().zip(done) {
            match done {
                Ok(Ended::Well | Ended::WithChord) => restored += 1,
                Ok(Ended::NotHeld) => without_record.push(tag.text.as_bytes()),
                // It must not be in the way of the others.
                Err(error) => tracing::warn!(%error, tag = tag.text, "a message cannot be put back"),
            }
        }
        self.forget(without_record).await?;
        if restored > 0 {
            tracing::info!(restored, owners = ?dead, "restored messages that nobody held any more");
        }
        Ok(restored)
    }

    /// Restores deliveries of Python workers, one after the other: they are rare and may be large.
    async fn restore_theirs(&self, overdue: Vec<Vec<u8>>) -> Result<usize, StoreError> {
        let mut restored = 0;
        for tag in overdue {
            let record: Option<Vec<u8>> = self.commands.ask(&of_record("HGET", &tag)).await?;
            let Some(record) = record else {
                self.forget([tag.as_slice()]).await?;
                continue;
            };
            let shown = String::from_utf8_lossy(&tag);
            let Some(record) = KombuRecord::parse(&record) else {
                tracing::warn!(tag = %shown, "a delivery in `unacked` is not in Kombu's shape and is left there");
                continue;
            };
            let Some(queue) = self.queue_of(&record).await? else {
                tracing::warn!(tag = %shown, exchange = record.1, routing_key = record.2,
                    "a delivery's queue is not known; it is left to the Python workers");
                continue;
            };
            let call = self.ending(&back_to_list(&tag, &queue, &record));
            match self.commands.call_each::<usize>(&[call]).await?.into_iter().sum::<Result<usize, _>>() {
                Ok(done) => restored += done,
                Err(error) => tracing::warn!(%error, tag = %shown, "a message cannot be put back"),
            }
        }
        Ok(restored)
    }

    /// The queue that a Python worker's delivery goes back to. Patterns of topic exchanges are not matched.
    async fn queue_of(&self, record: &KombuRecord<'_>) -> Result<Option<QueueName>, StoreError> {
        let KombuRecord(_, exchange, routing_key) = record;
        if exchange.is_empty() {
            return Ok(QueueName::new(routing_key).ok());
        }
        let bindings: Vec<Vec<u8>> =
            self.commands.ask(redis::cmd("SMEMBERS").arg(keys::bindings(&Tenant::DEFAULT, exchange))).await?;
        let bound = bindings.iter().find_map(|binding| {
            let (key, queue) = keys::parse_binding(std::str::from_utf8(binding).ok()?)?;
            if key == routing_key { QueueName::new(queue).ok() } else { None }
        });
        Ok(bound)
    }

    /// Removes tags from the index whose records are gone.
    async fn forget<'a>(&self, tags: impl IntoIterator<Item = &'a [u8]>) -> Result<(), StoreError> {
        let remove = |tag| redis::cmd("ZREM").arg(keys::UNACKED_INDEX).arg(tag).to_owned();
        self.commands.ask_all::<redis::Value>(tags.into_iter().map(remove).collect()).await.map(drop)
    }

    /// Does `work` under a lock that all workers share; `None` if another one has it.
    async fn locked<T>(
        &self,
        lock: &str,
        millis: u64,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<Option<T>, StoreError> {
        let token = uuid::Uuid::new_v4().to_string();
        let mut acquire = redis::cmd("SET");
        acquire.arg(lock).arg(&token).arg("NX").arg("PX").arg(millis);
        if self.commands.ask::<Option<String>>(&acquire).await?.is_none() {
            return Ok(None);
        }
        fail_point::reach("restore:locked");
        let done = work.await;
        let release = self.commands.call::<redis::Value>(&[script::UNLOCK.call().key(lock).arg(token)]).await;
        let done = done?;
        release?;
        Ok(Some(done))
    }
}

fn back_to_list<'a>(tag: &'a [u8], queue: &QueueName, record: &KombuRecord<'_>) -> Ending<'a> {
    let message = record.0.get().as_bytes();
    let marked = mark_redelivered(message).unwrap_or_else(|| message.to_vec());
    let list = keys::list(queue, keys::step(record.priority()));
    Ending {
        tag,
        tenant: &Tenant::DEFAULT,
        with: With::default(),
        then: Then::InList(End::Head, list, marked),
    }
}
