//! The HTTP API beside a worker or alone: its flags, and the thread on which it runs.

use std::{
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use tokio::{net::TcpListener, sync::oneshot};

use crate::{
    api::{self, Api},
    config::{self, StoreArgs},
    plugin::Registry,
    sandbox::Sandbox,
    store,
    uploads::Following,
};

/// How the HTTP API is served.
#[derive(Debug, Clone, Args)]
pub(super) struct HttpArgs {
    /// Serve an address that others can reach although no token was ever made, so that whoever reaches it may do everything
    #[arg(long)]
    insecure_http: bool,

    /// A name by which the API is asked where there are no tokens, beside addresses and localhost; can be repeated
    #[arg(long = "http-name", value_name = "NAME")]
    names: Vec<String>,

    /// Refuse tasks that no plugin here offers; without this they are taken, as Python workers may run them
    #[arg(long)]
    strict_tasks: bool,

    /// The longest that a request may wait for a result; who asks for longer is answered then
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = config::seconds)]
    http_wait: Duration,

    /// Learn of uploads and their signatures by itself: no worker here does
    #[arg(skip)]
    pub follows: bool,
}

/// A server that runs. It has a thread, a runtime and a connection to the store of its own, so that nothing that is asked of it holds a
/// worker up.
pub(super) struct Http {
    /// Where it listens.
    pub address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl HttpArgs {
    /// Begins to serve the store that `store` names at `address`. Answers once requests are taken.
    pub fn start(
        &self,
        address: SocketAddr,
        store: &StoreArgs,
        tasks: Option<Arc<Registry>>,
        sandbox: Arc<Sandbox>,
        options: store::Options,
    ) -> anyhow::Result<Http> {
        let (args, store) = (self.clone(), store.clone());
        let (started, starts) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let serve = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error.into()))),
            };
            runtime.block_on(async move {
                match args.open(address, &store, tasks, sandbox, options).await {
                    Ok((listener, api)) => {
                        // Whoever started this waits for it, or has gone.
                        let _ = started.send(listener.local_addr().map_err(anyhow::Error::from));
                        let end = async {
                            let _ = ended.await;
                            api.end();
                        };
                        api::serve(listener, api.router(), end).await;
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            });
        };
        let thread = std::thread::Builder::new().name("http".to_owned()).spawn(serve)?;
        let address = starts.recv().context("the HTTP server ended at once")?;
        Ok(Http { address: address?, end: Some(end), thread: Some(thread) })
    }

    async fn open(
        self,
        address: SocketAddr,
        store: &StoreArgs,
        tasks: Option<Arc<Registry>>,
        sandbox: Arc<Sandbox>,
        options: store::Options,
    ) -> anyhow::Result<(TcpListener, Api)> {
        let store = store.open(options).await?;
        let open = address.ip().is_loopback() || self.insecure_http;
        let options =
            api::Options { open, names: self.names, strict: self.strict_tasks, longest_wait: self.http_wait };
        if let Some(tasks) = tasks.clone().filter(|_| self.follows) {
            tokio::spawn(follow(Following::new(&store, &sandbox, tasks, None)));
        }
        let api = Api::new(store, tasks, Some(sandbox), options);
        if !open && !api.wants_tokens().await? {
            bail!(
                "{address} can be reached by others, and no token was ever made: make one with `host token create`, or say \
                --insecure-http if whoever reaches it may do everything"
            );
        }
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        Ok((listener, api))
    }
}

/// Takes up the uploads of all tenants, for ever, so that their signatures are known.
async fn follow(uploads: Following) {
    loop {
        match uploads.look().await {
            Ok(()) => uploads.news().await,
            Err(error) => {
                tracing::warn!(%error, "cannot look for uploads; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

impl Http {
    /// Ends it; waits until it has ended, seconds at most.
    pub fn end(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It ends by itself; had it panicked, that was said then.
            let _ = thread.join();
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.stop();
    }
}
