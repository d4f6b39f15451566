//! Asks workers, Python's among them, and collects what they reply, as Celery's `app.control` does.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::LogicalClock;
use crate::{
    protocol::{
        control::{Audience, Reply, ReplyTo, Request},
        message::MessageLimits,
    },
    store::{Broadcast, Inbox, Store, StoreError, Topic},
};

/// Steers workers.
pub struct Control {
    store: Store,
    clock: Arc<LogicalClock>,
}

/// What workers are asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The method: `ping`.
    pub method: String,
    /// Its arguments, an object.
    pub arguments: Value,
    /// Who is asked.
    pub audience: Audience,
}

/// How long replies are awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// At most so long.
    pub time: Duration,
    /// At most until there are so many; of workers that are asked by name, one each is enough in any case.
    pub most: Option<usize>,
    /// At most until there are as many as have heard the question; not at all if the engine cannot tell how many have. For
    /// questions that everybody answers.
    pub all_who_hear: bool,
}

impl Default for Patience {
    /// A second, as Celery's clients.
    fn default() -> Self {
        Self { time: Duration::from_secs(1), most: None, all_who_hear: false }
    }
}

impl Question {
    /// Asks everybody, without arguments.
    pub fn new(method: &str) -> Self {
        let arguments = Value::Object(serde_json::Map::new());
        Self { method: method.to_owned(), arguments, audience: Audience::everybody() }
    }
}

impl Control {
    /// Steers the workers of this store.
    pub fn new(store: Store) -> Self {
        Self::with_clock(store, Arc::default())
    }

    /// The same for somebody who has a clock already.
    pub fn with_clock(store: Store, clock: Arc<LogicalClock>) -> Self {
        Self { store, clock }
    }

    /// Tells workers to do something, and waits for no reply.
    pub async fn tell(&self, question: Question) -> Result<(), StoreError> {
        self.send(question, None, Duration::ZERO).await.map(drop)
    }

    /// Asks workers, and answers what each replied by its name, in the order in which they did.
    pub async fn ask(
        &self,
        question: Question,
        patience: Patience,
    ) -> Result<Vec<(String, Value)>, StoreError> {
        let mut inbox = self.store.bus.open_inbox().await?;
        let replies = self.ask_over(&mut *inbox, question, patience).await;
        if let Err(error) = inbox.close().await {
            tracing::debug!(%error, "an inbox was not closed");
        }
        replies
    }

    async fn ask_over(
        &self,
        inbox: &mut dyn Inbox,
        question: Question,
        patience: Patience,
    ) -> Result<Vec<(String, Value)>, StoreError> {
        let ticket = uuid::Uuid::new_v4().to_string();
        let named = question.audience.destination.as_ref().map(Vec::len).filter(|count| *count > 0);
        let mut most = patience.most.unwrap_or(usize::MAX).min(named.unwrap_or(usize::MAX));
        let reply_to = ReplyTo { inbox: inbox.name().to_owned(), ticket: ticket.clone() };
        let heard = self.send(question, Some(reply_to), patience.time).await?;
        if patience.all_who_hear {
            most = most.min(heard.unwrap_or(0));
        }
        let deadline = Instant::now() + patience.time;
        let mut replies = Vec::new();
        while replies.len() < most {
            let Ok(received) = timeout_at(deadline, inbox.receive()).await else { break };
            for message in received? {
                match Reply::decode(&message, &MessageLimits::default()) {
                    Ok(reply) if reply.ticket == ticket => {
                        self.clock.hear(reply.clock);
                        replies.extend(reply.by_node);
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "passing over a reply"),
                }
            }
        }
        Ok(replies)
    }

    async fn send(
        &self,
        question: Question,
        reply_to: Option<ReplyTo>,
        patience: Duration,
    ) -> Result<Option<usize>, StoreError> {
        let Question { method, arguments, audience } = question;
        let request = Request { method, arguments, audience, reply_to, clock: self.clock.tick() };
        let expires = match patience {
            Duration::ZERO => 0.0,
            patience => Timestamp::now().as_duration().as_secs_f64() + patience.as_secs_f64(),
        };
        let message = request.encode(expires, &uuid::Uuid::new_v4().to_string()).into();
        let broadcast = Broadcast { topic: Topic::Requests, routing_key: String::new(), message };
        self.store.bus.broadcast(&[broadcast]).await
    }
}
