//! Queues on Redis: taking, publishing, heartbeats, and looking. How deliveries end is in [`super::settle`].

use std::{sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::{
    Redis,
    ending::{Ending, Then, With, add_sends},
    keys, record, script,
    settle::refusal,
    tag,
    tag::OwnTag,
    taken::Answer,
};
use crate::{
    fail_point,
    store::{
        Broker, Once, Portion, Publication, Report, Scheduled, Settled, Settlement, StoreError, Tag, Taken,
    },
    task::{OwnedTask, QueueName, Tenant},
};

/// The most bytes of messages in the answer to one take; the message that reaches it is the last. A server busy with
/// one answer serves nobody else.
const LARGEST_TAKE: usize = 4 << 20;

/// The most messages in the answer to one take, for the same reason.
const LONGEST_TAKE: usize = 1_000;

/// The most delayed messages that one take puts into their lists, and the most bytes of them. A take that finds more due is
/// followed by the next at once, so that this bounds how long others wait for Redis, and not what it can move.
const MOST_DUE: usize = 1_000;

/// How long an owner that took something lives without a heartbeat.
const FIRST_LEASE: Duration = Duration::from_secs(10);

/// How long [`Broker::arrival`], [`crate::store::Revocations::revoked_news`] and [`crate::store::Records::records_news`] wait at most. Nothing depends on it while
/// Redis keeps its promises.
pub const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The most tags or names in one command.
pub const CHUNK: usize = 1_000;

#[async_trait]
impl Broker for Redis {
    async fn publish(&self, publications: &[Publication]) -> Result<(), StoreError> {
        let queues: Vec<_> = publications.iter().map(|publication| publication.queue.clone()).collect();
        self.bind_new(&queues).await;
        if publications.iter().any(|publication| publication.due.is_some()) {
            let with = With { sends: publications, ..With::default() };
            let ending = Ending { tag: b"", tenant: &Tenant::DEFAULT, with, then: Then::Acknowledged };
            return self.commands.call::<redis::Value>(&[self.ending(&ending)]).await.map(drop);
        }
        let push = |publication: &Publication| {
            let list = keys::list(&publication.queue, keys::step(publication.priority));
            redis::cmd("LPUSH").arg(list).arg(&publication.message[..]).to_owned()
        };
        self.commands.ask_all::<redis::Value>(publications.iter().map(push).collect()).await.map(drop)
    }

    async fn publish_once(
        &self,
        publications: &[Publication],
        once: &Once,
    ) -> Result<Option<String>, StoreError> {
        let queues: Vec<_> = publications.iter().map(|publication| publication.queue.clone()).collect();
        self.bind_new(&queues).await;
        let call =
            script::ONCE.call().key(keys::once(&once.key)).key(keys::DELAYED).key(keys::DELAYED_MESSAGES);
        let call = call.arg(&once.value).arg(millis(once.lifetime));
        let answers = self.commands.call::<Option<String>>(&[add_sends(call, publications)]).await?;
        Ok(answers.into_iter().flatten().next())
    }

    async fn take_portions(&self, portions: &[Portion<'_>], most: usize) -> Result<Taken, StoreError> {
        let portions = portions.iter().filter(|portion| !portion.queues.is_empty() && portion.most > 0);
        let portions: Vec<_> = portions.collect();
        if portions.is_empty() || most == 0 {
            return Ok(Taken::default());
        }
        for portion in &portions {
            self.bind_new(portion.queues).await;
        }
        let numbers = self.custody.reserve(most.min(LONGEST_TAKE));
        let mut call = script::TAKE
            .call()
            .key(keys::UNACKED)
            .key(keys::UNACKED_INDEX)
            .key(keys::heartbeat(&self.owner))
            .key(keys::REVISION)
            .arg(tag::prefix(&self.owner))
            .arg(numbers.first())
            .arg(most.min(LONGEST_TAKE))
            .arg(LARGEST_TAKE)
            .arg(millis(FIRST_LEASE));
        // As in Kombu the priority comes first and the queues take turns within it.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (mut lists, mut shares) = (Vec::new(), Vec::new());
        for portion in &portions {
            let (front, back) = portion.queues.split_at(turn % portion.queues.len());
            let first = lists.len();
            for step in keys::PRIORITY_STEPS {
                lists.extend(back.iter().chain(front).map(|queue| (queue, tag::suffix(step, queue))));
                for (queue, suffix) in &lists[lists.len() - portion.queues.len()..] {
                    call = call.key(keys::list(queue, step)).arg(suffix).arg(record::tail(queue));
                }
            }
            shares.push(format!("{} {} {}", lists.len() - first, portion.share, portion.most));
        }
        call = shares.into_iter().fold(call, script::Call::arg);
        let due = script::DUE.call().key(keys::DELAYED).key(keys::DELAYED_MESSAGES);
        let due = due.arg(MOST_DUE).arg(LARGEST_TAKE);
        let mut answers = self.takes.call::<redis::Value>(&[due, call]).await?.into_iter();
        let (next_due, taken) =
            (answers.next().unwrap_or(redis::Value::Nil), answers.next().unwrap_or(redis::Value::Nil));
        fail_point::reach("take:answered");
        self.next_due.store(self.takes.read(next_due)?, Ordering::Relaxed);
        let taken = self.takes.read::<[Vec<u8>; 6]>(taken)?;
        let taken = Answer::of(&taken).ok_or_else(|| self.takes.refusal("it cannot take".to_owned()))?;
        let deliveries = taken.deliveries(&tag::prefix(&self.owner), numbers.first(), &lists);
        numbers.keep(deliveries.iter().map(|delivery| delivery.tag.clone()));
        fail_point::reach("take:kept");
        let Answer { revision, now, more, .. } = taken;
        Ok(Taken { deliveries, more, revision, now })
    }

    async fn arrival(&self) {
        let next_due =
            u64::try_from(self.next_due.load(Ordering::Relaxed)).map_or(LONGEST_WAIT, Duration::from_millis);
        // Running out of time is one of the two ways to return.
        let _ = tokio::time::timeout(LONGEST_WAIT.min(next_due), self.arrived.notified()).await;
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        self.settle_all(settlements).await
    }

    async fn replace(&self, tag: &Tag, message: &[u8]) -> Result<bool, StoreError> {
        let Some(tag) = OwnTag::parse(&tag.0) else { return Ok(false) };
        let record = record::record(message, &tag.queue);
        let call = script::REPLACE.call().key(keys::UNACKED).arg(tag.text).arg(record);
        Ok(self.commands.call::<bool>(&[call]).await?.into_iter().any(|done| done))
    }

    async fn beat(&self, lease: Duration, report: &Report) -> Result<Vec<Tag>, StoreError> {
        let held = self.custody.tags();
        let report = serde_json::to_string(report).expect("it is made of strings and numbers");
        let call = |tags: &[Tag]| {
            let call = script::BEAT
                .call()
                .key(keys::heartbeat(&self.owner))
                .key(keys::WORKERS)
                .key(keys::UNACKED)
                .key(keys::UNACKED_INDEX)
                .arg(millis(lease))
                .arg(&report)
                .arg(&self.owner);
            tags.iter().fold(call, |call, tag| call.arg(&*tag.0))
        };
        let mut calls: Vec<_> = held.chunks(CHUNK).map(call).collect();
        if calls.is_empty() {
            calls.push(call(&[]));
        }
        let gone = self.beats.call::<Vec<String>>(&calls).await?;
        Ok(self.custody.lose(gone.iter().flatten().filter_map(|tag| OwnTag::parse(tag))))
    }

    async fn leave(&self) -> Result<(), StoreError> {
        let heartbeat = redis::cmd("DEL").arg(keys::heartbeat(&self.owner)).to_owned();
        let worker = redis::cmd("ZREM").arg(keys::WORKERS).arg(&self.owner).to_owned();
        self.commands.ask_all::<redis::Value>(vec![heartbeat, worker]).await.map(drop)
    }

    async fn restore(&self) -> Result<usize, StoreError> {
        self.restore_abandoned().await
    }

    async fn parked(&self) -> Result<Vec<(OwnedTask, u64)>, StoreError> {
        self.parked_tasks().await
    }

    async fn release(&self, task: &OwnedTask) -> Result<u64, StoreError> {
        self.release_parked(task).await
    }

    async fn workers(&self) -> Result<Vec<Report>, StoreError> {
        let owners: Vec<String> =
            self.commands.ask(redis::cmd("ZRANGE").arg(keys::WORKERS).arg(0).arg(-1)).await?;
        let reports = owners.iter().map(|owner| redis::cmd("GET").arg(keys::heartbeat(owner)).to_owned());
        let reports: Vec<Option<Vec<u8>>> = self.commands.ask_all(reports.collect()).await?;
        // A lease that has ended has no report; and of whom only a take has told, nothing is known.
        Ok(reports.iter().flatten().filter_map(|report| serde_json::from_slice(report).ok()).collect())
    }

    async fn length(&self, queue: &QueueName) -> Result<u64, StoreError> {
        let lengths = keys::lists(queue).map(|list| redis::cmd("LLEN").arg(list).to_owned());
        // A key that is no list, as a tenant may make of its own, holds no messages.
        Ok(self.commands.ask_each::<u64>(lengths.to_vec()).await?.into_iter().flatten().sum())
    }

    async fn queues(&self) -> Result<Vec<QueueName>, StoreError> {
        let mut queues = Vec::new();
        let mut cursor = 0;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("*{}*", keys::BINDINGS)).arg("COUNT").arg(CHUNK);
            let (next, found): (u64, Vec<Vec<u8>>) = self.commands.ask(&scan).await?;
            let owner = |key: &Vec<u8>| keys::bindings_of(std::str::from_utf8(key).ok()?);
            let owned: Vec<_> = found.iter().filter_map(|key| Some((key, owner(key)?))).collect();
            let members = owned.iter().map(|(key, _)| redis::cmd("SMEMBERS").arg(*key).to_owned()).collect();
            let members = self.commands.ask_each::<Vec<Vec<u8>>>(members).await?;
            for ((_, tenant), members) in owned.iter().zip(members) {
                // What a tenant has made of its own key hides nobody else's.
                queues.extend(
                    members.unwrap_or_default().iter().filter_map(|member| queue_of_tasks(tenant, member)),
                );
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        queues.sort();
        queues.dedup();
        Ok(queues)
    }

    async fn delayed(&self) -> Result<u64, StoreError> {
        self.commands.ask(redis::cmd("ZCARD").arg(keys::DELAYED)).await
    }

    async fn peek(&self, queues: &[QueueName], most: usize) -> Result<Vec<(QueueName, Bytes)>, StoreError> {
        if queues.is_empty() {
            return Ok(Vec::new());
        }
        let lists =
            keys::PRIORITY_STEPS.into_iter().flat_map(|step| queues.iter().map(move |queue| (queue, step)));
        let lists: Vec<_> = lists.collect();
        let call =
            lists.iter().fold(script::PEEK.call(), |call, (queue, step)| call.key(keys::list(queue, *step)));
        let call = call.arg(most.min(LONGEST_TAKE)).arg(LARGEST_TAKE);
        let told: Vec<_> = self.commands.call::<Vec<Vec<u8>>>(&[call]).await?.into_iter().flatten().collect();
        let waiting = |told: &[Vec<u8>]| {
            let [list, message] = told else { return None };
            let list: usize = std::str::from_utf8(list).ok()?.parse().ok()?;
            let (queue, _) = lists.get(list.checked_sub(1)?)?;
            Some(((*queue).clone(), message.clone().into()))
        };
        Ok(told.chunks(2).filter_map(waiting).collect())
    }

    async fn scheduled(&self, queues: &[QueueName], most: usize) -> Result<Vec<Scheduled>, StoreError> {
        let call = script::SCHEDULED
            .call()
            .key(keys::DELAYED)
            .key(keys::DELAYED_MESSAGES)
            .arg(most.min(LONGEST_TAKE))
            .arg(LARGEST_TAKE);
        let told = self.commands.call::<Vec<Vec<u8>>>(&[call]).await?.into_iter().flatten();
        let told: Vec<_> = told.collect();
        let scheduled = |told: &[Vec<u8>]| {
            let [name, due, message] = told else { return None };
            let tag = OwnTag::parse(std::str::from_utf8(name).ok()?)?;
            let due: f64 = std::str::from_utf8(due).ok()?.parse().ok()?;
            let due = Timestamp::from_microsecond((due * 1e6) as i64).ok()?;
            queues.contains(&tag.queue).then(|| Scheduled {
                due,
                queue: tag.queue,
                message: message.clone().into(),
            })
        };
        Ok(told.chunks(3).filter_map(scheduled).collect())
    }

    async fn held(&self) -> Result<u64, StoreError> {
        self.commands.ask(redis::cmd("HLEN").arg(keys::UNACKED)).await
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64, StoreError> {
        let call = script::PURGE.call().key(&keys::lists(queue)[..]);
        Ok(self.commands.call::<u64>(&[call, self.purge_aside(queue)]).await?.into_iter().sum())
    }
}

impl Redis {
    /// Binds queues that this owner has not used before, as Python workers and producers do when they start. Only those who
    /// look need it, so what cannot be bound now, perhaps because memory is full, is used all the same and bound later.
    pub(super) async fn bind_new(&self, queues: &[QueueName]) {
        if queues.is_empty() {
            return;
        }
        let mut bound = self.bound.lock().await;
        let new: Vec<_> = queues.iter().filter(|queue| !bound.contains(*queue)).collect();
        if new.is_empty() {
            return;
        }
        // What will never be a binding, because a tenant has made another key of it, need not be tried again.
        let is_done = |answer: &Result<redis::Value, StoreError>| {
            answer.as_ref().err().is_none_or(|error| refusal(error).contains("WRONGTYPE"))
        };
        match self.commands.ask_each(new.iter().map(|queue| bind(queue)).collect()).await {
            Ok(answers) => {
                let done = new.into_iter().zip(&answers).filter(|(_, answer)| is_done(answer));
                bound.extend(done.map(|(queue, _)| queue.clone()));
            }
            Err(error) => tracing::debug!(%error, "could not bind queues"),
        }
    }
}

/// A lease of zero would be an error to Redis.
pub fn millis(lease: Duration) -> u64 {
    u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn bind(queue: &QueueName) -> redis::Cmd {
    let (tenant, name) = queue.owner();
    let mut command = redis::cmd("SADD");
    command.arg(keys::bindings(&tenant, name)).arg(keys::own_binding(name));
    command
}

/// The queue in a member of a tenant's binding set, unless it is one over which workers, not tasks, are addressed.
fn queue_of_tasks(tenant: &Tenant, member: &[u8]) -> Option<QueueName> {
    let (_, queue) = keys::parse_binding(std::str::from_utf8(member).ok()?)?;
    let for_workers = queue.ends_with(".pidbox") || queue.starts_with("celeryev");
    let queue = QueueName::new(queue).ok().filter(|_| !for_workers)?;
    tenant.queue(&queue).ok()
}
