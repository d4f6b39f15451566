//! Tells those who watch what happens here (celery-protocol.md, 7): that this worker is there, always; what becomes of its tasks,
//! when somebody has asked for it.
//!
//! No task ever waits for an event to be told: events go through a queue with bounds, and what does not fit is dropped and
//! counted. While task events are off, nothing is made of them at all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Outage, Worker, end::End, machine};
use crate::{
    client::LogicalClock,
    protocol::{
        event::{self, Event, Pulse, Teller, What},
        receipt::Took,
        repr,
    },
    store::{Broadcast, Topic},
    task::{Failure, Outcome, Receipt, Request},
};

/// How often the heartbeat is told. Celery's own.
const BEAT: Duration = Duration::from_secs(2);

/// The `freq` of a heartbeat that somebody has asked for. Celery's own.
const FREQ_WHEN_ASKED: f64 = 5.0;

/// The most events that wait to be told: those of a busy second.
const MOST_WAITING: usize = 16_384;

/// The most bytes of their texts.
const LARGEST_WAITING: usize = 16 << 20;

/// The most events in one round trip, and the most bytes of them, give or take one event.
const MOST_AT_ONCE: usize = 500;
const LARGEST_AT_ONCE: usize = 256 << 10;

/// How often the log says at most that events were dropped.
const PAUSE_BETWEEN_COMPLAINTS: Duration = Duration::from_secs(30);

/// How long a worker that ends tries to tell the last of them.
const LONGEST_FAREWELL: Duration = Duration::from_secs(2);

/// What there is to tell, and whether anybody wants to hear it.
pub(super) struct Events {
    clock: Arc<LogicalClock>,
    /// Task events cannot be switched off.
    always: bool,
    of_tasks: AtomicBool,
    queue: mpsc::Sender<Event>,
    /// How many bytes wait.
    bytes: AtomicUsize,
    dropped: AtomicU64,
    closing: CancellationToken,
}

/// The other end of [`Events`], to be driven by [`tell`].
pub(super) struct Waiting(mpsc::Receiver<Event>);

impl Events {
    /// Events with task events switched on for good, or off for now; and what waits to be told.
    pub fn new(always: bool) -> (Self, Waiting) {
        let (queue, waiting) = mpsc::channel(MOST_WAITING);
        let events = Self {
            clock: Arc::default(),
            always,
            of_tasks: AtomicBool::new(always),
            queue,
            bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            closing: CancellationToken::new(),
        };
        (events, Waiting(waiting))
    }

    /// The worker's logical clock.
    pub fn clock(&self) -> &Arc<LogicalClock> {
        &self.clock
    }

    /// Switches task events on or off, and answers whether that has changed anything. As in Celery, a worker that was started
    /// with them keeps them.
    pub fn switch_tasks(&self, on: bool) -> bool {
        !self.always && self.of_tasks.swap(on, Ordering::Relaxed) != on
    }

    /// A task was received and is to be run. One that had to wait for its turn was received before.
    pub fn received(&self, request: &Request) {
        if self.are_of_tasks() && !request.notes.admitted {
            self.add(What::received(request));
        }
    }

    /// A task begins to run.
    pub fn started(&self, request: &Request) {
        if self.are_of_tasks() {
            self.add(What::TaskStarted { uuid: request.shown_id().into_owned() });
        }
    }

    /// A delivery has ended so, which was committed. A task that was stopped was so with this signal; one that has run took
    /// this.
    pub fn ended(&self, end: &End, signal: Option<i32>, receipt: Option<&Receipt>) {
        if self.are_of_tasks()
            && let Some(what) = of_end(end, signal, receipt)
        {
            self.add(what);
        }
    }

    /// The worker is there, perhaps again.
    pub fn online(&self, worker: &Worker) {
        self.add(What::WorkerOnline(pulse(worker, BEAT.as_secs_f64())));
    }

    /// Somebody wants to know whether the worker is there.
    pub fn beat_now(&self, worker: &Worker) {
        self.add(What::WorkerHeartbeat(pulse(worker, FREQ_WHEN_ASKED)));
    }

    /// Ends [`tell`], once it has told what waits.
    pub fn close(&self) {
        self.closing.cancel();
    }

    fn are_of_tasks(&self) -> bool {
        self.of_tasks.load(Ordering::Relaxed)
    }

    fn add(&self, what: What) {
        let size = size(&what);
        let fits = self.bytes.fetch_add(size, Ordering::Relaxed) + size <= LARGEST_WAITING;
        if !fits || self.queue.try_send(self.event(what)).is_err() {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn event(&self, what: What) -> Event {
        let timestamp = Timestamp::now().as_microsecond() as f64 / 1e6;
        Event { clock: self.clock.tick(), timestamp, what }
    }
}

/// Tells that the worker is there, and what waits to be told, until [`Events::close`]; then that it goes. What is told
/// together goes in one round trip: one event when the worker is idle, hundreds when it is busy.
pub(super) async fn tell(worker: &Worker, mut waiting: Waiting) {
    let events = &worker.events;
    let mut outage = Outage::new("tell events");
    let mut complaint = Complaint::default();
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, and the worker is announced when it is ready.
    beats.reset();
    loop {
        let first = tokio::select! {
            biased;
            _ = beats.tick() => {
                complaint.about(events.dropped.load(Ordering::Relaxed));
                events.event(What::WorkerHeartbeat(pulse(worker, BEAT.as_secs_f64())))
            }
            first = waiting.next(events) => first,
            () = events.closing.cancelled() => break,
        };
        let told = batch(worker, waiting.with_more(events, first));
        while let Err(error) = worker.store.bus.broadcast(&told).await {
            if events.closing.is_cancelled() || worker.shutdown.is_cold() {
                return;
            }
            tokio::select! {
                () = outage.wait(&error, &worker.shutdown) => {}
                () = events.closing.cancelled() => return,
            }
        }
        outage.over();
    }
    let farewell = async {
        while let Ok(first) = waiting.0.try_recv() {
            let told = batch(worker, waiting.with_more(events, first));
            worker.store.bus.broadcast(&told).await?;
        }
        let offline = events.event(What::WorkerOffline(pulse(worker, BEAT.as_secs_f64())));
        worker.store.bus.broadcast(&batch(worker, vec![offline])).await
    };
    match timeout(LONGEST_FAREWELL, farewell).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(%error, "nobody is told that this worker ends"),
        Err(_) => tracing::warn!("nobody is told that this worker ends: the store does not answer"),
    }
}

impl Waiting {
    async fn next(&mut self, events: &Events) -> Event {
        // The sender lives in the worker, which outlives this.
        let Some(event) = self.0.recv().await else { return std::future::pending().await };
        events.bytes.fetch_sub(size(&event.what), Ordering::Relaxed);
        event
    }

    /// Adds what else waits, within the bounds of a round trip.
    fn with_more(&mut self, events: &Events, first: Event) -> Vec<Event> {
        let mut bytes = size(&first.what);
        let mut all = vec![first];
        while all.len() < MOST_AT_ONCE && bytes < LARGEST_AT_ONCE {
            let Ok(event) = self.0.try_recv() else { break };
            let size = size(&event.what);
            events.bytes.fetch_sub(size, Ordering::Relaxed);
            bytes += size;
            all.push(event);
        }
        all
    }
}

/// The messages that tell these events: task events that follow each other share one.
fn batch(worker: &Worker, events: Vec<Event>) -> Vec<Broadcast> {
    let teller = Teller { hostname: worker.options.node.clone(), pid: std::process::id() };
    let tag = || uuid::Uuid::new_v4().to_string();
    let told =
        events.chunk_by(|a, b| !a.what.is_of_worker() && !b.what.is_of_worker()).map(|some| match some {
            [one] if one.what.is_of_worker() => event::encode(one, &teller, &tag()),
            some => event::encode_many(some, &teller, &tag()),
        });
    told.map(|told| Broadcast {
        topic: Topic::Events,
        routing_key: told.routing_key.to_owned(),
        message: told.message.into(),
    })
    .collect()
}

/// How the worker is now.
fn pulse(worker: &Worker, freq: f64) -> Pulse {
    let report = worker.report();
    Pulse {
        freq,
        active: report.active,
        processed: report.processed,
        loadavg: machine::load(),
        sw_ident: "host",
        sw_ver: env!("CARGO_PKG_VERSION"),
        sw_sys: machine::SYSTEM,
    }
}

/// What is told of the end of a delivery; nothing if the task goes on, here or elsewhere.
fn of_end(end: &End, signum: Option<i32>, receipt: Option<&Receipt>) -> Option<What> {
    let host = receipt.cloned().map(Took);
    match end {
        End::Finished { request, outcome } => Some(match outcome {
            Outcome::Success(value) => What::TaskSucceeded {
                uuid: request.shown_id().into_owned(),
                result: repr::value(value),
                runtime: receipt.map_or(0.0, |receipt| receipt.wall.as_secs_f64()),
                host,
            },
            Outcome::Failure(failure) => failed(request, failure, host),
            Outcome::Revoked(exception) => What::TaskRevoked {
                uuid: request.shown_id().into_owned(),
                terminated: exception.message() == "terminated",
                signum,
                expired: exception.message() == "expired",
            },
        }),
        End::GivenUp { request, failure, .. } => Some(failed(request, failure, host)),
        End::Retried { request, failure: Failure { exception, traceback }, .. } => Some(What::TaskRetried {
            uuid: request.shown_id().into_owned(),
            exception: repr::exception(exception),
            traceback: traceback.clone(),
            host,
        }),
        End::Requeued { request } => {
            Some(What::TaskRejected { uuid: request.shown_id().into_owned(), requeue: true })
        }
        End::Refused { tenant, id: Some(id), exception: Some(exception), .. } => {
            let uuid = tenant.shown(id.as_str()).into_owned();
            Some(What::TaskFailed {
                uuid,
                exception: repr::exception(exception),
                traceback: None,
                host: None,
            })
        }
        End::Refused { .. }
        | End::Ignored { .. }
        | End::Replaced { .. }
        | End::Delayed { .. }
        | End::SetAside { .. }
        | End::Parked { .. }
        | End::Interrupted { .. }
        | End::Lost { .. } => None,
    }
}

fn failed(request: &Request, Failure { exception, traceback }: &Failure, host: Option<Took>) -> What {
    let uuid = request.shown_id().into_owned();
    What::TaskFailed { uuid, exception: repr::exception(exception), traceback: traceback.clone(), host }
}

/// About how many bytes an event takes while it waits.
fn size(what: &What) -> usize {
    const REST: usize = 300;
    let texts = match what {
        What::TaskReceived { name, args, kwargs, .. } => name.len() + args.len() + kwargs.len(),
        What::TaskSucceeded { result, .. } => result.len(),
        What::TaskFailed { exception, traceback, .. } | What::TaskRetried { exception, traceback, .. } => {
            exception.len() + traceback.as_ref().map_or(0, String::len)
        }
        _ => 0,
    };
    texts + REST
}

/// Says in the log that events were dropped, now and then.
#[derive(Default)]
struct Complaint {
    told: u64,
    last: Option<Instant>,
}

impl Complaint {
    fn about(&mut self, dropped: u64) {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= PAUSE_BETWEEN_COMPLAINTS);
        if dropped > self.told && is_due {
            let more = dropped - self.told;
            tracing::warn!(
                "dropped {more} events, for the store takes them slower than they come; tasks go on"
            );
            (self.told, self.last) = (dropped, Some(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(traceback: &str) -> What {
        What::TaskFailed {
            uuid: "id".to_owned(),
            exception: "E()".to_owned(),
            traceback: Some(traceback.to_owned()),
            host: None,
        }
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_what_does_not_fit_is_counted() {
        let (events, mut waiting) = Events::new(false);
        for _ in 0..MOST_WAITING + 7 {
            events.add(failure(""));
        }
        assert_eq!(events.dropped.load(Ordering::Relaxed), 7);
        let first = waiting.next(&events).await;
        assert_eq!(first.clock, 1);
        let mut count = waiting.with_more(&events, first).len();
        assert_eq!(count, MOST_AT_ONCE);
        while let Ok(next) = waiting.0.try_recv() {
            events.bytes.fetch_sub(size(&next.what), Ordering::Relaxed);
            count += 1;
        }
        assert_eq!((count, events.bytes.load(Ordering::Relaxed)), (MOST_WAITING, 0));

        let large = "x".repeat(LARGEST_WAITING / 3);
        for _ in 0..5 {
            events.add(failure(&large));
        }
        assert_eq!(events.dropped.load(Ordering::Relaxed), 7 + 3);
        assert_eq!(
            waiting.with_more(&events, events.event(failure(""))).len(),
            2,
            "one that is large is enough"
        );
    }

    #[test]
    fn task_events_are_off_until_somebody_asks_and_stay_when_they_were_there_from_the_start() {
        let (events, _waiting) = Events::new(false);
        assert!(!events.are_of_tasks());
        for (on, changes) in [(true, true), (true, false), (false, true), (false, false)] {
            assert_eq!(events.switch_tasks(on), changes);
            assert_eq!(events.are_of_tasks(), on);
        }
        let (events, _waiting) = Events::new(true);
        assert!(!events.switch_tasks(false) && events.are_of_tasks());
    }
}
