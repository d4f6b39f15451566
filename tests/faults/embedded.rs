//! The embedded broker, one SQLite file: its writers die, and its disk is full. All that is asked of it goes through
//! `host`'s own commands, as it does for its users.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Trial,
    ledger::Row,
    place::{Endings, Look, Place},
    support::Answer,
    workers::kill_three_times,
    world::World,
};

/// How long the disk is full.
const FULL: Duration = Duration::from_secs(5);

/// How long each task takes: so long that there is work for some seconds, though there are few tasks.
const LENGTH: Duration = Duration::from_millis(200);

/// How many results are looked for at a time: each costs a process.
const AT_A_GLANCE: usize = 8;

/// A broker in a folder of its own.
pub struct Embedded {
    folder: PathBuf,
    // Dropped in this order.
    disk: Option<Disk>,
    _folder: TempDir,
}

/// Whether the binary can use such a broker.
pub fn is_known() -> bool {
    let embedded = Embedded::new();
    embedded.host(&["queues"]).status.success()
}

/// `kill -9` of one or both of two workers that write the same file, three times.
pub fn kill(trial: &Trial) -> Row {
    let count: usize = trial.name.trim_start_matches("sqlite-kill:").parse().expect("the name says how many");
    let mut world = World::new(&trial.name, trial.kind, Place::Embedded(Embedded::new()));
    // Sent before there are workers: a process per task is slower than they are.
    world.send_long(100 * trial.scale, LENGTH);
    world.start_workers(2);
    kill_three_times(&mut world, count, [0.1, 0.3, 0.5]);
    world.finish()
}

/// The disk has no room for five seconds.
pub fn full(trial: &Trial) -> Row {
    let embedded = match Embedded::on_a_small_disk() {
        Ok(embedded) => embedded,
        Err(why) => return Row::impossible(&trial.name, trial.kind, why),
    };
    let filling = embedded.folder.join("filling");
    let mut world = World::new(&trial.name, trial.kind, Place::Embedded(embedded));
    world.send_long(100 * trial.scale, LENGTH);
    world.start_workers(2);
    world.wait_for_share(0.2);
    let at = Instant::now();
    // It is written until there is no room, so this fails, and leaves what was written.
    let filled = fs::write(&filling, vec![0; Disk::SIZE]);
    if filled.is_ok() {
        world.broke("the disk was not full");
    }
    thread::sleep(FULL);
    fs::remove_file(&filling).expect("it is there");
    world.struck_all(at, Instant::now());
    let ended = world.workers.iter_mut().filter_map(|worker| (!worker.lives()).then_some(())).count();
    if ended > 0 {
        world.broke(format!("{ended} workers have ended by themselves"));
    }
    world.finish()
}

impl Embedded {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        Self { folder: folder.path().to_owned(), disk: None, _folder: folder }
    }

    /// On a file system of its own, which can be full without harm to others.
    fn on_a_small_disk() -> Result<Self, String> {
        let mut embedded = Self::new();
        embedded.disk = Some(Disk::mount(&embedded.folder)?);
        Ok(embedded)
    }

    pub fn url(&self) -> String {
        format!("sqlite:{}", self.folder.join("broker.db").display())
    }

    /// Sends a task and returns its id.
    pub fn call(&self, name: &str, args: &Value) -> String {
        let output = self.host(&["call", name, "--args", &args.to_string()]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let sent: Value = serde_json::from_str(&text).expect("it prints JSON");
        sent["task_id"].as_str().expect("it prints the id").to_owned()
    }

    /// Looks for a few at a time, always for others, because each costs a process.
    pub fn look(&self) -> Look {
        let broker = self.url();
        let mut turn = 0;
        Box::new(move |pending, endings| {
            for n in 0..pending.len().min(AT_A_GLANCE) {
                look_for(&broker, &pending[(turn + n) % pending.len()], endings);
            }
            turn = turn.wrapping_add(AT_A_GLANCE);
        })
    }

    /// Looks for all of these.
    pub fn look_for_all(&self, ids: &[String], endings: &mut Endings) {
        ids.iter().for_each(|id| look_for(&self.url(), id, endings));
    }

    /// How many messages there are, wherever they are.
    pub fn messages(&self) -> usize {
        let output = self.host(&["queues"]);
        let counts: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
        let waiting = counts["queues"].as_object().into_iter().flat_map(|queues| queues.values());
        let others = ["held", "delayed", "set_aside", "dead_letters", "parked"].map(|name| &counts[name]);
        waiting.chain(others).filter_map(Value::as_u64).sum::<u64>() as usize
    }

    fn host(&self, arguments: &[&str]) -> Output {
        host(&self.url(), arguments)
    }
}

fn look_for(broker: &str, id: &str, endings: &mut Endings) {
    let output = host(broker, &["result", id]);
    let text = String::from_utf8_lossy(&output.stdout);
    // While the disk is full it may say nothing.
    if text.trim().is_empty() {
        return;
    }
    let answer = Answer::parse(&text);
    if answer.is_ready() {
        endings.insert(id.to_owned(), (Instant::now(), answer));
    }
}

fn host(broker: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    command.args(arguments).args(["--broker", broker, "--json"]);
    command.output().expect("the binary is built")
}

/// A small file system in memory; only root may make one.
struct Disk(PathBuf);

impl Disk {
    const SIZE: usize = 16 << 20;

    fn mount(folder: &Path) -> Result<Self, String> {
        let size = format!("size={}", Self::SIZE);
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "faults"]).arg(folder).output();
        match output {
            Ok(output) if output.status.success() => Ok(Self(folder.to_owned())),
            Ok(output) => Err(format!("no small disk: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("no small disk: {error}")),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
