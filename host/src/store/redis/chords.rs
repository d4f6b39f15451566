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
    store::{Chords, Finish, Settled, StoreError, chords::LEFT_ALONE},
    task::{CompleteChord, GroupChange, TaskId},
};

/// The most chords in one answer. Their endings may be many.
const MOST: usize = 50;

/// How often is looked for what others have left.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The chords that are complete by this owner's doing.
#[derive(Default)]
pub struct Complete {
    groups: Mutex<HashSet<TaskId>>,
    news: Notify,
}

impl Complete {
    fn some(&self) -> Vec<TaskId> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).iter().take(MOST).cloned().collect()
    }

    fn forget(&self, group: &TaskId) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(group);
    }
}

#[async_trait]
impl Chords for Redis {
    async fn complete(&self) -> Result<Vec<CompleteChord>, StoreError> {
        let own = self.complete.some();
        let call = script::COMPLETE.call().key(keys::CHORDS).key(keys::CHORDS_SINCE);
        let call = call.arg(LEFT_ALONE.as_micros() as u64).arg(MOST);
        let call = own.iter().fold(call, |call, group| call.arg(group.as_str()));
        let answer: Vec<String> =
            self.results.call::<Vec<String>>(&[call]).await?.into_iter().flatten().collect();
        let noted: Vec<(TaskId, String)> = answer
            .chunks_exact(2)
            .filter_map(|pair| Some((TaskId::new(&pair[0]).ok()?, pair[1].clone())))
            .collect();
        for finished in own.iter().filter(|group| !noted.iter().any(|(noted, _)| noted == *group)) {
            self.complete.forget(finished);
        }
        let mut complete = Vec::new();
        for (group, chord) in noted {
            let base = keys::group(&group);
            let endings = redis::cmd("ZRANGE").arg(format!("{base}.j")).arg(0).arg(-1).to_owned();
            let shape = redis::cmd("GET").arg(&base).to_owned();
            let mut answers = self.results.ask_all::<redis::Value>(vec![endings, shape]).await?.into_iter();
            let mut next = || answers.next().unwrap_or(redis::Value::Nil);
            let (endings, shape) = (self.results.read(next())?, self.results.read(next())?);
            complete.push(CompleteChord { group, chord, endings, shape });
        }
        Ok(complete)
    }

    async fn finish(&self, group: &TaskId, finish: &Finish) -> Result<Settled, StoreError> {
        let Finish { results, groups, sends } = finish;
        let queues: Vec<_> = sends.iter().map(|send| send.queue.clone()).collect();
        self.bind_new(&queues).await;
        let then = Then::ChordFinished(group);
        let calls = match self.results_are_with_broker() {
            true => vec![self.ending(&Ending { tag: b"", with: With { results, groups, sends }, then })],
            false => {
                // Sizes come before what is counted, and what is sent before it is forgotten that it has to be.
                let sizes: Vec<_> = groups.iter().filter(|(_, change)| !is_part(change)).cloned().collect();
                let with = With { groups: &sizes, ..With::default() };
                let sizes = self.ending(&Ending { tag: b"", with, then: Then::Acknowledged });
                self.results.call::<Ended>(&[sizes]).await?;
                let with = With { sends, ..With::default() };
                let sent = self.ending(&Ending { tag: b"", with, then: Then::ChordSent(group) });
                if let Err(error) = self.commands.call_each::<Ended>(&[sent]).await?.remove(0) {
                    return Ok(Settled::Refused(refusal(&error)));
                }
                vec![self.ending(&Ending { tag: b"", with: With { results, groups, sends: &[] }, then })]
            }
        };
        let ended = self.results.call_each::<Ended>(&calls).await?.remove(0);
        if matches!(ended, Ok(Ended::WithChord)) {
            self.chords_are_complete(chord_groups(groups));
        }
        Ok(match ended {
            Ok(Ended::NotHeld) => {
                self.complete.forget(group);
                Settled::NotHeld
            }
            Ok(_) => {
                self.complete.forget(group);
                self.tell_late_comers(results.iter());
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
    pub(super) fn chords_are_complete<'g>(&self, groups: impl Iterator<Item = &'g TaskId>) {
        let mut groups = groups.peekable();
        if groups.peek().is_some() {
            self.complete.groups.lock().unwrap_or_else(PoisonError::into_inner).extend(groups.cloned());
            self.complete.news.notify_one();
        }
    }
}

/// The groups of whose chords these changes count parts.
pub fn chord_groups(groups: &[(TaskId, GroupChange)]) -> impl Iterator<Item = &TaskId> {
    groups.iter().filter(|(_, change)| is_part(change)).map(|(group, _)| group)
}

fn is_part(change: &GroupChange) -> bool {
    matches!(change, GroupChange::Part(_))
}
