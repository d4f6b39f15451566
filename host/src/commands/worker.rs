//! `host worker`: takes tasks from the queues and runs them.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, thread, time::Duration};

use anyhow::Context;
use clap::Args;
use tokio::runtime;

use super::{Exit, plugins, print};
use crate::{
    config::{self, StoreArgs},
    plugin::{self, Change, Folder},
    protocol::message::MessageLimits,
    sandbox::{self, Sandbox},
    store::{self, Store},
    task::QueueName,
    worker::{self, Shutdown},
};

/// Take tasks from the queues and run them
#[derive(Debug, Args)]
pub struct Worker {
    /// The folder with the plugins; a file dropped into it, replaced or removed takes effect within a second
    #[arg(long, value_name = "DIR")]
    plugins: PathBuf,

    #[command(flatten)]
    store: StoreArgs,

    /// The queues to take from, with commas between
    #[arg(short = 'Q', long, value_name = "A,B", value_delimiter = ',', default_value = "celery")]
    queues: Vec<QueueName>,

    /// How many tasks may be in flight. Waiting tasks cost little; computing ones share the cores
    #[arg(short, long, value_name = "N", default_value = "100", value_parser = concurrency)]
    concurrency: usize,

    /// The worker's name; %h is the host name, %n its first part, %d the rest
    #[arg(short = 'n', long, value_name = "NAME", default_value = "celery@%h")]
    hostname: String,

    /// What to log: DEBUG, INFO, WARNING, ERROR, CRITICAL or FATAL
    #[arg(short, long, value_name = "LEVEL", default_value = "WARNING", value_parser = config::log_level)]
    loglevel: tracing::Level,

    /// Stop every task after this many seconds; a message can only ask for less
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = config::seconds)]
    time_limit: Duration,

    /// Ask every task to end after this many seconds; a message can only ask for less
    #[arg(long, value_name = "SECONDS", value_parser = config::seconds)]
    soft_time_limit: Option<Duration>,

    /// How much memory one task may use
    #[arg(long, value_name = "SIZE", default_value = "128MiB", value_parser = memory)]
    memory_limit: usize,

    /// The largest .wasm file that is loaded
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = config::bytes)]
    max_plugin_size: usize,

    /// The largest message that is read, also when inflated
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = config::bytes)]
    max_message_size: usize,

    /// The largest result that is stored
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = config::bytes)]
    max_result_size: usize,

    /// How many seconds results are kept; 0 keeps them for ever
    #[arg(long, value_name = "SECONDS", default_value = "86400")]
    result_expires: u64,

    /// After how many seconds what Python workers on the same broker hold counts as lost; must be theirs
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = config::seconds)]
    visibility_timeout: Duration,
}

/// Each task in flight has a slot of address space; a process has room for this many.
const MOST_SLOTS: usize = 5_000;

impl Worker {
    pub(super) fn execute(self) -> anyhow::Result<Exit> {
        start_log(self.loglevel);
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let host = hostname::get().unwrap_or_default();
        let node = config::node_name(&self.hostname, &host.to_string_lossy());

        let sandbox = self.sandbox().context("cannot start the sandbox")?;
        let (folder, loaded) = Folder::open(&self.plugins, sandbox).context("cannot start")?;
        let registry = folder.registry();

        let control = runtime::Builder::new_current_thread().enable_all().build()?;
        // A guest that computes holds its thread for a whole epoch tick, so the scheduler must look for other work after
        // every poll; with its usual intervals a short task can wait for half a second.
        let guests = runtime::Builder::new_multi_thread()
            .worker_threads(cores)
            .global_queue_interval(1)
            .event_interval(1)
            .thread_name("guests")
            .enable_all()
            .build()?;

        control.block_on(async {
            let options = store::Options {
                result_lifetime: Duration::from_secs(self.result_expires),
                visibility_timeout: self.visibility_timeout,
            };
            let store = self.store.open(options).await.context("cannot start")?;
            self.print_banner(&node, &store, cores, &loaded);
            let shutdown = Shutdown::default();
            shutdown.on_signals(|what| print::aside(format!("worker: {what}")))?;
            plugin::follow(folder, report);

            let options = worker::Options {
                node: node.clone(),
                queues: self.queues.clone(),
                concurrency: self.concurrency,
                time_limit: self.time_limit,
                soft_time_limit: self.soft_time_limit,
                messages: MessageLimits { bytes: self.max_message_size, ..MessageLimits::default() },
            };
            let ready = || print::aside(format!("{node} ready."));
            let guests = guests.handle().clone();
            worker::Worker::run(options, store, registry, shutdown, guests, ready)
                .await
                .context("cannot start")
        })?;
        // What a cold shutdown stopped may still hold a thread of the guests; nobody waits for it.
        guests.shutdown_background();
        Ok(Exit::Success)
    }

    fn sandbox(&self) -> Result<Arc<Sandbox>, sandbox::SandboxError> {
        let options = sandbox::Options {
            slots: self.concurrency,
            memory: self.memory_limit,
            result: self.max_result_size,
            file: self.max_plugin_size,
            ..sandbox::Options::default()
        };
        Sandbox::new(options).map(Arc::new)
    }

    /// What Celery's worker prints at its start, for ours.
    fn print_banner(&self, node: &str, store: &Store, cores: usize, loaded: &[Change]) {
        let queues: Vec<&str> = self.queues.iter().map(QueueName::as_str).collect();
        print::line(format!("\n  {node}  host v{}\n", env!("CARGO_PKG_VERSION")));
        print::table(&[
            ["  broker".to_owned(), store.broker_address.clone()],
            ["  results".to_owned(), store.backend_address.clone()],
            ["  queues".to_owned(), queues.join(", ")],
            ["  concurrency".to_owned(), format!("{} tasks on {cores} cores", self.concurrency)],
            ["  plugins".to_owned(), self.plugins.display().to_string()],
        ]);
        print::line("\n  [tasks]");
        for change in loaded {
            if let Change::Added(plugin) = change {
                plugins::signatures(plugin).for_each(|signature| print::line(format!("    {signature}")));
            }
        }
        let skipped: Vec<String> = loaded.iter().flat_map(skipped).collect();
        if !skipped.is_empty() {
            print::line("\n  [skipped]");
            skipped.iter().for_each(|line| print::line(format!("    {line}")));
        }
        print::line("");
    }
}

/// What of a file is not offered, a line each.
fn skipped(change: &Change) -> Vec<String> {
    match change {
        Change::Broken { file, reason, earlier_stays } => {
            let stays = if *earlier_stays { "; the earlier version stays" } else { "" };
            vec![format!("{file}: {reason}{stays}")]
        }
        Change::Added(plugin) | Change::Replaced(plugin) => {
            let reason =
                |skipped: &sandbox::Skipped| format!("{}.{}: {}", plugin.name, skipped.name, skipped.reason);
            plugin.program.skipped().iter().map(reason).collect()
        }
        Change::Removed(_) => Vec::new(),
    }
}

/// Says in the log what became of a file.
fn report(change: Change) {
    for line in skipped(&change) {
        tracing::warn!("skipped {line}");
    }
    let (what, plugin) = match &change {
        Change::Added(plugin) => ("added", plugin),
        Change::Replaced(plugin) => ("replaced", plugin),
        Change::Removed(plugin) => ("removed", plugin),
        Change::Broken { .. } => return,
    };
    tracing::info!("plugin {} {what} (sha256 {})", plugin.file, &plugin.program.digest()[..12]);
}

fn start_log(level: tracing::Level) {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false)
        // It would panic when nobody reads standard error any more.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}

fn concurrency(text: &str) -> Result<usize, String> {
    let value = text.parse::<usize>().ok().filter(|value| (1..=MOST_SLOTS).contains(value));
    value.ok_or_else(|| format!("a number from 1 to {MOST_SLOTS} is needed; for more, start more workers"))
}

fn memory(text: &str) -> Result<usize, String> {
    config::bytes(text).and_then(|value| match value {
        ..=0x4000_0000 => Ok(value),
        _ => Err("at most 1GiB can be given to a task".to_owned()),
    })
}
