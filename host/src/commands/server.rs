//! `host server`: the HTTP API without a worker.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Context;
use clap::Args;

use super::{
    Exit,
    http::HttpArgs,
    log, serve,
    wall::{self, WallArgs},
};
use crate::{
    config::{self, StoreArgs},
    plugin::{self, Folder},
    sandbox::{self, Sandbox},
    store,
    worker::Shutdown,
};

/// Serve the HTTP API, and run no tasks
#[derive(Debug, Args)]
pub struct Server {
    /// Where to listen. Anything but this machine's own addresses needs tokens: see `host token create`
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    http: SocketAddr,

    #[command(flatten)]
    args: HttpArgs,

    #[command(flatten)]
    store: StoreArgs,

    /// A folder with the plugins that the workers have, so that arguments are checked before a task is sent
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,

    #[command(flatten)]
    wall: WallArgs,

    /// What to log: DEBUG, INFO, WARNING, ERROR, CRITICAL or FATAL
    #[arg(short, long, value_name = "LEVEL", default_value = "WARNING", value_parser = config::log_level)]
    loglevel: tracing::Level,
}

impl Server {
    pub(super) fn execute(self) -> anyhow::Result<Exit> {
        let needs = wall::needs(self.plugins.as_deref(), config::code_cache(), self.store.folder());
        let wall = self.wall.raise(&needs)?;
        let (voice, _log) = log::start(self.loglevel);
        wall.tell(&voice);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let shutdown = Shutdown::default();
            let signalled = voice.clone();
            shutdown.on_signals(move |what| signalled.say(format!("server: {what}")))?;
            // Nothing is run, so one slot is more than enough.
            let options = sandbox::Options {
                slots: 1,
                code_cache: config::code_cache(),
                compilers: Some(wall.compilers.clone()),
                ..sandbox::Options::default()
            };
            let sandbox = Sandbox::new(options).map(Arc::new).context("cannot start the sandbox")?;
            let registry = match &self.plugins {
                Some(plugins) => {
                    let (folder, _) = Folder::open(plugins, sandbox.clone()).context("cannot start")?;
                    let registry = folder.registry();
                    plugin::follow(folder, serve::report);
                    registry
                }
                None => Arc::default(),
            };
            let mut args = self.args;
            args.follows = true;
            let http = args.start(self.http, &self.store, Some(registry), sandbox, store::Options::default());
            let http = http.context("cannot serve HTTP")?;
            voice.say(format!("serving http://{}", http.address));
            shutdown.requested().await;
            tokio::task::spawn_blocking(|| http.end()).await?;
            Ok(Exit::Success)
        })
    }
}
