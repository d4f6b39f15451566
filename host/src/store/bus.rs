//! Broadcasts between workers and those who watch and steer them: events, and requests with their replies.
//!
//! What is broadcast reaches those who listen at that moment and is kept for nobody: it may be lost, and nothing that must not
//! be lost goes this way. What has not been read is bounded: a listener that does not keep up loses messages, and knows how
//! many.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::StoreError;

/// What is broadcast to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Events, for all who watch: Celery's exchange `celeryev`.
    Events,
    /// Requests of remote control, for all workers: Celery's exchange `celery.pidbox`.
    Requests,
}

/// One message to all who listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// To whom.
    pub topic: Topic,
    /// Tells events apart for those who want only some: `worker.heartbeat`. Requests have none.
    pub routing_key: String,
    /// The message.
    pub message: Bytes,
}

/// Events, requests and replies.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Tells all who listen now, in this order and in one round trip. Answers how many have heard the last of them, if the
    /// engine can tell.
    async fn broadcast(&self, broadcasts: &[Broadcast]) -> Result<Option<usize>, StoreError>;

    /// Begins to listen; what is broadcast after this has returned is heard, for as long as the listener lives. When the
    /// connection breaks it is made anew, and the listener hears of the gap.
    async fn listen(&self, topic: Topic) -> Result<Listener, StoreError>;

    /// Tells others that the worker of this name listens to requests. Python's clients need it not, but their tools show it.
    async fn bind(&self, node: &str) -> Result<(), StoreError>;

    /// Takes back what [`Bus::bind`] told.
    async fn unbind(&self, node: &str) -> Result<(), StoreError>;

    /// Puts a reply into the inbox of whoever asked. Should they have gone, it does not stay for long.
    async fn reply(&self, inbox: &str, message: &[u8]) -> Result<(), StoreError>;

    /// Opens a new inbox for replies.
    async fn open_inbox(&self) -> Result<Box<dyn Inbox>, StoreError>;
}

/// Where replies come in.
#[async_trait]
pub trait Inbox: Send {
    /// Its name, for those who reply.
    fn name(&self) -> &str;

    /// Waits for replies, one at least. What a call that was cancelled has received is lost.
    async fn receive(&mut self) -> Result<Vec<Bytes>, StoreError>;

    /// Throws it away with what is in it.
    async fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Message(Bytes),
    /// Messages may have been missed, because the connection was broken for a while; now it is there again.
    Gap,
}

/// The most messages that wait to be read.
const MOST_WAITING: usize = 10_000;

/// The most bytes of messages that wait to be read.
const LARGEST_WAITING: usize = 16 << 20;

/// Hears one topic until it is dropped.
pub struct Listener {
    queue: Arc<Queue>,
    /// What listens for it.
    _service: AbortOnDropHandle<()>,
}

impl Listener {
    /// A listener to which `service` speaks.
    pub(super) fn new(speaker: &Speaker, service: tokio::task::JoinHandle<()>) -> Self {
        Self { queue: speaker.queue.clone(), _service: AbortOnDropHandle::new(service) }
    }

    /// Waits for what is heard next. May be cancelled at any time.
    pub async fn next(&mut self) -> Heard {
        loop {
            let news = self.queue.news.notified();
            if let Some(heard) = self.queue.take() {
                return heard;
            }
            news.await;
        }
    }

    /// How many messages were dropped so far, because too many waited.
    pub fn dropped(&self) -> u64 {
        self.queue.lock().dropped
    }
}

/// The engine's end of a [`Listener`].
#[derive(Clone, Default)]
pub(super) struct Speaker {
    queue: Arc<Queue>,
}

impl Speaker {
    /// Hands on a message, unless too much waits already.
    pub fn say(&self, message: Bytes) {
        let mut waiting = self.queue.lock();
        if waiting.heard.len() >= MOST_WAITING || waiting.bytes + message.len() > LARGEST_WAITING {
            waiting.dropped += 1;
            return;
        }
        waiting.bytes += message.len();
        waiting.heard.push_back(Heard::Message(message));
        drop(waiting);
        self.queue.news.notify_one();
    }

    /// Tells that messages may have been missed.
    pub fn gap(&self) {
        let mut waiting = self.queue.lock();
        if waiting.heard.back() != Some(&Heard::Gap) {
            waiting.heard.push_back(Heard::Gap);
        }
        drop(waiting);
        self.queue.news.notify_one();
    }
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    heard: VecDeque<Heard>,
    bytes: usize,
    dropped: u64,
}

impl Queue {
    fn take(&self) -> Option<Heard> {
        let mut waiting = self.lock();
        let heard = waiting.heard.pop_front()?;
        if let Heard::Message(message) = &heard {
            waiting.bytes -= message.len();
        }
        Some(heard)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_is_bounded_and_what_is_dropped_is_counted() {
        let speaker = Speaker::default();
        let mut listener = Listener::new(&speaker, tokio::spawn(async {}));
        for _ in 0..MOST_WAITING + 5 {
            speaker.say(Bytes::from_static(b"x"));
        }
        speaker.gap();
        speaker.gap();
        assert_eq!(listener.dropped(), 5);
        for _ in 0..MOST_WAITING {
            assert_eq!(listener.next().await, Heard::Message(Bytes::from_static(b"x")));
        }
        assert_eq!(listener.next().await, Heard::Gap);

        let large = Bytes::from(vec![0; LARGEST_WAITING / 2 + 1]);
        speaker.say(large.clone());
        speaker.say(large.clone());
        assert_eq!(listener.dropped(), 6);
        assert_eq!(listener.next().await, Heard::Message(large.clone()));
        speaker.say(large.clone());
        assert_eq!(listener.next().await, Heard::Message(large));
    }
}
