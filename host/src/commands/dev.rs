//! `host dev`: a worker and the embedded store in one process, for writing plugins with nothing else installed.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context;
use clap::Args;

use super::{
    Exit,
    http::{Http, HttpArgs},
    log, plugins, print,
    serve::{Serving, Start, WorkerArgs},
    wall::{self, WallArgs},
};
use crate::{
    config::StoreArgs,
    plugin::{Plugin, Registry},
    sandbox::Sandbox,
    store,
};

/// Run tasks on this machine with nothing installed: a worker with a store of its own, and a log of what it runs
#[derive(Debug, Args)]
pub struct Dev {
    /// The folder with the plugins; made if it is not there. A file dropped into it takes effect within a second
    #[arg(long, value_name = "DIR", default_value = "plugins")]
    plugins: PathBuf,

    #[command(flatten)]
    store: StoreArgs,

    /// Where to serve the HTTP API [default: 127.0.0.1:8000, if nobody else is there]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,

    #[command(flatten)]
    http_args: HttpArgs,

    #[command(flatten)]
    wall: WallArgs,

    #[command(flatten)]
    worker: WorkerArgs,
}

/// Where messages and results are kept, below the folder it is started in.
const FOLDER: &str = ".host";
const BROKER: &str = "sqlite:.host/dev.sqlite";

/// Where HTTP is served if nothing is said.
const USUAL_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);

impl Dev {
    pub(super) fn execute(self) -> anyhow::Result<Exit> {
        fs::create_dir_all(&self.plugins)
            .with_context(|| format!("cannot make the plugin folder {:?}", self.plugins))?;
        let store = self.store.clone().with_default_broker(BROKER);
        if store.broker.as_deref() == Some(BROKER) {
            fs::create_dir_all(FOLDER).with_context(|| format!("cannot make the folder {FOLDER:?}"))?;
        }
        let mut needs = wall::needs(Some(&self.plugins), self.worker.code_cache(), store.folder());
        // Plugins under development are links to where they are built.
        needs.read.push("/".into());
        let wall = self.wall.raise(&needs)?;
        let (voice, _log) = log::start(tracing::Level::INFO);
        let open = async |options| Ok(store.open(options).await?);
        let ready = |serving: &Serving<'_>| self.print_how_to_call(serving, &store);
        let http = |tasks, sandbox, options| self.serve_http(&store, tasks, sandbox, options);
        let start = Start { voice: &voice, wall: &wall, plugins: &self.plugins };
        self.worker.serve(start, open, http, |_| (), ready)?;
        Ok(Exit::Success)
    }

    /// A place that was asked for must be free; the usual one need not be, so that several can work on one machine.
    fn serve_http(
        &self,
        store: &StoreArgs,
        tasks: Arc<Registry>,
        sandbox: Arc<Sandbox>,
        options: store::Options,
    ) -> anyhow::Result<Option<Http>> {
        let start = |address| self.http_args.start(address, store, Some(tasks), sandbox, options);
        match self.http {
            Some(address) => start(address).map(Some).context("cannot serve HTTP"),
            None => Ok(start(USUAL_HTTP)
                .inspect_err(|error| {
                    tracing::warn!("HTTP is not served, name another address with --http: {error:#}")
                })
                .ok()),
        }
    }

    fn print_how_to_call(&self, serving: &Serving<'_>, store: &StoreArgs) {
        print::line(format!(
            "\n  host dev v{} on {}\n",
            env!("CARGO_PKG_VERSION"),
            serving.store.broker_address
        ));
        let signatures: Vec<_> = serving.plugins().flat_map(plugins::signatures).collect();
        if signatures.is_empty() {
            print::line(format!("  No tasks yet: put a .wasm file into {}\n", self.plugins.display()));
        } else {
            signatures.iter().for_each(|signature| print::line(format!("    {signature}")));
            print::line("");
        }
        for line in serving.skipped() {
            print::line(format!("  skipped {line}"));
        }
        let broker = store.broker.as_deref().map_or(String::new(), |broker| format!(" --broker {broker}"));
        let call = serving.plugins().find_map(example).unwrap_or_else(|| "TASK ARGS...".to_owned());
        print::line(format!("  Call one from another terminal:\n\n    host call --wait{broker} {call}\n"));
        if let Some(http) = &serving.http {
            print::line(format!("  Or over HTTP: http://{}/openapi.json says how\n", http.address));
        }
    }
}

/// A task of the plugin with arguments that it takes: `divide 1 2`.
fn example(plugin: &Plugin) -> Option<String> {
    let mut tasks = plugin.task_names().zip(plugin.program.functions());
    tasks.find_map(|(task, function)| Some(format!("{task} {}", function.signature().example()?.join(" "))))
}
