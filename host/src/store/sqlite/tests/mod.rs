//! The engine on real files: the conformance list here, `files` for files that cannot be used, are full or locked,
//! and for what is in them, `processes` for several processes and their deaths.

use super::Sqlite;
use crate::store::{
    Options,
    conformance::{self, Engine},
};

mod files;
mod processes;

/// A folder with one file; removed when dropped.
struct File(tempfile::TempDir);

impl File {
    fn url(&self) -> String {
        format!("sqlite:{}/host.db", self.0.path().display())
    }

    async fn connect_with(&self, options: Options) -> Sqlite {
        Sqlite::open(&self.url(), None, options).await.unwrap()
    }
}

impl Engine for File {
    type Store = Sqlite;

    async fn start() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn connect(&self) -> Sqlite {
        self.connect_with(Options::default()).await
    }
}

conformance::conformance!(File);
