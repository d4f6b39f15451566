//! A model of what a store must do, and random histories that compare an engine with it, step by step: several owners
//! take, settle in every way, die, come back late, restore, and send.
//!
//! What it holds: every message is in exactly one place, whatever happens; what was given away can be settled by nobody
//! who had it before, and leaves no result behind.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use fastrand::Rng;

use super::*;
use crate::{
    store::{Admission, Candidate, Pace},
    task::OwnedTask,
};

/// Many short histories, each from an empty store to an empty store. A failure names the seed of its history.
pub async fn random_histories_leave_every_message_in_one_place<E: Engine>() {
    let engine = E::start().await;
    let first: u64 = std::env::var("MODEL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    for seed in first..first + HISTORIES {
        let mut history = History::begin(&engine, seed).await;
        for _ in 0..STEPS {
            history.step().await;
            history.compare().await;
        }
        history.end().await;
    }
}

const HISTORIES: u64 = 400;
const STEPS: usize = 25;

/// Where a message is, by the model.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Queue,
    Held { tag: Tag, owner: usize },
    Delayed,
    Parked,
    SetAside,
    Dead,
    Done,
}

struct History<'e, E: Engine> {
    engine: &'e E,
    seed: u64,
    random: Rng,
    queue: QueueName,
    task: OwnedTask,
    owners: Vec<Owner<E::Store>>,
    /// By the number that stands in its body.
    messages: BTreeMap<usize, Place>,
    /// What was stored last for each.
    results: BTreeMap<usize, String>,
    /// What has happened, for the report of a failure.
    told: Vec<String>,
}

struct Owner<S> {
    store: S,
    /// Whether its heartbeat stands.
    beats: bool,
    /// All that it was ever given and believes to hold, with the message's number.
    believes: Vec<(Tag, usize)>,
    /// What it has lost and was not told yet.
    untold: HashSet<Tag>,
    /// What it has lost and has found out when it settled: the engine may tell it or not.
    found_out: HashSet<Tag>,
}

impl<'e, E: Engine> History<'e, E> {
    async fn begin(engine: &'e E, seed: u64) -> Self {
        let mut history = Self {
            engine,
            seed,
            random: Rng::with_seed(seed),
            queue: queue("model"),
            task: task("nobody.offers_this"),
            owners: Vec::new(),
            messages: BTreeMap::new(),
            results: BTreeMap::new(),
            told: Vec::new(),
        };
        for _ in 0..3 {
            history.hire().await;
        }
        history
    }

    async fn hire(&mut self) {
        let store = self.engine.connect().await;
        store.beat(LEASE, &report()).await.unwrap();
        self.owners.push(Owner {
            store,
            beats: true,
            believes: Vec::new(),
            untold: HashSet::new(),
            found_out: HashSet::new(),
        });
    }

    fn note(&mut self, what: String) {
        self.told.push(what);
    }

    fn count(&self, counts: impl Fn(&Place) -> bool) -> u64 {
        self.messages.values().filter(|place| counts(place)).count() as u64
    }

    async fn step(&mut self) {
        let owner = self.random.usize(..self.owners.len());
        match self.random.u8(..22) {
            0..5 => self.publish(owner).await,
            5..10 => self.take(owner).await,
            10..15 => self.settle(owner).await,
            15 => self.die(owner).await,
            16 => self.restore(owner).await,
            17 => self.beat(owner).await,
            18 => self.replay(owner).await,
            19 => self.admit(owner).await,
            20 => self.release_set_aside(owner).await,
            _ => self.release(owner).await,
        }
    }

    fn new_message(&mut self) -> (usize, Publication) {
        let number = self.messages.len();
        let due = self.random.u8(..5) == 0;
        let due = due.then(|| Timestamp::now() + Duration::from_micros(self.random.u64(..3_000)));
        let place = if due.is_some() { Place::Delayed } else { Place::Queue };
        self.messages.insert(number, place);
        let message = body(number).into();
        (number, Publication { queue: self.queue.clone(), priority: self.random.u8(..10), due, message })
    }

    async fn publish(&mut self, owner: usize) {
        let sent: Vec<_> = (0..self.random.usize(1..4)).map(|_| self.new_message()).collect();
        let (numbers, sent): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
        self.note(format!("{owner} publishes {numbers:?}"));
        self.owners[owner].store.publish(&sent).await.unwrap();
    }

    async fn take(&mut self, owner: usize) {
        let most = self.random.usize(1..6);
        let queues = [self.queue.clone()];
        let taken = self.owners[owner].store.take(&queues, most).await.unwrap().deliveries;
        let numbers: Vec<_> = taken.iter().map(|delivery| number(&delivery.message)).collect();
        self.note(format!("{owner} takes {numbers:?}"));
        if !taken.is_empty() {
            // Taking says that the owner lives.
            self.owners[owner].beats = true;
        }
        for (delivery, number) in taken.into_iter().zip(numbers) {
            let place = self.messages[&number].clone();
            assert!(matches!(place, Place::Queue | Place::Delayed), "{}", self.failure(number, "was taken"));
            self.owners[owner].believes.push((delivery.tag.clone(), number));
            self.messages.insert(number, Place::Held { tag: delivery.tag, owner });
        }
    }

    async fn settle(&mut self, owner: usize) {
        let mut believes = std::mem::take(&mut self.owners[owner].believes);
        self.random.shuffle(&mut believes);
        let some = believes.split_off(self.random.usize(..=believes.len()));
        self.owners[owner].believes = believes;
        let mut ends = Vec::new();
        for (tag, number) in some {
            let (fate, next) = self.fate(number);
            let sends: Vec<_> =
                (0..usize::from(self.random.u8(..4) == 0)).map(|_| self.new_message()).collect();
            let id = id(self.seed, number);
            let settlement = Settlement {
                tag,
                results: vec![result(&id, State::Failure, &format!("by {owner}"))],
                groups: Vec::new(),
                sends: sends.iter().map(|(_, sent)| sent.clone()).collect(),
                fate,
            };
            ends.push((number, settlement, next, sends));
        }
        let settlements: Vec<_> = ends.iter().map(|(_, settlement, ..)| settlement.clone()).collect();
        let told: Vec<_> =
            ends.iter().map(|(number, end, ..)| format!("{number} by {:?}", end.fate)).collect();
        self.note(format!("{owner} settles {told:?}"));
        let settled = self.owners[owner].store.settle(&settlements).await.unwrap();
        for ((number, settlement, next, sends), settled) in ends.into_iter().zip(settled) {
            let holds = matches!(&self.messages[&number], Place::Held { tag, .. } if *tag == settlement.tag);
            let expected = if holds { Settled::Done } else { Settled::NotHeld };
            assert_eq!(settled, expected, "{}", self.failure(number, "was settled"));
            if self.owners[owner].untold.remove(&settlement.tag) {
                self.owners[owner].found_out.insert(settlement.tag.clone());
            }
            if holds {
                self.results.extend(settlement.results.into_iter().map(|result| (number, result.meta)));
                self.messages.insert(number, next);
            } else {
                // What it wanted to send was not sent.
                sends.iter().for_each(|(number, _)| drop(self.messages.insert(*number, Place::Done)));
            }
        }
    }

    fn fate(&mut self, number: usize) -> (Fate, Place) {
        let soon = Timestamp::now() + Duration::from_micros(self.random.u64(..3_000));
        match self.random.u8(..8) {
            0..3 => (Fate::Acknowledge, Place::Done),
            3 => (Fate::Restore, Place::Queue),
            4 => (Fate::Requeue, Place::Queue),
            5 => (Fate::Delay(soon), Place::Delayed),
            6 => {
                let until = Timestamp::now() + Duration::from_secs(3_600);
                let message = body(number).into();
                (Fate::Park { task: self.task.task.clone(), until, message }, Place::Parked)
            }
            _ => (Fate::DeadLetter(Box::default()), Place::Dead),
        }
    }

    /// Its heartbeat ends; the process may still be there, and try to settle later.
    async fn die(&mut self, owner: usize) {
        self.note(format!("{owner} dies"));
        self.owners[owner].store.leave().await.unwrap();
        self.owners[owner].beats = false;
        if self.owners.iter().filter(|owner| owner.beats).count() < 2 {
            self.hire().await;
        }
    }

    async fn restore(&mut self, owner: usize) {
        let lost = self.messages.iter().filter_map(|(number, place)| match place {
            // Nobody takes himself for dead.
            Place::Held { owner: of, tag } if *of != owner && !self.owners[*of].beats => {
                Some((*number, *of, tag.clone()))
            }
            _ => None,
        });
        let lost: Vec<_> = lost.collect();
        let numbers: Vec<_> = lost.iter().map(|(number, of, _)| format!("{number} of {of}")).collect();
        self.note(format!("{owner} restores {numbers:?}"));
        let restored = self.owners[owner].store.restore().await.unwrap();
        assert_eq!(restored, lost.len(), "{}", self.failure(usize::MAX, "restore"));
        for (number, of, tag) in lost {
            self.messages.insert(number, Place::Queue);
            self.owners[of].untold.insert(tag);
        }
    }

    async fn beat(&mut self, owner: usize) {
        let lost = self.owners[owner].store.beat(LEASE, &report()).await.unwrap();
        self.owners[owner].beats = true;
        let untold = std::mem::take(&mut self.owners[owner].untold);
        let found_out = std::mem::take(&mut self.owners[owner].found_out);
        self.note(format!("{owner} beats, and hears that it lost {lost:?}"));
        let once: HashSet<_> = lost.iter().cloned().collect();
        let mut news = once.clone();
        news.retain(|tag| !found_out.contains(tag));
        let told_once = once.len() == lost.len();
        assert!(told_once && news == untold, "{untold:?} {}", self.failure(usize::MAX, "beat"));
    }

    async fn replay(&mut self, owner: usize) {
        let store = &self.owners[owner].store;
        let letters = store.dead_letters(0, 3).await.unwrap();
        for letter in letters {
            let number = number(&letter.message);
            let dropped = self.random.bool();
            let place = if dropped {
                assert_eq!(store.drop_dead_letters(std::slice::from_ref(&letter.id)).await.unwrap(), 1);
                Place::Done
            } else {
                assert!(store.replay(&letter.id, &letter.message).await.unwrap());
                Place::Queue
            };
            self.told.push(format!("dead letter {number} goes to {place:?}"));
            assert_eq!(self.messages.insert(number, place), Some(Place::Dead));
        }
    }

    async fn release(&mut self, owner: usize) {
        self.note(format!("{owner} releases what is parked"));
        let parked = self.count(|place| *place == Place::Parked);
        assert_eq!(self.owners[owner].store.release(&self.task).await.unwrap(), parked);
        for place in self.messages.values_mut().filter(|place| **place == Place::Parked) {
            *place = Place::Queue;
        }
    }

    /// Asks for a task that may be run once in a history at most. It may have been, so a message is admitted or set aside.
    async fn admit(&mut self, owner: usize) {
        let believes = self.owners[owner].believes.clone();
        for (tag, number) in believes.into_iter().filter(|(_, number)| number % 2 == 0) {
            let holds = matches!(&self.messages[&number], Place::Held { tag: held, .. } if *held == tag);
            let candidate = Candidate {
                tag: tag.clone(),
                task: self.task.task.clone(),
                limit: "1/h".parse().unwrap(),
                message: body(number).into(),
            };
            let admission = self.owners[owner].store.admit(&candidate).await.unwrap();
            self.note(format!("{owner} asks for {number}: {admission:?}"));
            assert_eq!(admission == Admission::NotHeld, !holds, "{}", self.failure(number, "was asked for"));
            match admission {
                Admission::Admitted => {}
                Admission::SetAside => drop(self.messages.insert(number, Place::SetAside)),
                _ => {
                    if self.owners[owner].untold.remove(&tag) {
                        self.owners[owner].found_out.insert(tag);
                    }
                }
            }
        }
    }

    async fn release_set_aside(&mut self, owner: usize) {
        self.note(format!("{owner} releases what is set aside"));
        let aside = self.count(|place| *place == Place::SetAside);
        let released =
            self.owners[owner].store.release_set_aside(&self.task, &Pace::Unlimited).await.unwrap();
        assert_eq!(
            (released.count, released.next),
            (aside, None),
            "{}",
            self.failure(usize::MAX, "released")
        );
        for place in self.messages.values_mut().filter(|place| **place == Place::SetAside) {
            *place = Place::Queue;
        }
    }

    /// The engine's counts are the model's. What is delayed may have become due meanwhile.
    async fn compare(&self) {
        let store = &self.owners[0].store;
        let held = self.count(|place| matches!(place, Place::Held { .. }));
        assert_eq!(store.held().await.unwrap(), held, "{}", self.failure(usize::MAX, "held"));
        let parked: u64 = store.parked().await.unwrap().iter().map(|(_, count)| count).sum();
        assert_eq!(
            parked,
            self.count(|place| *place == Place::Parked),
            "{}",
            self.failure(usize::MAX, "parked")
        );
        let aside: u64 = store.set_aside().await.unwrap().iter().map(|(_, count)| count).sum();
        let expected = self.count(|place| *place == Place::SetAside);
        assert_eq!(aside, expected, "{}", self.failure(usize::MAX, "set aside"));
        let dead = self.count(|place| *place == Place::Dead);
        assert_eq!(store.dead_count().await.unwrap(), dead, "{}", self.failure(usize::MAX, "dead"));
        let expected = self.count(|place| matches!(place, Place::Queue | Place::Delayed));
        // One may become due between the two questions, and be counted by neither.
        let mut waiting = 0;
        for _ in 0..10 {
            waiting = store.length(&self.queue).await.unwrap() + store.delayed().await.unwrap();
            if waiting == expected {
                break;
            }
        }
        assert_eq!(waiting, expected, "{}", self.failure(usize::MAX, "waiting"));
    }

    /// Everybody dies; one that comes after them finds every message that is not done, once.
    async fn end(mut self) {
        for owner in 0..self.owners.len() {
            self.owners[owner].store.leave().await.unwrap();
            self.owners[owner].beats = false;
        }
        self.hire().await;
        let heir = self.owners.len() - 1;
        self.restore(heir).await;
        self.release(heir).await;
        self.release_set_aside(heir).await;
        while self.owners[heir].store.dead_count().await.unwrap() > 0 {
            self.replay(heir).await;
        }
        while self.count(|place| *place != Place::Done) > 0 {
            self.take(heir).await;
            let ends: Vec<_> = std::mem::take(&mut self.owners[heir].believes)
                .into_iter()
                .map(|(tag, number)| {
                    self.messages.insert(number, Place::Done);
                    settlement(&tag, Fate::Acknowledge, None)
                })
                .collect();
            self.owners[heir].store.settle(&ends).await.unwrap();
        }
        self.compare().await;
        // Results were left only by those who held.
        for number in self.messages.keys() {
            let stored =
                self.owners[heir].store.get(&Tenant::DEFAULT, &id(self.seed, *number)).await.unwrap();
            assert_eq!(stored.as_ref(), self.results.get(number), "{}", self.failure(*number, "its result"));
        }
        self.owners[heir].store.leave().await.unwrap();
    }

    fn failure(&self, number: usize, what: &str) -> String {
        let place =
            self.messages.get(&number).map(|place| format!(", by the model {place:?}")).unwrap_or_default();
        format!("MODEL_SEED={}: message {number}{place}: {what}\n{}", self.seed, self.told.join("\n"))
    }
}

/// No owner's lease ends by itself while a history lasts.
const LEASE: Duration = Duration::from_secs(600);

fn id(seed: u64, number: usize) -> TaskId {
    TaskId::new(&format!("model-{seed}-{number}")).unwrap()
}

fn body(number: usize) -> Vec<u8> {
    format!(r#"{{"body": "{number}", "headers": {{}}, "properties": {{"delivery_info": {{}}}}}}"#)
        .into_bytes()
}

/// The number in a message, whatever marks it carries.
fn number(message: &[u8]) -> usize {
    let message: serde_json::Value = serde_json::from_slice(message).unwrap();
    message["body"].as_str().unwrap().parse().unwrap()
}
