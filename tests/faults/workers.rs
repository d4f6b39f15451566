//! Workers die at random moments, or stand still for longer than their lease.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    Trial, ledger::Row, place::Place, random::Random, support::eventually, worker::Kind, world::World,
};

/// How long a worker stands still: its lease of 7 s and two looks of the others later it has lost everything.
const FREEZE: Duration = Duration::from_secs(12);

/// `kill -9` of some of four busy workers, which are started again at once, three times.
pub fn kill(trial: &Trial) -> Row {
    let count: usize = trial.name.trim_start_matches("kill:").parse().expect("the name says how many");
    let mut world = World::new(&trial.name, trial.kind, Place::redis(&[]));
    world.start_workers(4);
    world.send(600 * trial.scale);
    kill_three_times(&mut world, count, [0.2, 0.4, 0.6]);
    world.finish()
}

/// Kills so many of the workers when these shares of the tasks have ended, and starts them again at once.
pub fn kill_three_times(world: &mut World, count: usize, shares: [f64; 3]) {
    let mut random = Random::new(0x5eed + count as u64);
    let mut blows = Vec::new();
    for share in shares {
        world.wait_for_share(share);
        // A random moment is the point here.
        thread::sleep(Duration::from_millis(random.below(60)));
        let mut victims: Vec<usize> = (0..world.workers.len()).collect();
        random.shuffle(&mut victims);
        victims.truncate(count);
        for &victim in &victims {
            blows.push((world.workers[victim].kill_9(), victim));
        }
        for &victim in &victims {
            world.workers[victim].start();
        }
    }
    let last = blows.last().expect("there were rounds").0;
    for (at, victim) in blows {
        // Where all die each time, nobody is left to recover anything before the last time.
        world.struck(at, if count == world.workers.len() { last } else { at }, &[victim]);
    }
}

/// One of two workers is stopped (`SIGSTOP`), and goes on when others have long done its tasks.
pub fn freeze(trial: &Trial) -> Row {
    let mut world = World::new(&trial.name, trial.kind, Place::redis(&[]));
    world.start_workers(2);
    world.send(300 * trial.scale);
    world.wait_for_share(0.3);
    let at = world.workers[0].freeze();
    world.struck(at, at, &[0]);
    // It is the time that is the fault here.
    thread::sleep(FREEZE.saturating_sub(at.elapsed()));
    let before = world.endings();
    world.workers[0].thaw();
    let woken = Instant::now();
    if trial.kind == Kind::Host {
        let told = || world.workers[0].output().contains("had gone to another worker");
        eventually("the woken worker has been told or has had time enough", || {
            (told() || woken.elapsed() > Duration::from_secs(10)).then_some(())
        });
        if !told() {
            world.broke("the woken worker was not told that its tasks had gone to another");
        }
    }
    world.settle_down();
    let stored = world.stored();
    let again = before
        .iter()
        .filter(|(id, (_, answer))| stored.get(*id).is_none_or(|(_, later)| later.meta != answer.meta));
    match again.count() {
        0 => {}
        count => world.broke(format!("{count} results stored a second time")),
    }
    world.finish()
}
