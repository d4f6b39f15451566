//! `host plugin keygen` and `host plugin sign`: signatures of uploads.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{Exit, print, push};
use crate::{
    task::Tenant,
    uploads::{SigningKey, sha256},
};

/// Make a key for signing uploads, and print the public key for the tenant's `upload_keys`
#[derive(Debug, Args)]
pub(super) struct Keygen {
    /// The file that the private key is written to; there must be none yet
    file: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Sign a version of a plugin without uploading it
#[derive(Debug, Args)]
pub(super) struct Sign {
    /// The .wasm file. A manifest NAME.toml beside it is signed with it
    file: PathBuf,

    /// What the plugin is called [default: the file's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Whose plugin it is [default: the tenant without a name]
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,

    /// The file with the private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Keygen {
    pub(super) fn execute(self) -> anyhow::Result<Exit> {
        let (key, text) = SigningKey::generate();
        // Nobody else may read it, from the first byte on; and no key is ever written over.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file);
        let written = file.and_then(|mut file| writeln!(file, "{text}"));
        written.with_context(|| format!("cannot write the key to {:?}", self.file))?;
        match self.json {
            true => print::json(&json!({"public": key.public().to_string()})),
            false => print::line(key.public()),
        }
        Ok(Exit::Success)
    }
}

impl Sign {
    pub(super) fn execute(self) -> anyhow::Result<Exit> {
        let (name, wasm, manifest) = push::read(&self.file, self.name.as_deref())?;
        let key = read_key(&self.key)?;
        let tenant = self.tenant.unwrap_or_default();
        let signature = key.sign(&tenant, &name, &sha256(&wasm), manifest.as_deref());
        match self.json {
            true => print::json(&json!({"signature": signature, "public": key.public().to_string()})),
            false => print::line(signature),
        }
        Ok(Exit::Success)
    }
}

/// The private key in a file.
pub(super) fn read_key(file: &Path) -> anyhow::Result<SigningKey> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read the key in {file:?}"))?;
    Ok(SigningKey::read(&text)?)
}
