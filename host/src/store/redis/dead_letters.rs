//! Dead letters on Redis. The message is stored apart from what is known of it: it may be any bytes.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Redis, keys, record, script, script::Call, tag::OwnTag};
use crate::{
    store::{Cause, DeadLetter, DeadLetters, StoreError},
    task::QueueName,
};

/// The most letters that are kept.
pub const MOST: usize = 10_000;

/// The most bytes that letters are together, messages and all else.
pub const LARGEST: usize = 64 << 20;

/// The most letters that are dropped in one step.
const CHUNK: usize = 1_000;

/// What is known of a letter, as JSON.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    cause: std::borrow::Cow<'a, Cause>,
    queue: QueueName,
    /// The priority step of the list that it was last taken from.
    step: u8,
}

/// A letter in an answer: id, since, expires, head, message.
type Parts = (String, f64, f64, Vec<u8>, Vec<u8>);

/// What is written of a letter beside its message.
pub fn head(cause: &Cause, tag: &OwnTag) -> String {
    let head = Head { cause: std::borrow::Cow::Borrowed(cause), queue: tag.queue.clone(), step: tag.step };
    serde_json::to_string(&head).expect("it is made of strings and numbers")
}

#[async_trait]
impl DeadLetters for Redis {
    async fn dead_count(&self) -> Result<u64, StoreError> {
        let call = script::DEAD_COUNT.call().key(&keys::DEAD[..]);
        Ok(self.commands.call::<u64>(&[call]).await?.into_iter().sum())
    }

    async fn dead_letters(&self, skip: usize, most: usize) -> Result<Vec<DeadLetter>, StoreError> {
        if most == 0 {
            return Ok(Vec::new());
        }
        // There are never more than can be kept, and Redis does not know larger numbers than these.
        let (first, last) = (skip.min(MOST), skip.saturating_add(most - 1).min(MOST));
        let letters =
            self.letters(script::DEAD_LIST.call().key(&keys::DEAD[..]).arg(first).arg(last)).await?;
        Ok(letters.into_iter().map(|(letter, _)| letter).collect())
    }

    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, StoreError> {
        Ok(self.letter(id).await?.map(|(letter, _)| letter))
    }

    async fn replay(&self, id: &str, message: &[u8]) -> Result<bool, StoreError> {
        let Some((letter, step)) = self.letter(id).await? else { return Ok(false) };
        let step = record::priority(message).map_or(step, keys::step);
        let call = script::DEAD_REPLAY
            .call()
            .key(&keys::DEAD[..])
            .key(keys::list(&letter.queue, step))
            .arg(id)
            .arg(message);
        Ok(self.commands.call::<bool>(&[call]).await?.into_iter().any(|done| done))
    }

    async fn drop_dead_letters(&self, ids: &[String]) -> Result<u64, StoreError> {
        let call = |ids: &[String]| script::DEAD_DROP.call().key(&keys::DEAD[..]).arg(ids);
        let calls: Vec<_> = ids.chunks(CHUNK).map(call).collect();
        Ok(self.commands.call::<u64>(&calls).await?.into_iter().sum())
    }
}

impl Redis {
    async fn letter(&self, id: &str) -> Result<Option<(DeadLetter, u8)>, StoreError> {
        Ok(self.letters(script::DEAD_LIST.call().key(&keys::DEAD[..]).arg(id)).await?.pop())
    }

    /// The letters in the answer to a call, each with the step of the list that it was last taken from.
    async fn letters(&self, call: Call) -> Result<Vec<(DeadLetter, u8)>, StoreError> {
        let answers: Vec<Vec<Parts>> = self.commands.call(&[call]).await?;
        let letters = answers.into_iter().flatten().filter_map(|(id, since, expires, head, message)| {
            let Ok(Head { cause, queue, step }) = serde_json::from_slice(&head) else {
                tracing::warn!(id, "a dead letter that was not written by a worker is passed over");
                return None;
            };
            let (since, expires) = (time(since), time(expires));
            let cause = cause.into_owned();
            Some((DeadLetter { id, cause, queue, since, expires, message: message.into() }, step))
        });
        Ok(letters.collect())
    }
}

/// The time in a score, in microseconds.
fn time(score: f64) -> Timestamp {
    Timestamp::from_microsecond(score as i64).unwrap_or(Timestamp::MAX)
}
