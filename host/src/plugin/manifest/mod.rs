//! The manifest of a plugin: what its author says about how its tasks are to be run, and what they want to reach. It is `NAME.toml`
//! beside `NAME.wasm`; without one, the section `host:manifest` of the `.wasm` file itself.
//!
//! ```toml
//! # For every task of the plugin.
//! time_limit = 30
//! autoretry_for = ["ConnectionError", "TimeoutError"]
//! retry_backoff = true
//!
//! # For one task, by the function's name as in task names: what is said here comes before what is said above.
//! [tasks.divide]
//! max_retries = 10
//!
//! [grants]
//! http = ["api.example.org"]
//! ```
//!
//! The keys are Celery's where Celery has the thing; the user's table of them is in `wit/README.md`, and a schema for editors in
//! `wit/manifest.schema.json`. What is not understood is refused, whole and with the key's name: a limit that was misspelt must not
//! be one that does not hold.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use crate::{
    sandbox::{self, Function, Skipped},
    task::{Grants, TaskOptions},
};

mod error;
mod grants;
mod options;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;
mod value;

pub use error::ManifestError;
use error::{Wrong, shown};

/// The largest manifest that is read, in bytes.
const LARGEST: u64 = 64 << 10;

/// The section of a `.wasm` file that is its manifest.
const SECTION: &str = "host:manifest";

/// What a manifest says.
#[derive(Debug)]
pub struct Manifest {
    /// The options of each of the plugin's functions, in their order.
    pub options: Vec<TaskOptions>,
    /// What the plugin asks for.
    pub grants: Grants,
    /// What it says of functions that the plugin does not have.
    pub unknown: Vec<Skipped>,
}

/// Where the manifest of the plugin at `wasm` is, if it has one beside it.
pub(super) fn path_of(wasm: &Path) -> PathBuf {
    wasm.with_extension("toml")
}

/// The text of the manifest beside the plugin at `wasm`, if there is one.
pub(super) fn beside(wasm: &Path) -> Result<Option<String>, ManifestError> {
    let path = path_of(wasm);
    match text(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Err(ManifestError::Read { file, source })
        }
    }
}

/// The text of the manifest, and at most a byte more than it may have.
fn text(path: &Path) -> io::Result<String> {
    // A pipe would have the reader wait for a writer. What is no file is no manifest, as in the folder's own look.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    Ok(text)
}

impl Manifest {
    /// The manifest of the plugin `file` with these bytes and functions. `beside` is the one beside it; it stands for all that the
    /// plugin carries itself.
    pub(super) fn of(
        file: &str,
        wasm: &[u8],
        beside: Option<&str>,
        functions: &[Function],
    ) -> Result<Self, ManifestError> {
        let names = functions.iter().map(Function::name);
        let stem = file.strip_suffix(".wasm").unwrap_or(file);
        if let Some(text) = beside {
            return Self::parse(&format!("{stem}.toml"), text, names);
        }
        let within = sandbox::sections(wasm, SECTION);
        match within.as_slice() {
            [] => Self::parse(file, "", names),
            [bytes] => {
                let whole = format!("{file}, {SECTION}");
                let text = std::str::from_utf8(bytes).map_err(|error| ManifestError::Syntax {
                    file: whole.clone(),
                    line: 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count(),
                    reason: "it is not UTF-8".to_owned(),
                })?;
                Self::parse(&whole, text, names)
            }
            several => Err(ManifestError::Several { file: file.to_owned(), found: several.len() }),
        }
    }

    /// Reads `text` for functions of these names. A door for the fuzz targets (`tests/fuzz`).
    #[doc(hidden)]
    pub fn read(text: &str, names: &[&str]) -> Result<Self, ManifestError> {
        Self::parse("fuzz.toml", text, names.iter().copied())
    }

    /// Reads `text`, which errors call `file`.
    fn parse<'a>(
        file: &str,
        text: &str,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Self, ManifestError> {
        if text.len() as u64 > LARGEST {
            return Err(ManifestError::TooLarge { file: file.to_owned() });
        }
        let mut table: Table = text.parse().map_err(|error: toml::de::Error| ManifestError::Syntax {
            line: error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count()),
            reason: error.message().split_whitespace().collect::<Vec<_>>().join(" "),
            file: file.to_owned(),
        })?;
        let mut take = |key: &str, expected: &str| match table.remove(key) {
            None => Ok(Table::new()),
            Some(Value::Table(table)) => Ok(table),
            Some(other) => Err(Wrong::value(expected).at(file, key, &other)),
        };
        let grants = grants::read(&take("grants", "a table: [grants]")?, file)?;
        let mut tasks = take("tasks", "tables, one for each task: [tasks.divide]")?;
        let mut of_all = TaskOptions::default();
        options::set_all(&mut of_all, &table, "", file)?;

        let set_one = |name: &str, table: &Value| {
            let mut of_one = of_all.clone();
            let prefix = format!("tasks.{name}");
            let Value::Table(table) = table else {
                return Err(Wrong::value("a table of options").at(file, &prefix, table));
            };
            options::set_all(&mut of_one, table, &format!("{prefix}."), file).map(|()| of_one)
        };
        let mut options = Vec::new();
        for name in names {
            options.push(match tasks.remove(name) {
                Some(table) => set_one(name, &table)?,
                None => of_all.clone(),
            });
        }
        // The options of a task that is not there must be right as well, so that the task can be added without a surprise.
        let mut unknown = Vec::new();
        for (name, table) in &tasks {
            set_one(name, table)?;
            let reason = format!("{file} has options for it, but the plugin offers no task of this name");
            unknown.push(Skipped { name: shown(name), reason });
        }
        Ok(Self { options, grants, unknown })
    }
}
