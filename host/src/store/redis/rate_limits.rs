//! Buckets of limited tasks, and the messages that wait for their tokens.
//!
//! What is set aside waits in lists, one for each task, priority step and queue that it came from.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;

use super::{Redis, keys, parking::read_task, script, settle::refusal, tag::OwnTag};
use crate::{
    store::{
        Admission, Candidate, Pace, RateLimits, Released, StoreError,
        rate_limit::{CATCH_UP, HANDS_FULL, PATIENCE, burst, micros},
        scope::scoped,
    },
    task::{OwnedTask, QueueName},
};

/// The most messages, and the most bytes of them, that one step puts back: a server busy with one step serves nobody else.
const MOST: usize = 1_000;
const LARGEST: usize = 4 << 20;

#[async_trait]
impl RateLimits for Redis {
    async fn admit(&self, candidate: &Candidate) -> Result<Admission, StoreError> {
        let Candidate { tag, task, limit, message } = candidate;
        let Some(tag) = OwnTag::parse(&tag.0) else { return Ok(Admission::NotHeld) };
        if let Some(most) = self.exceeded(&self.commands, message.len()).await? {
            let size = message.len();
            return Ok(Admission::Refused(format!(
                "{size} bytes are more than Redis takes, which is {most}"
            )));
        }
        let (place, task) = (keys::place(tag.step, &tag.queue), scoped(&tag.tenant, task.as_str()));
        let call = script::ADMIT
            .call()
            .key(keys::UNACKED)
            .key(keys::UNACKED_INDEX)
            .key(keys::ASIDE)
            .key(keys::places(&task))
            .key(keys::aside_list(&task, &place))
            .key(keys::bucket(&task))
            .arg(&tag.text)
            .arg(&*task)
            .arg(place)
            .arg(&message[..])
            .arg(micros(limit.interval()))
            .arg(burst(limit))
            .arg(micros(PATIENCE));
        self.custody.begin_end(&tag);
        let answer = self.commands.call_each::<i64>(&[call]).await?.pop();
        let admission = match answer {
            Some(Ok(1)) => Admission::Admitted,
            Some(Ok(0)) => Admission::SetAside,
            Some(Err(error)) => Admission::Refused(refusal(&error)),
            Some(Ok(_)) | None => Admission::NotHeld,
        };
        match admission {
            Admission::Admitted | Admission::Refused(_) => self.custody.no_end(&tag),
            Admission::SetAside | Admission::NotHeld => self.custody.release(&tag),
        }
        Ok(admission)
    }

    async fn set_aside(&self) -> Result<Vec<(OwnedTask, u64)>, StoreError> {
        let counts: BTreeMap<Vec<u8>, u64> =
            self.commands.ask(redis::cmd("HGETALL").arg(keys::ASIDE)).await?;
        let named = |(task, count): (Vec<u8>, u64)| Some((read_task(&task)?, count));
        Ok(counts.into_iter().filter_map(named).collect())
    }

    async fn release_set_aside(&self, task: &OwnedTask, pace: &Pace) -> Result<Released, StoreError> {
        let task = keys::task(task);
        let (interval, abandoned) = match pace {
            Pace::Limited(limit) => (micros(limit.interval()), ""),
            Pace::Unlimited => (0, ""),
            Pace::Abandoned => (0, "abandoned"),
        };
        let call = || {
            script::RELEASE_ASIDE
                .call()
                .key(keys::ASIDE)
                .key(keys::places(&task))
                .key(keys::bucket(&task))
                .arg(&task)
                .arg(keys::aside_list(&task, ""))
                .arg(keys::ASIDE_HEAD)
                .arg(interval)
                .arg(micros(CATCH_UP))
                .arg(abandoned)
                .arg(micros(PATIENCE))
                .arg(micros(HANDS_FULL))
                .arg(MOST)
                .arg(LARGEST)
        };
        let mut released = 0;
        loop {
            let (count, next) = self.commands.call::<(u64, i64)>(&[call()]).await?.pop().unwrap_or((0, -1));
            released += count;
            if next != 0 || count == 0 {
                let next = u64::try_from(next).ok().map(Duration::from_micros);
                return Ok(Released { count: released, next });
            }
        }
    }
}

impl Redis {
    /// The script that throws away what was set aside from a queue.
    pub(super) fn purge_aside(&self, queue: &QueueName) -> script::Call {
        let call = script::PURGE_ASIDE
            .call()
            .key(keys::ASIDE)
            .arg(keys::PLACES)
            .arg(keys::ASIDE_LIST)
            .arg(keys::SEPARATOR);
        keys::PRIORITY_STEPS.into_iter().fold(call, |call, step| call.arg(keys::place(step, queue)))
    }
}
