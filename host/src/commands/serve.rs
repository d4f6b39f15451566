//! What `host worker` and `host dev` share: the flags of a worker, and building and running one.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use tokio::runtime;

use super::{http::Http, log::Voice, wall::Wall};
use crate::{
    config,
    plugin::{self, Change, Folder, Plugin, Registry},
    protocol::message::MessageLimits,
    sandbox::{self, CompileLimits, Compilers, HttpOptions, PrivateNetwork, Sandbox},
    store::{self, Store},
    task::{QueueName, Tenant},
    tenant::MasterKey,
    uploads::Following,
    worker::{self, Bounds, Shutdown},
};

/// How a worker works.
#[derive(Debug, Clone, Args)]
pub(super) struct WorkerArgs {
    /// The queues to take from, with commas between: those of the default tenant, and those that each other tenant calls so
    #[arg(short = 'Q', long, value_name = "A,B", value_delimiter = ',', default_value = "celery")]
    pub queues: Vec<QueueName>,

    /// The tenants to serve, with commas between, and no others [default: the default tenant and all that have a folder below
    /// the plugin folder]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub tenants: Option<Vec<Tenant>>,

    /// How many tasks may be in flight. Waiting tasks cost little; computing ones share the cores
    #[arg(short, long, value_name = "N", default_value = "100", value_parser = concurrency)]
    pub concurrency: usize,

    /// Between how many tasks in flight there may be, as many as there is to do; --concurrency is not used then
    #[arg(long, value_name = "MAX,MIN", value_parser = bounds)]
    autoscale: Option<Bounds>,

    /// Tell events of tasks from the start on, not only once somebody asks for them
    #[arg(short = 'E', long)]
    task_events: bool,

    /// Store the state STARTED when a task begins
    #[arg(long)]
    track_started: bool,

    /// The worker's name; %h is the host name, %n its first part, %d the rest
    #[arg(short = 'n', long, value_name = "NAME", default_value = "celery@%h")]
    pub hostname: String,

    /// Where workflows send tasks that say nothing of a queue, as Celery's task_default_queue
    #[arg(long, value_name = "NAME", default_value = "celery")]
    default_queue: QueueName,

    /// Stop every task after this many seconds; its plugin or message can only ask for less
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = config::seconds)]
    time_limit: Duration,

    /// Ask every task to end after this many seconds; its plugin or message can only ask for less
    #[arg(long, value_name = "SECONDS", value_parser = config::seconds)]
    soft_time_limit: Option<Duration>,

    /// Stop every task when it has computed for this many seconds, whatever it waited; its plugin can only ask for less
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = config::seconds)]
    cpu_limit: Duration,

    /// How often one task may call functions of the host
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = clap::value_parser!(u64).range(1..))]
    max_host_calls: u64,

    /// How much memory one task may use
    #[arg(long, value_name = "SIZE", default_value = "128MiB", value_parser = memory)]
    memory_limit: usize,

    /// Where compiled plugins are kept, so that the next start need not compile them: a folder that nobody else can enter
    /// [default: $HOST_CODE_CACHE, else host/code in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR")]
    code_cache: Option<PathBuf>,

    /// The largest .wasm file that is loaded
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = config::bytes)]
    max_plugin_size: usize,

    /// Give a .wasm file up that takes longer to compile
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = config::seconds)]
    compile_time_limit: Duration,

    /// Give a .wasm file up that takes more memory to compile
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = config::bytes)]
    compile_memory_limit: usize,

    /// The largest message that is read, also when inflated
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = config::bytes)]
    max_message_size: usize,

    /// The largest result that is stored
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = config::bytes)]
    max_result_size: usize,

    /// Networks that requests of plugins may reach although they are not public, with commas between: 10.1.0.0/16 for plugins of the
    /// default tenant, acme=10.1.0.0/16 for those of acme. The plugin needs a grant for the host all the same
    #[arg(long, value_name = "[TENANT=]CIDR", value_delimiter = ',')]
    allow_private_http: Vec<PrivateNetwork>,

    /// Certificates in PEM that requests of plugins trust besides those of the internet
    #[arg(long, value_name = "FILE")]
    http_ca: Option<PathBuf>,

    /// How much the requests of one run may send, and how much they may receive
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = config::bytes)]
    max_http_size: usize,

    /// How many seconds results are kept; 0 keeps them for ever
    #[arg(long, value_name = "SECONDS", default_value = "86400")]
    result_expires: u64,

    /// How many seconds a message waits for a plugin that offers its task; 0 fails it at once, as Celery does
    #[arg(long, value_name = "SECONDS", default_value = "600")]
    park_unknown: u64,

    /// Give a message up when this many workers have died running it
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..))]
    max_worker_deaths: u32,

    /// How many seconds messages that were given up are kept
    #[arg(long, value_name = "SECONDS", default_value = "2592000", value_parser = config::seconds)]
    dead_letter_expires: Duration,

    /// After how many seconds what Python workers on the same broker hold counts as lost; must be theirs
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = config::seconds)]
    visibility_timeout: Duration,
}

/// Each task in flight has a slot of address space; a process has room for this many.
const MOST_SLOTS: usize = 5_000;

/// What a worker is started with.
pub(super) struct Start<'a> {
    pub voice: &'a Voice,
    pub wall: &'a Wall,
    /// The folder of the plugins.
    pub plugins: &'a Path,
}

/// A worker whose parts are ready.
pub(super) struct Serving<'a> {
    pub args: &'a WorkerArgs,
    pub node: String,
    pub store: Store,
    pub cores: usize,
    /// What became of each file of the plugin folder.
    pub loaded: Vec<Change>,
    /// The HTTP API, if it is served here. It ends with this.
    pub http: Option<Http>,
}

impl WorkerArgs {
    /// Builds a worker with its plugins and the store that `open` opens, and runs it until it is told to end. `http` serves
    /// the HTTP API, if it is to be served here. `introduce` is called when all parts are ready, `on_ready` when it takes
    /// messages.
    pub fn serve(
        &self,
        start: Start<'_>,
        open: impl AsyncFnOnce(store::Options) -> anyhow::Result<Store>,
        http: impl FnOnce(Arc<Registry>, Arc<Sandbox>, store::Options) -> anyhow::Result<Option<Http>>,
        introduce: impl FnOnce(&Serving<'_>),
        on_ready: impl FnOnce(&Serving<'_>),
    ) -> anyhow::Result<()> {
        let Start { voice, wall, plugins } = start;
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let host = hostname::get().unwrap_or_default();
        let node = config::node_name(&self.hostname, &host.to_string_lossy());

        wall.tell(voice);
        let secret_key = config::secret_key().context("cannot start")?;
        let sandbox = self.sandbox(wall.compilers.clone()).context("cannot start the sandbox")?;
        let uploading = sandbox.clone();
        let (folder, loaded) = Folder::open(plugins, sandbox.clone()).context("cannot start")?;
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
            let store = open(self.store_options()).await.context("cannot start")?;
            let http = http(registry.clone(), uploading, self.store_options())?;
            let serving = Serving { args: self, node, store, cores, loaded, http };
            introduce(&serving);
            if !Sandbox::pagemap_scan_available() {
                tracing::warn!(
                    "this kernel has no PAGEMAP_SCAN (it came with Linux 6.7), so a task costs several times as much"
                );
            }
            let shutdown = Shutdown::default();
            let signalled = voice.clone();
            shutdown.on_signals(move |what| signalled.say(format!("worker: {what}")))?;
            plugin::follow(folder, report);
            let options = self.worker_options(&serving.node, secret_key);
            let (store, guests) = (serving.store.clone(), guests.handle().clone());
            let uploads = Following::new(&store, &sandbox, registry.clone(), self.tenants.clone());
            let ready = || on_ready(&serving);
            worker::Worker::run(options, store, registry, Arc::new(uploads), shutdown, guests, ready)
                .await
                .context("cannot start")
        })?;
        // What a cold shutdown stopped may still hold a thread of the guests; nobody waits for it.
        guests.shutdown_background();
        Ok(())
    }

    fn sandbox(&self, compilers: Compilers) -> anyhow::Result<Arc<Sandbox>> {
        let options = sandbox::Options {
            slots: self.room(),
            memory: self.memory_limit,
            result: self.max_result_size,
            file: self.max_plugin_size,
            host_calls: self.max_host_calls,
            code_cache: self.code_cache(),
            compile: CompileLimits {
                time: self.compile_time_limit,
                memory: self.compile_memory_limit as u64,
            },
            compilers: Some(compilers),
            http: self.http()?,
            ..sandbox::Options::default()
        };
        Ok(Arc::new(Sandbox::new(options)?))
    }

    /// What requests of plugins may take.
    fn http(&self) -> anyhow::Result<HttpOptions> {
        let read = |file: &PathBuf| std::fs::read(file).with_context(|| format!("read {file:?} (--http-ca)"));
        Ok(HttpOptions {
            bytes: self.max_http_size as u64,
            allow_private: self.allow_private_http.clone(),
            authorities: self.http_ca.as_ref().map(read).transpose()?,
            ..HttpOptions::default()
        })
    }

    /// The files of this machine that are read at the start, beside the plugins.
    pub fn files(&self) -> Vec<PathBuf> {
        self.http_ca.clone().into_iter().chain(config::secret_key_file()).collect()
    }

    /// Where compiled plugins are kept.
    pub fn code_cache(&self) -> Option<PathBuf> {
        self.code_cache.clone().or_else(config::code_cache)
    }

    /// How many tasks may be in flight at first.
    pub fn slots(&self) -> usize {
        self.autoscale.map_or(self.concurrency, |bounds| bounds.min)
    }

    /// The same for people.
    pub fn tasks(&self) -> String {
        match self.autoscale {
            Some(Bounds { max, min }) => format!("{min} to {max}"),
            None => self.concurrency.to_string(),
        }
    }

    /// How many there can be in the end: remote control may ask for more than there are at first, and room that is not used
    /// costs only addresses.
    fn room(&self) -> usize {
        let most = self.autoscale.map_or(self.concurrency, |bounds| bounds.max);
        most.saturating_mul(2).saturating_add(16).min(MOST_SLOTS)
    }

    fn store_options(&self) -> store::Options {
        store::Options {
            result_lifetime: Duration::from_secs(self.result_expires),
            visibility_timeout: self.visibility_timeout,
            dead_letter_lifetime: self.dead_letter_expires,
        }
    }

    fn worker_options(&self, node: &str, secret_key: Option<MasterKey>) -> worker::Options {
        worker::Options {
            node: node.to_owned(),
            queues: self.queues.clone(),
            tenants: self.tenants.clone(),
            concurrency: self.slots(),
            room: self.room(),
            autoscale: self.autoscale,
            task_events: self.task_events,
            track_started: self.track_started,
            time_limit: self.time_limit,
            soft_time_limit: self.soft_time_limit,
            cpu_limit: self.cpu_limit,
            park: Duration::from_secs(self.park_unknown),
            most_deaths: self.max_worker_deaths,
            memory: self.memory_limit as u64,
            messages: MessageLimits { bytes: self.max_message_size, ..MessageLimits::default() },
            default_queue: self.default_queue.clone(),
            secret_key,
            settings: vec![
                ("result_expires", self.result_expires.into(), 86_400.into()),
                ("visibility_timeout", self.visibility_timeout.as_secs_f64().into(), 3600.0.into()),
                ("host_cpu_limit", self.cpu_limit.as_secs_f64().into(), 60.0.into()),
                ("host_max_host_calls", self.max_host_calls.into(), 1_000_000.into()),
                ("host_memory_limit", self.memory_limit.into(), (128 << 20).into()),
                ("host_max_result_size", self.max_result_size.into(), (1 << 20).into()),
                ("host_max_plugin_size", self.max_plugin_size.into(), (32 << 20).into()),
                (
                    "host_dead_letter_expires",
                    self.dead_letter_expires.as_secs_f64().into(),
                    2_592_000.0.into(),
                ),
            ],
        }
    }
}

impl Serving<'_> {
    /// The plugins that were loaded.
    pub fn plugins(&self) -> impl Iterator<Item = &Plugin> {
        self.loaded.iter().filter_map(|change| match change {
            Change::Added(plugin) => Some(&**plugin),
            _ => None,
        })
    }

    /// What of the plugin folder is not offered, a line each.
    pub fn skipped(&self) -> Vec<String> {
        self.loaded.iter().flat_map(skipped).collect()
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
            let reason = |skipped: &sandbox::Skipped| {
                let name = plugin.tenant.shown(&plugin.name);
                format!("{name}.{}: {}", skipped.name, skipped.reason)
            };
            plugin.skipped().map(reason).collect()
        }
        Change::Removed(_) => Vec::new(),
    }
}

/// Says in the log what became of a file.
pub(super) fn report(change: Change) {
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

/// Reads `MAX,MIN`, as Celery does; `MAX` alone goes down to none there, and here to one.
fn bounds(text: &str) -> Result<Bounds, String> {
    let (max, min) = text.split_once(',').unwrap_or((text, "1"));
    let bounds = Bounds { max: concurrency(max.trim())?, min: concurrency(min.trim())? };
    if bounds.min > bounds.max {
        return Err(format!("MAX,MIN is needed, and {} is less than {}", bounds.max, bounds.min));
    }
    Ok(bounds)
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
