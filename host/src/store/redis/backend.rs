//! Results on Redis (celery-protocol.md, 3.1): a key to read, and a channel of the same name to hear.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    Redis,
    announcements::{Announcements, Heard, Listener},
    connection::Connection,
    keys, script,
};
use crate::{
    store::{Backend, StoreError, StoredResult},
    task::{TaskId, Tenant},
};

/// How many keys one look for results passes by, and how many looks one answer takes at most: it bounds how long others wait for
/// Redis, and how long the caller does.
const LOOK: usize = 100;
const MOST_LOOKS: usize = 100;

/// A wait looks again after this much silence: it finds out whether the connection still works.
const LONGEST_SILENCE: Duration = Duration::from_secs(15);

/// The first and the longest pause between attempts to reach a server that is away.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

#[async_trait]
impl Backend for Redis {
    async fn store(&self, tenant: &Tenant, result: &StoredResult) -> Result<(), StoreError> {
        let call = script::STORE.call().key(keys::result(tenant, &result.id));
        let call = call.arg(self.result_lifetime()).arg(&result.meta);
        self.results.call::<redis::Value>(&[call]).await.map(drop)
    }

    async fn get(&self, tenant: &Tenant, id: &TaskId) -> Result<Option<String>, StoreError> {
        self.results.ask(redis::cmd("GET").arg(keys::result(tenant, id))).await
    }

    async fn results(
        &self,
        tenant: &Tenant,
        from: Option<&str>,
        most: usize,
    ) -> Result<(Vec<TaskId>, Option<String>), StoreError> {
        let prefix = keys::results(tenant);
        let (mut cursor, mut ids) = (from.unwrap_or("0").to_owned(), Vec::new());
        for _ in 0..MOST_LOOKS {
            // There is nothing in a tenant's name that means more than itself in a pattern.
            let mut scan = redis::cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(LOOK);
            let (next, keys): (String, Vec<String>) = self.results.ask(&scan).await?;
            ids.extend(keys.iter().filter_map(|key| TaskId::new(key.strip_prefix(&prefix)?).ok()));
            cursor = next;
            if ids.len() >= most || cursor == "0" {
                break;
            }
        }
        Ok((ids, (cursor != "0").then_some(cursor)))
    }

    async fn wait(
        &self,
        tenant: &Tenant,
        id: &TaskId,
        is_final: &(dyn for<'t> Fn(&'t str) -> bool + Sync),
    ) -> Result<String, StoreError> {
        let channel = keys::result(tenant, id);
        let mut subscription = Subscription::new(self, &channel);
        let mut pause = PAUSES.0;
        loop {
            match subscription.next(is_final).await {
                Ok(Some(text)) => return Ok(text),
                Ok(None) => pause = PAUSES.0,
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, task = %id, "waiting for a result; trying again");
                    tokio::time::sleep(pause).await;
                    pause = PAUSES.1.min(pause * 2);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A wait for one task's result.
struct Subscription {
    listener: Listener,
    channel: String,
    announcements: Arc<Announcements>,
    connection: Arc<Connection>,
}

impl Subscription {
    fn new(redis: &Redis, channel: &str) -> Self {
        Self {
            listener: redis.announcements.listener(channel),
            channel: channel.to_owned(),
            announcements: redis.announcements.clone(),
            connection: redis.results.clone(),
        }
    }

    /// The final text, or `None` when it is time to subscribe and look anew. Subscribing comes before looking, so what is
    /// stored after the look is heard.
    async fn next(&mut self, is_final: &(dyn Fn(&str) -> bool + Sync)) -> Result<Option<String>, StoreError> {
        self.connection.subscribe(&self.channel).await?;
        let stored: Option<String> = self.connection.ask(redis::cmd("GET").arg(&self.channel)).await?;
        if let Some(text) = stored.filter(|text| is_final(text)) {
            return Ok(Some(text));
        }
        loop {
            match tokio::time::timeout(LONGEST_SILENCE, self.listener.next()).await {
                Ok(Heard::Message(text)) if is_final(&text) => return Ok(Some(text)),
                Ok(Heard::Message(_)) => {}
                Ok(Heard::Gap) | Err(_) => return Ok(None),
            }
        }
    }
}

/// Ends the subscription in the background, unless somebody else still listens. When somebody begins just then, the
/// server's confirmation of the end tells them to begin anew.
impl Drop for Subscription {
    fn drop(&mut self) {
        self.listener.leave();
        if self.announcements.has_listener(&self.channel) {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (connection, channel) = (self.connection.clone(), std::mem::take(&mut self.channel));
            runtime.spawn(async move {
                if let Err(error) = connection.unsubscribe(&channel).await {
                    tracing::debug!(%error, channel, "the subscription ended with its connection");
                }
            });
        }
    }
}
