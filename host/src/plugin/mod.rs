//! Which `.wasm` file answers which task name of which tenant, kept up to date while files come, change and go.
//!
//! [`Folder`] is the plugin folder and [`follow`] follows it; [`Registry`] is what the worker asks for each message. A file that cannot be
//! loaded, or whose manifest cannot be read, never takes away a version that works.

mod calls;
mod folder;
mod listing;
mod manifest;
mod offered;
mod registry;
mod settling;
mod watch;

pub use calls::Calls;
pub use folder::{Change, Folder};
pub use listing::Listing;
pub use manifest::{Manifest, ManifestError};
pub use offered::Offer;
pub use registry::{Changes, Entry, Plugin, Registry};
pub use watch::follow;

/// Why a plugin folder or file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The folder cannot be read.
    #[error("read the plugin folder {path:?}")]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file's name cannot become part of a task name.
    #[error(
        "the file name {file:?} cannot name a plugin: use letters, digits, `_`, `-` and `.`, at most 100 of them"
    )]
    Name {
        /// The file's name.
        file: String,
    },
    /// A file cannot be read.
    #[error("read it")]
    Read(#[from] std::io::Error),
    /// A file is not a plugin.
    #[error(transparent)]
    Load(#[from] crate::sandbox::LoadError),
    /// The manifest beside a file cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}
