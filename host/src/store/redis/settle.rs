//! How deliveries end. Each settlement is one step of Redis, and each has an answer of its own.

use redis::Value;

use super::{
    Redis,
    chords::chord_groups,
    connection::{Answers, Connection},
    ending::{End, Ended, Ending, Then, With},
    put_back::{PutBack, of_record},
    script::Call,
    tag::OwnTag,
};
use crate::{
    protocol::message::{mark_redelivered, mark_requeued},
    store::{Fate, Settled, Settlement, StoreError, delivery::strays},
    task::Tenant,
};

/// The settlements of one call, with what is known of each.
struct Batch<'a> {
    settlements: &'a [Settlement],
    tags: Vec<Option<OwnTag>>,
    settled: Vec<Settled>,
    /// Those that are still to be asked for.
    asked: Vec<usize>,
}

impl Redis {
    /// See [`crate::store::Broker::settle`].
    pub(super) async fn settle_all(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let queues: Vec<_> = settlements
            .iter()
            .flat_map(|settlement| &settlement.sends)
            .map(|send| send.queue.clone())
            .collect();
        self.bind_new(&queues).await;
        let mut batch = Batch::new(settlements);
        batch.refuse_strays();
        self.refuse_the_too_large(&mut batch).await?;
        for tag in batch.asked.iter().filter_map(|&i| batch.tags[i].as_ref()) {
            self.custody.begin_end(tag);
        }
        if !self.results_are_with_broker() {
            self.store_elsewhere(&mut batch).await?;
        }
        self.settle_asked(&mut batch).await?;
        for (tag, settled) in batch.tags.iter().zip(&batch.settled) {
            match (tag, settled) {
                (Some(tag), Settled::Done | Settled::NotHeld) => self.custody.release(tag),
                (Some(tag), Settled::Refused(_)) => self.custody.no_end(tag),
                (None, _) => {}
            }
        }
        let done = (0..settlements.len()).filter(|&i| batch.settled[i] == Settled::Done);
        let of_tenant = |i: usize| settlements[i].results.iter().map(move |result| (i, result));
        self.tell_late_comers(done.flat_map(of_tenant).map(|(i, result)| (batch.tenant(i), result)));
        Ok(batch.settled)
    }

    async fn settle_asked(&self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        let settlements = batch.settlements;
        let with_broker = self.results_are_with_broker();
        let with = |i: usize| {
            let Settlement { results, groups, sends, .. } = &settlements[i];
            match with_broker {
                true => With { results, groups, sends },
                false => With { sends, ..With::default() },
            }
        };
        let is_back = |&i: &usize| matches!(settlements[i].fate, Fate::Restore | Fate::Requeue);
        let (back, mut end): (Vec<_>, Vec<_>) = batch.asked.iter().copied().partition(is_back);

        // Those that are parked together wait in the order in which they were taken.
        end.sort_by_key(|&i| match &settlements[i].fate {
            Fate::Park { .. } => batch.tags[i].as_ref().map(|tag| tag.number),
            _ => None,
        });
        let (plain, end): (Vec<_>, Vec<_>) =
            end.into_iter().partition(|&i| batch.ending(i, with(i)).is_plain());
        let mut calls: Vec<_> = end.iter().map(|&i| self.ending(&batch.ending(i, with(i)))).collect();
        if !plain.is_empty() {
            calls.push(self.acknowledgements(plain.iter().map(|&i| batch.ending(i, with(i)))));
        }
        let mut answers = self.commands.call_each::<Value>(&calls).await?;
        if !plain.is_empty() {
            let acknowledged = answers.pop().expect("each call has an answer");
            batch.note(&plain, self.each_acknowledged(acknowledged, plain.len()));
        }
        let answers = answers.into_iter().map(|answer| answer.and_then(|value| self.commands.read(value)));
        let answers: Answers<Ended> = answers.collect();
        self.note_complete(batch, &end, &answers);
        batch.note(&end, answers);

        let mut back: Vec<_> = back
            .into_iter()
            .filter_map(|i| {
                let end = if settlements[i].fate == Fate::Restore { End::Head } else { End::Tail };
                Some((i, batch.tags[i].clone()?, end, with(i)))
            })
            .collect();
        // Of those that go to the head the newest goes first, so that the oldest ends up first in line.
        back.sort_by_key(|(_, tag, end, _)| match end {
            End::Head => (0, std::cmp::Reverse(tag.number)),
            End::Tail => (1, std::cmp::Reverse(0)),
        });
        let put_back: Vec<_> = back
            .iter()
            .map(|(_, tag, end, with)| {
                let mark = if *end == End::Head { mark_redelivered } else { mark_requeued };
                PutBack { tag, end: *end, mark, with: *with }
            })
            .collect();
        let answers = self.put_back(&put_back).await?;
        let back: Vec<_> = back.iter().map(|(i, ..)| *i).collect();
        self.note_complete(batch, &back, &answers);
        batch.note(&back, answers);
        Ok(())
    }

    /// How each of so many deliveries ended that were acknowledged in one step.
    fn each_acknowledged(&self, answer: Result<Value, StoreError>, count: usize) -> Answers<Ended> {
        let refused = |why: String| Err(self.commands.refusal(why));
        match answer.and_then(|value| self.commands.read::<Vec<Value>>(value)) {
            Ok(answers) => answers
                .into_iter()
                .map(|answer| match answer {
                    Value::BulkString(why) => refused(String::from_utf8_lossy(&why).into_owned()),
                    answer => self.commands.read(answer),
                })
                .collect(),
            Err(error) => (0..count).map(|_| refused(refusal(&error))).collect(),
        }
    }

    /// Stores results in a backend of its own, before anything is acknowledged, and only for what is held: the result of a
    /// delivery that is not must not be stored. Two databases cannot be asked in one step, so a delivery may be
    /// lost between the question and the storing; then two results are stored, one after the other, as in Celery.
    async fn store_elsewhere(&self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        let exists = |&i: &usize| of_record("HEXISTS", batch.tags[i].as_ref().map_or("", |tag| &tag.text));
        let held: Vec<bool> = self.commands.ask_all(batch.asked.iter().map(exists).collect()).await?;
        let gone: Vec<_> =
            batch.asked.iter().copied().zip(held).filter(|(_, held)| !held).map(|(i, _)| i).collect();
        batch.asked.retain(|i| !gone.contains(i));

        let settlements = batch.settlements;
        let has_any = |i: &usize| !settlements[*i].results.is_empty() || !settlements[*i].groups.is_empty();
        let storing: Vec<usize> = batch.asked.iter().copied().filter(has_any).collect();
        let calls: Vec<_> =
            storing.iter().map(|&i| self.elsewhere(&settlements[i], batch.tenant(i))).collect();
        let answers = self.results.call_each::<Ended>(&calls).await?;
        self.note_complete(batch, &storing, &answers);
        for (i, answer) in storing.into_iter().zip(answers) {
            if let Err(error) = answer {
                batch.refuse(i, refusal(&error));
            }
        }
        Ok(())
    }

    /// What is stored of a settlement in a database of its own. Doing it twice is the same as doing it once.
    fn elsewhere(&self, settlement: &Settlement, tenant: &Tenant) -> Call {
        let Settlement { results, groups, .. } = settlement;
        self.ending(&Ending {
            tag: b"",
            tenant,
            with: With { results, groups, sends: &[] },
            then: Then::Acknowledged,
        })
    }

    /// Notes which chords are complete by what was just committed.
    fn note_complete(&self, batch: &Batch<'_>, asked: &[usize], answers: &Answers<Ended>) {
        let complete = |(&i, answer): (&usize, &Result<Ended, StoreError>)| match answer {
            Ok(Ended::WithChord) => Some(chord_groups(batch.tenant(i), &batch.settlements[i].groups)),
            _ => None,
        };
        self.chords_are_complete(asked.iter().zip(answers).filter_map(complete).flatten());
    }

    /// Refuses what a server would not even read: it breaks the connection, and with it what is sent with it.
    async fn refuse_the_too_large(&self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        for i in batch.asked.clone() {
            let settlement = &batch.settlements[i];
            let result = settlement.results.iter().map(|result| result.meta.len()).max().unwrap_or(0);
            let parked = if let Fate::Park { message, .. } = &settlement.fate { message.len() } else { 0 };
            let message =
                settlement.sends.iter().map(|send| send.message.len()).max().unwrap_or(0).max(parked);
            for (server, size) in [(&self.commands, message), (&*self.results, result)] {
                if let Some(most) = self.exceeded(server, size).await? {
                    batch.refuse(i, format!("{size} bytes are more than Redis takes, which is {most}"));
                    break;
                }
            }
        }
        Ok(())
    }

    /// The most bytes that a server takes in one value, if `size` is more. It is asked only when it can be.
    pub(super) async fn exceeded(
        &self,
        server: &Connection,
        size: usize,
    ) -> Result<Option<usize>, StoreError> {
        /// The least that `proto-max-bulk-len` can be set to.
        const LEAST: usize = 1 << 20;
        /// What it is unless it was set, for those who may not ask.
        const USUAL: usize = 512 << 20;
        if size <= LEAST {
            return Ok(None);
        }
        let ask = redis::cmd("CONFIG").arg("GET").arg("proto-max-bulk-len").to_owned();
        let most = match server.ask::<(String, usize)>(&ask).await {
            Ok((_, most)) => most,
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => USUAL,
        };
        Ok((size > most).then_some(most))
    }
}

impl<'a> Batch<'a> {
    fn new(settlements: &'a [Settlement]) -> Self {
        let parse = |settlement: &Settlement| OwnTag::parse(&settlement.tag.0);
        let mut batch = Self {
            settlements,
            tags: settlements.iter().map(parse).collect(),
            settled: vec![Settled::NotHeld; settlements.len()],
            asked: Vec::new(),
        };
        // What has no tag of ours is held by nobody here.
        batch.asked = (0..settlements.len()).filter(|&i| batch.tags[i].is_some()).collect();
        batch
    }

    fn ending<'b>(&'b self, i: usize, with: With<'b>) -> Ending<'b> {
        let settlement = &self.settlements[i];
        let tag = self.tags[i].as_ref().expect("only what has a tag of ours is asked about");
        let then = match &settlement.fate {
            Fate::Delay(until) => Then::Delayed(tag, *until),
            Fate::Park { task, until, message } => Then::Parked(tag, task, *until, message),
            Fate::DeadLetter(cause) => Then::Dead(tag, cause),
            // What goes back is put back, not ended here.
            Fate::Acknowledge | Fate::Restore | Fate::Requeue => Then::Acknowledged,
        };
        Ending { tag: tag.text.as_bytes(), tenant: &tag.tenant, with, then }
    }

    /// Whose a delivery is.
    fn tenant(&self, i: usize) -> &Tenant {
        self.tags[i].as_ref().map_or(&Tenant::DEFAULT, |tag| &tag.tenant)
    }

    /// Refuses to send to queues of other tenants than the delivery's own.
    fn refuse_strays(&mut self) {
        for i in 0..self.settlements.len() {
            let sends = &self.settlements[i].sends;
            if let Some(why) = self.tags[i].as_ref().and_then(|tag| strays(sends, &tag.tenant)) {
                self.refuse(i, why);
            }
        }
    }

    fn refuse(&mut self, i: usize, why: String) {
        self.settled[i] = Settled::Refused(why);
        self.asked.retain(|asked| *asked != i);
    }

    fn note(&mut self, asked: &[usize], answers: Answers<Ended>) {
        for (&i, answer) in asked.iter().zip(answers) {
            self.settled[i] = match answer {
                Ok(Ended::Well | Ended::WithChord) => Settled::Done,
                Ok(Ended::NotHeld) => Settled::NotHeld,
                Err(error) => Settled::Refused(refusal(&error)),
            };
        }
    }
}

/// An error with what the server said.
pub fn refusal(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
