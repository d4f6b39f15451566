//! A thread with a connection of its own, on which blocking work is done in turn.
//!
//! What waits for the writing lane while it commits is committed together, the next time: a disk makes some hundred
//! commits a second, whatever is in them.

use std::sync::mpsc::{Receiver, Sender, channel};

use rusqlite::{Connection, Error, ErrorCode, TransactionBehavior};
use tokio::sync::oneshot;

use super::{address::Address, fault::explain};
use crate::store::StoreError;

/// The most pieces of work in one commit: it bounds how long the first of them waits for the others.
const MOST_AT_ONCE: usize = 64;

/// The way to the thread. It ends when all clones of this are dropped.
#[derive(Clone)]
pub struct Lane {
    work: Sender<Box<dyn Work>>,
    address: Address,
}

impl Lane {
    /// Starts a thread that reads; each piece of work sees one state of the file.
    pub fn reading(connection: Connection, address: &Address) -> std::io::Result<Self> {
        let explained = address.clone();
        Self::start("sqlite-read", address, move |work| read_all(connection, &work, &explained))
    }

    /// Starts a thread that writes, and says so after each commit that has changed something.
    pub fn writing(
        connection: Connection,
        address: &Address,
        changed: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let explained = address.clone();
        Self::start("sqlite-write", address, move |work| write_all(connection, &work, &explained, changed))
    }

    fn start(
        name: &str,
        address: &Address,
        run: impl FnOnce(Receiver<Box<dyn Work>>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (work, waiting) = channel();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || run(waiting))?;
        Ok(Self { work, address: address.clone() })
    }

    /// Does this in a transaction and answers once it is committed. It may be done more than once, each time after
    /// what it did before was undone. What nobody waits for any more when its turn comes is not done.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        // Should the thread have ended, so has the other end of `answer`.
        let _ = self.work.send(Box::new(Asked { work, done: None, answer }));
        answered.await.unwrap_or_else(|_| Err(self.ended()))
    }

    fn ended(&self) -> StoreError {
        let source = "its thread has failed; start the process again".into();
        StoreError::Refused { address: self.address.to_string(), source }
    }
}

/// A piece of work of any type.
trait Work: Send {
    fn is_wanted(&self) -> bool;
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Asked<T, W> {
    work: W,
    done: Option<T>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, W: FnMut(&Connection) -> rusqlite::Result<T> + Send> Work for Asked<T, W> {
    fn is_wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        // What an undone run has brought goes first.
        self.done = None;
        self.done = Some((self.work)(connection)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { done, answer, .. } = *self;
        let done = committed.map(|()| done.expect("what is committed was done"));
        // Whoever asked may have gone; what must not be lost with them sees to it when it is dropped.
        let _ = answer.send(done);
    }
}

fn read_all(mut connection: Connection, work: &Receiver<Box<dyn Work>>, address: &Address) {
    for mut work in work.iter().filter(|work| work.is_wanted()) {
        let done = together(&mut connection, TransactionBehavior::Deferred, std::slice::from_mut(&mut work));
        work.answer(done.map_err(|error| explain(error, address)));
    }
}

fn write_all(
    mut connection: Connection,
    work: &Receiver<Box<dyn Work>>,
    address: &Address,
    changed: impl Fn(),
) {
    let mut changes = connection.total_changes();
    while let Ok(first) = work.recv() {
        let mut all: Vec<_> = std::iter::once(first).chain(work.try_iter().take(MOST_AT_ONCE - 1)).collect();
        all.retain(|work| work.is_wanted());
        if all.is_empty() {
            continue;
        }
        match together(&mut connection, TransactionBehavior::Immediate, &mut all) {
            Ok(()) => all.into_iter().for_each(|work| work.answer(Ok(()))),
            // Whoever has the lock has it for each of them; to wait for it once is enough.
            Err(Error::SqliteFailure(code, text)) if code.code == ErrorCode::DatabaseBusy => {
                for work in all {
                    work.answer(Err(explain(Error::SqliteFailure(code, text.clone()), address)));
                }
            }
            // One of them must not take the others with it.
            Err(error) if all.len() > 1 => {
                tracing::debug!(%error, "trying one by one what could not be committed together");
                for mut work in all {
                    let alone = std::slice::from_mut(&mut work);
                    let done = together(&mut connection, TransactionBehavior::Immediate, alone);
                    work.answer(done.map_err(|error| explain(error, address)));
                }
            }
            Err(error) => all.remove(0).answer(Err(explain(error, address))),
        }
        if connection.total_changes() != changes {
            changes = connection.total_changes();
            changed();
        }
    }
}

/// Does work in one transaction; without success nothing of it is left.
fn together(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    all: &mut [Box<dyn Work>],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(behavior)?;
    for work in all {
        work.run(&transaction)?;
    }
    transaction.commit()
}
