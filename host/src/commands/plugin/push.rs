//! `host plugin push`: a new version.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;

use super::{Exit, Place, actor, brief, print, sign};
use crate::{
    config,
    sandbox::{Options, Sandbox},
    uploads::{Live, Prepared, Upload, UploadErrorKind, Uploaded},
};

/// Upload a version of a plugin: all workers run it within two seconds
///
/// What it changes is shown first. A version that asks for more than was granted is held until it is approved.
#[derive(Debug, Args)]
pub(super) struct Push {
    /// The .wasm file. A manifest NAME.toml beside it goes with it
    file: PathBuf,

    /// What the plugin is called [default: the file's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    place: Place,

    /// Do not ask before it goes live
    #[arg(short, long)]
    yes: bool,

    /// Only store it; `host plugin activate` has it run
    #[arg(long, conflicts_with = "canary")]
    hold: bool,

    /// Let it take so many calls of a hundred; it goes by itself if it fails more often than the active version
    #[arg(long, value_name = "SHARE")]
    canary: Option<u8>,

    /// Sign it with the private key in this file, which `host plugin keygen` made
    #[arg(long, value_name = "FILE", conflicts_with = "signature")]
    key: Option<PathBuf>,

    /// What `host plugin sign` has printed for it
    #[arg(long, value_name = "TEXT")]
    signature: Option<String>,
}

impl Push {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let uploads = self.place.uploads().await?;
        let upload = self.upload()?;
        let options =
            Options { slots: 1, code_cache: config::code_cache(), file: usize::MAX, ..Options::default() };
        let sandbox = Sandbox::new(options).context("cannot start the sandbox")?;
        let (tenant, plugin) = (upload.tenant.clone(), upload.plugin.clone());
        let prepared = uploads.prepare(&sandbox, upload).await?;
        let before = match uploads.show(&tenant, &plugin).await {
            Err(error) if error.kind() == UploadErrorKind::NotFound => Uploaded::default(),
            before => before?,
        };
        self.show(&prepared, &before);
        if !self.hold && !self.yes && !confirmed()? {
            print::aside("nothing is changed");
            return Ok(Exit::Failure);
        }
        let live = match self.canary {
            Some(share) => Live::Canary(share),
            None if self.hold => Live::Stored,
            None => Live::Active,
        };
        let uploaded = uploads.push(&prepared, live, &actor()).await?;
        self.told(&plugin, prepared.digest(), &uploaded)
    }

    fn upload(&self) -> anyhow::Result<Upload> {
        let (name, wasm, manifest) = read(&self.file, self.name.as_deref())?;
        let tenant = self.place.tenant();
        let signature = match &self.key {
            None => self.signature.clone(),
            Some(file) => {
                let key = sign::read_key(file)?;
                Some(key.sign(&tenant, &name, &crate::uploads::sha256(&wasm), manifest.as_deref()))
            }
        };
        Ok(Upload { tenant, plugin: name, wasm: wasm.into(), manifest, signature })
    }

    /// Shows what it changes.
    fn show(&self, prepared: &Prepared, before: &Uploaded) {
        let say = |text: String| if self.place.json { print::aside(text) } else { print::line(text) };
        let beside = before.active.as_deref().map_or("nothing", brief);
        say(format!("version {}, beside {beside}:", brief(prepared.digest())));
        let lines = prepared.diff().lines();
        if lines.is_empty() {
            say("  the tasks and grants are the same".to_owned());
        }
        lines.into_iter().for_each(|line| say(format!("  {line}")));
        for asked in prepared.asks(before) {
            say(format!("  it asks for {asked}, which was not granted: it is held until it is approved"));
        }
    }

    fn told(&self, plugin: &str, digest: &str, uploaded: &Uploaded) -> anyhow::Result<Exit> {
        let exit = self.place.tell(plugin, uploaded);
        let version = uploaded.version(digest)?;
        if version.held.is_some() {
            let tenant = self.place.tenant();
            let tenant = tenant.name().map_or(String::new(), |tenant| format!(" --tenant {tenant}"));
            print::aside(format!(
                "{} is held: host plugin approve{tenant} {plugin} {}",
                brief(digest),
                brief(digest)
            ));
        }
        Ok(exit)
    }
}

/// The name, code and manifest of a plugin in a file.
pub(super) fn read(file: &Path, name: Option<&str>) -> anyhow::Result<(String, Vec<u8>, Option<String>)> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
    let name = name.map_or(stem, |name| name.replace('-', "_"));
    let wasm = fs::read(file).with_context(|| format!("cannot read {file:?}"))?;
    let beside = file.with_extension("toml");
    let manifest = match fs::read_to_string(&beside) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {beside:?}")),
    };
    Ok((name, wasm, manifest))
}

/// Asks whoever sits there.
fn confirmed() -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("there is nobody to ask whether it is to go live; say --yes, or --hold to only store it");
    }
    print::aside("Is it to go live? [y/N]");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
