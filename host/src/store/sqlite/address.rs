//! The URL of a file: `sqlite:relative/path`, `sqlite:/absolute/path` or `sqlite:///absolute/path`.
//!
//! What follows the scheme is a path as it stands: nothing in it is decoded.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::store::StoreError;

/// What the URLs of this engine begin with.
const SCHEME: &str = "sqlite:";

/// Where the file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    path: PathBuf,
}

impl Address {
    /// Whether a URL names a file of this engine, rather than a server.
    pub fn is_meant_by(url: &str) -> bool {
        url.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
    }

    /// Reads a URL. A relative path begins in the current folder, as it is now.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let wrong = |reason: &str| StoreError::Url { url: url.to_owned(), reason: reason.to_owned() };
        if !Self::is_meant_by(url) {
            return Err(wrong("it does not begin with sqlite:"));
        }
        let path = match &url[SCHEME.len()..] {
            "" | "//" => return Err(wrong("it names no file; write sqlite:PATH")),
            ":memory:" => return Err(wrong("messages in memory end with the process; write sqlite:PATH")),
            rest => match rest.strip_prefix("//") {
                None => rest,
                Some(path) if path.starts_with('/') => path,
                Some(_) => {
                    return Err(wrong(
                        "a file has no host; write sqlite:PATH, or three slashes for an absolute path",
                    ));
                }
            },
        };
        match std::path::absolute(path) {
            _ if path.contains('\0') => Err(wrong("no path has a zero byte in it")),
            _ if path.ends_with('/') => Err(wrong("it names a folder; name a file in it")),
            Ok(path) => Ok(Self { path }),
            Err(error) => Err(wrong(&error.to_string())),
        }
    }

    /// The file, from the root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both name one file, which need not exist.
    pub fn is_same_file(&self, other: &Self) -> bool {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.path == other.path || real(&self.path) == real(&other.path)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_files_from_here_or_from_the_root() {
        let here = std::env::current_dir().unwrap();
        for (url, path) in [
            ("sqlite:a b/%41.db?x", here.join("a b/%41.db?x")),
            ("SQLite:./host.db", here.join("host.db")),
            ("sqlite:/var/host.db", "/var/host.db".into()),
            ("sqlite:///var/host.db", "/var/host.db".into()),
            ("sqlite:////var/host.db", "/var/host.db".into()),
        ] {
            assert_eq!(Address::parse(url).unwrap().path(), path, "{url}");
        }
        assert_eq!(Address::parse("sqlite:///var/host.db").unwrap().to_string(), "sqlite:/var/host.db");
    }

    #[test]
    fn other_urls_are_refused_with_a_reason() {
        for (url, reason) in [
            ("sqlite:", "names no file"),
            ("sqlite://", "names no file"),
            ("sqlite://box/host.db", "a file has no host"),
            ("sqlite::memory:", "in memory"),
            ("sqlite:a\0b", "zero byte"),
            ("sqlite:/var/", "a folder"),
            ("redis://localhost", "does not begin with sqlite:"),
            ("ü", "does not begin with sqlite:"),
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn a_file_is_the_same_by_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let parse =
            |name: &str| Address::parse(&format!("sqlite:{}/{name}", folder.path().display())).unwrap();
        std::fs::write(folder.path().join("a"), "").unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("b")).unwrap();
        assert!(parse("a").is_same_file(&parse("b")));
        assert!(parse("new").is_same_file(&parse("./new")));
        assert!(!parse("a").is_same_file(&parse("new")));
    }
}
