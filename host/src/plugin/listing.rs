//! What is in the plugin folder: the default tenant's files, and below it a folder for each other tenant.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::task::Tenant;

/// What is in a plugin folder.
#[derive(Debug, Default)]
pub struct Listing {
    /// The `.wasm` files, each with its tenant. Hidden ones are left out: that is what a file is called while an editor or `rsync`
    /// writes it.
    pub files: Vec<(Tenant, PathBuf)>,
    /// The folders of tenants.
    pub tenants: Vec<(Tenant, PathBuf)>,
    /// The folders that are no tenant's, or cannot be read, each with the reason.
    pub skipped: Vec<(PathBuf, String)>,
}

impl Listing {
    /// Looks at a folder and at those of the tenants in it, and no deeper. Fails if the folder itself cannot be read.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let mut listing = Self::default();
        let mut folders = Vec::new();
        for path in visible(folder)? {
            match is_wasm(&path) {
                true => listing.files.push((Tenant::DEFAULT, path)),
                false if path.is_dir() => folders.push(path),
                false => {}
            }
        }
        for path in folders {
            match tenant_of(&path).and_then(|tenant| Ok((visible(&path).map_err(|e| e.to_string())?, tenant)))
            {
                Ok((inside, tenant)) => {
                    let files = inside.into_iter().filter(|path| is_wasm(path));
                    listing.files.extend(files.map(|path| (tenant.clone(), path)));
                    listing.tenants.push((tenant, path));
                }
                // It may just have been removed.
                Err(_) if !path.exists() => {}
                Err(reason) => listing.skipped.push((path, reason)),
            }
        }
        listing.files.sort();
        Ok(listing)
    }
}

/// Whose a folder below the plugin folder is.
fn tenant_of(folder: &Path) -> Result<Tenant, String> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    Tenant::new(&name).map_err(|error| error.to_string())
}

fn visible(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| !path.file_name().unwrap_or_default().to_string_lossy().starts_with('.'));
    Ok(paths)
}

fn is_wasm(path: &Path) -> bool {
    path.file_name().unwrap_or_default().to_string_lossy().ends_with(".wasm") && !path.is_dir()
}
