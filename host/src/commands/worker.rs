//! `host worker`: takes tasks from the queues and runs them.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use clap::Args;

use super::{
    Exit,
    http::HttpArgs,
    log, plugins, print, processes,
    serve::{Serving, Start, WorkerArgs},
    wall::{self, WallArgs},
};
use crate::{
    config::{self, StoreArgs},
    task::QueueName,
};

/// Take tasks from the queues and run them
#[derive(Debug, Args)]
pub struct Worker {
    /// The folder with the plugins; a file dropped into it, replaced or removed takes effect within a second
    #[arg(long, value_name = "DIR")]
    plugins: PathBuf,

    #[command(flatten)]
    store: StoreArgs,

    /// What to log: DEBUG, INFO, WARNING, ERROR, CRITICAL or FATAL
    #[arg(short, long, value_name = "LEVEL", default_value = "WARNING", value_parser = config::log_level)]
    loglevel: tracing::Level,

    /// How many processes the worker has, each with tasks and memory of its own and a name of its own, as celery-1@box; more
    /// than one helps guests that are interpreters
    #[arg(long, value_name = "N", default_value = "1", value_parser = processes)]
    processes: usize,

    /// The process that started this one, and with which it ends
    #[arg(long, hide = true)]
    supervisor: Option<i32>,

    /// Serve the HTTP API at this address too, such as 127.0.0.1:8000; of several processes the first does
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,

    /// Serve no HTTP all the same: another process of this worker does
    #[arg(long, hide = true)]
    without_http: bool,

    #[command(flatten)]
    http_args: HttpArgs,

    #[command(flatten)]
    wall: WallArgs,

    #[command(flatten)]
    worker: WorkerArgs,
}

/// More are a mistake, or need more than one machine.
const MOST_PROCESSES: usize = 256;

fn processes(text: &str) -> Result<usize, String> {
    let value = text.parse::<usize>().ok().filter(|value| (1..=MOST_PROCESSES).contains(value));
    value.ok_or_else(|| format!("a number from 1 to {MOST_PROCESSES} is needed"))
}

impl Worker {
    pub(super) fn execute(self) -> anyhow::Result<Exit> {
        if self.processes > 1 {
            let typed = processes::typed();
            self.wall.raise_around_supervisor()?;
            let (voice, _log) = log::start(self.loglevel);
            return processes::supervise(self.processes, typed, &self.worker.hostname, &voice);
        }
        self.supervisor.map_or(Ok(()), processes::end_with)?;
        let mut needs = wall::needs(Some(&self.plugins), self.worker.code_cache(), self.store.folder());
        needs.read.extend(self.worker.files());
        let wall = self.wall.raise(&needs)?;
        let (voice, _log) = log::start(self.loglevel);
        let open = async |options| Ok(self.store.open(options).await?);
        let introduce = |serving: &Serving<'_>| self.print_banner(serving);
        let ready = |serving: &Serving<'_>| voice.say(format!("{} ready.", serving.node));
        let http = |tasks, sandbox, options| {
            let address = self.http.filter(|_| !self.without_http);
            let start = |address| self.http_args.start(address, &self.store, Some(tasks), sandbox, options);
            let http = address.map(start).transpose().context("cannot serve HTTP")?;
            http.iter().for_each(|http| voice.say(format!("serving http://{}", http.address)));
            Ok(http)
        };
        let start = Start { voice: &voice, wall: &wall, plugins: &self.plugins };
        self.worker.serve(start, open, http, introduce, ready)?;
        Ok(Exit::Success)
    }

    /// What Celery's worker prints at its start, for ours.
    fn print_banner(&self, serving: &Serving<'_>) {
        let Serving { args, node, store, cores, .. } = serving;
        let queues: Vec<&str> = args.queues.iter().map(QueueName::as_str).collect();
        print::line(format!("\n  {node}  host v{}\n", env!("CARGO_PKG_VERSION")));
        print::table(&[
            ["  broker".to_owned(), store.broker_address.clone()],
            ["  results".to_owned(), store.backend_address.clone()],
            ["  queues".to_owned(), queues.join(", ")],
            ["  concurrency".to_owned(), format!("{} tasks on {cores} cores", args.tasks())],
            ["  plugins".to_owned(), self.plugins.display().to_string()],
        ]);
        print::line("\n  [tasks]");
        for signature in serving.plugins().flat_map(plugins::signatures) {
            print::line(format!("    {signature}"));
        }
        let skipped = serving.skipped();
        if !skipped.is_empty() {
            print::line("\n  [skipped]");
            skipped.iter().for_each(|line| print::line(format!("    {line}")));
        }
        print::line("");
    }
}
