//! How tenants share a worker: whose messages are taken, and whose task computes next.
//!
//! Each tenant has a *spent* time: what its tasks have computed, divided by its weight. Whoever has spent the least comes first; so over time each gets processor in proportion to its weight, however long its tasks are. Who has
//! nothing to do does not hold up the others, and saves nothing up meanwhile: when it comes back, it has spent as much as whoever
//! is served just then.
//!
//! Slots are divided too: while others wait, nobody has more of them than its weight says, because a task that sleeps
//! spends nothing and still is in the way.
//!
//! All is decided under one lock, by numbers. No clock is read here: the caller says what time it is.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use super::{Weight, meter::Meter};
use crate::task::Tenant;

/// What a task costs at least, because the host reads, writes and settles for it, even if it does not run.
const LEAST_COST: Duration = Duration::from_micros(20);

/// What a task is expected to take at most, when it is decided how many are taken: who really computes is decided
/// anew with every turn, and nobody is to wait because others began what is long.
const LONGEST_EXPECTED: Duration = Duration::from_millis(10);

/// How much a tenant's tasks that are ready to compute may have before them, for each that can compute at once. With more of them
/// in flight nothing would be done sooner, and whoever comes next would find no slot.
const ENOUGH: Duration = Duration::from_millis(100);

/// How far a tenant may fall behind the one that is served, so that what it could have had, while its tasks slept, does not become
/// a debt of the others.
const MOST_LAG: Duration = Duration::from_millis(100);

/// Nobody is asked to make room who has computed for less: else two could interrupt each other and neither get anywhere.
const LEAST_TURN: Duration = Duration::from_micros(200);

/// So long after its last message a tenant counts as one that may come back at any moment.
const RECENT: Duration = Duration::from_secs(60);

/// One slot in so many stays free for those that may come back, so that they need not wait for a long task to end.
const SPARE: usize = 8;

/// A tenant's place among the others. It is its own as long as it is served or has tasks in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seat(usize);

/// On what terms a tenant takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Its share beside the others'.
    pub weight: Weight,
    /// How many of its tasks may be in flight here.
    pub in_flight: Option<usize>,
    /// How long its tasks may compute here in a minute.
    pub cpu_per_minute: Option<Duration>,
}

impl Default for Terms {
    /// Of a tenant for which nothing is set.
    fn default() -> Self {
        Self { weight: Weight::default(), in_flight: None, cpu_per_minute: None }
    }
}

impl Terms {
    /// Whether it may have all that others leave.
    pub fn are_unlimited(&self) -> bool {
        self.in_flight.is_none() && self.cpu_per_minute.is_none()
    }
}

/// What may be taken of one tenant's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portion {
    /// Whose.
    pub seat: Seat,
    /// So many, if it has them.
    pub share: usize,
    /// So many at most, of what others leave.
    pub most: usize,
}

/// The tenants of a worker. `W` is whoever waits for a turn to compute.
#[derive(Debug)]
pub struct Shares<W> {
    members: Vec<Member<W>>,
    /// What whoever was served last had spent.
    clock: u64,
    /// How many may compute at once, and how many more may now.
    all_turns: usize,
    turns: usize,
    /// Whether the last plan left somebody out.
    held_back: bool,
}

#[derive(Debug)]
struct Member<W> {
    tenant: Tenant,
    /// None if it is served no more.
    terms: Option<Terms>,
    /// In parts of a nanosecond, divided by the weight: see [`Member::price`].
    spent: u64,
    /// What one of its tasks costs, from the last ones.
    expected: Duration,
    in_flight: usize,
    /// How many of them have not asked for a turn yet.
    fresh: usize,
    /// Whether there was more to take when it was last looked at.
    waiting: bool,
    last_taken: Option<Duration>,
    meter: Meter,
    /// How many of its tasks compute now.
    computing: usize,
    /// Since when the last of them does.
    turn_began: Duration,
    /// Those that could.
    line: VecDeque<W>,
}

impl<W> Member<W> {
    fn new(tenant: Tenant, spent: u64) -> Self {
        Self {
            tenant,
            terms: None,
            spent,
            // As long as nothing is known, little is taken at a time.
            expected: LONGEST_EXPECTED,
            in_flight: 0,
            fresh: 0,
            waiting: false,
            last_taken: None,
            meter: Meter::default(),
            computing: 0,
            turn_began: Duration::ZERO,
            line: VecDeque::new(),
        }
    }

    fn capped(&self, tasks: usize) -> usize {
        tasks.min(self.terms.and_then(|terms| terms.in_flight).unwrap_or(usize::MAX))
    }

    fn weight(&self) -> usize {
        self.terms.map_or(1, |terms| terms.weight.get() as usize)
    }

    /// What a time of computing counts.
    fn price(&self, time: Duration) -> u64 {
        // So that little times of large weights do not vanish; and 64 bits are enough for decades.
        const PARTS: u64 = 16;
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        nanoseconds.saturating_mul(PARTS) / self.weight() as u64
    }

    /// Whether nobody knows its seat any more.
    fn is_gone(&self) -> bool {
        self.in_flight == 0 && self.computing == 0 && self.line.is_empty()
    }

    fn is_idle(&self) -> bool {
        self.in_flight == 0 && !self.waiting
    }

    fn is_recent(&self, now: Duration) -> bool {
        self.last_taken.is_some_and(|last| now.saturating_sub(last) < RECENT)
    }
}

impl<W> Shares<W> {
    /// Nobody yet; so many may compute at once.
    pub fn new(turns: usize) -> Self {
        Self { members: Vec::new(), clock: 0, all_turns: turns, turns, held_back: false }
    }

    /// From now on these are served, on these terms; answers their seats, in the same order.
    pub fn serve(&mut self, tenants: &[(Tenant, Terms)]) -> Vec<Seat> {
        self.members.iter_mut().for_each(|member| {
            member.terms = None;
            member.waiting = false;
        });
        tenants.iter().map(|(tenant, terms)| self.seat(tenant, *terms)).collect()
    }

    fn seat(&mut self, tenant: &Tenant, terms: Terms) -> Seat {
        let seat = match self.members.iter().position(|member| member.tenant == *tenant) {
            Some(known) => known,
            None => {
                let new = Member::new(tenant.clone(), self.clock);
                let is_unused = |member: &Member<W>| member.terms.is_none() && member.is_gone();
                match self.members.iter().position(is_unused) {
                    Some(unused) => {
                        self.members[unused] = new;
                        unused
                    }
                    None => {
                        self.members.push(new);
                        self.members.len() - 1
                    }
                }
            }
        };
        self.members[seat].terms = Some(terms);
        Seat(seat)
    }

    /// How `most` messages are to be taken when so many `slots` are there in all, whoever comes first being first. Who is not
    /// named may have no more now. Nobody has more than `ready` tasks that wait for a turn: those of others come behind them.
    pub fn plan(&mut self, most: usize, ready: usize, slots: usize, now: Duration) -> Vec<Portion> {
        let is_over = |member: &Member<W>| {
            let quota = member.terms.and_then(|terms| terms.cpu_per_minute);
            quota.is_some_and(|quota| member.meter.spent(now) >= quota)
        };
        // Until it may have more it competes with nobody.
        let over: Vec<_> = self.members.iter().map(is_over).collect();
        self.members.iter_mut().zip(&over).for_each(|(member, is_over)| member.waiting &= !is_over);
        let rooms: Vec<_> = self.rooms(slots, now).collect();
        self.held_back = false;
        let mut portions = Vec::new();
        // Where each stands, and what one more costs it.
        let mut standing = BinaryHeap::new();
        for (seat, room) in rooms.into_iter().enumerate() {
            let member = &self.members[seat];
            if member.terms.is_none() {
                continue;
            }
            let ready = self.enough(member).min(ready).saturating_sub(member.fresh + member.line.len());
            let room = room.min(ready);
            if room == 0 || over[seat] {
                self.held_back = true;
                continue;
            }
            let one = member.price(member.expected.clamp(LEAST_COST, LONGEST_EXPECTED)).max(1);
            let spent = if member.waiting { member.spent } else { member.spent.max(self.clock) };
            let begun = one.saturating_mul(member.in_flight as u64);
            standing.push(Reverse((spent.saturating_add(begun), portions.len(), one)));
            portions.push(Portion { seat: Seat(seat), share: 0, most: room.min(most) });
        }
        let mut order: Vec<_> = standing.iter().map(|Reverse((spent, at, _))| (*spent, *at)).collect();
        order.sort_unstable();
        for _ in 0..most {
            let Some(Reverse((spent, at, one))) = standing.pop() else { break };
            portions[at].share += 1;
            if portions[at].share < portions[at].most {
                standing.push(Reverse((spent.saturating_add(one), at, one)));
            }
        }
        order.into_iter().map(|(_, at)| portions[at]).collect()
    }

    /// How many more tasks each may have in flight.
    fn rooms(&self, slots: usize, now: Duration) -> impl Iterator<Item = usize> {
        let served = || self.members.iter().filter(|member| member.terms.is_some());
        let weights: usize = served().filter(|member| member.waiting).map(Member::weight).sum();
        let is_resting = move |member: &Member<W>| !member.waiting && member.is_recent(now);
        let resting = served().filter(|member| is_resting(member)).count();
        // What it has, or could ask for.
        let claim = move |member: &Member<W>| match member.waiting {
            true => member.in_flight.max(member.capped(slots * member.weight() / weights)),
            false => member.in_flight,
        };
        let claims: usize = self.members.iter().map(claim).sum();
        self.members.iter().map(move |member| {
            let others_may_come = resting > usize::from(is_resting(member));
            let spare = if others_may_come && slots > 1 { slots.div_ceil(SPARE) } else { 0 };
            let own = match member.waiting {
                true => (slots - spare) * member.weight() / weights,
                // What is kept for those that may come is for this one.
                false => slots * member.weight() / (weights + member.weight()),
            };
            let left = (slots - spare).saturating_sub(claims - claim(member));
            member.capped(own.max(left).max(1)).saturating_sub(member.in_flight)
        })
    }

    /// How many tasks that are ready keep everything busy.
    fn enough(&self, member: &Member<W>) -> usize {
        let one = member.expected.max(LEAST_COST);
        2 * self.all_turns + (ENOUGH.as_nanos() * self.all_turns as u128 / one.as_nanos()) as usize
    }

    /// So many messages were taken of a portion. `all` says that the take brought as many as it could, so that there may be more
    /// of everything.
    pub fn took(&mut self, portion: Portion, count: usize, all: bool, now: Duration) {
        let clock = self.clock;
        let member = &mut self.members[portion.seat.0];
        if count > 0 {
            if !member.waiting {
                member.spent = member.spent.max(clock);
            }
            member.last_taken = Some(now);
            member.in_flight += count;
            member.fresh += count;
            self.clock = clock.max(member.spent);
        }
        let is_unknown = all && portion.share == 0 && count == 0;
        if !is_unknown {
            member.waiting = count >= portion.most || (all && count >= portion.share);
        }
    }

    /// A task has ended that computed for so long in all; whether it ever asked for a turn. True if somebody who was left out may be
    /// taken from now.
    pub fn ended(&mut self, seat: Seat, computed: Duration, has_asked: bool) -> bool {
        let member = &mut self.members[seat.0];
        member.in_flight -= 1;
        member.fresh -= usize::from(!has_asked);
        let uncharged = LEAST_COST.saturating_sub(computed);
        member.spent = member.spent.saturating_add(member.price(uncharged));
        member.expected = (member.expected * 7 + computed + uncharged) / 8;
        self.held_back
    }

    /// How many tenants have had something to do lately.
    pub fn busy(&self, now: Duration, lately: Duration) -> usize {
        let is_busy = |member: &&Member<W>| {
            !member.is_idle() || member.last_taken.is_some_and(|last| now.saturating_sub(last) < lately)
        };
        self.members.iter().filter(is_busy).count()
    }

    /// A task can compute, perhaps for the first time. True if it may at once; else it is kept as `waiter` until [`Shares::done`]
    /// answers it.
    pub fn ask(&mut self, seat: Seat, is_first: bool, now: Duration, waiter: impl FnOnce() -> W) -> bool {
        let member = &mut self.members[seat.0];
        member.fresh -= usize::from(is_first);
        member.spent = member.spent.max(self.clock.saturating_sub(member.price(MOST_LAG)));
        if self.turns == 0 {
            member.line.push_back(waiter());
            return false;
        }
        self.turns -= 1;
        member.computing += 1;
        member.turn_began = now;
        self.clock = self.clock.max(member.spent);
        true
    }

    /// Whether those who compute should make room for this tenant, which waits: none of its own computes, and others do who have
    /// had no less.
    pub fn should_interrupt(&self, seat: Seat, now: Duration) -> bool {
        let member = &self.members[seat.0];
        let is_ahead = |other: &Member<W>| {
            let turn = now.saturating_sub(other.turn_began);
            other.computing > 0 && other.spent >= member.spent && turn >= LEAST_TURN
        };
        member.computing == 0 && member.line.len() == 1 && self.members.iter().any(is_ahead)
    }

    /// Whether somebody who was left out may be taken from, now that one more has its turn.
    pub fn has_room(&self, seat: Seat) -> bool {
        let member = &self.members[seat.0];
        self.held_back && member.waiting && member.fresh + member.line.len() < self.all_turns
    }

    /// A task has computed for this time, and its turn goes to the one that is answered, if anybody waits.
    pub fn done(&mut self, seat: Seat, computed: Duration, now: Duration) -> Option<W> {
        let member = &mut self.members[seat.0];
        member.computing -= 1;
        member.spent = member.spent.saturating_add(member.price(computed));
        if member.terms.is_some_and(|terms| terms.cpu_per_minute.is_some()) {
            member.meter.add(computed, now);
        }
        let waiting = self.members.iter_mut().filter(|member| !member.line.is_empty());
        let Some(next) = waiting.min_by_key(|member| member.spent) else {
            self.turns += 1;
            return None;
        };
        next.computing += 1;
        next.turn_began = now;
        self.clock = self.clock.max(next.spent);
        next.line.pop_front()
    }

    /// Those who no longer want their turns leave the line.
    pub fn leave(&mut self, seat: Seat, is_gone: impl Fn(&W) -> bool) {
        self.members[seat.0].line.retain(|waiter| !is_gone(waiter));
    }

    /// What those with quotas do now.
    pub fn loads(&self, now: Duration) -> impl Iterator<Item = Load<'_>> {
        self.members.iter().filter_map(move |member| {
            let terms = member.terms.filter(|terms| !terms.are_unlimited())?;
            let computed = member.meter.spent(now);
            let has_all_tasks = terms.in_flight.is_some_and(|quota| member.in_flight >= quota);
            let has_all_time = terms.cpu_per_minute.is_some_and(|quota| computed >= quota);
            let (tenant, in_flight, most_in_flight) = (&member.tenant, member.in_flight, terms.in_flight);
            let held_back = has_all_tasks || has_all_time;
            Some(Load { tenant, in_flight, most_in_flight, computed, held_back })
        })
    }
}

/// What a tenant with quotas does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load<'a> {
    /// Whose it is.
    pub tenant: &'a Tenant,
    /// How many of its tasks are in flight.
    pub in_flight: usize,
    /// How many may be.
    pub most_in_flight: Option<usize>,
    /// How long its tasks have computed in the last minute, if that is limited.
    pub computed: Duration,
    /// Whether it has as much as its quotas allow.
    pub held_back: bool,
}

#[cfg(test)]
mod tests;
