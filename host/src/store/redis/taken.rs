//! What a take answers: see `take.lua`.

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    store::{Delivery, Tag},
    task::QueueName,
};

/// What a take answers, as the script tells it.
pub struct Answer<'a> {
    /// The revision of what is revoked.
    pub revision: u64,
    /// The store's time.
    pub now: Timestamp,
    /// Whether there may be more to take.
    pub more: bool,
    /// From which lists, by their numbers from 1 on, how many messages came.
    lists: Vec<usize>,
    /// How long each message is.
    lengths: Vec<usize>,
    /// All messages.
    messages: &'a [u8],
}

impl<'a> Answer<'a> {
    /// `None` if it is no such answer.
    pub fn of([revision, now, more, lists, lengths, messages]: &'a [Vec<u8>; 6]) -> Option<Self> {
        let numbers = |text| {
            let words = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
            words.map(|word| word.parse().ok()).collect::<Option<Vec<usize>>>()
        };
        Some(Self {
            // What is no number is not ours, and says nothing.
            revision: std::str::from_utf8(revision).ok().and_then(|text| text.parse().ok()).unwrap_or(0),
            now: unix_time(now)?,
            more: more == b"1",
            lists: numbers(lists)?,
            lengths: numbers(lengths)?,
            messages,
        })
    }

    /// What was taken from these lists, each with its queue and the end of its tags, with numbers from `first` on.
    pub fn deliveries(&self, prefix: &str, first: u64, lists: &[(&QueueName, String)]) -> Vec<Delivery> {
        let came = self.lists.chunks_exact(2).flat_map(|pair| std::iter::repeat_n(pair[0] - 1, pair[1]));
        let mut rest = self.messages;
        let delivery = |((list, &length), number): ((usize, &usize), u64)| {
            let (queue, suffix) = &lists[list];
            let message;
            (message, rest) = rest.split_at(length);
            Delivery {
                tag: Tag(format!("{prefix}{number:012}{suffix}").into()),
                queue: (*queue).clone(),
                // Copied, so that a task that runs for long does not keep all that was taken with it.
                message: Bytes::copy_from_slice(message),
            }
        };
        came.zip(&self.lengths).zip(first..).map(delivery).collect()
    }
}

/// A time as the script writes it: `1764000000.000000`.
fn unix_time(text: &[u8]) -> Option<Timestamp> {
    let (seconds, micros) = std::str::from_utf8(text).ok()?.split_once('.')?;
    Timestamp::new(seconds.parse().ok()?, micros.parse::<i32>().ok()? * 1_000).ok()
}
