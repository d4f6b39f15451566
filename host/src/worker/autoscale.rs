//! Scales the number of slots with the demand, between bounds that can be changed while the worker works. Celery's rules:
//! grows as soon as there is more to do than slots, shrinks when there was less to do for a while.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{Outage, Worker, pool::Pool};
use crate::store::StoreError;

/// How often the demand is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How long there must have been less to do before slots are taken away. Celery's `AUTOSCALE_KEEPALIVE`.
const KEEP: Duration = Duration::from_secs(30);

/// Between how many slots there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// At most.
    pub max: usize,
    /// At least.
    pub min: usize,
}

/// The bounds, and the demand that was seen last.
pub(super) struct Autoscale(Mutex<State>);

#[derive(Debug, Clone, Copy)]
struct State {
    bounds: Bounds,
    demand: usize,
    enough_since: Option<Instant>,
}

impl Autoscale {
    /// Within these bounds.
    pub fn new(bounds: Bounds) -> Self {
        Self(Mutex::new(State { bounds, demand: 0, enough_since: None }))
    }

    /// The bounds now, and the demand that was seen last.
    pub fn now(&self) -> (Bounds, usize) {
        let state = self.lock();
        (state.bounds, state.demand)
    }

    /// Sets bounds, those that are given. `None` when they cannot be.
    pub fn set(&self, pool: &Pool, max: Option<usize>, min: Option<usize>) -> Option<Bounds> {
        let mut state = self.lock();
        let bounds = Bounds { max: max.unwrap_or(state.bounds.max), min: min.unwrap_or(state.bounds.min) };
        if bounds.min == 0 || bounds.min > bounds.max || bounds.max > pool.room() {
            return None;
        }
        state.bounds = bounds;
        let size = pool.size();
        resize(pool, size.clamp(bounds.min, bounds.max));
        Some(bounds)
    }

    /// Adapts the slots to a demand for so many.
    fn adapt(&self, pool: &Pool, demand: usize, now: Instant) {
        let mut state = self.lock();
        state.demand = demand;
        let (size, wanted) = (pool.size(), demand.clamp(state.bounds.min, state.bounds.max));
        if wanted < size && now.duration_since(*state.enough_since.get_or_insert(now)) < KEEP {
            return;
        }
        state.enough_since = None;
        resize(pool, wanted);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn resize(pool: &Pool, wanted: usize) {
    let size = pool.size();
    let resized = match wanted.checked_sub(size) {
        Some(0) => return,
        Some(more) => pool.grow(more),
        None => pool.shrink(size - wanted),
    };
    match resized {
        Ok(size) => tracing::info!("scaled to {size} slots"),
        Err(error) => tracing::warn!("the slots are not scaled: {error}"),
    }
}

/// Scales, for ever.
pub(super) async fn scale(worker: &Worker) {
    let Some(autoscale) = &worker.autoscale else { return std::future::pending().await };
    let mut outage = Outage::new("see how much there is to do");
    loop {
        match demand(worker).await {
            Ok(demand) => {
                outage.over();
                autoscale.adapt(&worker.pool, demand, Instant::now());
                sleep(LOOK).await;
            }
            Err(error) => outage.wait(&error, &worker.shutdown).await,
        }
    }
}

/// How many tasks run or wait to be run.
async fn demand(worker: &Worker) -> Result<usize, StoreError> {
    let mut demand = worker.running.len();
    for queue in worker.queues.now().iter() {
        let waiting = worker.store.broker.length(queue).await?;
        demand = demand.saturating_add(usize::try_from(waiting).unwrap_or(usize::MAX));
    }
    Ok(demand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_grows_at_once_and_shrinks_after_a_while() {
        let (pool, autoscale) = (Pool::new(2, 20), Autoscale::new(Bounds { max: 10, min: 2 }));
        let start = Instant::now();
        for (demand, after, size) in [
            (0, 0, 2),
            (5, 1, 5),
            (100, 2, 10),
            (3, 10, 10),
            (4, 39, 10),
            (10, 39, 10),
            (3, 50, 10),
            (3, 81, 3),
            (0, 90, 3),
            (0, 121, 2),
        ] {
            autoscale.adapt(&pool, demand, start + Duration::from_secs(after));
            assert_eq!(pool.size(), size, "with {demand} after {after} s");
        }
    }

    #[tokio::test]
    async fn bounds_must_be_in_order_and_within_the_room_and_hold_at_once() {
        let (pool, autoscale) = (Pool::new(2, 20), Autoscale::new(Bounds { max: 10, min: 2 }));
        for (max, min) in [(Some(1), None), (Some(21), None), (None, Some(0)), (None, Some(11))] {
            assert_eq!(autoscale.set(&pool, max, min), None, "{max:?} {min:?}");
        }
        assert_eq!(autoscale.set(&pool, Some(8), Some(4)), Some(Bounds { max: 8, min: 4 }));
        assert_eq!(pool.size(), 4);
        assert_eq!(autoscale.set(&pool, Some(3), Some(1)), Some(Bounds { max: 3, min: 1 }));
        assert_eq!(pool.size(), 3);
    }
}
