//! A worker of two cores, in numbers: its tenants are told by [`Shares`] what they may do, and it is looked at what they get.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashSet},
};

use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const CORES: usize = 2;
/// A task that computes makes room for others after this time.
const TICK: Duration = Duration::from_millis(10);
/// The most that are taken at once.
const BATCH: usize = 16;

/// What a tenant does.
#[derive(Debug, Clone, Copy)]
struct Load {
    weight: u64,
    /// How long one of its tasks computes.
    cpu: Duration,
    /// How long it holds its slot after that.
    sleep: Duration,
    /// Quotas.
    in_flight: Option<usize>,
    cpu_per_minute: Option<Duration>,
}

const LOAD: Load = Load { weight: 1, cpu: MS, sleep: Duration::ZERO, in_flight: None, cpu_per_minute: None };

struct World {
    now: Duration,
    slots: usize,
    shares: Shares<usize>,
    loads: Vec<Load>,
    seats: Vec<Seat>,
    /// Messages that wait, by tenant, with the time since when.
    queues: Vec<VecDeque<Duration>>,
    /// Tasks in flight: the tenant, what is left to compute, and since when its message is there.
    tasks: BTreeMap<usize, (usize, Duration, Duration)>,
    next_task: usize,
    /// Those in flight that have asked for a turn.
    asked: HashSet<usize>,
    /// On each core a task, since when, and a number that tells this time from others.
    cores: Vec<Option<(usize, Duration, usize)>>,
    turn: usize,
    /// What happens next: at the end of a turn on a core, or of a sleep.
    events: BinaryHeap<Reverse<(Duration, Event)>>,
    computed: Vec<Duration>,
    done: Vec<usize>,
    in_flight: Vec<usize>,
    most_in_flight: Vec<usize>,
    /// How long each message waited until its task first computed.
    waits: Vec<Vec<Duration>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Turn { core: usize, turn: usize },
    Awake { task: usize },
    Arrival { tenant: usize, every: Duration },
    Look,
}

impl World {
    fn new(slots: usize, loads: &[Load]) -> Self {
        let mut shares = Shares::new(CORES);
        let terms = loads.iter().enumerate().map(|(n, load)| {
            let tenant = Tenant::new(&format!("t{n}")).unwrap();
            let Load { in_flight, cpu_per_minute, .. } = *load;
            (tenant, Terms { weight: Weight::new(load.weight).unwrap(), in_flight, cpu_per_minute })
        });
        let seats = shares.serve(&terms.collect::<Vec<_>>());
        let count = loads.len();
        Self {
            now: Duration::ZERO,
            slots,
            shares,
            loads: loads.to_vec(),
            seats,
            queues: vec![VecDeque::new(); count],
            tasks: BTreeMap::new(),
            next_task: 0,
            asked: HashSet::new(),
            cores: vec![None; CORES],
            turn: 0,
            events: BinaryHeap::from([Reverse((Duration::ZERO, Event::Look))]),
            computed: vec![Duration::ZERO; count],
            done: vec![0; count],
            in_flight: vec![0; count],
            most_in_flight: vec![0; count],
            waits: vec![Vec::new(); count],
        }
    }

    fn flood(&mut self, tenant: usize, count: usize) {
        let now = self.now;
        self.queues[tenant].extend(std::iter::repeat_n(now, count));
    }

    fn send_every(&mut self, tenant: usize, every: Duration) {
        self.events.push(Reverse((self.now, Event::Arrival { tenant, every })));
    }

    /// Lets it work for so long; answers what each tenant computed meanwhile.
    fn run(&mut self, time: Duration) -> Vec<f64> {
        let (before, end) = (self.computed.clone(), self.now + time);
        self.take();
        while let Some(Reverse((at, _))) = self.events.peek().filter(|Reverse((at, _))| *at <= end) {
            self.now = *at;
            let Some(Reverse((_, event))) = self.events.pop() else { break };
            self.happen(event);
            self.take();
        }
        self.now = end;
        self.computed.iter().zip(before).map(|(now, before)| (*now - before).as_secs_f64()).collect()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn { core, turn } => {
                if self.cores[core].is_some_and(|(.., current)| current == turn) {
                    self.end_turn(core);
                }
            }
            Event::Awake { task } => self.end(task),
            Event::Arrival { tenant, every } => {
                self.flood(tenant, 1);
                self.events.push(Reverse((self.now + every, Event::Arrival { tenant, every })));
            }
            // As the worker does when somebody was left out.
            Event::Look => self.events.push(Reverse((self.now + SECOND, Event::Look))),
        }
    }

    fn end_turn(&mut self, core: usize) {
        let Some((task, since, _)) = self.cores[core].take() else { return };
        let computed = self.now - since;
        let (tenant, left, _) = self.tasks[&task];
        self.computed[tenant] += computed;
        self.tasks.get_mut(&task).unwrap().1 = left - computed;
        if let Some(next) = self.shares.done(self.seats[tenant], computed, self.now) {
            self.begin_turn(core, next);
        }
        if left > computed {
            self.ask(task);
        } else if self.loads[tenant].sleep.is_zero() {
            self.end(task);
        } else {
            self.events.push(Reverse((self.now + self.loads[tenant].sleep, Event::Awake { task })));
        }
    }

    fn ask(&mut self, task: usize) {
        let seat = self.seats[self.tasks[&task].0];
        let is_first = self.asked.insert(task);
        if self.shares.ask(seat, is_first, self.now, || task) {
            let core = self.cores.iter().position(Option::is_none).expect("as many turns as cores");
            self.begin_turn(core, task);
        } else if self.shares.should_interrupt(seat, self.now) {
            (0..CORES).for_each(|core| self.end_turn(core));
        }
    }

    fn begin_turn(&mut self, core: usize, task: usize) {
        let (tenant, left, sent) = self.tasks[&task];
        if left == self.loads[tenant].cpu {
            self.waits[tenant].push(self.now - sent);
        }
        self.turn += 1;
        self.cores[core] = Some((task, self.now, self.turn));
        self.events.push(Reverse((self.now + left.min(TICK), Event::Turn { core, turn: self.turn })));
    }

    fn end(&mut self, task: usize) {
        let (tenant, ..) = self.tasks.remove(&task).unwrap();
        self.in_flight[tenant] -= 1;
        self.done[tenant] += 1;
        self.asked.remove(&task);
        self.shares.ended(self.seats[tenant], self.loads[tenant].cpu, true);
    }

    fn take(&mut self) {
        loop {
            let most = (self.slots - self.tasks.len()).min(BATCH);
            if most == 0 {
                return;
            }
            let portions = self.shares.plan(most, 2 * BATCH, self.slots, self.now);
            let mut counts = vec![0; portions.len()];
            let mut left = most;
            for limit in [|portion: &Portion| portion.share, |portion: &Portion| portion.most] {
                for (portion, count) in portions.iter().zip(&mut counts) {
                    let has = self.queues[portion.seat.0].len() - *count;
                    let more = (limit(portion) - *count).min(has).min(left);
                    *count += more;
                    left -= more;
                }
            }
            let taken: usize = counts.iter().sum();
            for (portion, count) in portions.into_iter().zip(counts) {
                self.shares.took(portion, count, taken == most, self.now);
                let tenant = portion.seat.0;
                self.in_flight[tenant] += count;
                self.most_in_flight[tenant] = self.most_in_flight[tenant].max(self.in_flight[tenant]);
                for _ in 0..count {
                    let sent = self.queues[tenant].pop_front().unwrap();
                    self.next_task += 1;
                    self.tasks.insert(self.next_task, (tenant, self.loads[tenant].cpu, sent));
                    self.ask(self.next_task);
                }
            }
            if taken == 0 {
                return;
            }
        }
    }
}

/// Checks that each has what its weight says, to five in a hundred.
#[track_caller]
fn assert_shares(computed: &[f64], loads: &[Load]) {
    let (all, weights) = (computed.iter().sum::<f64>(), loads.iter().map(|load| load.weight).sum::<u64>());
    for (computed, load) in computed.iter().zip(loads) {
        let (share, due) = (computed / all, load.weight as f64 / weights as f64);
        assert!((share / due - 1.0).abs() < 0.05, "{share} instead of {due}: {loads:?}");
    }
}

#[test]
fn processor_is_shared_by_weight_also_when_tasks_are_a_hundred_times_longer() {
    for (weights, cpu) in [
        ([1, 3], [MS, MS]),
        ([1, 3], [100 * MS, MS]),
        ([1, 3], [MS, 100 * MS]),
        ([1, 1], [1000 * MS, 10 * MS]),
        ([1, 10], [MS / 20, 5 * MS]),
    ] {
        let load = |n: usize| Load { weight: weights[n], cpu: cpu[n], ..LOAD };
        let loads = [load(0), load(1)];
        let mut world = World::new(100, &loads);
        (0..2).for_each(|tenant| world.flood(tenant, 2_000_000));
        let computed = world.run(20 * SECOND);
        assert_shares(&computed, &loads);
        let all: f64 = computed.iter().sum();
        assert!(all > 39.9, "both cores are busy all the time: {all} s of 40");
    }
}

#[test]
fn random_tenants_get_what_their_weights_say() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..12 {
        let load = |random: &mut fastrand::Rng| Load {
            weight: random.u64(1..=10),
            cpu: MS.mul_f64(10_f64.powf(random.f64() * 3.0 - 1.0)),
            ..LOAD
        };
        let count = random.usize(2..=6);
        let loads: Vec<_> = (0..count).map(|_| load(&mut random)).collect();
        let mut world = World::new(100, &loads);
        (0..count).for_each(|tenant| world.flood(tenant, 500_000));
        world.run(2 * SECOND);
        let computed = world.run(30 * SECOND);
        assert_shares(&computed, &loads);
    }
}

#[test]
fn whoever_is_alone_gets_everything() {
    let mut world = World::new(100, &[LOAD; 5]);
    world.flood(3, 100_000);
    let computed = world.run(5 * SECOND);
    assert!(computed[3] > 9.99, "{computed:?}");

    let sleeps = Load { sleep: 10 * SECOND, ..LOAD };
    let mut world = World::new(100, &[sleeps; 5]);
    world.flood(2, 1_000);
    world.run(SECOND);
    assert_eq!(world.in_flight[2], 100, "of slots too");
}

#[test]
fn who_was_idle_has_saved_up_nothing() {
    let mut world = World::new(100, &[LOAD; 2]);
    world.flood(0, 1_000_000);
    world.run(100 * SECOND);
    world.flood(1, 1_000_000);
    let computed = world.run(2 * SECOND);
    assert_shares(&computed, &[LOAD; 2]);
}

#[test]
fn tasks_that_sleep_save_up_nothing_either() {
    let sleeper = Load { sleep: 1_000 * SECOND, ..LOAD };
    let mut world = World::new(100, &[LOAD, sleeper]);
    world.flood(1, 1);
    world.flood(0, 1_000_000);
    world.run(100 * SECOND);
    world.loads[1].sleep = Duration::ZERO;
    world.flood(1, 1_000_000);
    let computed = world.run(4 * SECOND);
    assert_shares(&computed, &[LOAD; 2]);
}

#[test]
fn beside_a_flood_of_long_tasks_a_task_waits_for_next_to_nothing() {
    let long = Load { cpu: 10 * SECOND, ..LOAD };
    let mut world = World::new(100, &[long, Load { cpu: MS / 10, ..LOAD }]);
    // Not in step with the turns.
    world.send_every(1, Duration::from_micros(97_300));
    world.run(SECOND);
    world.flood(0, 100_000);
    world.run(20 * SECOND);
    let waits = &mut world.waits[1];
    waits.sort();
    let (p95, longest) = (waits[waits.len() * 95 / 100], waits[waits.len() - 1]);
    assert!(waits.len() >= 200 && p95 < MS / 2 && longest <= TICK, "{p95:?}, {longest:?}");
    assert!(world.computed[0] > 39 * SECOND, "and the flood has the rest: {:?}", world.computed);
}

#[test]
fn beside_a_flood_of_sleeping_tasks_there_is_a_slot() {
    let sleeps = Load { sleep: 30 * SECOND, ..LOAD };
    let mut world = World::new(20, &[sleeps, LOAD]);
    world.send_every(1, 100 * MS);
    world.run(SECOND);
    world.flood(0, 100_000);
    world.run(20 * SECOND);
    let longest = world.waits[1].iter().max().unwrap();
    assert!(*longest < 20 * MS, "{longest:?}");
    assert_eq!(world.in_flight[0], 17, "one slot of eight is kept");
}

#[test]
fn whoever_computes_for_long_holds_no_slots_that_it_cannot_use() {
    let long = Load { cpu: 10 * SECOND, ..LOAD };
    let mut world = World::new(100, &[long, Load { weight: 3, cpu: 10 * MS, ..LOAD }]);
    world.flood(0, 1_000);
    let computed = world.run(5 * SECOND);
    assert!(computed[0] > 9.9 && world.in_flight[0] <= 30, "{computed:?}, {:?}", world.in_flight);
    world.flood(1, 100_000);
    let computed = world.run(20 * SECOND);
    assert_shares(&computed, &world.loads);
}

#[test]
fn slots_are_shared_by_weight_when_several_want_them() {
    let loads = [Load { sleep: 10 * SECOND, ..LOAD }, Load { sleep: SECOND / 10, weight: 3, ..LOAD }];
    let mut world = World::new(40, &loads);
    (0..2).for_each(|tenant| world.flood(tenant, 100_000));
    world.run(30 * SECOND);
    assert!(world.in_flight[0].abs_diff(10) <= 1, "{:?}", world.in_flight);
    assert!(world.in_flight[1].abs_diff(30) <= 1, "{:?}", world.in_flight);
}

#[test]
fn nobody_starves_however_small_its_weight() {
    let mut world = World::new(3, &[Load { weight: 1000, ..LOAD }, LOAD, LOAD]);
    (0..3).for_each(|tenant| world.flood(tenant, 1_000_000));
    world.run(10 * SECOND);
    assert!(world.done.iter().all(|done| *done > 0), "{:?}", world.done);
}

#[test]
fn quotas_are_kept_and_others_get_the_rest() {
    let capped = Load { in_flight: Some(3), sleep: 10 * MS, ..LOAD };
    let mut world = World::new(50, &[capped, LOAD]);
    (0..2).for_each(|tenant| world.flood(tenant, 1_000_000));
    let computed = world.run(10 * SECOND);
    assert_eq!(world.most_in_flight[0], 3);
    assert!(computed.iter().sum::<f64>() > 19.9, "{computed:?}");

    let limited = Load { cpu_per_minute: Some(3 * SECOND), cpu: 5 * MS, ..LOAD };
    let mut world = World::new(50, &[limited, LOAD]);
    (0..2).for_each(|tenant| world.flood(tenant, 1_000_000));
    let computed = world.run(300 * SECOND);
    let in_flight_then = 50.0 * 0.005;
    assert!((12.0..=15.0 + 5.0 * in_flight_then).contains(&computed[0]), "{computed:?}");
    assert!(computed.iter().sum::<f64>() > 599.0, "{computed:?}");

    let none = Load { in_flight: Some(0), ..LOAD };
    let mut world = World::new(50, &[none, LOAD]);
    world.flood(0, 10);
    world.run(SECOND);
    assert_eq!(world.done[0], 0);
}

#[test]
fn a_tenant_that_is_served_no_more_ends_what_it_has() {
    let mut world = World::new(10, &[LOAD; 3]);
    (0..2).for_each(|tenant| world.flood(tenant, 1_000));
    world.run(10 * MS);
    let terms = Terms { weight: Weight::new(1).unwrap(), in_flight: None, cpu_per_minute: None };
    let left = world.shares.serve(&[(Tenant::new("t1").unwrap(), terms)]);
    assert_eq!(left, [world.seats[1]], "who stays keeps its seat");
    let other = world.shares.serve(&[(Tenant::new("new").unwrap(), terms)]);
    assert_eq!(other, [world.seats[2]], "only a seat that nobody knows is given away");
    world.run(SECOND);
    assert_eq!(world.in_flight, [0, 0, 0]);
}
