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

mod delays;
mod owners;
mod queues;
mod results;
mod settling;

pub use {delays::*, owners::*, queues::*, results::*, settling::*};

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
