//! Complete chords on Redis. That a chord is complete is noted in the step that counts its last part, in keys of ours; its
//! endings stay in Celery's keys until it is finished.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{
    Redis,
    ending::{Ended, Ending, Then, With},
    keys, script,
    settle::refusal,
};
use crate::{
    store::{
        Chords, Finish, Settled, StoreError,
        chords::LEFT_ALONE,
        delivery::strays,
        scope::{scoped, unscoped},
    },
    task::{CompleteChord, GroupChange, TaskId, Tenant},
};

/// The most chords in one answer. Their endings may be many.
const MOST: usize = 50;

/// How often is looked for what others have left.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The chords that are complete by this owner's doing.
#[derive(Default)]
pub struct Complete {
    /// As our keys name them.
    groups: Mutex<HashSet<String>>,
    news: Notify,
}

impl Complete {
    fn some(&self) -> Vec<String> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).iter().take(MOST).cloned().collect()
    }

    fn forget(&self, group: &str) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(group);
    }
}

#[async_trait]
impl Chords for Redis {
    async fn complete(&self) -> Result<Vec<CompleteChord>, StoreError> {
        let own = self.complete.some();
        let call = script::COMPLETE.call().key(keys::CHORDS).key(keys::CHORDS_SINCE);
        let call = call.arg(LEFT_ALONE.as_micros() as u64).arg(MOST);
        let call = own.iter().fold(call, |call, group| call.arg(group));
        let answer: Vec<String> =
            self.results.call::<Vec<String>>(&[call]).await?.into_iter().flatten().collect();
        let noted: Vec<_> = answer.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect();
        for finished in own.iter().filter(|group| !noted.iter().any(|(noted, _)| *noted == *group)) {
            self.complete.forget(finished);
        }
        let mut complete = Vec::new();
        for (group, chord) in noted {
            let Some((tenant, group)) = unscoped(group) else { continue };
            let Ok(group) = TaskId::new(group) else { continue };
            let (base, chord) = (keys::group(&tenant, &group), chord.clone());
            let endings = redis::cmd("ZRANGE").arg(format!("{base}.j")).arg(0).arg(-1).to_owned();
            let shape = redis::cmd("GET").arg(&base).to_owned();
            let mut answers = self.results.ask_all::<redis::Value>(vec![endings, shape]).await?.into_iter();
            let mut next = || answers.next().unwrap_or(redis::Value::Nil);
            let (endings, shape) = (self.results.read(next())?, self.results.read(next())?);
            complete.push(CompleteChord { tenant, group, chord, endings, shape });
        }
        Ok(complete)
    }

    async fn finish(&self, tenant: &Tenant, group: &TaskId, finish: &Finish) -> Result<Settled, StoreError> {
        let Finish { results, groups, sends } = finish;
        if let Some(why) = strays(sends, tenant) {
            return Ok(Settled::Refused(why));
        }
        let queues: Vec<_> = sends.iter().map(|send| send.queue.clone()).collect();
        self.bind_new(&queues).await;
        let then = Then::ChordFinished(group);
        let calls = match self.results_are_with_broker() {
            true => {
                vec![self.ending(&Ending { tag: b"", tenant, with: With { results, groups, sends }, then })]
            }
            false => {
                // Sizes come before what is counted, and what is sent before it is forgotten that it has to be.
                let sizes: Vec<_> = groups.iter().filter(|(_, change)| !is_part(change)).cloned().collect();
                let with = With { groups: &sizes, ..With::default() };
                let sizes = self.ending(&Ending { tag: b"", tenant, with, then: Then::Acknowledged });
                self.results.call::<Ended>(&[sizes]).await?;
                let with = With { sends, ..With::default() };
                let sent = self.ending(&Ending { tag: b"", tenant, with, then: Then::ChordSent(group) });
                if let Err(error) = self.commands.call_each::<Ended>(&[sent]).await?.remove(0) {
                    return Ok(Settled::Refused(refusal(&error)));
                }
                let with = With { results, groups, sends: &[] };
                vec![self.ending(&Ending { tag: b"", tenant, with, then })]
            }
        };
        let ended = self.results.call_each::<Ended>(&calls).await?.remove(0);
        if matches!(ended, Ok(Ended::WithChord)) {
            self.chords_are_complete(chord_groups(tenant, groups));
        }
        let scoped = scoped(tenant, group.as_str());
        Ok(match ended {
            Ok(Ended::NotHeld) => {
                self.complete.forget(&scoped);
                Settled::NotHeld
            }
            Ok(_) => {
                self.complete.forget(&scoped);
                self.tell_late_comers(results.iter().map(|result| (tenant, result)));
                Settled::Done
            }
            Err(error) => Settled::Refused(refusal(&error)),
        })
    }

    async fn chord_news(&self) {
        if self.complete.some().is_empty() {
            // Running out of time is one of the two ways to return.
            let _ = tokio::time::timeout(LONGEST_WAIT, self.complete.news.notified()).await;
        }
    }
}

impl Redis {
    /// Notes that some of these groups' chords are complete; which of them is found out by looking.
    pub(super) fn chords_are_complete(&self, groups: impl Iterator<Item = String>) {
        let mut groups = groups.peekable();
        if groups.peek().is_some() {
            self.complete.groups.lock().unwrap_or_else(PoisonError::into_inner).extend(groups);
            self.complete.news.notify_one();
        }
    }
}

/// The tenant's groups of whose chords these changes count parts, as our keys name them.
pub fn chord_groups(tenant: &Tenant, groups: &[(TaskId, GroupChange)]) -> impl Iterator<Item = String> {
    let parts = groups.iter().filter(|(_, change)| is_part(change));
    parts.map(|(group, _)| scoped(tenant, group.as_str()).into_owned())
}

fn is_part(change: &GroupChange) -> bool {
    matches!(change, GroupChange::Part(_))
}
