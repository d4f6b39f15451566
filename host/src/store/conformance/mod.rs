//! What every storage engine must do, as one list of tests. An engine's own tests run it by `conformance!(Engine)`.
//!
//! Only the traits of this room are used here. What an engine's keys or tables look like is tested beside the engine.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Backend, Blobs, Broadcast, Broker, Bus, Cause, Change, Chords, Count, Counts, DeadLetters, Delivery,
    Entry, Fate, Heard, KeyValue, Once, Portion, Publication, RateLimits, Record, Records, Report,
    Revocations, Scheduled, Settled, Settlement, StoreError, StoredResult, Table, Tag, TenantLoad, Topic,
};
use crate::{
    protocol::message::{mark_lost, mark_redelivered},
    task::{OwnedTask, QueueName, State, TaskId, TaskName, Tenant},
};

mod blobs;
mod bus;
mod chords;
mod dead_letters;
mod delays;
mod keyvalue;
mod model;
mod owners;
mod parking;
mod portions;
mod queues;
mod rate_limits;
mod records;
mod results;
mod revocations;
mod sending;
mod settling;
mod tenants;

pub use {
    blobs::*, bus::*, chords::*, dead_letters::*, delays::*, keyvalue::*, model::*, owners::*, parking::*,
    portions::*, queues::*, rate_limits::*, records::*, results::*, revocations::*, sending::*, settling::*,
    tenants::*,
};

/// A storage engine under test: an empty place, to which any number of owners connect.
pub trait Engine: Sized {
    /// What connects to it.
    type Store: Broker
        + DeadLetters
        + Chords
        + Revocations
        + RateLimits
        + Backend
        + Bus
        + Records
        + Blobs
        + Counts
        + KeyValue;
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
            random_histories_leave_every_message_in_one_place,
            urgent_messages_leave_first,
            queues_take_turns,
            no_more_is_taken_than_was_asked_for,
            each_gets_its_share_and_then_what_others_leave,
            one_who_may_have_no_more_does_not_hide_the_arrivals_of_others,
            arrivals_are_announced_in_every_priority,
            queues_are_known_once_they_are_used,
            many_tenants_can_be_served_at_once,
            purging_a_queue_leaves_the_others,
            a_look_at_a_queue_tells_what_comes_next_and_takes_nothing,
            any_bytes_survive_being_taken_and_restored,
            a_taken_message_is_held_until_it_is_settled,
            a_delivery_is_settled_once,
            settling_what_is_not_held_stores_nothing,
            settlements_are_answered_in_the_order_asked,
            a_restored_message_is_next_and_marked,
            several_messages_restored_together_keep_their_order_and_priority,
            a_requeued_message_is_last_and_marked,
            a_replaced_message_is_what_comes_back,
            a_dead_letter_leaves_the_queues_and_is_counted,
            a_batch_is_published_in_its_order,
            a_message_sent_for_later_comes_when_it_is_due,
            two_messages_sent_for_one_time_both_come,
            what_is_sent_for_a_time_that_has_passed_comes_at_once,
            a_settlement_sends_in_the_same_step,
            nothing_is_sent_for_what_is_not_held,
            what_is_sent_under_a_key_is_sent_once,
            a_key_is_forgotten_after_its_time,
            a_stored_success_is_never_replaced,
            a_late_word_of_progress_does_not_replace_the_end,
            a_failure_is_replaced_by_a_later_state,
            a_wait_finds_what_is_stored_already,
            a_wait_hears_of_what_is_stored_later,
            many_waits_for_one_task_all_end,
            an_abandoned_wait_does_not_deafen_the_next,
            the_results_of_one_tenant_are_listed_in_pages,
            messages_of_the_dead_are_restored_in_order_and_marked,
            messages_of_the_living_are_not_restored,
            two_that_restore_at_once_restore_each_message_once,
            a_worker_that_was_taken_for_dead_can_settle_nothing,
            a_take_that_nobody_received_is_restored,
            a_worker_whose_heartbeat_stops_is_taken_for_dead,
            a_worker_hears_once_what_it_has_lost,
            workers_that_live_tell_of_themselves,
            a_delayed_message_comes_when_it_is_due_whoever_has_died,
            due_messages_are_taken_in_the_order_of_their_priorities,
            a_worker_that_was_taken_for_dead_can_delay_nothing,
            delayed_messages_are_shown_to_those_who_take_from_their_queues,
            parked_messages_are_counted_and_wait_whoever_dies,
            released_messages_are_next_in_their_order,
            a_release_is_an_arrival,
            parked_messages_are_put_back_when_their_time_has_come,
            a_limited_message_waits_for_its_turn_whoever_dies,
            what_is_not_held_uses_no_token_and_is_not_set_aside,
            any_number_of_workers_share_one_bucket,
            messages_come_back_at_the_rate_of_their_limit_in_their_order,
            nobody_overtakes_what_was_set_aside,
            released_messages_go_to_the_head_and_wait_there_for_a_worker,
            all_come_back_when_the_limit_is_gone,
            a_message_whose_turn_has_come_is_an_arrival,
            purging_a_queue_takes_what_was_set_aside_from_it,
            the_part_that_comes_last_completes_a_chord,
            a_chord_is_finished_once_with_all_that_comes_after_it,
            a_part_is_counted_once,
            a_worker_that_was_taken_for_dead_counts_nothing,
            a_chord_that_its_worker_did_not_finish_is_found_by_another,
            dead_letters_are_listed_newest_first,
            a_dead_letter_tells_the_whole_cause_and_the_very_message,
            a_dead_letter_is_replayed_once_to_the_tail_of_the_list_it_came_from,
            a_replay_is_an_arrival,
            dead_letters_are_dropped_by_name,
            only_the_newest_dead_letters_are_kept,
            dead_letters_do_not_fill_the_store,
            what_is_revoked_is_told_since_a_revision,
            what_is_revoked_again_is_so_until_the_later_time,
            what_is_revoked_is_forgotten_in_time,
            a_take_tells_what_was_revoked_before_it,
            news_of_revocations_are_told_at_once,
            broadcasts_reach_all_who_listen_in_their_order,
            events_and_requests_are_told_apart,
            what_was_broadcast_before_is_not_heard,
            a_listener_that_does_not_read_loses_messages_and_is_told,
            replies_come_into_the_inbox_they_are_for,
            a_reply_is_heard_at_once,
            a_reply_to_nobody_is_no_error,
            a_record_is_changed_only_as_it_was_known,
            of_two_that_change_a_record_at_once_one_does,
            several_records_change_together_or_not_at_all,
            what_has_changed_since_a_revision_is_told_with_all_that_there_is,
            news_of_records_wake_all_who_wait,
            each_change_is_noted_with_who_made_it,
            the_audit_is_bounded_and_keeps_the_newest_of_each_tenant,
            a_blob_is_written_once,
            a_blob_that_was_put_lately_is_not_dropped,
            counts_of_all_workers_add_up,
            entries_of_one_key_are_each_tenant_s_and_each_bucket_s_own,
            entries_are_changed_as_a_whole_and_listed_in_order,
            a_tenant_cannot_keep_more_than_its_quota,
            numbers_are_added_to_by_many_at_once,
            a_result_is_stored_for_the_tenant_of_the_delivery,
            progress_is_that_of_one_tenant,
            a_settlement_sends_to_no_other_tenant,
            chords_are_counted_for_each_tenant,
            a_revocation_is_about_tasks_of_one_tenant,
            what_waits_for_a_task_waits_for_that_of_its_tenant,
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

/// A task of the default tenant.
pub fn task(name: &str) -> OwnedTask {
    OwnedTask { tenant: Tenant::DEFAULT, task: TaskName::new(name).unwrap() }
}

/// A message as Celery's, for the parts that a store can see.
pub fn message(number: usize) -> Vec<u8> {
    format!(r#"{{"body": "{number}", "headers": {{}}, "properties": {{"delivery_info": {{}}}}}}"#)
        .into_bytes()
}

pub fn marked(message: &[u8]) -> Vec<u8> {
    mark_redelivered(message).unwrap()
}

pub fn lost(message: &[u8]) -> Vec<u8> {
    mark_lost(message).unwrap()
}

pub fn result(id: &TaskId, state: State, text: &str) -> StoredResult {
    let meta = format!(r#"{{"status": "{}", "result": "{text}", "task_id": "{id}"}}"#, state.as_str());
    StoredResult { id: id.clone(), state, meta }
}

pub fn settlement(tag: &Tag, fate: Fate, result: Option<StoredResult>) -> Settlement {
    let (results, groups) = (result.into_iter().collect(), Vec::new());
    Settlement { tag: tag.clone(), results, groups, sends: Vec::new(), fate }
}

pub fn dead(reason: &str) -> Fate {
    Fate::DeadLetter(Box::new(Cause { reason: reason.to_owned(), ..Cause::default() }))
}

/// What a worker tells of itself.
pub fn report() -> Report {
    Report { node: "celery@box".to_owned(), pid: 1, active: 0, processed: 0, tenants: Vec::new() }
}

pub fn publication(queue: &QueueName, priority: u8, message: &[u8]) -> Publication {
    Publication { queue: queue.clone(), priority, due: None, message: message.to_vec().into() }
}

pub async fn publish(store: &impl Broker, queue: &QueueName, priority: u8, message: &[u8]) {
    store.publish(&[publication(queue, priority, message)]).await.unwrap();
}

pub async fn publish_all(store: &impl Broker, queue: &QueueName, messages: std::ops::Range<usize>) {
    for number in messages {
        publish(store, queue, 0, &message(number)).await;
    }
}

/// Takes from one queue.
pub async fn take(store: &impl Broker, queue: &QueueName, most: usize) -> Result<Vec<Delivery>, StoreError> {
    Ok(store.take(std::slice::from_ref(queue), most).await?.deliveries)
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

/// Takes until there are `count` messages, looking only when told.
pub async fn take_when_told(store: &impl Broker, queue: &QueueName, count: usize) -> Vec<Delivery> {
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

fn messages(deliveries: &[Delivery]) -> Vec<Vec<u8>> {
    deliveries.iter().map(|delivery| delivery.message.to_vec()).collect()
}

/// Long enough for a loaded machine; a test that needs it has failed. Shorter than the time after which an engine looks
/// again for what it should have heard.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it should have ended long ago")
}
