//! The deliveries in this worker's hands, and stopping them from outside.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::{store::Tag, task::Request};

/// Why a task is stopped that could go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The worker was taken for dead, and the message was given to another.
    Lost,
    /// Somebody revoked the task and wants it stopped, in Python with this signal.
    Terminated(i32),
}

/// The deliveries whose tasks run or are about to.
#[derive(Default)]
pub(super) struct Running {
    deliveries: Mutex<HashMap<Tag, Delivered>>,
}

struct Delivered {
    request: Arc<Request>,
    /// In seconds since 1970.
    since: f64,
    stop: oneshot::Sender<Stop>,
}

/// One of them, as long as this lives.
pub(super) struct Hold<'a> {
    running: &'a Running,
    tag: &'a Tag,
    stop: oneshot::Receiver<Stop>,
}

impl Running {
    /// Notes that this delivery's task is about to run.
    pub fn hold<'a>(&'a self, tag: &'a Tag, request: Arc<Request>) -> Hold<'a> {
        let (stop, stopped) = oneshot::channel();
        let since = Timestamp::now().as_microsecond() as f64 / 1e6;
        self.lock().insert(tag.clone(), Delivered { request, since, stop });
        Hold { running: self, tag, stop: stopped }
    }

    /// Stops what was lost.
    pub fn lose(&self, lost: &[Tag]) {
        let mut deliveries = self.lock();
        for tag in lost {
            if let Some(delivered) = deliveries.remove(tag) {
                // It may just have ended.
                let _ = delivered.stop.send(Stop::Lost);
            }
        }
    }

    /// Stops the tasks that `condemned` picks, and answers which they are.
    pub fn terminate(&self, condemned: impl Fn(&Request) -> bool, signal: i32) -> Vec<Arc<Request>> {
        let mut deliveries = self.lock();
        let stopped = deliveries.extract_if(|_, delivered| condemned(&delivered.request));
        let stop = |(_, delivered): (Tag, Delivered)| {
            let _ = delivered.stop.send(Stop::Terminated(signal));
            delivered.request
        };
        stopped.map(stop).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// All of them, each with the time since when it runs, in seconds since 1970; the one that has run longest is first.
    pub fn all(&self) -> Vec<(Arc<Request>, f64)> {
        let mut all: Vec<_> =
            self.lock().values().map(|delivered| (delivered.request.clone(), delivered.since)).collect();
        all.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        all
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Tag, Delivered>> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold<'_> {
    /// Waits until the task is to be stopped; for ever if it may end in its own time.
    pub async fn stopped(&mut self) -> Stop {
        match (&mut self.stop).await {
            Ok(stop) => stop,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.running.lock().remove(self.tag);
    }
}
