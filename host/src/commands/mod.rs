//! One file per command line verb: its arguments and what it does. Only here is anything printed.
//!
//! Data goes to standard output, everything else to standard error.

use clap::{Parser, Subcommand};

mod ask;
mod call;
mod compile;
mod control;
mod dead;
mod dev;
mod events;
mod exit;
mod health;
mod http;
mod inspect;
mod log;
mod plugin;
mod plugins;
mod print;
mod processes;
mod purge;
mod queues;
mod result;
mod revoke;
mod secret;
mod serve;
mod server;
mod status;
mod tenant;
mod token;
mod top;
mod wall;
mod worker;

pub use exit::Exit;

use crate::config;

/// Runs WebAssembly plugins as Celery tasks: sandboxed, fast, and none lost.
#[derive(Debug, Parser)]
#[command(name = "host", version, max_term_width = 100, args_override_self = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Dev),
    Worker(worker::Worker),
    Server(server::Server),
    Call(call::Call),
    Result(result::ResultOf),
    Plugin(plugin::Plugin),
    Plugins(plugins::Plugins),
    Queues(queues::Queues),
    Purge(purge::Purge),
    Revoke(revoke::Revoke),
    Secret(secret::Secrets),
    Dead(dead::Dead),
    Health(health::Health),
    Status(status::Status),
    Inspect(inspect::Inspect),
    Control(control::Control),
    Events(events::Events),
    Top(top::Top),
    Token(token::Tokens),
    Tenant(tenant::Tenants),
    #[command(hide = true)]
    Compile(compile::Compile),
}

impl Cli {
    /// Does what was typed.
    pub fn execute(self) -> anyhow::Result<Exit> {
        match self.command {
            Command::Dev(dev) => dev.execute(),
            Command::Worker(worker) => worker.execute(),
            Command::Server(server) => server.execute(),
            Command::Call(call) => run(call.execute()),
            Command::Result(result) => run(result.execute()),
            Command::Plugin(plugin) => run(plugin.execute()),
            Command::Plugins(plugins) => plugins.execute(),
            Command::Queues(queues) => run(queues.execute()),
            Command::Purge(purge) => run(purge.execute()),
            Command::Revoke(revoke) => run(revoke.execute()),
            Command::Secret(secrets) => run(secrets.execute()),
            Command::Dead(dead) => run(dead.execute()),
            Command::Health(health) => run(health.execute()),
            Command::Status(status) => run(status.execute()),
            Command::Inspect(inspect) => run(inspect.execute()),
            Command::Control(control) => run(control.execute()),
            Command::Events(events) => run(events.execute()),
            Command::Top(top) => run(top.execute()),
            Command::Token(token) => run(token.execute()),
            Command::Tenant(tenant) => run(tenant.execute()),
            Command::Compile(compile) => compile.execute(),
        }
    }
}

/// Runs a short command to its end.
fn run(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// Who does something by a command, as it is noted: `alice@box`.
fn actor() -> String {
    let user = config::user().unwrap_or_else(|| "somebody".to_owned());
    let host = hostname::get().unwrap_or_default();
    format!("{user}@{}", host.to_string_lossy())
}
