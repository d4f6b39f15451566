//! Redis dies and comes back, or has no memory left.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{Trial, ledger::Row, place::Place, proxy::Proxy, world::World};

/// How long Redis is away.
const AWAY: Duration = Duration::from_secs(1);

/// How long it has no memory.
const FULL: Duration = Duration::from_secs(5);

/// `kill -9` of a Redis that writes to disk, twice.
pub fn restart(trial: &Trial) -> Row {
    let fsync = trial.name.trim_start_matches("redis-restart:");
    let place = Place::redis(&["--appendonly", "yes", "--appendfsync", fsync]);
    let mut world = World::new(&trial.name, trial.kind, place);
    world.start_workers(2);
    world.send(300 * trial.scale);
    for share in [0.2, 0.5] {
        world.wait_for_share(share);
        let at = Instant::now();
        world.place.server().kill_9();
        thread::sleep(AWAY);
        world.place.server().start_again();
        world.struck_all(at, Instant::now());
    }
    world.finish()
}

/// Redis refuses all that needs memory for five seconds.
pub fn memory(trial: &Trial) -> Row {
    let mut world = World::new(&trial.name, trial.kind, Place::redis(&[]));
    world.start_workers(2);
    world.send(300 * trial.scale);
    world.wait_for_share(0.3);
    let limit = |world: &mut World, bytes: &str| {
        world.place.server().ask::<String>(&["CONFIG", "SET", "maxmemory", bytes]);
    };
    let at = Instant::now();
    let done = world.done();
    limit(&mut world, "1");
    thread::sleep(FULL);
    limit(&mut world, "0");
    world.note(format!("{} tasks ended meanwhile", world.done() - done));
    world.struck_all(at, Instant::now());
    let ended = world.workers.iter_mut().filter_map(|worker| (!worker.lives()).then_some(())).count();
    if ended > 0 {
        world.broke(format!("{ended} workers have ended by themselves"));
    }
    world.finish()
}

/// All connections between workers and Redis are cut, three times.
pub fn cut(trial: &Trial) -> Row {
    network(trial, &[0.2, 0.4, 0.6], |proxy| proxy.cut())
}

/// All connections between workers and Redis stay open and lead nowhere, twice.
pub fn half_open(trial: &Trial) -> Row {
    network(trial, &[0.2, 0.5], |proxy| proxy.swallow())
}

fn network(trial: &Trial, shares: &[f64], fail: impl Fn(&Proxy)) -> Row {
    let mut world = World::new(&trial.name, trial.kind, Place::behind_proxy());
    world.start_workers(2);
    world.send(300 * trial.scale);
    for &share in shares {
        world.wait_for_share(share);
        let at = Instant::now();
        fail(world.place.network());
        world.struck_all(at, at);
    }
    world.finish()
}
