//! Taking: messages become held by this owner and reach its hands, or go back.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{Sqlite, clock, lists, owners, revocations, tag};
use crate::{
    store::{Delivery, Portion, StoreError, Taken},
    task::QueueName,
};

/// The most bytes of messages in one take; the message that reaches it is the last. All of them are in memory at once.
const LARGEST_TAKE: usize = 4 << 20;

/// The most messages in one take: it bounds how long others wait for it.
const LONGEST_TAKE: usize = 1_000;

/// How long an owner that took something lives without a heartbeat.
const FIRST_LEASE: Duration = Duration::from_secs(10);

/// Lists, the most urgent first, and which of them are looked at first within a step.
type Lists = Vec<(QueueName, u8)>;

/// A portion with its lists.
#[derive(Clone)]
struct Shared {
    lists: Lists,
    share: usize,
    most: usize,
}

/// Deliveries of this owner that nobody has received. They are held, and so would be lost while the owner lives.
#[derive(Default)]
pub struct Abandoned(Mutex<Vec<i64>>);

impl Abandoned {
    /// Their numbers.
    pub fn numbers(&self) -> Vec<i64> {
        self.lock().clone()
    }

    /// Forgets those that were put back.
    pub fn forget(&self, numbers: &[i64]) {
        self.lock().retain(|number| !numbers.contains(number));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a take has brought. Unless it is received, its deliveries are abandoned when it is dropped, wherever it is by then.
struct Brought {
    taken: Taken,
    numbers: Vec<i64>,
    abandoned: Arc<Abandoned>,
}

impl Brought {
    fn receive(mut self) -> Taken {
        self.numbers.clear();
        self.taken.more = !self.taken.deliveries.is_empty();
        std::mem::take(&mut self.taken)
    }
}

impl Drop for Brought {
    fn drop(&mut self) {
        // Of a take that was undone the messages are not held; then there will be nothing to put back.
        self.abandoned.lock().append(&mut self.numbers);
    }
}

/// What is to be had.
struct Look {
    anything: bool,
    next_due: i64,
    revision: u64,
}

impl Sqlite {
    /// See [`crate::store::Broker::take`]. Looks first: what changes nothing keeps nobody from writing.
    pub(super) async fn take_from(&self, portions: &[Portion<'_>], most: usize) -> Result<Taken, StoreError> {
        let portions = portions.iter().filter(|portion| !portion.queues.is_empty() && portion.most > 0);
        let portions: Vec<_> = portions.collect();
        if portions.is_empty() || most == 0 {
            return Ok(Taken::default());
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut shared = Vec::new();
        for Portion { queues, share, most } in portions {
            self.bind_new(queues).await;
            shared.push(Shared { lists: lists_of(queues, turn), share: *share, most: *most });
        }
        let looked_at = shared.clone();
        let look = move |c: &Connection| look(c, looked_at.iter().flat_map(|shared| &shared.lists));
        let Look { anything, next_due, revision } = self.reads.run(look).await?;
        self.next_due.store(next_due, Ordering::Relaxed);
        if !anything {
            return Ok(Taken { revision, ..Taken::default() });
        }
        let (owner, clock) = (self.owner.clone(), self.clock.clone());
        let (next_number, abandoned) = (self.next_number.clone(), self.abandoned.clone());
        let take = move |connection: &Connection| {
            let revision = revocations::revision(connection)?;
            let mut brought = Brought {
                // All that share the file share this clock.
                taken: Taken { revision, now: Timestamp::now(), ..Taken::default() },
                numbers: Vec::new(),
                abandoned: abandoned.clone(),
            };
            for (id, queue, message) in choose(connection, &shared, most.min(LONGEST_TAKE))? {
                let number = next_number.fetch_add(1, Ordering::Relaxed);
                hold(connection, id, &owner, number)?;
                brought.numbers.push(number);
                brought.taken.deliveries.push(Delivery { tag: tag::tag(&owner, number), queue, message });
            }
            if !brought.numbers.is_empty() {
                owners::begin(connection, &owner, &clock, FIRST_LEASE)?;
            }
            Ok(brought)
        };
        self.writes.run(take).await.map(Brought::receive)
    }
}

/// As in Kombu the priority comes first and the queues take turns within it.
fn lists_of(queues: &[QueueName], turn: usize) -> Lists {
    let (front, back) = queues.split_at(turn % queues.len());
    let in_turn = || back.iter().chain(front).cloned();
    lists::PRIORITY_STEPS.into_iter().flat_map(|step| in_turn().map(move |queue| (queue, step))).collect()
}

fn look<'a>(
    connection: &Connection,
    lists: impl Iterator<Item = &'a (QueueName, u8)>,
) -> rusqlite::Result<Look> {
    let mut look = Look { anything: false, next_due: i64::MAX, revision: revocations::revision(connection)? };
    for (queue, step) in lists {
        let due = lists::next_due(connection, queue.as_str(), *step)?.unwrap_or(i64::MAX);
        look.next_due = look.next_due.min(due);
        look.anything |= lists::has_waiting(connection, queue.as_str(), *step)?;
    }
    look.anything |= look.next_due <= clock::now();
    Ok(look)
}

/// The messages of a list: first those whose time has come, then the others. Some of them are skipped.
const NEXT: [&str; 2] = [
    "SELECT id, message FROM messages WHERE state = 2 AND queue = ?1 AND step = ?2 AND due <= ?3 ORDER BY due, id
     LIMIT -1 OFFSET ?4",
    "SELECT id, message FROM messages WHERE state = 0 AND queue = ?1 AND step = ?2 AND ?3 ORDER BY position
     LIMIT -1 OFFSET ?4",
];

/// The next messages: of each portion its share, then of what remains.
fn choose(
    connection: &Connection,
    portions: &[Shared],
    most: usize,
) -> rusqlite::Result<Vec<(i64, QueueName, Bytes)>> {
    let (mut chosen, mut bytes) = (Vec::new(), 0);
    let now = clock::now().max(1);
    // How many of each portion are chosen, and of each of its queries.
    let mut counts: Vec<_> =
        portions.iter().map(|portion| (0, vec![0_i64; portion.lists.len() * NEXT.len()])).collect();
    for limit in [|portion: &Shared| portion.share, |portion: &Shared| portion.most] {
        for (portion, (count, skipped)) in portions.iter().zip(&mut counts) {
            let queries = portion.lists.iter().flat_map(|list| NEXT.map(|query| (list, query)));
            for (((queue, step), query), skipped) in queries.zip(skipped) {
                if *count >= limit(portion) || chosen.len() >= most || bytes >= LARGEST_TAKE {
                    break;
                }
                let mut statement = connection.prepare_cached(query)?;
                let mut rows = statement.query(params![queue.as_str(), step, now, *skipped])?;
                while *count < limit(portion) && chosen.len() < most && bytes < LARGEST_TAKE {
                    let Some(row) = rows.next()? else { break };
                    let message = Bytes::copy_from_slice(row.get_ref(1)?.as_blob()?);
                    bytes += message.len();
                    chosen.push((row.get(0)?, queue.clone(), message));
                    *count += 1;
                    *skipped += 1;
                }
            }
        }
    }
    Ok(chosen)
}

fn hold(connection: &Connection, id: i64, owner: &str, number: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE messages SET state = 1, owner = ?2, number = ?3, due = NULL, task = NULL WHERE id = ?1",
        )?
        .execute(params![id, owner, number])
        .map(drop)
}
