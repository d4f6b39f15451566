//! The plugin folder: which files are in it, and loading those that changed.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{
    Plugin, PluginError, Registry, manifest,
    settling::{FileStamp, REST, Settling, Stamp},
};
use crate::sandbox::Sandbox;

/// A folder of `.wasm` files with their manifests, and the registry that offers their tasks.
///
/// Everything here blocks: it reads files and compiles. [`follow`](super::follow) gives it a thread of its own.
pub struct Folder {
    path: PathBuf,
    sandbox: Arc<Sandbox>,
    registry: Arc<Registry>,
    pub(super) settling: Settling,
    plugins: BTreeMap<PathBuf, Arc<Plugin>>,
    opened: Instant,
}

/// What happened to a file of the folder.
pub enum Change {
    /// Its tasks are offered now; it was not there before.
    Added(Arc<Plugin>),
    /// Its new version is offered now.
    Replaced(Arc<Plugin>),
    /// It is gone, and its tasks with it.
    Removed(Arc<Plugin>),
    /// It cannot be loaded. If an earlier version of it worked, that is still offered.
    Broken {
        /// The file's name.
        file: String,
        /// Why, in one line.
        reason: String,
        /// Whether an earlier version is still offered.
        earlier_stays: bool,
    },
}

/// How long the first look waits for files that are just being copied.
const PATIENCE: Duration = Duration::from_secs(1);

impl Folder {
    /// Opens the folder and loads what is in it; the second part of the answer tells of each file.
    pub fn open(path: &Path, sandbox: Arc<Sandbox>) -> Result<(Self, Vec<Change>), PluginError> {
        // The kernel tells of files by their whole path.
        let path =
            path.canonicalize().map_err(|source| PluginError::Folder { path: path.to_owned(), source })?;
        let mut folder = Self {
            path,
            sandbox,
            registry: Arc::default(),
            settling: Settling::default(),
            plugins: BTreeMap::new(),
            opened: Instant::now(),
        };
        let files = folder.files()?;
        let rested = folder.settling.first_look(&files, SystemTime::now());
        let mut changes = folder.load_all(&rested);
        folder.offer(&mut changes);
        loop {
            changes.extend(folder.look()?);
            if !folder.settling.is_restless() || folder.opened.elapsed() > PATIENCE {
                return Ok((folder, changes));
            }
            thread::sleep(REST / 4);
        }
    }

    /// The tasks that the folder offers, now and after each change.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }

    /// Looks at the folder once and loads what has come to rest in a new state.
    pub(super) fn look(&mut self) -> Result<Vec<Change>, PluginError> {
        let files = self.files()?;
        let (mut changed, mut changes) = (Vec::new(), Vec::new());
        for (path, stamp) in self.settling.look(&files, self.opened.elapsed()) {
            match stamp {
                Some(_) => changed.push(path),
                None => changes.extend(self.plugins.remove(&path).map(Change::Removed)),
            }
        }
        changes.extend(self.load_all(&changed));
        if !changes.is_empty() {
            self.offer(&mut changes);
        }
        Ok(changes)
    }

    /// The path of the folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Loads files, several at a time.
    fn load_all(&mut self, paths: &[PathBuf]) -> Vec<Change> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(paths.len());
        let (next, sandbox) = (AtomicUsize::new(0), &self.sandbox);
        let load_some = || {
            let mut loaded = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(path) = paths.get(n) else { return loaded };
                loaded.push((n, Plugin::load(sandbox, path)));
            }
        };
        let mut loaded: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(load_some)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("loading does not panic")).collect()
        });
        loaded.sort_by_key(|(n, _)| *n);
        loaded.into_iter().map(|(n, result)| self.take_in(&paths[n], result)).collect()
    }

    /// What a file was loaded as takes the place of what it was before.
    fn take_in(&mut self, path: &Path, loaded: Result<Plugin, PluginError>) -> Change {
        match loaded {
            Ok(plugin) => {
                let plugin = Arc::new(plugin);
                match self.plugins.insert(path.to_owned(), plugin.clone()) {
                    Some(_) => Change::Replaced(plugin),
                    None => Change::Added(plugin),
                }
            }
            Err(error) => {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Change::Broken {
                    file,
                    reason: one_line(&error),
                    earlier_stays: self.plugins.contains_key(path),
                }
            }
        }
    }

    /// Puts the plugins into the registry, and tells of names that two of them claim.
    fn offer(&self, changes: &mut Vec<Change>) {
        let taken = self.registry.replace(self.plugins.values());
        changes.extend(taken.into_iter().map(|(name, file)| Change::Broken {
            file: name.to_string(),
            reason: format!("this task is already offered by {file:?}, which keeps it"),
            earlier_stays: false,
        }));
    }

    /// The `.wasm` files in the folder, each with its manifest. Hidden files are left out: that is what a file is called while an editor or
    /// `rsync` writes it.
    fn files(&self) -> Result<BTreeMap<PathBuf, Stamp>, PluginError> {
        let unreadable = |source| PluginError::Folder { path: self.path.clone(), source };
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(&self.path).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') || !name.ends_with(".wasm") {
                continue;
            }
            if let Some(wasm) = look_at(&path) {
                let manifest = look_at(&manifest::path_of(&path));
                files.insert(path, Stamp { wasm, manifest });
            }
        }
        Ok(files)
    }
}

/// What a look at a file shows. A file may vanish between being listed and being looked at; then it is not there.
fn look_at(path: &Path) -> Option<FileStamp> {
    let metadata =
        std::fs::metadata(path).inspect_err(|error| tracing::trace!(?path, %error, "gone")).ok()?;
    metadata.is_file().then(|| FileStamp {
        length: metadata.len(),
        modified: metadata.modified().ok(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        inode: metadata.ino(),
    })
}

/// An error with its causes, in one line.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text.replace('\n', "; ")
}

#[cfg(test)]
mod tests;
