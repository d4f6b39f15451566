//! Follows the plugin folder: told of changes by the kernel, and looking by itself now and then where the kernel does
//! not tell (network file systems, or no watches left).

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};

use super::{
    folder::{Change, Folder},
    settling::{REST, Settling},
};

/// How often the folder is looked at when nothing was told.
const UNPROMPTED: Duration = Duration::from_millis(500);

/// Follows the folder on a thread of its own, until the process ends. Each change is told to `on_change` after it has
/// taken effect.
pub fn follow(mut folder: Folder, on_change: impl Fn(Change) + Send + 'static) {
    let look_on = move || {
        let (tell, told) = channel();
        let mut watcher = notify::recommended_watcher(tell).map(Watched::new);
        let mut readable = true;
        if let Err(error) = &watcher {
            tracing::warn!(%error, "{UNTOLD}");
        }
        loop {
            if let Ok(watched) = &mut watcher {
                watched.follow(&folder);
            }
            wait(&told, &mut folder.settling);
            match folder.look() {
                Ok(changes) => {
                    readable = true;
                    changes.into_iter().for_each(&on_change);
                }
                // Said once, not twice a second.
                Err(error) if readable => {
                    readable = false;
                    tracing::error!(%error, "its tasks stay as they are");
                }
                Err(_) => {}
            }
        }
    };
    let name = "plugin-folder".to_owned();
    std::thread::Builder::new().name(name).spawn(look_on).expect("the system can start one more thread");
}

const UNTOLD: &str = "the system does not tell of changes in the plugin folder; looking twice a second";

/// The folders of whose changes the kernel tells.
struct Watched {
    watcher: notify::RecommendedWatcher,
    /// Each with its inode: one that was removed and made anew is another.
    folders: BTreeMap<PathBuf, u64>,
}

impl Watched {
    fn new(watcher: notify::RecommendedWatcher) -> Self {
        Self { watcher, folders: BTreeMap::new() }
    }

    /// Watches the plugin folder and those of the tenants that are in it now.
    fn follow(&mut self, folder: &Folder) {
        let inode = |path: &std::path::Path| Some((path.to_owned(), std::fs::metadata(path).ok()?.ino()));
        let now: BTreeMap<PathBuf, u64> = folder.paths().filter_map(inode).collect();
        if now == self.folders {
            return;
        }
        for (path, inode) in &self.folders {
            if now.get(path) != Some(inode) {
                // The kernel has forgotten it by itself if it is gone.
                let _ = self.watcher.unwatch(path);
            }
        }
        for (path, inode) in &now {
            if self.folders.get(path) != Some(inode)
                && let Err(error) = self.watcher.watch(path, RecursiveMode::NonRecursive)
            {
                tracing::warn!(%error, ?path, "{UNTOLD}");
            }
        }
        self.folders = now;
    }
}

/// Waits until there is reason to look at the folder again, noting what is told of writers.
fn wait(told: &Receiver<notify::Result<Event>>, settling: &mut Settling) {
    let patience = if settling.is_restless() { REST / 4 } else { UNPROMPTED };
    let deadline = Instant::now() + patience;
    loop {
        match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) if is_only_read(&event) => continue,
            Ok(event) => note(event, settling),
            // Without a watcher nobody holds the other end.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(patience),
            Err(RecvTimeoutError::Timeout) => {}
        }
        break;
    }
    while let Ok(event) = told.try_recv() {
        note(event, settling);
    }
}

/// Whether somebody has read and changed nothing: most often this thread, whose next look would follow from its last.
fn is_only_read(event: &notify::Result<Event>) -> bool {
    let wrote = EventKind::Access(AccessKind::Close(AccessMode::Write));
    event.as_ref().is_ok_and(|event| event.kind.is_access() && event.kind != wrote && !event.need_rescan())
}

fn note(event: notify::Result<Event>, settling: &mut Settling) {
    let Ok(event) = event else { return settling.forget_writers() };
    if event.need_rescan() {
        return settling.forget_writers();
    }
    for path in &event.paths {
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => settling.written(path),
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_)) => {
                settling.closed(path);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_at_the_folder_is_no_reason_to_look_again() {
        let (tell, told) = channel();
        let read = EventKind::Access(AccessKind::Open(AccessMode::Any));
        for _ in 0..3 {
            tell.send(Ok(Event::new(read))).unwrap();
        }
        let begin = Instant::now();
        wait(&told, &mut Settling::default());
        assert!(begin.elapsed() >= UNPROMPTED, "nothing was told that counts");

        tell.send(Ok(Event::new(EventKind::Access(AccessKind::Close(AccessMode::Write))))).unwrap();
        wait(&told, &mut Settling::default());
        assert!(told.try_recv().is_err(), "it was heard");
    }
}
