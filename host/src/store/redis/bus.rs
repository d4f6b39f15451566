//! Events, requests and replies on Redis (celery-protocol.md, 7.1, 8.1 and 8.2): channels for what goes to all, a list for
//! what goes to one.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use super::{Redis, broker::millis, connection::Connection, keys, script};
use crate::{
    store::{
        StoreError,
        bus::{Broadcast, Bus, Inbox, Listener, Speaker, Topic},
    },
    task::Tenant,
};

/// A listener looks after this much silence whether its connection still works: a server that has silently gone pushes
/// nothing.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);

/// The first and the longest pause between attempts to reach a server that is away.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How long replies to somebody stay who has not bound the inbox, or has gone.
const UNBOUND_REPLIES: Duration = Duration::from_secs(60);

/// How long other replies stay when nobody fetches them. Who waits for replies does it for seconds.
const BOUND_REPLIES: Duration = Duration::from_secs(3600);

/// The most replies in one answer.
const MOST_REPLIES: usize = 1_000;

#[async_trait]
impl Bus for Redis {
    async fn broadcast(&self, broadcasts: &[Broadcast]) -> Result<Option<usize>, StoreError> {
        let publish = |Broadcast { topic, routing_key, message }: &Broadcast| {
            let channel = match topic {
                Topic::Events => keys::events(self.broker.database(), routing_key),
                Topic::Requests => keys::requests(self.broker.database()),
            };
            redis::cmd("PUBLISH").arg(channel).arg(&message[..]).to_owned()
        };
        let heard = self.bus.ask_all::<usize>(broadcasts.iter().map(publish).collect()).await?;
        Ok(heard.last().copied())
    }

    async fn listen(&self, topic: Topic) -> Result<Listener, StoreError> {
        let (speaker, broken) = (Speaker::default(), Arc::new(Notify::new()));
        let (says, breaks) = (speaker.clone(), broken.clone());
        let connection =
            Connection::new(&self.broker, &self.options)?.on_push(move |push| hand_on(push, &says, &breaks));
        let pattern = match topic {
            Topic::Events => keys::events(self.broker.database(), "*"),
            Topic::Requests => keys::requests(self.broker.database()),
        };
        connection.psubscribe(&pattern).await?;
        let service = keep_listening(connection, pattern, speaker.clone(), broken);
        Ok(Listener::new(&speaker, tokio::spawn(service)))
    }

    async fn bind(&self, node: &str) -> Result<(), StoreError> {
        let mut bind = redis::cmd("SADD");
        bind.arg(keys::bindings(&Tenant::DEFAULT, keys::PIDBOX)).arg(keys::worker_binding(node));
        self.bus.ask::<Value>(&bind).await.map(drop)
    }

    async fn unbind(&self, node: &str) -> Result<(), StoreError> {
        let mut unbind = redis::cmd("SREM");
        unbind.arg(keys::bindings(&Tenant::DEFAULT, keys::PIDBOX)).arg(keys::worker_binding(node));
        let mut remove = redis::cmd("DEL");
        remove.arg(&keys::lists_of(&keys::worker_inbox(node))[..]);
        self.bus.ask_all::<Value>(vec![unbind, remove]).await.map(drop)
    }

    async fn reply(&self, inbox: &str, message: &[u8]) -> Result<(), StoreError> {
        let call = script::REPLY
            .call()
            .key(keys::inbox(inbox))
            .key(keys::bindings(&Tenant::DEFAULT, keys::REPLIES))
            .arg(keys::inbox_binding(inbox))
            .arg(message)
            .arg(millis(BOUND_REPLIES))
            .arg(millis(UNBOUND_REPLIES));
        self.bus.call::<Value>(&[call]).await.map(drop)
    }

    async fn open_inbox(&self) -> Result<Box<dyn Inbox>, StoreError> {
        let (name, arrived) = (uuid::Uuid::new_v4().to_string(), Arc::new(Notify::new()));
        // As for messages: Redis tells when a list changes that was looked at.
        let mut tracking = redis::cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("NOLOOP");
        let arrives = arrived.clone();
        let connection = Connection::new(&self.broker, &self.options)?.greet(tracking).on_push(move |push| {
            if matches!(push.kind, PushKind::Invalidate | PushKind::Disconnection) {
                arrives.notify_one();
            }
        });
        let mut bind = redis::cmd("SADD");
        bind.arg(keys::bindings(&Tenant::DEFAULT, keys::REPLIES)).arg(keys::inbox_binding(&name));
        connection.ask::<Value>(&bind).await?;
        Ok(Box::new(Replies { name, connection, arrived }))
    }
}

fn hand_on(push: PushInfo, speaker: &Speaker, broken: &Notify) {
    match (push.kind, push.data.into_iter().next_back()) {
        (PushKind::PMessage, Some(Value::BulkString(message))) => speaker.say(message.into()),
        (PushKind::PUnsubscribe | PushKind::Disconnection, _) => broken.notify_one(),
        _ => {}
    }
}

/// Subscribes anew whenever the connection breaks, for ever.
async fn keep_listening(connection: Connection, pattern: String, speaker: Speaker, broken: Arc<Notify>) {
    loop {
        // Silence ends this as well.
        while tokio::time::timeout(LONGEST_SILENCE, broken.notified()).await.is_err() {
            if connection.ask::<Value>(&redis::cmd("PING")).await.is_err() {
                break;
            }
        }
        let mut pause = PAUSES.0;
        while let Err(error) = connection.psubscribe(&pattern).await {
            tracing::debug!(%error, pattern, "cannot subscribe; trying again");
            tokio::time::sleep(pause).await;
            pause = PAUSES.1.min(pause * 2);
        }
        speaker.gap();
    }
}

/// An inbox, with a connection of its own.
struct Replies {
    name: String,
    connection: Connection,
    arrived: Arc<Notify>,
}

#[async_trait]
impl Inbox for Replies {
    fn name(&self) -> &str {
        &self.name
    }

    async fn receive(&mut self) -> Result<Vec<Bytes>, StoreError> {
        let list = keys::inbox(&self.name);
        loop {
            // Taking comes before looking, for what was looked at is what is watched.
            let take = redis::cmd("RPOP").arg(&list).arg(MOST_REPLIES).to_owned();
            let look = redis::cmd("LLEN").arg(&list).to_owned();
            let mut answers = self.connection.ask_all::<Value>(vec![take, look]).await?.into_iter();
            let (taken, left) = (answers.next().unwrap_or(Value::Nil), answers.next().unwrap_or(Value::Nil));
            let taken: Option<Vec<Vec<u8>>> = self.connection.read(taken)?;
            if let Some(taken) = taken.filter(|taken| !taken.is_empty()) {
                return Ok(taken.into_iter().map(Bytes::from).collect());
            }
            if self.connection.read::<u64>(left)? == 0 {
                // Looks again now and then, should an announcement have been lost.
                let _ = tokio::time::timeout(LONGEST_SILENCE, self.arrived.notified()).await;
            }
        }
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        let mut unbind = redis::cmd("SREM");
        unbind.arg(keys::bindings(&Tenant::DEFAULT, keys::REPLIES)).arg(keys::inbox_binding(&self.name));
        let remove = redis::cmd("DEL").arg(keys::inbox(&self.name)).to_owned();
        self.connection.ask_all::<Value>(vec![unbind, remove]).await.map(drop)
    }
}
