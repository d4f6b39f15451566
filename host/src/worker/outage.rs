//! Waiting for the store to come back: with growing pauses, and one log line when it goes and one when it returns.

use std::time::Duration;

use super::Shutdown;
use crate::store::StoreError;

/// The longest pause. The worker is back at work at most this long after the store is.
const LONGEST: Duration = Duration::from_secs(1);

/// The state of one activity that needs the store.
pub(super) struct Outage {
    activity: &'static str,
    pause: Option<Duration>,
}

impl Outage {
    /// For log lines such as `cannot take messages: ...`.
    pub fn new(activity: &'static str) -> Self {
        Self { activity, pause: None }
    }

    /// Pauses after a failure; not at all once a shutdown is requested coldly.
    pub async fn wait(&mut self, error: &StoreError, shutdown: &Shutdown) {
        if self.pause.is_none() {
            let cause =
                std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            tracing::error!("cannot {}: {error}{cause}; trying again until it works", self.activity);
        }
        let pause = self.pause.map_or(Duration::from_millis(20), |last| (last * 2).min(LONGEST));
        self.pause = Some(pause);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cold_requested() => {}
        }
    }

    /// It worked.
    pub fn over(&mut self) {
        if self.pause.take().is_some() {
            tracing::warn!("can {} again", self.activity);
        }
    }
}
