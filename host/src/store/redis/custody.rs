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

use super::tag::OwnTag;
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
    held: HashMap<u64, Held>,
}

struct Held {
    tag: Tag,
    /// Redis was asked to end it and has not answered: nobody here knows whether it is still held.
    ending: bool,
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

    /// Notes that a delivery is about to be settled.
    pub fn begin_end(&self, tag: &OwnTag) {
        self.with(tag, |held| held.ending = true);
    }

    /// Notes that a delivery was not settled and is still held.
    pub fn no_end(&self, tag: &OwnTag) {
        self.with(tag, |held| held.ending = false);
    }

    /// Notes that a delivery was settled.
    pub fn release(&self, tag: &OwnTag) {
        let held = &mut self.lock().held;
        if held.get(&tag.number).is_some_and(|held| *held.tag.0 == *tag.text) {
            held.remove(&tag.number);
        }
    }

    /// Forgets deliveries that Redis no longer knows, but for those whose end is on its way; answers which were forgotten.
    pub fn lose(&self, gone: impl IntoIterator<Item = OwnTag>) -> Vec<Tag> {
        let held = &mut self.lock().held;
        let is_lost =
            |tag: &OwnTag| held.get(&tag.number).is_some_and(|held| *held.tag.0 == *tag.text && !held.ending);
        let lost: Vec<_> = gone.into_iter().filter(is_lost).collect();
        lost.iter().filter_map(|tag| held.remove(&tag.number)).map(|held| held.tag).collect()
    }

    /// Whether nobody here knows of this delivery, nor can come to know of it.
    pub fn is_abandoned(&self, number: u64) -> bool {
        let state = self.lock();
        !state.held.contains_key(&number) && !state.running.iter().any(|numbers| numbers.contains(&number))
    }

    /// The tags of all deliveries that are in a caller's hands.
    pub fn tags(&self) -> Vec<Tag> {
        self.lock().held.values().map(|held| held.tag.clone()).collect()
    }

    /// A tag of another owner may have the same number.
    fn with(&self, tag: &OwnTag, change: impl FnOnce(&mut Held)) {
        if let Some(held) = self.lock().held.get_mut(&tag.number).filter(|held| *held.tag.0 == *tag.text) {
            change(held);
        }
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
        let held = given.map(|tag| Held { tag, ending: false });
        self.custody.lock().held.extend(self.numbers.clone().zip(held));
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

        first.keep(std::iter::once(Tag(tag("host-a", 0).text.into())));
        drop(second);
        assert!(!custody.is_abandoned(0), "it is in the caller's hands");
        assert!((1..4).all(|number| custody.is_abandoned(number)));

        custody.release(&tag("host-another", 0));
        assert!(!custody.is_abandoned(0), "that was a delivery of another owner");
        custody.release(&tag("host-a", 0));
        assert!(custody.is_abandoned(0));
    }

    #[test]
    fn what_is_being_ended_is_not_lost() {
        let custody = Custody::default();
        let tags = [0, 1, 2].map(|number| tag("host-a", number));
        custody.reserve(3).keep(tags.iter().map(|tag| Tag(tag.text.as_str().into())));
        custody.begin_end(&tags[0]);
        custody.begin_end(&tags[1]);
        custody.no_end(&tags[1]);
        let lost = |numbers: &[usize]| {
            numbers.iter().map(|&i| Tag(tags[i].text.as_str().into())).collect::<Vec<_>>()
        };
        assert_eq!(custody.lose(tags.clone()), lost(&[1, 2]));
        assert_eq!(custody.lose(tags.clone()), []);
        assert_eq!(custody.tags(), lost(&[0]));
    }

    fn tag(owner: &str, number: u64) -> OwnTag {
        OwnTag::parse(&format!("{owner}.{number}.0.q")).unwrap()
    }
}
