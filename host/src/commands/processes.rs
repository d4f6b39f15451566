//! Several processes of one worker: started together, each started again when it dies, and ended together.
//!
//! Guests that touch much memory, as interpreters do, slow each other down within one process; and what one process crashes on
//! does not concern the others.

use std::{
    env,
    ffi::OsString,
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::{
    process::{Child, Command},
    task::JoinSet,
    time::sleep,
};

use super::{Exit, log::Voice};
use crate::worker::Shutdown;

/// A process that fails sooner has something that starting it again does not mend, such as a flag.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);

/// How long one that was killed so soon stays away.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs this command in so many processes, named `NAME-1@HOST` and so on, until all have ended. One that fails at its start ends
/// them all.
pub(super) fn supervise(
    count: usize,
    typed: Vec<OsString>,
    hostname: &str,
    voice: &Voice,
) -> anyhow::Result<Exit> {
    let typed = Arc::new(typed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::default();
        let signalled = voice.clone();
        shutdown.on_signals(move |what| signalled.say(format!("worker: {what}")))?;
        let keep = |number| {
            let process = Numbered { hostname: numbered(hostname, number), is_first: number == 1 };
            keep(typed.clone(), process, shutdown.clone(), voice.clone())
        };
        let processes = (1..=count).map(keep);
        let mut processes: JoinSet<_> = processes.collect();
        let mut first_failure = None;
        while let Some(ended) = processes.join_next().await {
            if let Err(error) = ended.expect("nothing in there panics") {
                shutdown.warm();
                first_failure.get_or_insert(error);
            }
        }
        first_failure.map_or(Ok(Exit::Success), Err)
    })
}

/// What was typed, before the passwords in it are hidden.
pub(super) fn typed() -> Vec<OsString> {
    env::args_os().skip(1).collect()
}

/// Ends this process when the one that supervises it has gone.
pub(super) fn end_with(supervisor: i32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM)).context("cannot follow the supervising process")?;
    if getppid().map(Pid::as_raw_pid) != Some(supervisor) {
        bail!("the supervising process {supervisor} is gone");
    }
    Ok(())
}

/// Keeps a process running until it ends by itself or a shutdown is requested.
async fn keep(
    typed: Arc<Vec<OsString>>,
    numbered: Numbered,
    shutdown: Shutdown,
    voice: Voice,
) -> anyhow::Result<()> {
    let hostname = &numbered.hostname;
    loop {
        let begin = Instant::now();
        let mut process = start(&typed, &numbered).context("cannot start a process of the worker")?;
        let status = ended(&mut process, &shutdown).await?;
        let was_short = begin.elapsed() < SHORTEST_LIFE;
        match status.code() {
            Some(0) => return Ok(()),
            Some(_) if was_short => bail!("the process {hostname} ended right after its start: {status}"),
            _ if shutdown.is_requested() => return Ok(()),
            _ => voice.say(format!("worker: the process {hostname} ended ({status}) and is started again")),
        }
        if was_short {
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = shutdown.requested() => return Ok(()),
            }
        }
    }
}

/// One of the processes.
struct Numbered {
    hostname: String,
    /// Whether it is the first, the one that serves HTTP if any does: an address is given once.
    is_first: bool,
}

/// What was typed, for one process. In a group of its own, so that an interrupt from the terminal comes by way of this process,
/// and once.
fn start(typed: &[OsString], numbered: &Numbered) -> anyhow::Result<Child> {
    let mut command = Command::new(env::current_exe()?);
    command.args(typed).args(["--processes", "1", "--hostname", &numbered.hostname]);
    if !numbered.is_first {
        command.arg("--without-http");
    }
    command.args(["--supervisor", &std::process::id().to_string()]).process_group(0);
    Ok(command.spawn()?)
}

/// Waits until a process has ended, and passes on what it is told meanwhile.
async fn ended(process: &mut Child, shutdown: &Shutdown) -> anyhow::Result<ExitStatus> {
    tokio::select! {
        status = process.wait() => return Ok(status?),
        () = shutdown.requested() => send(process, Signal::TERM),
    }
    tokio::select! {
        status = process.wait() => return Ok(status?),
        () = shutdown.cold_requested() => send(process, Signal::QUIT),
    }
    Ok(process.wait().await?)
}

/// To one that has just ended there is nothing to say.
fn send(process: &Child, signal: Signal) {
    let pid = process.id().and_then(|pid| Pid::from_raw(pid as i32));
    let _ = pid.map(|pid| kill_process(pid, signal));
}

/// The name of one process of a worker: `celery-2@%h`.
fn numbered(hostname: &str, number: usize) -> String {
    match hostname.split_once('@') {
        Some((name, host)) => format!("{name}-{number}@{host}"),
        None => format!("{hostname}-{number}"),
    }
}
