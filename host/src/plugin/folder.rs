//! The plugin folder: which files are in it, and loading those that changed.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    Listing, Plugin, PluginError, Registry, manifest,
    settling::{FileStamp, REST, Settling, Stamp},
};
use crate::{sandbox::Sandbox, task::Tenant};

/// A folder of `.wasm` files with their manifests, and the registry that offers their tasks. Those in a folder below it are
/// those of the tenant whose name that folder has.
///
/// Everything here blocks: it reads files and compiles. [`follow`](super::follow) gives it a thread of its own.
pub struct Folder {
    path: PathBuf,
    sandbox: Arc<Sandbox>,
    registry: Arc<Registry>,
    pub(super) settling: Settling,
    plugins: BTreeMap<PathBuf, Arc<Plugin>>,
    /// The folders of tenants as they were last found.
    tenants: Vec<(Tenant, PathBuf)>,
    /// What is skipped was told once.
    told: BTreeSet<PathBuf>,
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
            tenants: Vec::new(),
            told: BTreeSet::new(),
            opened: Instant::now(),
        };
        let mut changes = Vec::new();
        let files = folder.files(&mut changes)?;
        let rested = folder.settling.first_look(&files, SystemTime::now());
        changes.extend(folder.load_all(&rested));
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
        let (mut changed, mut changes) = (Vec::new(), Vec::new());
        let known = self.tenants.clone();
        let files = self.files(&mut changes)?;
        for (path, stamp) in self.settling.look(&files, self.opened.elapsed()) {
            match stamp {
                Some(_) => changed.push(path),
                None => changes.extend(self.plugins.remove(&path).map(Change::Removed)),
            }
        }
        changes.extend(self.load_all(&changed));
        if !changes.is_empty() || self.tenants != known {
            self.offer(&mut changes);
        }
        Ok(changes)
    }

    /// The folder and those of the tenants in it.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.path).chain(self.tenants.iter().map(|(_, path)| path)).map(PathBuf::as_path)
    }

    /// Loads files, several at a time.
    fn load_all(&mut self, paths: &[PathBuf]) -> Vec<Change> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(paths.len());
        let (next, sandbox) = (AtomicUsize::new(0), &self.sandbox);
        let tenants = &self.tenants;
        let load_some = || {
            let mut loaded = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(path) = paths.get(n) else { return loaded };
                let tenant = tenants.iter().find(|(_, folder)| path.parent() == Some(folder));
                let tenant = tenant.map_or(Tenant::DEFAULT, |(tenant, _)| tenant.clone());
                loaded.push((n, Plugin::load(sandbox, tenant, path)));
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
            Err(error) => Change::Broken {
                file: self.shown(path),
                reason: one_line(&error),
                earlier_stays: self.plugins.contains_key(path),
            },
        }
    }

    /// Puts the plugins into the registry, and tells of names that two of them claim.
    fn offer(&self, changes: &mut Vec<Change>) {
        let tenants = self.tenants.iter().map(|(tenant, _)| tenant.clone());
        let taken = self.registry.replace(tenants, self.plugins.values().cloned());
        changes.extend(taken.into_iter().map(|(name, file)| Change::Broken {
            file: name.to_string(),
            reason: format!("this task is already offered by {file:?}, which keeps it"),
            earlier_stays: false,
        }));
    }

    /// The `.wasm` files of all tenants, each with its manifest. What is skipped is told once. The files of a folder that cannot
    /// be read any more count as they were last seen.
    fn files(&mut self, changes: &mut Vec<Change>) -> Result<BTreeMap<PathBuf, Stamp>, PluginError> {
        let unreadable = |source| PluginError::Folder { path: self.path.clone(), source };
        let Listing { files: found, mut tenants, skipped } = Listing::of(&self.path).map_err(unreadable)?;
        let mut files = BTreeMap::new();
        for (_, path) in found {
            if let Some(wasm) = look_at(&path) {
                let manifest = look_at(&manifest::path_of(&path));
                files.insert(path, Stamp { wasm, manifest });
            }
        }
        for (folder, _) in &skipped {
            files.extend(self.settling.handled_in(folder));
            tenants.extend(self.tenants.iter().filter(|(_, known)| known == folder).cloned());
        }
        tenants.sort();
        self.tenants = tenants;
        self.told.retain(|told| skipped.iter().any(|(folder, _)| folder == told));
        for (folder, reason) in skipped {
            let earlier_stays = self.plugins.keys().any(|path| path.parent() == Some(&folder));
            if self.told.insert(folder.clone()) {
                changes.push(Change::Broken { file: self.shown(&folder), reason, earlier_stays });
            }
        }
        Ok(files)
    }

    /// A path as people see it: from the folder on.
    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.path).unwrap_or(path).to_string_lossy().into_owned()
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
