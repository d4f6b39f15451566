//! Puts held messages back into their lists, changed as `protocol` says. A message is fetched, changed and put back; the last
//! step happens only if it is still held.

use super::{
    Redis,
    connection::Answers,
    ending::{End, Ended, Ending, Then, With},
    keys, record,
    tag::OwnTag,
};
use crate::{fail_point, store::StoreError};

/// The most messages that are put back in one round trip.
const CHUNK: usize = 1_000;

/// The most bytes of messages that are fetched at once in order to put them back; a single message may be larger.
const LARGEST_FETCH: usize = 4 << 20;

/// A held message that goes back to its list.
pub struct PutBack<'a> {
    /// Its delivery.
    pub tag: &'a OwnTag,
    /// To which end.
    pub end: End,
    /// How it is marked. What is no message of Celery's cannot be; it goes back as it came.
    pub mark: fn(&[u8]) -> Option<Vec<u8>>,
    /// What happens in the same step.
    pub with: With<'a>,
}

impl Redis {
    /// Puts held messages back, in this order. Answers which were still held, or why one cannot be put back.
    pub(super) async fn put_back(&self, held: &[PutBack<'_>]) -> Result<Answers<Ended>, StoreError> {
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

    async fn put_back_at_once(&self, held: &[PutBack<'_>]) -> Result<Answers<Ended>, StoreError> {
        let records = held.iter().map(|held| of_record("HGET", &held.tag.text)).collect();
        let records: Vec<Option<Vec<u8>>> = self.commands.ask_all(records).await?;
        let recorded =
            || held.iter().zip(&records).filter_map(|(held, record)| Some((held, record.as_ref()?)));
        let calls: Vec<_> =
            recorded().map(|(held, record)| self.ending(&back_to_list(held, record))).collect();
        fail_point::reach("put_back:fetched");
        let mut done = self.commands.call_each::<Ended>(&calls).await?.into_iter();
        fail_point::reach("put_back:after");
        let answer = |record: &Option<Vec<u8>>| match record {
            Some(_) => done.next().unwrap_or(Ok(Ended::NotHeld)),
            None => Ok(Ended::NotHeld),
        };
        Ok(records.iter().map(answer).collect())
    }
}

fn back_to_list<'a>(held: &PutBack<'a>, record: &[u8]) -> Ending<'a> {
    let PutBack { tag, end, mark, with } = *held;
    // A record that somebody has changed is not thrown away.
    let message = record::message(record, &tag.queue).unwrap_or(record);
    let marked = mark(message).unwrap_or_else(|| message.to_vec());
    let then = Then::InList(end, keys::list(&tag.queue, tag.step), marked);
    Ending { tag: tag.text.as_bytes(), tenant: &tag.tenant, with, then }
}

/// A command about the record of one delivery.
pub fn of_record(command: &str, tag: impl redis::ToRedisArgs) -> redis::Cmd {
    redis::cmd(command).arg(keys::UNACKED).arg(tag).to_owned()
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
