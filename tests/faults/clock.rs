//! The clock of the workers' machine jumps, and that of Redis does not, with libfaketime (`tests/setup` installs it). Time that only passes
//! (`CLOCK_MONOTONIC`) goes on as it does on such a machine.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{Trial, ledger::Row, place::Place, world::World};

/// The workers find themselves an hour earlier or later; some of the tasks have an eta.
pub fn jump(trial: &Trial) -> Row {
    let offset = match trial.name.as_str() {
        "clock:+1h" => "+3600",
        _ => "-3600",
    };
    let Some(library) = library() else {
        let why = "libfaketime is not installed: run `tests/setup`";
        return Row::impossible(&trial.name, trial.kind, why.to_owned());
    };
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let clock = folder.path().join("clock");
    fs::write(&clock, "+0").expect("the folder takes files");

    let mut world = World::new(&trial.name, trial.kind, Place::redis(&[]));
    world.add_workers(2);
    for worker in &mut world.workers {
        worker.set("LD_PRELOAD", &library.to_string_lossy());
        worker.set("FAKETIME_TIMESTAMP_FILE", &clock.to_string_lossy());
        worker.set("FAKETIME_NO_CACHE", "1");
        worker.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        worker.start();
    }
    for worker in &mut world.workers {
        worker.wait_until_ready();
    }
    world.send_delayed(20 * trial.scale, Duration::from_secs(5));
    world.send(300 * trial.scale);
    world.wait_for_share(0.3);
    let unfinished = folder.path().join("unfinished");
    fs::write(&unfinished, offset).expect("the folder takes files");
    fs::rename(unfinished, &clock).expect("the folder takes files");
    let at = Instant::now();
    world.struck_all(at, at);
    world.send_delayed(20 * trial.scale, Duration::from_secs(3));
    world.settle_down();
    if !jumped(&world) {
        world.broke("the clock did not jump: none of its results has a time of the other hour");
    }
    let early = world.early();
    if early > 0 {
        world.note(format!("{early} ran before their eta"));
    }
    world.finish()
}

/// Whether some result says that it was stored at least half an hour from now.
fn jumped(world: &World) -> bool {
    let now = jiff::Timestamp::now();
    world.endings().values().any(|(_, answer)| {
        let done = answer.meta["date_done"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
        done.is_some_and(|done| now.duration_since(done).abs() > jiff::SignedDuration::from_mins(30))
    })
}

/// Where Debian puts it; the first part after `lib` is the machine's.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}
