//! Notices what has changed in the file, whoever changed it, and wakes those who wait for it.
//!
//! SQLite tells nobody of a change, but a counter in shared memory can be asked for it at the cost of a few microseconds. A
//! process is told of its own changes at once. (What inotify says of the log comes before the change can be read.)

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{Notify, watch};

/// How often the counter is asked for: how late a change by another process may be noticed.
const PAUSE: Duration = Duration::from_millis(10);

/// Those who wait.
#[derive(Default)]
pub struct Watch {
    /// For messages.
    pub arrived: Notify,
    /// For revocations.
    pub revoked: Notify,
    /// For broadcasts and replies: how often there were some.
    pub broadcasts: watch::Sender<u64>,
    /// For records: how often some were seen to have changed.
    pub records: watch::Sender<u64>,
    /// For the results of tasks, by their ids as the table has them.
    results: Mutex<HashMap<String, Vec<Arc<Notify>>>>,
}

/// Tells the watching thread to look now; it ends when all of these are dropped.
#[derive(Clone)]
pub struct Poke(SyncSender<()>);

impl Poke {
    /// Something has changed.
    pub fn poke(&self) {
        // A poke that waits already will do.
        let _ = self.0.try_send(());
    }
}

/// Waits for the results of one task until it is dropped.
pub struct Listener {
    watch: Arc<Watch>,
    id: String,
    heard: Arc<Notify>,
}

impl Watch {
    /// Starts watching.
    pub fn start(connection: Connection) -> std::io::Result<(Arc<Self>, Poke)> {
        let watch = Arc::new(Self::default());
        let (poke, pokes) = sync_channel(1);
        let watcher = Watcher {
            connection,
            watch: watch.clone(),
            data_version: 0,
            revision: 0,
            results: 0,
            broadcasts: 0,
            records: 0,
        };
        std::thread::Builder::new().name("sqlite-watch".to_owned()).spawn(move || watcher.run(&pokes))?;
        Ok((watch, Poke(poke)))
    }

    /// Begins to listen for results of a task. What is stored before is not heard.
    pub fn listener(self: &Arc<Self>, id: &str) -> Listener {
        let heard = Arc::new(Notify::new());
        self.listeners().entry(id.to_owned()).or_default().push(heard.clone());
        Listener { watch: self.clone(), id: id.to_owned(), heard }
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<String, Vec<Arc<Notify>>>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// Waits until a result was stored since this was last asked.
    pub async fn heard(&self) {
        self.heard.notified().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = self.watch.listeners();
        if let Some(of_task) = listeners.get_mut(&self.id) {
            of_task.retain(|heard| !Arc::ptr_eq(heard, &self.heard));
            if of_task.is_empty() {
                listeners.remove(&self.id);
            }
        }
    }
}

/// What the watching thread has seen.
struct Watcher {
    connection: Connection,
    watch: Arc<Watch>,
    data_version: i64,
    revision: i64,
    results: i64,
    broadcasts: i64,
    records: i64,
}

impl Watcher {
    fn run(mut self, pokes: &Receiver<()>) {
        while !matches!(pokes.recv_timeout(PAUSE), Err(RecvTimeoutError::Disconnected)) {
            // What could not be read now is looked for again after the pause: nothing is noted as seen before it was told.
            if let Err(error) = self.look() {
                tracing::debug!(%error, "could not look for changes");
            }
        }
    }

    fn look(&mut self) -> rusqlite::Result<()> {
        let number =
            |query: &str| self.connection.prepare_cached(query)?.query_row((), |row| row.get::<_, i64>(0));
        let data_version = number("PRAGMA data_version")?;
        if data_version == self.data_version {
            return Ok(());
        }
        self.watch.arrived.notify_one();
        let revision = number("SELECT value FROM counters WHERE name = 'revision'")?;
        if revision != self.revision {
            self.watch.revoked.notify_one();
        }
        // This is asked before it is known who listens: whoever comes later finds what was stored up to here.
        let results = number("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'results'")?;
        if results != self.results && !self.watch.listeners().is_empty() {
            let mut newer = self.connection.prepare_cached("SELECT task_id FROM results WHERE seq > ?1")?;
            let mut rows = newer.query([self.results])?;
            while let Some(row) = rows.next()? {
                let id = row.get_ref(0)?.as_str()?;
                let listeners = self.watch.listeners();
                listeners.get(id).into_iter().flatten().for_each(|heard| heard.notify_one());
            }
        }
        let broadcasts = number(
            "SELECT coalesce(sum(seq), 0) FROM sqlite_sequence WHERE name IN ('broadcasts', 'replies')",
        )?;
        if broadcasts != self.broadcasts {
            self.watch.broadcasts.send_modify(|count| *count += 1);
        }
        let records = number("SELECT value FROM counters WHERE name = 'records'")?;
        if records != self.records {
            self.watch.records.send_modify(|count| *count += 1);
        }
        (self.records, self.data_version, self.revision) = (records, data_version, revision);
        (self.results, self.broadcasts) = (results, broadcasts);
        Ok(())
    }
}
