//! `host plugins`: what tasks are in a plugin or a folder of plugins.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{Exit, print};
use crate::{
    plugin::{Listing, Plugin},
    sandbox::{Options, Sandbox},
    task::Tenant,
};

/// Show the tasks in a plugin, or in a folder of plugins, without running them
#[derive(Debug, Args)]
pub struct Plugins {
    /// A .wasm file or a folder with .wasm files
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Plugins {
    pub(super) fn execute(self) -> anyhow::Result<Exit> {
        let sandbox =
            Sandbox::new(Options { slots: 1, ..Options::default() }).context("cannot start the sandbox")?;
        let mut exit = Exit::Success;
        let mut described = Vec::new();
        let Listing { files, skipped, .. } = self.listing()?;
        for (tenant, file) in files {
            let shown = tenant.shown(&file.file_name().unwrap_or_default().to_string_lossy()).into_owned();
            match Plugin::load(&sandbox, tenant, &file) {
                Ok(plugin) if self.json => described.push(as_json(&plugin)),
                Ok(plugin) => describe(&plugin),
                Err(error) => {
                    exit = Exit::Failure;
                    let reason = format!("{:#}", anyhow::Error::from(error));
                    match self.json {
                        true => described.push(json!({"file": shown, "error": reason})),
                        false => print::aside(format!("{shown}: not a plugin: {reason}")),
                    }
                }
            }
        }
        for (folder, reason) in skipped {
            print::aside(format!("{}: no folder of a tenant: {reason}", folder.display()));
        }
        if self.json {
            print::json(&described);
        }
        Ok(exit)
    }

    fn listing(&self) -> anyhow::Result<Listing> {
        let metadata =
            std::fs::metadata(&self.path).with_context(|| format!("cannot read {:?}", self.path))?;
        if metadata.is_file() {
            return Ok(Listing { files: vec![(Tenant::DEFAULT, self.path.clone())], ..Listing::default() });
        }
        Listing::of(&self.path).with_context(|| format!("cannot read {:?}", self.path))
    }
}

/// The plugin's tasks as they are called: `app.divide(x: f64, y: f64) -> f64`.
pub(super) fn signatures(plugin: &Plugin) -> impl Iterator<Item = String> {
    plugin.signatures().map(|signature| plugin.tenant.shown(&signature).into_owned())
}

fn describe(plugin: &Plugin) {
    let program = &plugin.program;
    print::line(format!("{}  {}  sha256:{}", plugin.file, program.shape(), program.digest()));
    signatures(plugin).for_each(|signature| print::line(format!("  {signature}")));
    for skipped in plugin.skipped() {
        print::line(format!("  skipped {}: {}", skipped.name, skipped.reason));
    }
    if !program.imports().is_empty() {
        print::line(format!("  may use {}", program.imports().join(", ")));
    }
    print::line("");
}

fn as_json(plugin: &Plugin) -> serde_json::Value {
    let program = &plugin.program;
    let task = |(name, signature): (crate::task::TaskName, String)| json!({"name": plugin.tenant.shown(name.as_str()), "signature": signature});
    let skipped = |skipped: &crate::sandbox::Skipped| json!({"name": skipped.name, "reason": skipped.reason});
    json!({
        "file": plugin.file,
        "shape": program.shape().to_string(),
        "digest": program.digest(),
        "tasks": plugin.task_names().zip(signatures(plugin)).map(task).collect::<Vec<_>>(),
        "skipped": plugin.skipped().map(skipped).collect::<Vec<_>>(),
        "imports": program.imports(),
    })
}
