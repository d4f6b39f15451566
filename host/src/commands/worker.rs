//! `host worker`: takes tasks from the queues and runs them.

use std::path::PathBuf;

use clap::Args;

use super::{
    Exit, log, plugins, print,
    serve::{Serving, WorkerArgs},
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

    #[command(flatten)]
    worker: WorkerArgs,
}

impl Worker {
    pub(super) fn execute(self) -> anyhow::Result<Exit> {
        let _log = log::start(self.loglevel);
        let open = async |options| Ok(self.store.open(options).await?);
        let introduce = |serving: &Serving<'_>| self.print_banner(serving);
        let ready = |serving: &Serving<'_>| print::aside(format!("{} ready.", serving.node));
        self.worker.serve(&self.plugins, open, introduce, ready)?;
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
