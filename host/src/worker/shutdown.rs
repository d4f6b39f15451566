//! Shutting down: warm, when running tasks may end; cold, when they are stopped and go back to their queues.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The request to shut down; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    warm: CancellationToken,
    cold: CancellationToken,
}

impl Shutdown {
    /// Asks for a warm shutdown: no more messages are taken; what runs may end.
    pub fn warm(&self) {
        self.warm.cancel();
    }

    /// Asks for a cold shutdown: what runs is stopped, and its messages go back.
    pub fn cold(&self) {
        self.warm.cancel();
        self.cold.cancel();
    }

    /// Whether a shutdown of either kind is requested.
    pub fn is_requested(&self) -> bool {
        self.warm.is_cancelled()
    }

    /// Waits until a shutdown of either kind is requested.
    pub async fn requested(&self) {
        self.warm.cancelled().await;
    }

    /// Whether a cold shutdown is requested.
    pub fn is_cold(&self) -> bool {
        self.cold.is_cancelled()
    }

    /// Waits until a cold shutdown is requested.
    pub async fn cold_requested(&self) {
        self.cold.cancelled().await;
    }

    /// Listens to the signals that Celery's worker knows: TERM and the first INT ask for a warm shutdown, QUIT and
    /// the second INT for a cold one. `announce` is told which.
    pub fn on_signals(&self, announce: impl Fn(&str) + Send + 'static) -> std::io::Result<()> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let mut quit = signal(SignalKind::quit())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            loop {
                let cold = tokio::select! {
                    _ = term.recv() => false,
                    _ = int.recv() => shutdown.is_requested(),
                    _ = quit.recv() => true,
                };
                if cold {
                    shutdown.cold();
                    announce("Cold shutdown: running tasks go back to their queues");
                } else if !shutdown.is_requested() {
                    shutdown.warm();
                    announce("Warm shutdown: waiting for running tasks; interrupt again to stop them");
                }
            }
        });
        Ok(())
    }
}
