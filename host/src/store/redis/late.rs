//! Results are announced again to those who came a moment too late.
//!
//! A client of Celery subscribes to a result's channel on one connection and then reads the result on another. A busy server may
//! serve the second before the first, and when the result is stored just between, the client has neither read nor heard it,
//! and waits for ever. With Python's own worker that takes bad luck; `host` is fast enough that it does happen.

use std::time::Duration;

use super::{Redis, connection::Connection, keys};
use crate::{
    store::{StoreError, StoredResult},
    task::Tenant,
};

/// How late somebody may come: much longer than a busy server takes to serve what it has been sent.
const LATE: Duration = Duration::from_millis(50);

/// The most channels in one question.
const CHUNK: usize = 1_000;

impl Redis {
    /// Looks a moment later who listens for these results, which have been announced, and announces them again to those.
    pub(super) fn tell_late_comers<'r>(&self, results: impl Iterator<Item = (&'r Tenant, &'r StoredResult)>) {
        let ready = results.filter(|(_, result)| result.state.is_ready());
        let channels: Vec<String> = ready.map(|(tenant, result)| keys::result(tenant, &result.id)).collect();
        if channels.is_empty() {
            return;
        }
        let connection = self.results.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LATE).await;
            for channels in channels.chunks(CHUNK) {
                if let Err(error) = tell(&connection, channels).await {
                    tracing::debug!(%error, "whoever came late for a result does not hear it");
                }
            }
        });
    }
}

async fn tell(connection: &Connection, channels: &[String]) -> Result<(), StoreError> {
    let counts: Vec<(String, u64)> = connection.ask(redis::cmd("PUBSUB").arg("NUMSUB").arg(channels)).await?;
    let heard: Vec<_> =
        counts.into_iter().filter(|(_, count)| *count > 0).map(|(channel, _)| channel).collect();
    if heard.is_empty() {
        return Ok(());
    }
    let metas: Vec<Option<Vec<u8>>> = connection.ask(redis::cmd("MGET").arg(&heard)).await?;
    let stored = heard.iter().zip(metas).filter_map(|(channel, meta)| Some((channel, meta?)));
    let publish = |(channel, meta)| redis::cmd("PUBLISH").arg(channel).arg(meta).to_owned();
    connection.ask_all::<u64>(stored.map(publish).collect()).await.map(drop)
}
