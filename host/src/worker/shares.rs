//! How the tenants that are served share this worker: whose messages are taken, and whose task computes next. The rules are in
//! [`crate::tenant::Shares`]; where only one tenant is served and nothing is limited, none of this is used.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    time::sleep,
};

use crate::{
    sandbox::Program,
    store::{Delivery, Portion, TenantLoad},
    task::{QueueName, Tenant},
    tenant::{self, Seat, Terms},
};

/// When several tenants have something to do, no more are taken at a time, and no more are settled: a message of one waits for
/// the store's work for another no longer than this takes, a fraction of a millisecond.
pub(super) const MOST_AT_ONCE: usize = 16;

/// For so long after its last task a tenant counts as one that has something to do.
const LATELY: Duration = Duration::from_secs(10);

/// How often it is looked whether somebody who was left out may have more, since time alone can have changed that.
const LOOK: Duration = Duration::from_secs(1);

/// The tenants of this worker.
pub(super) struct Shares {
    start: Instant,
    rules: Mutex<tenant::Shares<Arc<Waiter>>>,
    /// On what terms tenants take part; who is not there does on the usual ones.
    terms: ArcSwap<HashMap<Tenant, Terms>>,
    served: ArcSwap<Served>,
    crowded: AtomicBool,
    freed: Notify,
}

/// The queues that are taken from, by tenant.
#[derive(Default)]
struct Served {
    queues: Arc<Vec<QueueName>>,
    terms: Arc<HashMap<Tenant, Terms>>,
    tenants: Vec<(Seat, Vec<QueueName>)>,
    seats: HashMap<QueueName, Seat>,
    /// Whether there is nothing to share.
    alone: bool,
}

/// What one take is to bring.
pub(super) struct Plan {
    served: Arc<Served>,
    /// So many messages in all.
    pub most: usize,
    portions: Vec<tenant::Portion>,
}

/// Whoever waits for a turn.
struct Waiter {
    has_turn: AtomicBool,
    waker: Mutex<Waker>,
}

/// A slot, for as long as a task has it.
pub(super) struct Slot {
    _slot: OwnedSemaphorePermit,
    member: Option<Member>,
}

/// The part of a slot's owner in what is shared.
struct Member {
    shares: Arc<Shares>,
    seat: Seat,
    /// How long its task has computed, in nanoseconds.
    computed: AtomicU64,
    /// Whether it has asked for a turn.
    has_asked: AtomicBool,
}

impl Shares {
    /// So many tasks can compute at once.
    pub fn new(turns: usize) -> Self {
        Self {
            start: Instant::now(),
            rules: Mutex::new(tenant::Shares::new(turns)),
            terms: ArcSwap::default(),
            served: ArcSwap::default(),
            crowded: AtomicBool::new(false),
            freed: Notify::new(),
        }
    }

    /// From now on these terms hold; those of tenants that are not named are the usual ones.
    pub fn set_terms(&self, terms: HashMap<Tenant, Terms>) {
        if **self.terms.load() != terms {
            self.terms.store(Arc::new(terms));
            self.freed.notify_one();
        }
    }

    /// How at most `most` messages are to be taken from these queues; nothing if they need not be shared.
    pub fn plan(&self, queues: &Arc<Vec<QueueName>>, most: usize, slots: usize) -> Option<Plan> {
        let served = self.serve(queues);
        if served.alone {
            return None;
        }
        let now = self.start.elapsed();
        let mut rules = self.rules();
        let crowded = rules.busy(now, LATELY) > 1;
        self.crowded.store(crowded, Ordering::Relaxed);
        let (most, ready) = match crowded {
            true => (most.min(MOST_AT_ONCE), 2 * MOST_AT_ONCE),
            false => (most, usize::MAX),
        };
        let portions = rules.plan(most, ready, slots, now);
        drop(rules);
        Some(Plan { served, most, portions })
    }

    /// Whether several tenants have something to do.
    pub fn are_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Notes what was taken as planned. Answers whether another plan may find more at once.
    pub fn took(&self, plan: &Plan, deliveries: &[Delivery], more: bool) -> bool {
        let mut counts = HashMap::new();
        for delivery in deliveries {
            if let Some(seat) = plan.served.seats.get(&delivery.queue) {
                *counts.entry(*seat).or_insert(0) += 1;
            }
        }
        let (now, mut rules) = (self.start.elapsed(), self.rules());
        let mut again = more;
        for portion in &plan.portions {
            let count = counts.get(&portion.seat).copied().unwrap_or(0);
            rules.took(*portion, count, more, now);
            // Whether it may have more now is for the next plan to say: nothing is told of the arrivals of who may not.
            again |= count >= portion.most;
        }
        again
    }

    /// Waits until somebody who was left out of this plan may have more; for ever if nobody was.
    pub async fn freed(&self, plan: Option<&Plan>) {
        match plan {
            Some(plan) if plan.portions.len() < plan.served.tenants.len() => {
                tokio::select! {
                    () = self.freed.notified() => {}
                    () = sleep(LOOK) => {}
                }
            }
            // The queues or the terms may change.
            _ => self.freed.notified().await,
        }
    }

    /// What tenants with quotas do here.
    pub fn loads(&self) -> Vec<TenantLoad> {
        let told = |load: tenant::Load<'_>| TenantLoad {
            tenant: load.tenant.clone(),
            in_flight: load.in_flight as u64,
            most_in_flight: load.most_in_flight.map(|most| most as u64),
            cpu_ms: u64::try_from(load.computed.as_millis()).unwrap_or(u64::MAX),
            held_back: load.held_back,
        };
        self.rules().loads(self.start.elapsed()).map(told).collect()
    }

    /// Who is served, when these are the queues.
    fn serve(&self, queues: &Arc<Vec<QueueName>>) -> Arc<Served> {
        let (served, terms) = (self.served.load_full(), self.terms.load_full());
        if Arc::ptr_eq(&served.queues, queues) && Arc::ptr_eq(&served.terms, &terms) {
            return served;
        }
        let mut tenants: Vec<(Tenant, Vec<QueueName>)> = Vec::new();
        for queue in queues.iter() {
            let (owner, _) = queue.owner();
            match tenants.iter_mut().find(|(tenant, _)| *tenant == owner) {
                Some((_, queues)) => queues.push(queue.clone()),
                None => tenants.push((owner, vec![queue.clone()])),
            }
        }
        let of = |tenant: &Tenant| terms.get(tenant).copied().unwrap_or_default();
        let members: Vec<_> = tenants.iter().map(|(tenant, _)| (tenant.clone(), of(tenant))).collect();
        let alone = members.len() < 2 && members.iter().all(|(_, terms)| terms.are_unlimited());
        let seats = self.rules().serve(&members);
        let tenants: Vec<_> = seats.into_iter().zip(tenants.into_iter().map(|(_, queues)| queues)).collect();
        let seats =
            tenants.iter().flat_map(|(seat, queues)| queues.iter().map(|queue| (queue.clone(), *seat)));
        let seats = seats.collect();
        let served = Arc::new(Served { queues: queues.clone(), terms, tenants, seats, alone });
        self.served.store(served.clone());
        served
    }

    fn rules(&self) -> MutexGuard<'_, tenant::Shares<Arc<Waiter>>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn has ended, and somebody else's may begin.
    fn done(&self, seat: Seat, computed: Duration) {
        let mut rules = self.rules();
        let next = rules.done(seat, computed, self.start.elapsed());
        // Under the lock, so that whoever leaves the line knows whether it has a turn to give back.
        if let Some(next) = &next {
            next.has_turn.store(true, Ordering::SeqCst);
        }
        drop(rules);
        if let Some(next) = next {
            next.wake();
        }
    }
}

impl Plan {
    /// What is to be taken of each tenant.
    pub fn portions(&self) -> Vec<Portion<'_>> {
        let of = |portion: &tenant::Portion| {
            let (_, queues) = self.served.tenants.iter().find(|(seat, _)| *seat == portion.seat)?;
            Some(Portion { queues, share: portion.share, most: portion.most })
        };
        self.portions.iter().filter_map(of).collect()
    }

    /// Whose queue this is.
    pub fn seat(&self, queue: &QueueName) -> Option<Seat> {
        self.served.seats.get(queue).copied()
    }
}

impl Waiter {
    fn wake(&self) {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
    }
}

impl Slot {
    /// The slot of a task that shares with nobody.
    pub fn alone(slot: OwnedSemaphorePermit) -> Self {
        Self { _slot: slot, member: None }
    }

    /// The slot of a task of this tenant.
    pub fn shared(slot: OwnedSemaphorePermit, shares: Arc<Shares>, seat: Seat) -> Self {
        let (computed, has_asked) = (AtomicU64::new(0), AtomicBool::new(false));
        let member = Member { shares, seat, computed, has_asked };
        Self { _slot: slot, member: Some(member) }
    }

    /// Whose it is, if it is shared.
    pub fn seat(&self) -> Option<Seat> {
        self.member.as_ref().map(|member| member.seat)
    }

    /// Lets a run of `program` compute whenever it is its tenant's turn.
    pub async fn in_turn<F: Future>(&self, program: &Program, run: F) -> F::Output {
        let Some(member) = &self.member else { return run.await };
        let mut run = pin!(run);
        let mut line = Line { member, waiter: None };
        poll_fn(|context| {
            if !line.has_turn(program, context) {
                return Poll::Pending;
            }
            let _turn = Turn { member, since: Instant::now() };
            run.as_mut().poll(context)
        })
        .await
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let computed = Duration::from_nanos(*self.computed.get_mut());
        if self.shares.rules().ended(self.seat, computed, *self.has_asked.get_mut()) {
            self.shares.freed.notify_one();
        }
    }
}

/// A place in the line, left when it is dropped.
struct Line<'a> {
    member: &'a Member,
    waiter: Option<Arc<Waiter>>,
}

/// A turn, given back when it is dropped.
struct Turn<'a> {
    member: &'a Member,
    since: Instant,
}

impl Line<'_> {
    /// Whether it is this one's turn; if not, it will be woken.
    fn has_turn(&mut self, program: &Program, context: &Context<'_>) -> bool {
        let Member { shares, seat, has_asked, .. } = self.member;
        if let Some(waiter) = &self.waiter {
            waiter.waker.lock().unwrap_or_else(PoisonError::into_inner).clone_from(context.waker());
            // After the waker is there: whoever gives the turn wakes this one or the one before, never nobody.
            let has_turn = waiter.has_turn.load(Ordering::SeqCst);
            if has_turn {
                self.waiter = None;
            }
            return has_turn;
        }
        let now = shares.start.elapsed();
        let is_first = !has_asked.swap(true, Ordering::Relaxed);
        let mut rules = shares.rules();
        let waiter = &mut self.waiter;
        let has_turn = rules.ask(*seat, is_first, now, || {
            let waker = Mutex::new(context.waker().clone());
            waiter.insert(Arc::new(Waiter { has_turn: AtomicBool::new(false), waker })).clone()
        });
        let interrupt = !has_turn && rules.should_interrupt(*seat, now);
        let has_room = is_first && rules.has_room(*seat);
        drop(rules);
        if interrupt {
            program.interrupt_all();
        }
        if has_room {
            shares.freed.notify_one();
        }
        has_turn
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        let Member { shares, seat, .. } = self.member;
        let mut rules = shares.rules();
        if !waiter.has_turn.load(Ordering::SeqCst) {
            rules.leave(*seat, |other| Arc::ptr_eq(other, &waiter));
            return;
        }
        drop(rules);
        shares.done(*seat, Duration::ZERO);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let computed = self.since.elapsed();
        let nanoseconds = u64::try_from(computed.as_nanos()).unwrap_or(u64::MAX);
        self.member.computed.fetch_add(nanoseconds, Ordering::Relaxed);
        self.member.shares.done(self.member.seat, computed);
    }
}
