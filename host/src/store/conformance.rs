//! What every storage engine must do, as one list of tests. An engine's own tests run it by `conformance!(Engine)`.
//!
//! Only [`Broker`] and [`Backend`] are used here. What an engine's keys or tables look like is tested beside the engine.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Backend, Broker, Delivery, Fate, Settled, Settlement, StoreError, StoredResult, Tag};
use crate::{
    protocol::message::mark_redelivered,
    task::{QueueName, State, TaskId},
};

/// A storage engine under test: an empty place, to which any number of owners connect.
pub trait Engine: Sized {
    /// What connects to it.
    type Store: Broker + Backend;
    /// Makes the place.
    async fn start() -> Self;
    /// A new owner.
    async fn connect(&self) -> Self::Store;
}

/// Runs the list against an engine.
macro_rules! conformance {
    ($engine:ty) => {
        $crate::store::conformance::conformance! { $engine:
            messages_of_one_priority_leave_in_the_order_they_came,
            urgent_messages_leave_first,
            queues_take_turns,
            no_more_is_taken_than_was_asked_for,
            any_bytes_survive_being_taken_and_restored,
            a_taken_message_is_held_until_it_is_settled,
            a_delivery_is_settled_once,
            settling_what_is_not_held_stores_nothing,
            settlements_are_answered_in_the_order_asked,
            a_restored_message_is_next_and_marked,
            several_messages_restored_together_keep_their_order_and_priority,
            a_stored_success_is_never_replaced,
            a_late_word_of_progress_does_not_replace_the_end,
            a_failure_is_replaced_by_a_later_state,
            a_wait_finds_what_is_stored_already,
            a_wait_hears_of_what_is_stored_later,
            many_waits_for_one_task_all_end,
            an_abandoned_wait_does_not_deafen_the_next,
            messages_of_the_dead_are_restored_in_order_and_marked,
            messages_of_the_living_are_not_restored,
            two_that_restore_at_once_restore_each_message_once,
            a_worker_that_was_taken_for_dead_can_settle_nothing,
            a_take_that_nobody_received_is_restored,
            a_delayed_message_comes_when_it_is_due_whoever_has_died,
            due_messages_are_taken_in_the_order_of_their_priorities,
            a_worker_that_was_taken_for_dead_can_delay_nothing,
            a_dead_letter_leaves_the_queues_and_is_counted,
            arrivals_are_announced_in_every_priority,
            queues_are_known_once_they_are_used,
            purging_a_queue_leaves_the_others,
        }
    };
    ($engine:ty: $($name:ident),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $crate::store::conformance::$name::<$engine>().await;
        })+
    };
}
pub(crate) use conformance;

pub fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

/// A message as Celery's, for the parts that a store can see.
pub fn message(number: usize) -> Vec<u8> {
    format!(r#"{{"body": "{number}", "headers": {{}}, "properties": {{"delivery_info": {{}}}}}}"#)
        .into_bytes()
}

pub fn marked(message: &[u8]) -> Vec<u8> {
    mark_redelivered(message).unwrap()
}

pub fn result(id: &TaskId, state: State, text: &str) -> StoredResult {
    let meta = format!(r#"{{"status": "{}", "result": "{text}", "task_id": "{id}"}}"#, state.as_str());
    StoredResult { id: id.clone(), state, meta }
}

pub fn settlement(tag: &Tag, fate: Fate, result: Option<StoredResult>) -> Settlement {
    Settlement { tag: tag.clone(), result, fate }
}

pub async fn publish_all(store: &impl Broker, queue: &QueueName, messages: std::ops::Range<usize>) {
    for number in messages {
        store.publish(queue, 0, &message(number)).await.unwrap();
    }
}

/// Takes from one queue.
pub async fn take(store: &impl Broker, queue: &QueueName, most: usize) -> Result<Vec<Delivery>, StoreError> {
    store.take(std::slice::from_ref(queue), most).await
}

/// Takes from one queue until it is empty.
pub async fn drain(store: &impl Broker, queue: &QueueName) -> Vec<Delivery> {
    let mut all = Vec::new();
    loop {
        let taken = take(store, queue, 100).await.unwrap();
        if taken.is_empty() {
            return all;
        }
        all.extend(taken);
    }
}

fn messages(deliveries: &[Delivery]) -> Vec<Vec<u8>> {
    deliveries.iter().map(|delivery| delivery.message.to_vec()).collect()
}

/// Long enough for a loaded machine; a test that needs it has failed. Shorter than the time after which an engine looks
/// again for what it should have heard.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it should have ended long ago")
}

pub async fn messages_of_one_priority_leave_in_the_order_they_came<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    publish_all(&store, &q, 0..5).await;
    assert_eq!(store.length(&q).await.unwrap(), 5);
    let taken = drain(&store, &q).await;
    assert_eq!(messages(&taken), (0..5).map(message).collect::<Vec<_>>());
    assert!(taken.iter().all(|delivery| delivery.queue == q));
}

pub async fn urgent_messages_leave_first<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    for priority in [9, 0, 3, 6, 200] {
        store.publish(&q, priority, &message(priority.into())).await.unwrap();
    }
    assert_eq!(store.length(&q).await.unwrap(), 5);
    let expected: Vec<_> = [0, 3, 6, 9, 200].map(message).to_vec();
    assert_eq!(messages(&drain(&store, &q).await), expected);
}

pub async fn queues_take_turns<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    let queues = [queue("a"), queue("b")];
    for q in &queues {
        publish_all(&store, q, 0..10).await;
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(store.take(&queues, 1).await.unwrap()[0].queue.clone());
    }
    for q in &queues {
        assert_eq!(seen.iter().filter(|seen| *seen == q).count(), 2, "{seen:?}");
    }
    store.publish(&queues[1], 9, &message(99)).await.unwrap();
    store.publish(&queues[0], 0, &message(98)).await.unwrap();
    let rest = store.take(&queues, 100).await.unwrap();
    assert_eq!(rest.last().unwrap().message, message(99), "priority comes before turns");
}

pub async fn no_more_is_taken_than_was_asked_for<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    publish_all(&store, &q, 0..3).await;
    assert!(take(&store, &q, 0).await.unwrap().is_empty());
    assert!(store.take(&[], 10).await.unwrap().is_empty());
    assert_eq!(take(&store, &q, 2).await.unwrap().len(), 2);
    assert_eq!(store.length(&q).await.unwrap(), 1);
}

pub async fn any_bytes_survive_being_taken_and_restored<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q \", \"\", \"…"));
    let store = engine.connect().await;
    let hostile: [&[u8]; 6] =
        [b"", b"\0\xff\r\n", b"[1, \"\", \"q\"]", b"\"", b"{\"headers\": 1}", &[b'['; 10_000]];
    for text in hostile {
        store.publish(&q, 4, text).await.unwrap();
        let taken = drain(&store, &q).await;
        assert_eq!(messages(&taken), [text]);
        let settled = store.settle(&[settlement(&taken[0].tag, Fate::Restore, None)]).await.unwrap();
        assert_eq!(settled, [Settled::Done]);
        let again = drain(&store, &q).await;
        assert_eq!(messages(&again), [mark_redelivered(text).unwrap_or_else(|| text.to_vec())]);
        store.settle(&[settlement(&again[0].tag, Fate::DeadLetter("?".into()), None)]).await.unwrap();
    }
    assert_eq!(store.held().await.unwrap(), 0);
}

pub async fn a_taken_message_is_held_until_it_is_settled<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    publish_all(&store, &q, 0..2).await;
    let taken = drain(&store, &q).await;
    assert_eq!((store.length(&q).await.unwrap(), store.held().await.unwrap()), (0, 2));
    assert_ne!(taken[0].tag, taken[1].tag);
    store.settle(&[settlement(&taken[0].tag, Fate::Acknowledge, None)]).await.unwrap();
    assert_eq!(store.held().await.unwrap(), 1);
}

pub async fn a_delivery_is_settled_once<E: Engine>() {
    let (engine, q, id) = (E::start().await, queue("q"), TaskId::random());
    let store = engine.connect().await;
    for fate in [Fate::Acknowledge, Fate::DeadLetter("because".into()), Fate::Restore] {
        publish_all(&store, &q, 0..1).await;
        let tag = drain(&store, &q).await[0].tag.clone();
        let end = settlement(&tag, fate.clone(), Some(result(&id, State::Success, "")));
        assert_eq!(store.settle(std::slice::from_ref(&end)).await.unwrap(), [Settled::Done], "{fate:?}");
        assert_eq!(store.settle(&[end]).await.unwrap(), [Settled::NotHeld], "{fate:?}");
        assert_eq!(store.held().await.unwrap(), 0);
    }
    assert_eq!(store.length(&q).await.unwrap(), 1, "restored, and only once");
    assert_eq!(store.dead_letters().await.unwrap(), 1);
    assert!(store.get(&id).await.unwrap().is_some());
}

pub async fn settling_what_is_not_held_stores_nothing<E: Engine>() {
    let (engine, q, id) = (E::start().await, queue("q"), TaskId::random());
    let store = engine.connect().await;
    publish_all(&store, &q, 0..1).await;
    let held = drain(&store, &q).await[0].tag.clone();
    store.settle(&[settlement(&held, Fate::Acknowledge, None)]).await.unwrap();
    for tag in [held, Tag("".into()), Tag("no tag of this engine".into())] {
        for fate in [Fate::Acknowledge, Fate::Restore, Fate::DeadLetter("r".into())] {
            let late = settlement(&tag, fate, Some(result(&id, State::Success, "late")));
            assert_eq!(store.settle(&[late]).await.unwrap(), [Settled::NotHeld]);
        }
    }
    assert_eq!(store.get(&id).await.unwrap(), None);
    assert_eq!(store.length(&q).await.unwrap() + store.dead_letters().await.unwrap(), 0);
}

pub async fn settlements_are_answered_in_the_order_asked<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    publish_all(&store, &q, 0..3).await;
    let taken = drain(&store, &q).await;
    let gone = Tag("gone".into());
    let settlements = [
        settlement(&gone, Fate::Restore, None),
        settlement(&taken[0].tag, Fate::Restore, None),
        settlement(&taken[1].tag, Fate::Acknowledge, None),
        settlement(&gone, Fate::Acknowledge, None),
        settlement(&taken[2].tag, Fate::DeadLetter("r".into()), None),
        settlement(&taken[2].tag, Fate::Acknowledge, None),
    ];
    let settled = store.settle(&settlements).await.unwrap();
    use Settled::{Done, NotHeld};
    assert_eq!(settled, [NotHeld, Done, Done, NotHeld, Done, NotHeld]);
    assert_eq!(store.settle(&[]).await.unwrap(), []);
}

pub async fn a_restored_message_is_next_and_marked<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    publish_all(&store, &q, 0..3).await;
    let taken = take(&store, &q, 1).await.unwrap();
    store.settle(&[settlement(&taken[0].tag, Fate::Restore, None)]).await.unwrap();
    let expected = vec![marked(&message(0)), message(1), message(2)];
    assert_eq!(messages(&drain(&store, &q).await), expected);
}

pub async fn several_messages_restored_together_keep_their_order_and_priority<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    for number in 0..8 {
        store.publish(&q, if number < 4 { 0 } else { 7 }, &message(number)).await.unwrap();
    }
    let mut taken = drain(&store, &q).await;
    publish_all(&store, &q, 8..9).await;
    taken.rotate_left(3);
    let all: Vec<_> = taken.iter().map(|taken| settlement(&taken.tag, Fate::Restore, None)).collect();
    store.settle(&all).await.unwrap();
    let numbers =
        [(0, true), (1, true), (2, true), (3, true), (8, false), (4, true), (5, true), (6, true), (7, true)];
    let expected: Vec<_> = numbers
        .map(|(number, restored)| if restored { marked(&message(number)) } else { message(number) })
        .to_vec();
    assert_eq!(messages(&drain(&store, &q).await), expected);
}

pub async fn a_stored_success_is_never_replaced<E: Engine>() {
    let (engine, q, id) = (E::start().await, queue("q"), TaskId::random());
    let store = engine.connect().await;
    publish_all(&store, &q, 0..1).await;
    let tag = drain(&store, &q).await[0].tag.clone();
    // As Python writes it, and without the space.
    for success in [result(&id, State::Success, "first"), result(&id, State::Success, "second")] {
        store.store(&success).await.unwrap();
    }
    store.store(&result(&id, State::Started, "")).await.unwrap();
    let failure = settlement(&tag, Fate::Acknowledge, Some(result(&id, State::Failure, "")));
    assert_eq!(store.settle(&[failure]).await.unwrap(), [Settled::Done]);
    assert_eq!(store.get(&id).await.unwrap(), Some(result(&id, State::Success, "first").meta));

    let id = TaskId::random();
    let mut tight = result(&id, State::Success, "tight");
    tight.meta = tight.meta.replace("\": \"", "\":\"");
    store.store(&tight).await.unwrap();
    store.store(&result(&id, State::Failure, "")).await.unwrap();
    assert_eq!(store.get(&id).await.unwrap(), Some(tight.meta));
}

pub async fn a_late_word_of_progress_does_not_replace_the_end<E: Engine>() {
    let (engine, id) = (E::start().await, TaskId::random());
    let store = engine.connect().await;
    for end in [State::Failure, State::Revoked] {
        store.store(&result(&id, end.clone(), "")).await.unwrap();
        store.store(&result(&id, State::Custom("PROGRESS".to_owned()), "")).await.unwrap();
        store.store(&result(&id, State::Started, "")).await.unwrap();
        assert_eq!(store.get(&id).await.unwrap(), Some(result(&id, end, "").meta));
    }
}

pub async fn a_failure_is_replaced_by_a_later_state<E: Engine>() {
    let (engine, id) = (E::start().await, TaskId::random());
    let store = engine.connect().await;
    for state in [State::Started, State::Failure, State::Retry, State::Success] {
        let next = result(&id, state, "");
        store.store(&next).await.unwrap();
        assert_eq!(store.get(&id).await.unwrap(), Some(next.meta));
    }
    assert_eq!(store.get(&TaskId::random()).await.unwrap(), None);
}

fn is_success(text: &str) -> bool {
    text.contains("SUCCESS")
}

pub async fn a_wait_finds_what_is_stored_already<E: Engine>() {
    let (engine, id) = (E::start().await, TaskId::random());
    let store = engine.connect().await;
    let success = result(&id, State::Success, "x");
    store.store(&success).await.unwrap();
    assert_eq!(in_time(store.wait(&id, &is_success)).await.unwrap(), success.meta);
}

pub async fn a_wait_hears_of_what_is_stored_later<E: Engine>() {
    let (engine, q, id) = (E::start().await, queue("q"), TaskId::random());
    let (store, waiter) = (engine.connect().await, engine.connect().await);
    publish_all(&store, &q, 0..1).await;
    let tag = drain(&store, &q).await[0].tag.clone();
    let success = result(&id, State::Success, "x");
    let announce = async {
        store.store(&result(&id, State::Started, "")).await.unwrap();
        store.store(&result(&TaskId::random(), State::Success, "of another task")).await.unwrap();
        let end = settlement(&tag, Fate::Acknowledge, Some(success.clone()));
        assert_eq!(store.settle(&[end]).await.unwrap(), [Settled::Done]);
    };
    let (text, ()) = in_time(async { tokio::join!(waiter.wait(&id, &is_success), announce) }).await;
    assert_eq!(text.unwrap(), success.meta);
}

pub async fn many_waits_for_one_task_all_end<E: Engine>() {
    let (engine, id) = (E::start().await, TaskId::random());
    let store = Arc::new(engine.connect().await);
    let waits: Vec<_> = (0..50)
        .map(|_| {
            let (store, id) = (store.clone(), id.clone());
            tokio::spawn(async move { store.wait(&id, &is_success).await.unwrap() })
        })
        .collect();
    let success = result(&id, State::Success, "x");
    store.store(&success).await.unwrap();
    for wait in waits {
        assert_eq!(in_time(wait).await.unwrap(), success.meta);
    }
}

pub async fn an_abandoned_wait_does_not_deafen_the_next<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    for round in 0..20 {
        let id = TaskId::random();
        // Given up at a different point each time, at the latest while it listens.
        let given_up =
            tokio::time::timeout(Duration::from_micros(50 * round), store.wait(&id, &is_success)).await;
        assert!(given_up.is_err());
        let success = result(&id, State::Success, "x");
        let announce = async { store.store(&success).await.unwrap() };
        let (text, ()) = in_time(async { tokio::join!(store.wait(&id, &is_success), announce) }).await;
        assert_eq!(text.unwrap(), success.meta);
    }
}

pub async fn messages_of_the_dead_are_restored_in_order_and_marked<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (dead, living) = (engine.connect().await, engine.connect().await);
    publish_all(&dead, &q, 0..12).await;
    assert_eq!(take(&dead, &q, 11).await.unwrap().len(), 11);
    dead.leave().await.unwrap();
    assert_eq!(living.restore().await.unwrap(), 11);
    assert_eq!(living.held().await.unwrap(), 0);
    let mut expected: Vec<_> = (0..11).map(|number| marked(&message(number))).collect();
    expected.push(message(11));
    assert_eq!(messages(&drain(&living, &q).await), expected);
}

pub async fn messages_of_the_living_are_not_restored<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (holder, other) = (engine.connect().await, engine.connect().await);
    publish_all(&holder, &q, 0..2).await;
    assert_eq!(drain(&holder, &q).await.len(), 2);
    // Before its first heartbeat, after it, and by the holder itself.
    assert_eq!(other.restore().await.unwrap(), 0);
    holder.beat(Duration::from_secs(60)).await.unwrap();
    assert_eq!(other.restore().await.unwrap(), 0);
    assert_eq!(holder.restore().await.unwrap(), 0);
    assert_eq!(holder.held().await.unwrap(), 2);
}

pub async fn two_that_restore_at_once_restore_each_message_once<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (dead, a, b) = (engine.connect().await, engine.connect().await, engine.connect().await);
    publish_all(&dead, &q, 0..200).await;
    assert_eq!(drain(&dead, &q).await.len(), 200);
    dead.leave().await.unwrap();
    let (by_a, by_b) = tokio::join!(a.restore(), b.restore());
    assert_eq!(by_a.unwrap() + by_b.unwrap(), 200);
    assert_eq!(a.length(&q).await.unwrap(), 200);
}

pub async fn a_worker_that_was_taken_for_dead_can_settle_nothing<E: Engine>() {
    let (engine, q, id) = (E::start().await, queue("q"), TaskId::random());
    let (late, other) = (engine.connect().await, engine.connect().await);
    publish_all(&late, &q, 0..1).await;
    let tag = drain(&late, &q).await[0].tag.clone();
    late.leave().await.unwrap();
    assert_eq!(other.restore().await.unwrap(), 1);
    let again = drain(&other, &q).await;
    // Its heartbeat must not bring the lost delivery back either.
    late.beat(Duration::from_secs(60)).await.unwrap();
    let end = settlement(&tag, Fate::Acknowledge, Some(result(&id, State::Failure, "late")));
    assert_eq!(late.settle(&[end]).await.unwrap(), [Settled::NotHeld]);
    assert_eq!(other.held().await.unwrap(), 1);
    let end = settlement(&again[0].tag, Fate::Acknowledge, Some(result(&id, State::Success, "")));
    assert_eq!(other.settle(&[end]).await.unwrap(), [Settled::Done]);
}

pub async fn a_take_that_nobody_received_is_restored<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    let mut in_hand = 0;
    for round in 0..60 {
        publish_all(&store, &q, 0..1).await;
        let taken = tokio::time::timeout(Duration::from_micros(10 * round), take(&store, &q, 10)).await;
        in_hand += taken.map_or(0, |taken| taken.unwrap().len());
    }
    in_time(async {
        // A take that was given up may still be on its way to the server.
        while store.held().await.unwrap() != in_hand as u64 {
            store.restore().await.unwrap();
        }
    })
    .await;
    assert_eq!(store.length(&q).await.unwrap(), 60 - in_hand as u64);
}

/// Takes until there are `count` messages, looking only when told.
async fn take_when_told(store: &impl Broker, queue: &QueueName, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    in_time(async {
        while taken.len() < count {
            taken.extend(take(store, queue, 10).await.unwrap());
            if taken.len() < count {
                store.arrival().await;
            }
        }
    })
    .await;
    taken
}

pub async fn a_delayed_message_comes_when_it_is_due_whoever_has_died<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (dead, living) = (engine.connect().await, engine.connect().await);
    publish_all(&dead, &q, 0..3).await;
    let held = drain(&dead, &q).await;
    let due = |millis| Timestamp::now() + Duration::from_millis(millis);
    let (sooner, later) = (due(400), due(800));
    let ends = [(0, later), (1, sooner), (2, due(3_600_000))];
    let delays = ends.map(|(i, until)| settlement(&held[i].tag, Fate::Delay(until), None));
    assert_eq!(dead.settle(&delays).await.unwrap(), [Settled::Done; 3]);
    assert_eq!((dead.held().await.unwrap(), dead.delayed().await.unwrap()), (0, 3));
    dead.leave().await.unwrap();
    assert_eq!(living.restore().await.unwrap(), 0, "nobody holds it");

    for (number, due) in [(1, sooner), (0, later)] {
        let taken = take_when_told(&living, &q, 1).await;
        assert!(Timestamp::now() >= due, "{number} came early");
        assert_eq!(messages(&taken), [message(number)], "as it was sent, without a mark");
    }
    assert_eq!(living.delayed().await.unwrap(), 1);
}

pub async fn due_messages_are_taken_in_the_order_of_their_priorities<E: Engine>() {
    let (engine, q) = (E::start().await, queue("mail.out"));
    let store = engine.connect().await;
    for (number, priority) in [(0, 9), (1, 0), (2, 9), (3, 0)] {
        store.publish(&q, priority, &message(number)).await.unwrap();
    }
    // Taken as 1, 3, 0, 2.
    let held = drain(&store, &q).await;
    let due = |i: u64| Timestamp::now() + Duration::from_millis(300 + i);
    let delays = held.iter().zip(0..).map(|(held, i)| settlement(&held.tag, Fate::Delay(due(i)), None));
    assert_eq!(store.settle(&delays.collect::<Vec<_>>()).await.unwrap(), [Settled::Done; 4]);
    // All are due when they are looked at.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(messages(&drain(&store, &q).await), [message(1), message(3), message(0), message(2)]);
}

pub async fn a_worker_that_was_taken_for_dead_can_delay_nothing<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (late, other) = (engine.connect().await, engine.connect().await);
    publish_all(&late, &q, 0..1).await;
    let tag = drain(&late, &q).await[0].tag.clone();
    late.leave().await.unwrap();
    assert_eq!(other.restore().await.unwrap(), 1);
    let delay = settlement(&tag, Fate::Delay(Timestamp::now()), None);
    assert_eq!(late.settle(&[delay]).await.unwrap(), [Settled::NotHeld]);
    assert_eq!((late.delayed().await.unwrap(), late.length(&q).await.unwrap()), (0, 1));
}

pub async fn a_dead_letter_leaves_the_queues_and_is_counted<E: Engine>() {
    let (engine, q, id) = (E::start().await, queue("q"), TaskId::random());
    let store = engine.connect().await;
    assert_eq!(store.dead_letters().await.unwrap(), 0);
    publish_all(&store, &q, 0..2).await;
    let taken = drain(&store, &q).await;
    let failure = result(&id, State::Failure, "not readable");
    let ends = [
        settlement(&taken[0].tag, Fate::DeadLetter("not \"readable\"".into()), Some(failure.clone())),
        settlement(&taken[1].tag, Fate::DeadLetter(String::new()), None),
    ];
    assert_eq!(store.settle(&ends).await.unwrap(), [Settled::Done; 2]);
    assert_eq!(store.dead_letters().await.unwrap(), 2);
    assert_eq!(store.length(&q).await.unwrap() + store.held().await.unwrap(), 0);
    assert_eq!(store.get(&id).await.unwrap(), Some(failure.meta));
}

pub async fn arrivals_are_announced_in_every_priority<E: Engine>() {
    let engine = E::start().await;
    let (worker, producer) = (engine.connect().await, engine.connect().await);
    let queues = [queue("a"), queue("b")];
    for (number, priority) in [0, 3, 6, 9, 0, 9].into_iter().enumerate() {
        while !worker.take(&queues, 1).await.unwrap().is_empty() {}
        let q = &queues[number % 2];
        let woken = async {
            loop {
                worker.arrival().await;
                let taken = worker.take(&queues, 1).await.unwrap();
                if !taken.is_empty() {
                    return taken;
                }
            }
        };
        let announce = async { producer.publish(q, priority, &message(number)).await.unwrap() };
        let (taken, ()) = in_time(async { tokio::join!(woken, announce) }).await;
        assert_eq!((&taken[0].queue, taken[0].message.to_vec()), (q, message(number)));
    }
}

pub async fn queues_are_known_once_they_are_used<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    assert!(store.queues().await.unwrap().is_empty());
    store.publish(&queue("published"), 0, &message(0)).await.unwrap();
    store.take(&[queue("taken from")], 1).await.unwrap();
    assert_eq!(store.queues().await.unwrap(), [queue("published"), queue("taken from")]);
}

pub async fn purging_a_queue_leaves_the_others<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    for priority in 0..10 {
        store.publish(&queue("a"), priority, &message(0)).await.unwrap();
    }
    publish_all(&store, &queue("b"), 0..1).await;
    assert_eq!(store.purge(&queue("a")).await.unwrap(), 10);
    assert_eq!(store.purge(&queue("a")).await.unwrap(), 0);
    assert_eq!(store.length(&queue("a")).await.unwrap(), 0);
    assert_eq!(store.length(&queue("b")).await.unwrap(), 1);
}
