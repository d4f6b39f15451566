//! The worker kills itself at one step of a task's life, while another one works beside it. Each step that the code names
//! has a situation here in which it is reached.

use std::time::{Duration, Instant};

use host::fail_point;

use crate::{
    Trial,
    ledger::Row,
    place::Place,
    support::{PATIENCE, eventually},
    world::World,
};

/// The victim; the other one stays.
const VICTIM: usize = 0;

/// Runs the trial that is named after the step.
pub fn kill_at(trial: &Trial) -> Row {
    let step = trial.name.trim_start_matches("step:");
    let mut world = World::new(&trial.name, trial.kind, Place::redis(&[]));
    world.add_workers(2);
    match step {
        "run:interrupted" => shut_down(&mut world, step, "QUIT"),
        "leave:before" => shut_down(&mut world, step, "TERM"),
        _ if step.starts_with("restore:") || step.starts_with("put_back:") => {
            while_restoring(&mut world, step)
        }
        _ if step.starts_with("delay:") => with_delays(&mut world, step, trial.scale),
        _ if step.starts_with("limit:") => with_a_limit(&mut world, step, trial.scale),
        _ if step.starts_with("chord:") => with_chords(&mut world, step, trial.scale),
        _ if step.starts_with("beat:") => while_beating(&mut world, step),
        _ => under_load(&mut world, step, trial.scale),
    }
    world.finish()
}

/// Where a message is taken and its task does not run yet.
const TAKEN: [&str; 5] = ["take:answered", "take:kept", "task:taken", "task:decoded", "run:before"];

/// One worker after the other takes messages and dies before it runs them, a thousand of them in the whole suite. Only then
/// comes one that lives.
pub fn kill_takers(trial: &Trial) -> Row {
    let deaths = if trial.scale > 1 { 1_000 } else { 40 };
    let mut world = World::new(&trial.name, trial.kind, Place::redis(&[]));
    world.add_workers(2);
    // More than can be taken until what the first one held is given back.
    world.send_long(300 * trial.scale, Duration::from_millis(10));
    let mut died = Vec::new();
    for step in TAKEN.iter().cycle().take(deaths) {
        world.workers[VICTIM].set(fail_point::VARIABLE, step);
        world.workers[VICTIM].start();
        match world.workers[VICTIM].wait_for_suicide(Instant::now() + PATIENCE) {
            Some(at) => died.push(at),
            None => {
                world.broke(format!("{step} is never reached"));
                break;
            }
        }
    }
    world.note(format!("{} deaths", died.len()));
    world.workers[1].start();
    world.workers[1].wait_until_ready();
    // Before that nobody could have run anything.
    let over = Instant::now();
    died.into_iter().for_each(|at| world.struck(at, over, &[VICTIM]));
    world.finish()
}

/// Short tasks for both workers: the victim dies when it has done some.
fn under_load(world: &mut World, step: &str, scale: usize) {
    // Steps of single tasks are passed more often than those of many at a time.
    let several = if step.starts_with("task:") || step.starts_with("run:") { 10 } else { 3 };
    start_both(world, step, several);
    world.send(150 * scale);
    wait_for_death(world, step);
}

/// Tasks whose time has not come: taken, put aside, taken again when it has.
fn with_delays(world: &mut World, step: &str, scale: usize) {
    start_both(world, step, 5);
    world.send_delayed(60 * scale, Duration::from_secs(3));
    wait_for_death(world, step);
}

/// Tasks of which the workers may run a part only, so that the rest is set aside.
fn with_a_limit(world: &mut World, step: &str, scale: usize) {
    world.limit(40);
    start_both(world, step, 1);
    world.send(150 * scale);
    wait_for_death(world, step);
}

/// Tasks of which every third one is sent by the workers, when the two before it have ended.
fn with_chords(world: &mut World, step: &str, scale: usize) {
    start_both(world, step, 5);
    world.send_chords(40 * scale);
    wait_for_death(world, step);
}

/// Tasks that are longer than the time between two heartbeats.
fn while_beating(world: &mut World, step: &str) {
    start_both(world, step, 2);
    world.send_long(8, Duration::from_secs(3));
    wait_for_death(world, step);
}

/// The victim gives back what a third one held that died, and dies of it. The one that helps starts only then: else it
/// might be the one that gives back.
fn while_restoring(world: &mut World, step: &str) {
    const DEAD: usize = 2;
    world.add_workers(1);
    world.workers[DEAD].start();
    world.workers[DEAD].wait_until_ready();
    world.send_long(4, Duration::from_millis(1500));
    wait_until_held(world, 4);
    world.workers[VICTIM].set(fail_point::VARIABLE, step);
    world.workers[VICTIM].start();
    world.workers[VICTIM].wait_until_ready();
    let first = world.workers[DEAD].kill_9();
    let died = world.workers[VICTIM].wait_for_suicide(Instant::now() + PATIENCE);
    world.workers[1].start();
    match died {
        // Before the second death nobody could have given anything back for good.
        Some(at) => world.struck(first, at, &[DEAD]),
        None => world.broke(format!("{step} is never reached")),
    }
}

/// The victim is asked to end while its tasks run.
fn shut_down(world: &mut World, step: &str, signal: &str) {
    start_both(world, step, 1);
    world.send_long(8, Duration::from_secs(2));
    wait_until_held(world, 8);
    world.workers[VICTIM].signal(signal);
    wait_for_death(world, step);
}

/// The victim dies when it reaches the step for the `nth` time.
fn start_both(world: &mut World, step: &str, nth: usize) {
    world.workers[VICTIM].set(fail_point::VARIABLE, &format!("{step}:{nth}"));
    for worker in &mut world.workers {
        worker.start();
    }
    world.workers[1].wait_until_ready();
    // It may not come so far: some steps are reached without a task.
    eventually("the victim is ready or has died", || {
        let victim = &mut world.workers[VICTIM];
        (victim.output().contains(" ready.") || !victim.lives()).then_some(())
    });
}

fn wait_until_held(world: &mut World, count: usize) {
    let mut held = || world.place.server().ask::<usize>(&["HLEN", "unacked"]);
    eventually("the tasks are held", || (held() == count).then_some(()));
}

fn wait_for_death(world: &mut World, step: &str) {
    match world.workers[VICTIM].wait_for_suicide(Instant::now() + PATIENCE) {
        Some(at) => world.struck(at, at, &[VICTIM]),
        None => world.broke(format!("{step} is never reached")),
    }
}
