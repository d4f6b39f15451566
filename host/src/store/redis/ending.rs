//! One step of Redis that ends a delivery: with its result, with what is sent, and with what becomes of the message.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Redis, dead_letters, keys, record, script, script::Call, tag, tag::OwnTag};
use crate::{
    store::{Cause, Publication, StoredResult, scope::scoped},
    task::{ChordPart, GroupChange, TaskId, TaskName, Tenant},
};

/// What is to happen in one step.
pub struct Ending<'a> {
    /// The delivery, of whomever it is. Empty: no delivery has to be held.
    pub tag: &'a [u8],
    /// Whose the results and groups are.
    pub tenant: &'a Tenant,
    /// What else happens.
    pub with: With<'a>,
    /// What becomes of the message.
    pub then: Then<'a>,
}

impl Ending<'_> {
    /// Whether a message is acknowledged and at most one result stored: what almost all deliveries come to.
    pub fn is_plain(&self) -> bool {
        let With { results, groups, sends } = self.with;
        let is_little = results.len() <= 1 && groups.is_empty() && sends.is_empty();
        matches!(self.then, Then::Acknowledged) && is_little && !self.tag.is_empty()
    }
}

/// What happens together with the end of a delivery.
#[derive(Clone, Copy, Default)]
pub struct With<'a> {
    /// What to store, if it is stored here.
    pub results: &'a [StoredResult],
    /// What becomes known of groups, if that is kept here.
    pub groups: &'a [(TaskId, GroupChange)],
    /// What to send.
    pub sends: &'a [Publication],
}

/// What becomes of a message.
pub enum Then<'a> {
    /// It is done with.
    Acknowledged,
    /// This goes to one of the ends of a list.
    InList(End, String, Vec<u8>),
    /// It waits until it is due.
    Delayed(&'a OwnTag, Timestamp),
    /// The message given waits for its task.
    Parked(&'a OwnTag, &'a TaskName, Timestamp, &'a [u8]),
    /// It becomes a dead letter.
    Dead(&'a OwnTag, &'a Cause),
    /// There is none: this group's chord, which is complete, is finished.
    ChordFinished(&'a TaskId),
    /// There is none: what is sent is sent once for this group's chord.
    ChordSent(&'a TaskId),
}

/// What the script answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// What had to be held was not.
    NotHeld,
    /// It is done.
    Well,
    /// It is done, and a chord is complete by it.
    WithChord,
}

impl redis::FromRedisValue for Ended {
    fn from_redis_value(value: redis::Value) -> Result<Self, redis::ParsingError> {
        Ok(match u8::from_redis_value(value)? {
            0 => Self::NotHeld,
            1 => Self::Well,
            _ => Self::WithChord,
        })
    }
}

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where the next to be taken is.
    Head,
    /// Where what comes waits behind all others.
    Tail,
}

impl Redis {
    /// The script for this, with its arguments.
    pub(super) fn ending(&self, ending: &Ending<'_>) -> Call {
        let Ending { tag, tenant, with, then } = ending;
        let call = script::SETTLE
            .call()
            .key(&keys::DEAD[..])
            .key(keys::UNACKED)
            .key(keys::UNACKED_INDEX)
            .key(keys::DELAYED)
            .key(keys::DELAYED_MESSAGES)
            .key(keys::PARKED)
            .key(keys::PARKED_MESSAGES)
            .key(keys::PARKED_TASKS)
            .key(keys::CHORDS)
            .key(keys::CHORDS_SINCE)
            .arg(*tag)
            .arg(self.result_lifetime());
        let call = add_groups(add_results(call, tenant, with.results), tenant, with.groups);
        self.then(add_sends(call, with.sends), tenant, then)
    }

    /// The script for several of which all [`Ending::is_plain`].
    pub(super) fn acknowledgements<'e>(&self, endings: impl Iterator<Item = Ending<'e>>) -> Call {
        let call = script::ACK.call().key(keys::UNACKED).key(keys::UNACKED_INDEX).arg(self.result_lifetime());
        endings.fold(call, |call, Ending { tag, tenant, with, .. }| match with.results.first() {
            Some(result) => call.arg(tag).arg(keys::result(tenant, &result.id)).arg(&result.meta),
            None => call.arg(tag).arg("").arg(""),
        })
    }

    fn then(&self, call: Call, tenant: &Tenant, then: &Then<'_>) -> Call {
        match then {
            Then::Acknowledged => call.arg("acknowledge"),
            Then::InList(end, list, message) => {
                let push = if *end == End::Head { "RPUSH" } else { "LPUSH" };
                call.arg("list").arg(push).arg(list).arg(message)
            }
            Then::Delayed(own, until) => {
                call.arg("delay").arg(seconds(*until)).arg(record::tail(&own.queue).len())
            }
            Then::Parked(own, task, until, message) => {
                let task = scoped(tenant, task.as_str());
                call.arg("park")
                    .arg(keys::parked_name(&own.text, &task))
                    .arg(&*task)
                    .arg(keys::parked_of(&task))
                    .arg(seconds(*until))
                    .arg(*message)
            }
            Then::Dead(own, cause) => call
                .arg("dead")
                .arg(Uuid::new_v4().to_string())
                .arg(dead_letters::head(cause, own))
                .arg(self.dead_letter_micros())
                .arg(dead_letters::MOST)
                .arg(dead_letters::LARGEST)
                .arg(record::tail(&own.queue).len()),
            Then::ChordFinished(group) => {
                call.arg("chord").arg(&*scoped(tenant, group.as_str())).arg(keys::group(tenant, group))
            }
            Then::ChordSent(group) => call.arg("once").arg(keys::chord_sent(tenant, group)),
        }
    }

    /// In milliseconds.
    pub(super) fn result_lifetime(&self) -> u64 {
        u64::try_from(self.options.result_lifetime.as_millis()).unwrap_or(u64::MAX)
    }

    /// In microseconds. A century and for ever are the same, but for what numbers can hold.
    fn dead_letter_micros(&self) -> u64 {
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        u64::try_from(self.options.dead_letter_lifetime.min(CENTURY).as_micros()).unwrap_or(u64::MAX)
    }
}

fn add_results(call: Call, tenant: &Tenant, results: &[StoredResult]) -> Call {
    let add =
        |call: Call, result: &StoredResult| call.arg(keys::result(tenant, &result.id)).arg(&result.meta);
    results.iter().fold(call.arg(results.len()), add)
}

/// Adds changes to groups, as `groups.lua` reads them. A part without a place comes last, as in Celery.
fn add_groups(call: Call, tenant: &Tenant, groups: &[(TaskId, GroupChange)]) -> Call {
    let add = |call: Call, (group, change): &(TaskId, GroupChange)| {
        let base = keys::group(tenant, group);
        match change {
            GroupChange::Size(size) => call.arg("size").arg(base).arg(*size),
            GroupChange::Saved(shape) => call.arg("saved").arg(base).arg(shape),
            GroupChange::Part(ChordPart { id, index, ending, chord }) => {
                let place = index.map_or("+inf".to_owned(), |index| index.to_string());
                let member = format!("{id}:{place}");
                let group = scoped(tenant, group.as_str());
                call.arg("part").arg(base).arg(&*group).arg(place).arg(ending).arg(member).arg(chord)
            }
        }
    };
    groups.iter().fold(call.arg(groups.len()), add)
}

/// Adds the messages to be sent. Those for later are named as tags are, for a name tells to which list a message goes.
pub(super) fn add_sends(call: Call, sends: &[Publication]) -> Call {
    let prefix = tag::prefix(&tag::new_owner());
    sends.iter().zip(0_u64..).fold(call.arg(sends.len()), |call, (send, number)| {
        let step = keys::step(send.priority);
        let call = match send.due {
            Some(due) => {
                let name = format!("{prefix}{number:012}{}", tag::suffix(step, &send.queue));
                call.arg("").arg(name).arg(seconds(due))
            }
            None => call.arg(keys::list(&send.queue, step)).arg("").arg(""),
        };
        call.arg(&send.message[..])
    })
}

/// Unix time as a score: exact to the microsecond.
fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
