//! How deliveries end: done with, put aside, or put back.

use jiff::Timestamp;

use super::{Redis, keys, record, script, script::Call, tag::OwnTag};
use crate::{
    protocol::message::mark_redelivered,
    store::{Fate, Settled, Settlement, StoreError, StoredResult},
};

/// The most dead letters that are kept.
const MOST_DEAD: usize = 10_000;

/// The most messages that are put back in one round trip.
const CHUNK: usize = 1_000;

/// The most bytes of messages that are fetched at once in order to put them back; a single message may be larger.
const LARGEST_FETCH: usize = 4 << 20;

/// A held message that goes back to its list.
pub struct PutBack<'a> {
    /// Its delivery.
    pub tag: &'a OwnTag,
    /// What to store in the same step.
    pub result: Option<&'a StoredResult>,
}

impl Redis {
    /// See [`crate::store::Broker::settle`].
    pub(super) async fn settle_all(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let tags: Vec<_> = settlements.iter().map(|settlement| OwnTag::parse(&settlement.tag.0)).collect();
        let mut settled = vec![Settled::NotHeld; settlements.len()];
        let mut asked: Vec<_> = (0..settlements.len()).filter(|&i| tags[i].is_some()).collect();
        if !self.results_are_with_broker() {
            asked = self.store_elsewhere(settlements, asked).await?;
        }
        let with_broker = self.results_are_with_broker();
        let result = |i: usize| settlements[i].result.as_ref().filter(|_| with_broker);
        let tag = |i: usize| tags[i].as_ref().expect("only parsed tags are asked about");
        let (mut back, end): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|&i| settlements[i].fate == Fate::Restore);

        let calls: Vec<_> = end.iter().map(|&i| self.end(tag(i), &settlements[i].fate, result(i))).collect();
        for (&i, done) in end.iter().zip(self.commands.call::<bool>(&calls).await?) {
            settled[i] = outcome(done);
            self.custody.release(tag(i).number);
        }

        // The newest goes first, so that the oldest ends up first in line.
        back.sort_by_key(|&i| std::cmp::Reverse(tag(i).number));
        let put_back: Vec<_> = back.iter().map(|&i| PutBack { tag: tag(i), result: result(i) }).collect();
        for (&i, done) in back.iter().zip(self.put_back(&put_back).await?) {
            settled[i] = outcome(done);
            self.custody.release(tag(i).number);
        }
        Ok(settled)
    }

    /// Puts held messages back, in this order, each to the head of the list it came from. Answers which were still held.
    pub(super) async fn put_back(&self, held: &[PutBack<'_>]) -> Result<Vec<bool>, StoreError> {
        let mut done = Vec::with_capacity(held.len());
        for held in held.chunks(CHUNK) {
            let sizes = held.iter().map(|held| of_record("HSTRLEN", &held.tag.text)).collect();
            let sizes: Vec<usize> = self.commands.ask_all(sizes).await?;
            let mut first = 0;
            while first < held.len() {
                let count = fitting(&sizes[first..], LARGEST_FETCH);
                done.extend(self.put_back_at_once(&held[first..first + count]).await?);
                first += count;
            }
        }
        Ok(done)
    }

    async fn put_back_at_once(&self, held: &[PutBack<'_>]) -> Result<Vec<bool>, StoreError> {
        let records = held.iter().map(|held| of_record("HGET", &held.tag.text)).collect();
        let records: Vec<Option<Vec<u8>>> = self.commands.ask_all(records).await?;
        let recorded =
            || held.iter().zip(&records).filter_map(|(held, record)| Some((held, record.as_ref()?)));
        let calls: Vec<_> = recorded().map(|(held, record)| self.back_to_list(held, record)).collect();
        let mut done = self.commands.call::<bool>(&calls).await?.into_iter();
        Ok(records.iter().map(|record| record.is_some() && done.next().unwrap_or(false)).collect())
    }

    /// Stores results in a backend of its own, before anything is acknowledged. Answers which deliveries are held: the
    /// result of one that is not must not be stored. Two databases cannot be asked in one step, so a delivery may be
    /// lost between the question and the storing; then two results are stored, one after the other, as in Celery.
    async fn store_elsewhere(
        &self,
        settlements: &[Settlement],
        mut asked: Vec<usize>,
    ) -> Result<Vec<usize>, StoreError> {
        let held = asked.iter().map(|&i| of_record("HEXISTS", &*settlements[i].tag.0)).collect();
        let held: Vec<bool> = self.commands.ask_all(held).await?;
        let mut held = held.into_iter();
        asked.retain(|_| held.next().unwrap_or(false));
        let results = asked.iter().filter_map(|&i| settlements[i].result.as_ref());
        let calls: Vec<_> = results.map(|result| self.with_result(script::STORE.call(), result)).collect();
        self.results.call::<redis::Value>(&calls).await?;
        Ok(asked)
    }

    fn end(&self, tag: &OwnTag, fate: &Fate, result: Option<&StoredResult>) -> Call {
        let dead_head = match fate {
            Fate::Delay(until) => return delay(tag, *until),
            Fate::DeadLetter(reason) => record::dead_head(reason, &tag.queue),
            Fate::Acknowledge | Fate::Restore => String::new(),
        };
        let call = script::SETTLE
            .call()
            .key(keys::UNACKED)
            .key(keys::UNACKED_INDEX)
            .key(keys::DEAD)
            .key(keys::DEAD_COUNT)
            .arg(&tag.text)
            .arg(dead_head)
            .arg(record::DEAD_MESSAGE)
            .arg(MOST_DEAD)
            .arg(record::tail(&tag.queue).len());
        self.with_optional_result(call, result)
    }

    fn back_to_list(&self, held: &PutBack<'_>, record: &[u8]) -> Call {
        let tag = held.tag;
        // A record that somebody has changed is not thrown away.
        let message = record::message(record, &tag.queue).unwrap_or(record);
        // What is no message of Celery's cannot be marked; it goes back as it came.
        let marked = mark_redelivered(message).unwrap_or_else(|| message.to_vec());
        let call = script::PUT_BACK
            .call()
            .key(keys::UNACKED)
            .key(keys::UNACKED_INDEX)
            .key(keys::list(&tag.queue, tag.step))
            .arg(&tag.text)
            .arg(marked);
        self.with_optional_result(call, held.result)
    }

    fn with_optional_result(&self, call: Call, result: Option<&StoredResult>) -> Call {
        match result {
            Some(result) => self.with_result(call, result),
            None => call,
        }
    }
}

fn delay(tag: &OwnTag, until: Timestamp) -> Call {
    script::DELAY
        .call()
        .key(keys::UNACKED)
        .key(keys::UNACKED_INDEX)
        .key(keys::DELAYED)
        .key(keys::DELAYED_MESSAGES)
        .arg(&tag.text)
        .arg(until.as_duration().as_secs_f64())
        .arg(record::tail(&tag.queue).len())
}

/// A command about the record of one delivery.
pub fn of_record(command: &str, tag: impl redis::ToRedisArgs) -> redis::Cmd {
    redis::cmd(command).arg(keys::UNACKED).arg(tag).to_owned()
}

fn outcome(done: bool) -> Settled {
    if done { Settled::Done } else { Settled::NotHeld }
}

/// How many of the first sizes fit into `room`; at least one.
fn fitting(sizes: &[usize], room: usize) -> usize {
    let mut sum = 0;
    let fits = |size: &&usize| {
        sum += **size;
        sum <= room
    };
    sizes.iter().take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::fitting;

    #[test]
    fn messages_are_fetched_in_chunks_that_fit_but_at_least_one_by_one() {
        for (sizes, count) in [(&[][..], 1), (&[4, 4, 4], 2), (&[11, 1], 1), (&[10, 1], 1), (&[1], 1)] {
            assert_eq!(fitting(sizes, 10), count, "{sizes:?}");
        }
    }
}
