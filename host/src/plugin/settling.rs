//! When a file in the plugin folder may be read: once nobody is writing it. Pure: time and looks are passed in.
//!
//! A file is at rest when it looked the same twice, [`REST`] apart, and no writer is known to have it open. A file
//! that is gone is at rest by the same rule, so that a file deleted and written anew is a replacement. A plugin and its
//! manifest are one in this: either is taken when both rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// How long a file must look the same.
pub(super) const REST: Duration = Duration::from_millis(200);

use super::manifest;

/// What a look at a plugin shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The `.wasm` file, by whose path the plugin is known.
    pub wasm: FileStamp,
    /// The manifest, if there is one.
    pub manifest: Option<FileStamp>,
}

/// What a look at a file shows without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStamp {
    pub length: u64,
    pub modified: Option<SystemTime>,
    /// When its content, owner or permissions changed, in seconds and nanoseconds.
    pub changed: (i64, i64),
    pub inode: u64,
}

impl Stamp {
    /// Whether neither file was modified less than [`REST`] before `clock`.
    fn is_aged(&self, clock: SystemTime) -> bool {
        let mut files = std::iter::once(&self.wasm).chain(&self.manifest);
        files.all(|file| {
            let age = file.modified.and_then(|modified| clock.duration_since(modified).ok());
            age.is_some_and(|age| age >= REST)
        })
    }
}

/// What is known of the plugins of one folder. `None` stands for one that is not there.
#[derive(Default)]
pub(super) struct Settling {
    /// The last look at each plugin that has changed since it was handled, and when it first looked so.
    changed: BTreeMap<PathBuf, (Option<Stamp>, Duration)>,
    /// The stamp under which each plugin was handled.
    handled: BTreeMap<PathBuf, Stamp>,
    /// Files, manifests too, that were written to and not closed since.
    open: BTreeSet<PathBuf>,
}

impl Settling {
    /// A writer has the file open.
    pub fn written(&mut self, path: &Path) {
        self.open.insert(path.to_owned());
    }

    /// The last writer closed the file, or a whole file was moved here.
    pub fn closed(&mut self, path: &Path) {
        self.open.remove(path);
    }

    /// What was known of writers is not certain any more.
    pub fn forget_writers(&mut self) {
        self.open.clear();
    }

    /// Takes a look at the folder at the time `now` (since any fixed moment) and returns the files that are at rest in a
    /// new state: with their stamp, or `None` if they are gone. They count as handled from here on.
    pub fn look(&mut self, files: &BTreeMap<PathBuf, Stamp>, now: Duration) -> Vec<(PathBuf, Option<Stamp>)> {
        let known: BTreeSet<PathBuf> =
            self.handled.keys().chain(self.changed.keys()).chain(files.keys()).cloned().collect();
        let mut rested = Vec::new();
        for path in known {
            let seen = files.get(&path).copied();
            if seen == self.handled.get(&path).copied() {
                self.changed.remove(&path);
                continue;
            }
            let (last, since) = *self.changed.entry(path.clone()).or_insert((seen, now));
            if last != seen {
                self.changed.insert(path, (seen, now));
            } else if now.saturating_sub(since) >= REST && !(seen.is_some() && self.is_written(&path)) {
                self.changed.remove(&path);
                match seen {
                    Some(stamp) => self.handled.insert(path.clone(), stamp),
                    None => self.handled.remove(&path),
                };
                rested.push((path, seen));
            }
        }
        self.open.retain(|path| {
            // What was opened and is gone was never closed; the kernel says nothing more of it.
            files.contains_key(path)
                || files.get(&path.with_extension("wasm")).is_some_and(|stamp| stamp.manifest.is_some())
        });
        rested
    }

    /// Whether a writer has the plugin or its manifest open.
    fn is_written(&self, path: &Path) -> bool {
        self.open.contains(path) || self.open.contains(&manifest::path_of(path))
    }

    /// Takes the files as they are, without waiting for rest, except for those modified less than [`REST`] before
    /// `clock`. For the first look at a folder.
    pub fn first_look(&mut self, files: &BTreeMap<PathBuf, Stamp>, clock: SystemTime) -> Vec<PathBuf> {
        let rested = files.iter().filter(|(_, stamp)| stamp.is_aged(clock));
        let rested: Vec<(PathBuf, Stamp)> = rested.map(|(path, stamp)| (path.clone(), *stamp)).collect();
        self.handled.extend(rested.iter().cloned());
        rested.into_iter().map(|(path, _)| path).collect()
    }

    /// What was handled of the files in one folder.
    pub fn handled_in(&self, folder: &Path) -> impl Iterator<Item = (PathBuf, Stamp)> {
        let inside = self.handled.iter().filter(move |(path, _)| path.parent() == Some(folder));
        inside.map(|(path, stamp)| (path.clone(), *stamp))
    }

    /// Whether any file is on its way to a new state, so that another look is due soon.
    pub fn is_restless(&self) -> bool {
        !self.changed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(length: u64) -> FileStamp {
        FileStamp { length, modified: None, changed: (0, 0), inode: 1 }
    }

    fn stamp(length: u64) -> Stamp {
        Stamp { wasm: file(length), manifest: None }
    }

    fn with_manifest(length: u64) -> BTreeMap<PathBuf, Stamp> {
        BTreeMap::from([(PathBuf::from("a.wasm"), Stamp { manifest: Some(file(length)), ..stamp(1) })])
    }

    fn folder(files: &[(&str, u64)]) -> BTreeMap<PathBuf, Stamp> {
        files.iter().map(|(name, length)| (PathBuf::from(name), stamp(*length))).collect()
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_file_is_taken_once_it_rests_and_only_once() {
        let mut files = Settling::default();
        assert!(files.look(&folder(&[("a", 1)]), at(0)).is_empty());
        assert!(files.look(&folder(&[("a", 2)]), at(150)).is_empty(), "it grew");
        assert!(files.look(&folder(&[("a", 2)]), at(300)).is_empty(), "not long enough");
        assert_eq!(files.look(&folder(&[("a", 2)]), at(350)), [(PathBuf::from("a"), Some(stamp(2)))]);
        assert!(files.look(&folder(&[("a", 2)]), at(900)).is_empty());
        assert!(!files.is_restless());
    }

    #[test]
    fn a_file_that_a_writer_holds_open_is_not_taken_however_long_it_rests() {
        let mut files = Settling::default();
        files.written(Path::new("a"));
        assert!(files.look(&folder(&[("a", 1)]), at(0)).is_empty());
        assert!(files.look(&folder(&[("a", 1)]), at(60_000)).is_empty());
        files.closed(Path::new("a"));
        assert_eq!(files.look(&folder(&[("a", 1)]), at(60_001)).len(), 1);
    }

    #[test]
    fn a_file_deleted_and_written_anew_is_replaced_without_being_missed() {
        let mut files = Settling::default();
        files.look(&folder(&[("a", 1)]), at(0));
        files.look(&folder(&[("a", 1)]), at(200));
        assert!(files.look(&folder(&[]), at(300)).is_empty());
        assert!(files.look(&folder(&[("a", 2)]), at(400)).is_empty());
        assert_eq!(files.look(&folder(&[("a", 2)]), at(600)), [(PathBuf::from("a"), Some(stamp(2)))]);
        files.look(&folder(&[]), at(700));
        assert_eq!(files.look(&folder(&[]), at(900)), [(PathBuf::from("a"), None)]);
    }

    #[test]
    fn a_manifest_that_comes_changes_or_goes_is_a_change_of_its_plugin() {
        let without = BTreeMap::from([(PathBuf::from("a.wasm"), stamp(1))]);
        let mut files = Settling::default();
        for (step, listing) in
            [&without, &with_manifest(1), &with_manifest(2), &without].into_iter().enumerate()
        {
            let start = step as u64 * 1000;
            assert!(files.look(listing, at(start)).is_empty());
            let expected: Vec<_> = listing.iter().map(|(path, stamp)| (path.clone(), Some(*stamp))).collect();
            assert_eq!(files.look(listing, at(start + 200)), expected, "step {step}");
            assert!(files.look(listing, at(start + 900)).is_empty());
        }
    }

    #[test]
    fn a_plugin_whose_manifest_is_being_written_is_not_taken() {
        let mut files = Settling::default();
        files.written(Path::new("a.toml"));
        assert!(files.look(&with_manifest(1), at(0)).is_empty());
        assert!(files.look(&with_manifest(1), at(60_000)).is_empty());
        files.closed(Path::new("a.toml"));
        assert_eq!(files.look(&with_manifest(1), at(60_001)).len(), 1);
    }

    #[test]
    fn the_first_look_takes_old_files_at_once_and_leaves_fresh_ones_to_rest() {
        let clock = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let aged = |ms| FileStamp { modified: Some(clock - Duration::from_millis(ms)), ..file(1) };
        let listing = BTreeMap::from([
            (PathBuf::from("old"), Stamp { wasm: aged(5000), manifest: Some(aged(5000)) }),
            (PathBuf::from("fresh"), Stamp { wasm: aged(10), manifest: None }),
            (PathBuf::from("with fresh manifest"), Stamp { wasm: aged(5000), manifest: Some(aged(10)) }),
        ]);
        let mut files = Settling::default();
        assert_eq!(files.first_look(&listing, clock), [PathBuf::from("old")]);
        files.look(&listing, at(0));
        let fresh = files.look(&listing, at(200)).into_iter().map(|(path, _)| path);
        assert!(fresh.eq([PathBuf::from("fresh"), PathBuf::from("with fresh manifest")]));
    }
}
