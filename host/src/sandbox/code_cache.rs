//! Compiled code on disk: what was compiled once is mapped the next time, in a hundredth of the time and with pages that are read
//! when they are needed.
//!
//! # What always holds
//!
//! - Compiled code is run as it is, outside of all walls, so none is taken from where anybody else could have put it: the folder
//!   belongs to this user and nobody else can enter it, or there is no cache.
//! - A file has its name only once all of it is on the disk. Its name says of which bytes, by which compiler, with which
//!   settings.
//! - The cache is nothing that anything depends on: where it fails, plugins are compiled.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, Module, component::Component};

use super::load::hex;

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

/// What can be compiled, written and read back.
pub(super) trait Compiled: Sized {
    /// Tells the kinds apart where they lie beside each other.
    const KIND: &'static str;

    fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Self>;
    fn serialize(&self) -> wasmtime::Result<Vec<u8>>;
    /// # Safety
    ///
    /// The file must be what [`Self::serialize`] gave, all of it and unchanged, for as long as the code is used.
    unsafe fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Self>;
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
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let cache = Self { folder: folder.to_owned(), compatibility: hasher.finish() };
        cache.clean_up();
        Ok(cache)
    }

    /// The code of `wasm`, compiled unless it was before.
    pub fn load<C: Compiled>(&self, engine: &Engine, wasm: &[u8]) -> wasmtime::Result<C> {
        let path = self.path::<C>(wasm);
        if path.exists() {
            // SAFETY: only this user can write into the folder, and `write` is what this user does there: whole files, never
            // changed. Whether it is for this compiler wasmtime checks as well.
            match unsafe { C::map(engine, &path) } {
                Ok(code) => {
                    touch(&path);
                    return Ok(code);
                }
                Err(error) => tracing::warn!("compiled code in {path:?} cannot be used: {error:#}"),
            }
        }
        let code = C::compile(engine, wasm)?;
        if let Err(error) =
            code.serialize().map_err(io::Error::other).and_then(|text| self.write(&path, &text))
        {
            tracing::warn!("compiled code is not kept in {:?}: {error}", self.folder);
        }
        Ok(code)
    }

    fn path<C: Compiled>(&self, wasm: &[u8]) -> PathBuf {
        let (digest, compatibility) = (hex(&Sha256::digest(wasm)), self.compatibility);
        self.folder.join(format!("{digest}-{compatibility:016x}-{}.{EXTENSION}", C::KIND))
    }

    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        self.clean_up();
        let unfinished = self.folder.join(format!("{}.unfinished", uuid::Uuid::new_v4()));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
            file.write_all(code)?;
            file.sync_all()?;
            fs::rename(&unfinished, path)
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
    ($($code:ty: $kind:literal),+) => {$(
        impl Compiled for $code {
            const KIND: &'static str = $kind;

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
        }
    )+};
}

compiled!(Component: "component", Module: "module");

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
    fn what_was_compiled_is_mapped_by_the_next_and_broken_code_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("deep").join("down");
        let (engine, wasm) = (Engine::default(), wat::parse_str("(component)").unwrap());
        let cache = CodeCache::open(&folder, &engine).unwrap();
        cache.load::<Component>(&engine, &wasm).unwrap();
        let [file] = &files(&folder)[..] else { panic!("one file, whole") };
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
        let whole = fs::read(file).unwrap();

        let long_ago = SystemTime::now() - LIFETIME / 2;
        File::options().append(true).open(file).unwrap().set_modified(long_ago).unwrap();
        cache.load::<Component>(&engine, &wasm).unwrap();
        let used = fs::metadata(file).unwrap().modified().unwrap();
        assert!(used > long_ago, "it was used, not compiled: the time is new, the file is the same");
        assert_eq!(files(&folder).len(), 1);

        fs::write(file, &whole[..whole.len() / 2]).unwrap();
        cache.load::<Component>(&engine, &wasm).unwrap();
        assert_eq!(fs::read(file).unwrap().len(), whole.len());
        assert!(cache.load::<Component>(&engine, b"\0asm nonsense").is_err());
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
