//! Compiled code on disk: what was compiled once is mapped the next time, in a hundredth of the time and with pages that are read
//! when they are needed.
//!
//! # What always holds
//!
//! - Compiled code is run as it is, outside of all walls, so none is taken from where anybody else could have put it: the folder
//!   belongs to this user and nobody else can enter it, or there is no cache.
//! - A file has its name only once all of it is on the disk. Its name says whose it is, of which bytes, by which compiler, with
//!   which settings.
//! - The cache is nothing that anything depends on: where it fails, plugins are compiled.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, Module, component::Component};

use super::{engine, load::hex};
use crate::task::Tenant;

/// What nobody has used for so long goes.
const LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// The most bytes that stay; what was used last stays.
const LARGEST: u64 = 2 << 30;

/// How compiled code ends by name.
const EXTENSION: &str = "cwasm";

/// A folder of compiled code.
pub(super) struct CodeCache {
    folder: PathBuf,
    /// Of the compiler and its settings.
    compatibility: u64,
}

/// What code is found by: whose it is, and of which file. Two tenants with the same file have two, so that none learns from the
/// time it takes that another has it.
pub(super) struct Key(String);

impl Key {
    /// Of the tenant's file with this digest.
    pub fn new(tenant: &Tenant, digest: &[u8; 32]) -> Self {
        let owner = tenant.prefix();
        Self(hex(&Sha256::new().chain_update(owner).chain_update(digest).finalize()))
    }
}

/// What can be compiled, written and read back.
pub(super) trait Compiled: Sized {
    fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Self>;
    fn serialize(&self) -> wasmtime::Result<Vec<u8>>;
    /// # Safety
    ///
    /// The file must be what [`Self::serialize`] gave, all of it and unchanged, for as long as the code is used.
    unsafe fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Self>;
    /// # Safety
    ///
    /// The bytes must be what [`Self::serialize`] gave, or a compiler for the same engine.
    unsafe fn read(engine: &Engine, code: &[u8]) -> wasmtime::Result<Self>;
}

impl CodeCache {
    /// Opens the folder, and makes it if it is not there.
    pub fn open(folder: &Path, engine: &Engine) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let found = fs::symlink_metadata(folder)?;
        let refuse = |reason: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, reason.to_owned()));
        if !found.is_dir() {
            return refuse("it is a link, and could lead elsewhere tomorrow");
        }
        if found.uid() != rustix::process::geteuid().as_raw() {
            return refuse("it belongs to another user");
        }
        if found.mode() & 0o077 != 0 {
            return refuse("others can enter it; chmod it to 700");
        }
        let cache = Self { folder: folder.to_owned(), compatibility: engine::compatibility(engine) };
        cache.clean_up();
        Ok(cache)
    }

    /// Whether there is code under `key`.
    pub fn contains(&self, key: &Key) -> bool {
        self.path(key).exists()
    }

    /// The code under `key`. What cannot be used goes.
    pub fn find<C: Compiled>(&self, engine: &Engine, key: &Key) -> Option<C> {
        let path = self.path(key);
        if !path.exists() {
            return None;
        }
        // SAFETY: only this user can write into the folder, and `keep` is what this user does there: whole files, never
        // changed. Whether it is for this compiler wasmtime checks as well.
        match unsafe { C::map(engine, &path) } {
            Ok(code) => {
                touch(&path);
                Some(code)
            }
            Err(error) => {
                tracing::warn!("compiled code in {path:?} cannot be used: {error:#}");
                let _ = fs::remove_file(path);
                None
            }
        }
    }

    /// Keeps what this process has compiled, if it can.
    pub fn keep_compiled<C: Compiled>(&self, key: &Key, code: &C) {
        let code = code.serialize().map_err(io::Error::other);
        if let Err(error) = code.and_then(|code| self.keep(key, |file| file.write_all(&code))) {
            tracing::warn!("compiled code is not kept in {:?}: {error}", self.folder);
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
        let (name, compatibility) = (&key.0, self.compatibility);
        self.folder.join(format!("{name}-{compatibility:016x}.{EXTENSION}"))
    }

    /// Keeps under `key` what `write` writes.
    pub fn keep(&self, key: &Key, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        self.clean_up();
        let unfinished = self.folder.join(format!("{}.unfinished", uuid::Uuid::new_v4()));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
            write(&mut file)?;
            file.sync_all()?;
            fs::rename(&unfinished, self.path(key))
        })();
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// Removes what is old or too much, and what a process that died has left. Code that is in use stays mapped.
    fn clean_up(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let found = entry.metadata().ok().filter(fs::Metadata::is_file)?;
                Some((found.modified().ok()?, found.len(), entry.path()))
            })
            .collect();
        files.sort_by(|one, other| other.cmp(one));
        let now = SystemTime::now();
        let mut total = 0;
        for (used, size, path) in files {
            let age = now.duration_since(used).unwrap_or_default();
            let is_code = path.extension().is_some_and(|extension| extension == EXTENSION);
            let lifetime = if is_code { LIFETIME } else { Duration::from_secs(3_600) };
            total += size;
            if age > lifetime || total > LARGEST {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Notes that it was used.
fn touch(path: &Path) {
    let touched =
        File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!(%error, "cannot note that compiled code was used");
    }
}

macro_rules! compiled {
    ($($code:ty),+) => {$(
        impl Compiled for $code {
            fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Self> {
                Self::from_binary(engine, wasm)
            }

            fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
                self.serialize()
            }

            unsafe fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Self> {
                // SAFETY: the caller's promise is the same.
                unsafe { Self::deserialize_file(engine, path) }
            }

            unsafe fn read(engine: &Engine, code: &[u8]) -> wasmtime::Result<Self> {
                // SAFETY: the caller's promise is the same.
                unsafe { Self::deserialize(engine, code) }
            }
        }
    )+};
}

compiled!(Component, Module);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn what_was_compiled_is_mapped_by_the_next_and_broken_code_goes() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("deep").join("down");
        let (engine, wasm) = (Engine::default(), wat::parse_str("(component)").unwrap());
        let cache = CodeCache::open(&folder, &engine).unwrap();
        let key = Key::new(&Tenant::DEFAULT, &[7; 32]);
        assert!(!cache.contains(&key) && cache.find::<Component>(&engine, &key).is_none());
        cache.keep_compiled(&key, &Component::from_binary(&engine, &wasm).unwrap());
        let [file] = &files(&folder)[..] else { panic!("one file, whole") };
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);

        let long_ago = SystemTime::now() - LIFETIME / 2;
        File::options().append(true).open(file).unwrap().set_modified(long_ago).unwrap();
        assert!(cache.contains(&key) && cache.find::<Component>(&engine, &key).is_some());
        let used = fs::metadata(file).unwrap().modified().unwrap();
        assert!(used > long_ago, "the time is new, the file is the same");

        let whole = fs::read(file).unwrap();
        fs::write(file, &whole[..whole.len() / 2]).unwrap();
        assert!(cache.find::<Component>(&engine, &key).is_none());
        assert!(files(&folder).is_empty(), "what cannot be used is not found again");
        let broken_off = cache.keep(&key, |_| Err(io::Error::other("broken off")));
        assert!(broken_off.is_err() && files(&folder).is_empty(), "half of it is nothing");
    }

    #[test]
    fn tenants_do_not_share_code() {
        let acme = Tenant::new("acme").unwrap();
        assert_ne!(Key::new(&acme, &[7; 32]).0, Key::new(&Tenant::DEFAULT, &[7; 32]).0);
        assert_ne!(Key::new(&acme, &[7; 32]).0, Key::new(&acme, &[8; 32]).0);
    }

    #[test]
    fn a_folder_that_others_can_enter_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, path) = (Engine::default(), folder.path().join("cache"));
        CodeCache::open(&path, &engine).unwrap();
        let refusal = |path: &Path| CodeCache::open(path, &engine).err().unwrap().to_string();
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(refusal(&link).contains("link"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(refusal(&path).contains("700"));
        assert!(CodeCache::open(Path::new("/proc/nothing/here"), &engine).is_err());
    }

    #[test]
    fn what_is_old_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, path) = (Engine::default(), folder.path().join("cache"));
        CodeCache::open(&path, &engine).unwrap();
        for (name, age) in
            [("new.cwasm", 0), ("old.cwasm", 31 * 86_400), ("a.unfinished", 7_200), ("b.unfinished", 0)]
        {
            let file = File::create(path.join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        CodeCache::open(&path, &engine).unwrap();
        assert_eq!(files(&path), ["b.unfinished", "new.cwasm"].map(|name| path.join(name)));
    }
}
