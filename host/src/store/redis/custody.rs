//! What this process holds: which of its tags were handed to a caller and are not settled yet.
//!
//! Redis can execute a take whose answer nobody receives: the connection broke, or the caller went away. Its
//! messages would then be held for ever by an owner that lives. So a tag of ours that is in nobody's hands and
//! in no running take counts as abandoned, and [`super::restore`] gives it back like those of the dead.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::store::Tag;

/// This owner's deliveries, by their numbers.
#[derive(Default)]
pub struct Custody {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    running: Vec<Range<u64>>,
    held: HashMap<u64, Tag>,
}

/// The numbers that a running take may give out. They are free for restoring once this is dropped, but for those kept.
pub struct Reservation<'a> {
    custody: &'a Custody,
    numbers: Range<u64>,
}

impl Custody {
    /// Sets aside numbers for a take of at most `most` messages.
    pub fn reserve(&self, most: usize) -> Reservation<'_> {
        let mut state = self.lock();
        let numbers = state.next..state.next + most as u64;
        state.next = numbers.end;
        state.running.push(numbers.clone());
        Reservation { custody: self, numbers }
    }

    /// Notes that a delivery was settled.
    pub fn release(&self, number: u64) {
        self.lock().held.remove(&number);
    }

    /// Whether nobody here knows of this delivery, nor can come to know of it.
    pub fn is_abandoned(&self, number: u64) -> bool {
        let state = self.lock();
        !state.held.contains_key(&number) && !state.running.iter().any(|numbers| numbers.contains(&number))
    }

    /// The tags of all deliveries that are in a caller's hands.
    pub fn tags(&self) -> Vec<Tag> {
        self.lock().held.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation<'_> {
    /// The first of the numbers.
    pub fn first(&self) -> u64 {
        self.numbers.start
    }

    /// Notes what the take gave out, from the first number on.
    pub fn keep(self, given: impl Iterator<Item = Tag>) {
        self.custody.lock().held.extend(self.numbers.clone().zip(given));
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.custody.lock().running.retain(|running| *running != self.numbers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_take_did_not_bring_home_is_abandoned() {
        let custody = Custody::default();
        let (first, second) = (custody.reserve(2), custody.reserve(2));
        assert_eq!((first.first(), second.first()), (0, 2));
        assert!((0..4).all(|number| !custody.is_abandoned(number)), "both takes still run");

        first.keep(std::iter::once(Tag("a".into())));
        drop(second);
        assert!(!custody.is_abandoned(0), "it is in the caller's hands");
        assert!((1..4).all(|number| custody.is_abandoned(number)));

        custody.release(0);
        assert!(custody.is_abandoned(0));
    }
}
