//! The slots in which tasks run: how many there are, and changing that while they are in use.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The slots.
pub(super) struct Pool {
    slots: Arc<Semaphore>,
    /// How many there are, or will be once tasks have ended whose slots go.
    size: AtomicUsize,
    /// How many there can be: the sandbox has room for no more.
    room: usize,
}

/// Why the number of slots stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PoolError {
    /// There is no room for so many.
    #[error("at most {room} tasks can run at once in this worker; start it with a larger --concurrency")]
    TooLarge { room: usize },
    /// None would be left.
    #[error("one slot at least has to stay, of {size}")]
    TooSmall { size: usize },
}

impl Pool {
    /// So many slots, in a sandbox with room for `room`.
    pub fn new(size: usize, room: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(size)), size: AtomicUsize::new(size), room: room.max(size) }
    }

    /// How many slots there are.
    pub fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// How many slots there can be.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Adds slots. Answers how many there are then.
    pub fn grow(&self, count: usize) -> Result<usize, PoolError> {
        let grown = |size: usize| size.checked_add(count).filter(|size| *size <= self.room);
        let before = self.size.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
        let before = before.map_err(|_| PoolError::TooLarge { room: self.room })?;
        self.slots.add_permits(count);
        Ok(before + count)
    }

    /// Takes slots away; those in use as soon as their tasks have ended. Answers how many there are then. Must be called on a
    /// runtime.
    pub fn shrink(&self, count: usize) -> Result<usize, PoolError> {
        let shrunk = |size: usize| size.checked_sub(count).filter(|size| *size > 0);
        let before = self.size.fetch_update(Ordering::Relaxed, Ordering::Relaxed, shrunk);
        let before = before.map_err(|size| PoolError::TooSmall { size })?;
        let in_use = count - self.slots.forget_permits(count);
        let slots = self.slots.clone();
        if in_use > 0 {
            tokio::spawn(async move {
                // One by one, so that what is free meanwhile is not kept from tasks.
                for _ in 0..in_use {
                    if let Ok(slot) = slots.acquire().await {
                        slot.forget();
                    }
                }
            });
        }
        Ok(before - count)
    }

    /// Waits for a free slot and takes all that are free then, at most so many.
    pub async fn free(&self, most: usize) -> OwnedSemaphorePermit {
        let mut free = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let more = self.slots.available_permits().min(most - 1);
        if let Ok(more) = self.slots.clone().try_acquire_many_owned(more as u32) {
            free.merge(more);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slots_are_added_within_the_room_and_taken_away_when_they_are_free() {
        let pool = Pool::new(2, 4);
        let taken = pool.free(10).await;
        assert_eq!(taken.num_permits(), 2);
        assert_eq!(pool.grow(3), Err(PoolError::TooLarge { room: 4 }));
        assert_eq!(pool.grow(usize::MAX), Err(PoolError::TooLarge { room: 4 }));
        assert_eq!(pool.grow(2), Ok(4));
        let more = pool.free(10).await;
        assert_eq!(more.num_permits(), 2);

        assert_eq!(pool.shrink(4), Err(PoolError::TooSmall { size: 4 }));
        assert_eq!(pool.shrink(3), Ok(1));
        drop(more);
        drop(taken);
        tokio::task::yield_now().await;
        let left = pool.free(10).await;
        assert_eq!((left.num_permits(), pool.size()), (1, 1));
        assert_eq!(pool.slots.available_permits(), 0);
    }
}
