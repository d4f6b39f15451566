//! The life of one task, from the bytes of its message to its settlement. Reads top to bottom.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    Worker, chords, clock,
    end::End,
    follow::{self, Life},
    last_try::LastTry,
    rate_limit,
    running::{Hold, Stop},
    shares::Slot,
    work::{NotHere, Work},
};
use crate::{
    canvas::Follow,
    fail_point,
    plugin::Entry,
    protocol::{
        message::{self, Refusal},
        receipt::Ran,
        repr, result,
    },
    sandbox::{Call, ProgressSink, Run, TimeLimits},
    store::{Delivery, Publication, Settled, Settlement, StoredResult, Tag},
    task::{
        Asked, Disposition, Exception, Failure, Outcome, Receipt, Request, State, TaskName, Tenant, decide,
    },
};

/// Runs the task that a message asks for and has the delivery settled. Every path through here ends in a settlement, but
/// for messages that were given to another worker meanwhile.
///
/// The slot is given back once the settlement is handed over, not before: when the store is slower than the guests, results do
/// not pile up in memory. `alive` lasts until the store has answered.
pub(super) async fn execute(worker: Arc<Worker>, delivery: Delivery, slot: Slot, alive: TaskTrackerToken) {
    fail_point::reach("task:taken");
    let tag = delivery.tag.clone();
    let known = OnceLock::new();
    let (settlement, end) = {
        // Pinned, so that it is not moved: it is large.
        let life = pin!(async {
            let end = live(&worker, delivery, &slot, &known).await;
            settlement(&worker, &tag, end, known.get())
        });
        match AssertUnwindSafe(life).catch_unwind().await {
            Ok(settled) => settled,
            Err(_) => after_panic(&worker, &tag, known.get()),
        }
    };
    fail_point::reach("task:ended");
    // It has gone elsewhere already.
    let Some(settlement) = settlement else { return end.report(Some(&Settled::Done), None) };
    let after = worker.clone();
    let then = |settled| settled_as(after, tag, end, known.into_inner(), settled, alive);
    worker.settler.submit(slot.seat(), settlement, then).await;
    drop(slot);
}

/// The store has answered: whoever watches is told how it ended.
fn settled_as(
    worker: Arc<Worker>,
    tag: Tag,
    end: End,
    life: Option<Life>,
    settled: Option<Settled>,
    alive: TaskTrackerToken,
) {
    fail_point::reach("task:settled");
    if let Some(Settled::Refused(why)) = settled {
        tokio::spawn(async move {
            give_up(&worker, &tag, &end, life.as_ref(), &why).await;
            let receipt = life.as_ref().and_then(|life| life.receipt.get());
            end.report(Some(&Settled::Refused(why)), receipt);
            drop(alive);
        });
        return;
    }
    let signal = life.as_ref().and_then(|life| life.signal.get().copied());
    let receipt = life.as_ref().and_then(|life| life.receipt.get());
    if settled == Some(Settled::Done) {
        worker.tally.ended(&end);
        worker.events.ended(&end, signal, receipt);
    }
    end.report(settled.as_ref(), receipt);
}

/// What is committed after a panic. Where what comes after the task panics as well, it is left out: a message that is never settled is
/// held for as long as the worker lives, and whoever waits for its result is never told.
fn after_panic(worker: &Worker, tag: &Tag, life: Option<&Life>) -> (Option<Settlement>, End) {
    let whole = AssertUnwindSafe(|| settlement(worker, tag, panicked(life), life));
    catch_unwind(whole).unwrap_or_else(|_| {
        let end = panicked(life);
        (end.settlement(tag.clone(), Follow::default(), None), end)
    })
}

/// What is committed for an end: with all that comes after it.
fn settlement(worker: &Worker, tag: &Tag, end: End, life: Option<&Life>) -> (Option<Settlement>, End) {
    let (end, follow) = follow::after(worker, end, life);
    let ran = life.and_then(|life| {
        let (task, worker) = (life.request.task.as_str(), worker.options.node.as_str());
        life.receipt.get().map(|receipt| Ran { task, worker, receipt })
    });
    (end.settlement(tag.clone(), follow, ran), end)
}

/// The store will never take how a task ended: whoever waits for it is told of that, if the store takes as much, and its
/// message is kept. Should even this be refused, the message stays held, and is found again when this worker has ended.
async fn give_up(worker: &Worker, tag: &Tag, end: &End, life: Option<&Life>, why: &str) {
    for follow in [follow::refused(worker, life, why), Follow::default()] {
        let given_up = end.refused_by_store(tag.clone(), why, follow);
        match worker.settler.settle(given_up).await {
            Some(Settled::Refused(_)) => {}
            _ => return,
        }
    }
}

/// From message to end, without settling. The request is put into `known` as soon as it is read.
async fn live(worker: &Arc<Worker>, delivery: Delivery, slot: &Slot, known: &OnceLock<Life>) -> End {
    let life = match message::decode(&delivery.message, delivery.queue.owner().0, &worker.options.messages) {
        Ok(request) => known.get_or_init(|| Life::begin(request)),
        Err(refusal) => return refused(delivery.queue.owner().0, refusal),
    };
    let request = life.request.clone();
    fail_point::reach("task:decoded");
    tracing::info!("Task {}[{}] received", request.tenant.shown(request.task.as_str()), request.id);

    let refusal =
        expired(worker, &request).or_else(|| revoked(worker, &request)).or_else(|| life.cannot_go_on());
    if let Some(outcome) = refusal {
        return End::without_run(request, outcome);
    }
    if let Some(until) = not_yet_due(worker, &request) {
        fail_point::reach("delay:before");
        worker.events.received(&request);
        return End::Delayed { request, until };
    }
    let work = match Work::of(worker, life).await {
        Ok(work) => work,
        Err(NotHere::Ended(outcome)) => {
            worker.events.received(&request);
            worker.events.started(&request);
            return End::without_run(request, outcome);
        }
        Err(NotHere::Unlock(chord, pause)) => return chords::unlock(worker, life, &chord, pause).await,
        Err(NotHere::Unknown(task)) => return unknown(worker, &delivery, request, task),
    };
    let Work { entry, .. } = &work;
    let request = with_options(entry, request);
    if !request.notes.pins.is_empty() {
        // A life has one run.
        let _ = life.pins.set(request.notes.pins.clone());
    }
    worker.events.received(&request);
    if let Err(end) = rate_limit::admit(worker, &delivery, &request).await {
        return end;
    }
    let _alone = match admit(worker, entry, &delivery, &request).await {
        Ok(alone) => alone,
        Err(end) => return end,
    };

    let hold = worker.running.hold(&delivery.tag, request.clone());
    // Whoever revokes from now on stops what runs; this is for what was revoked since the look above.
    if let Some(outcome) = revoked(worker, &request) {
        return End::without_run(request, outcome);
    }
    fail_point::reach("run:before");
    let waited = waited(worker, &request);
    worker.events.started(&request);
    worker.tally.begun(&request);
    let run = match run(worker, &work, life, &request, slot, hold).await {
        Ok(run) => run,
        Err(end) => {
            fail_point::reach("run:interrupted");
            return end;
        }
    };
    fail_point::reach("run:after");
    let receipt = life.receipt.get_or_init(|| receipt(entry, &run, waited));
    entry.plugin.calls.end(has_failed(&run));
    worker.tally.ran(receipt);
    log_output(&request, &run);
    conclude(worker, entry, &delivery, request, run)
}

/// The request as its plugin wants it run: perhaps without a result, and perhaps staying on this version.
fn with_options(entry: &Entry, request: Arc<Request>) -> Arc<Request> {
    let (options, version) = (entry.options(), entry.plugin.version.as_deref());
    let pin = version.filter(|_| options.pin_version);
    if pin.is_none() && (request.ignore_result || !options.ignore_result) {
        return request;
    }
    let mut request = Request::clone(&request);
    request.ignore_result |= options.ignore_result;
    if let Some(version) = pin {
        request.notes.pins = request.notes.pins.with(&entry.plugin.name, version);
    }
    Arc::new(request)
}

/// How long a message waits before it asks again whether it may have its last try.
const LAST_TRY_PAUSE: Duration = Duration::from_millis(250);

/// Lets a message run, or says why not. One whose worker died is run again, but not for ever; from the first death on it is noted
/// that it runs before it does, and the last try is made alone: then, of all of a tenant that the next death would be blamed on,
/// only the culprit is given up. Alone in its tenant, for the count of deaths is in the message, where a sender can write any:
/// nobody keeps others from their last tries.
async fn admit<'w>(
    worker: &'w Worker,
    entry: &Entry,
    delivery: &Delivery,
    request: &Arc<Request>,
) -> Result<Option<LastTry<'w>>, End> {
    let (notes, most) = (&request.notes, worker.options.most_deaths);
    let at_most_once = entry.options().runs_at_most_once();
    if notes.deaths == 0 && !at_most_once {
        return Ok(None);
    }
    if notes.deaths >= most || (at_most_once && notes.begun) {
        return Err(lost_its_worker(request.clone()));
    }
    let is_last_try = notes.deaths > 0 && notes.deaths + 1 >= most;
    let alone = match is_last_try.then(|| worker.last_tries.begin(&request.tenant)) {
        None => None,
        Some(Some(alone)) => Some(alone),
        Some(None) => {
            let until = worker.clock.after(LAST_TRY_PAUSE);
            return Err(End::Delayed { request: request.clone(), until });
        }
    };
    let running = message::mark_running(&delivery.message).unwrap_or_else(|| delivery.message.to_vec());
    match worker.store.broker.replace(&delivery.tag, &running).await {
        Ok(true) => Ok(alone),
        Ok(false) => Err(End::Lost { request: request.clone() }),
        Err(error) => {
            tracing::warn!(%error, "cannot note that a task runs, so it does not");
            Err(End::Interrupted { request: request.clone() })
        }
    }
}

/// Runs the function, unless it is stopped from outside.
async fn run(
    worker: &Arc<Worker>,
    work: &Work,
    life: &Life,
    request: &Arc<Request>,
    slot: &Slot,
    mut hold: Hold<'_>,
) -> Result<Run, End> {
    let entry = &work.entry;
    let call = Call {
        request: request.clone(),
        limits: limits(worker, entry, request),
        memory: entry.options().memory_limit,
        progress: progress_sink(worker.clone(), request.clone()),
        outbox: life.outbox(),
        access: worker.accesses.of(&request.tenant, &entry.plugin),
    };
    // That it runs is told while it does, so that no task waits for it; and before its end can be told.
    // Pinned, so that it is not moved on: it is large.
    let guest = pin!(work.run(call));
    let run = slot.in_turn(&entry.plugin.program, guest);
    let run = pin!(async { tokio::join!(tell_started(worker, entry, request), run).1 });
    tokio::select! {
        // What ends at once needs no ear for the rest.
        biased;
        run = run => Ok(run),
        stop = hold.stopped() => Err(match stop {
            Stop::Lost => End::Lost { request: request.clone() },
            Stop::Terminated(signal) => {
                // It is stopped once, so it is set once.
                let _ = life.signal.set(signal);
                End::without_run(request.clone(), Outcome::Revoked(revocation("terminated")))
            }
        }),
        () = worker.shutdown.cold_requested() => Err(match entry.options().runs_at_most_once() {
            true => lost_its_worker(request.clone()),
            false => End::Interrupted { request: request.clone() },
        }),
    }
}

/// Stores that the task runs, if anybody wants that to be known.
async fn tell_started(worker: &Worker, entry: &Entry, request: &Request) {
    let wanted = worker.options.track_started || entry.options().track_started;
    if !wanted || request.ignore_result {
        return;
    }
    let meta = serde_json::json!({"pid": std::process::id(), "hostname": worker.options.node});
    let meta = serde_json::value::to_raw_value(&meta).expect("it is made of a text and a number");
    let meta = result::of_progress(&request.id, &State::Started, &meta);
    let stored = StoredResult { id: request.id.clone(), state: State::Started, meta };
    if let Err(error) = worker.store.backend.store(&request.tenant, &stored).await {
        tracing::warn!(%error, "nobody is told that a task runs");
    }
}

/// How long the message has waited since it could have been run.
fn waited(worker: &Worker, request: &Request) -> Option<Duration> {
    let since = request.eta.or(request.notes.sent)?;
    // Clocks differ: what was sent in the future has not waited.
    Some(Duration::try_from(worker.clock.now().duration_since(since)).unwrap_or_default())
}

/// What the run took.
fn receipt(entry: &Entry, run: &Run, waited: Option<Duration>) -> Receipt {
    let Run { wall, cpu, peak_memory, .. } = *run;
    let digest = entry.plugin.program.digest().clone();
    Receipt { wall, cpu, peak_memory: peak_memory as u64, waited, digest }
}

/// Whether a run counts as a failure of its version. To be ignored or run again is what a version may want.
fn has_failed(run: &Run) -> bool {
    matches!(run.outcome, Outcome::Failure(_))
        && !matches!(run.asked, Some(Asked::Ignore | Asked::Reject { requeue: true }))
}

/// What follows from a run: its outcome, or another try.
fn conclude(worker: &Worker, entry: &Entry, delivery: &Delivery, request: Arc<Request>, run: Run) -> End {
    let Run { outcome, asked, .. } = run;
    match decide(&request, outcome, asked, &entry.options().retry, fastrand::f64(), repr::arguments) {
        Disposition::Finish(outcome) => End::Finished { request, outcome },
        Disposition::GiveUp(failure) => End::given_up(request, failure),
        Disposition::Retry { failure, after, retries } => {
            retry(worker, delivery, request, failure, after, retries)
        }
        Disposition::Ignore => End::Ignored { request },
        Disposition::Requeue => End::Requeued { request },
    }
}

/// Sends the task again, to the queue and with the priority that it came with (celery-protocol.md, 5). The message waits in
/// the store until then.
fn retry(
    worker: &Worker,
    delivery: &Delivery,
    request: Arc<Request>,
    failure: Failure,
    after: Duration,
    retries: u32,
) -> End {
    let eta = worker.clock.after(after);
    let tag = uuid::Uuid::new_v4().to_string();
    match message::retried(&delivery.message, request.id.as_str(), retries, eta, &tag, &request.notes.pins) {
        Some(message) => {
            let (queue, priority) = (delivery.queue.clone(), request.priority);
            let again = Publication { queue, priority, due: Some(eta), message: message.into() };
            End::Retried { request, failure, eta, again }
        }
        // A message of Celery's old protocol has no place for the count.
        None => End::given_up(request, failure),
    }
}

/// The tightest of what the worker, the plugin and the message allow.
fn limits(worker: &Worker, entry: &Entry, request: &Request) -> TimeLimits {
    let set = worker.time_limits.of_request(request);
    let (ours, plugin, asked) = (&worker.options, set.unwrap_or(entry.options().limits), &request.limits);
    let hard = [plugin.hard, asked.hard].into_iter().flatten().fold(ours.time_limit, Duration::min);
    let soft = [ours.soft_time_limit, plugin.soft, asked.soft].into_iter().flatten().min();
    let cpu = entry.options().cpu_limit.map_or(ours.cpu_limit, |cpu| cpu.min(ours.cpu_limit));
    TimeLimits { hard, soft, cpu }
}

/// The request's eta, if it has not come yet.
fn not_yet_due(worker: &Worker, request: &Request) -> Option<Timestamp> {
    request.eta.filter(|eta| *eta > worker.clock.now())
}

fn expired(worker: &Worker, request: &Request) -> Option<Outcome> {
    let expires = request.expires?;
    (worker.clock.now() > expires).then(|| Outcome::Revoked(revocation("expired")))
}

fn revoked(worker: &Worker, request: &Request) -> Option<Outcome> {
    worker.revoked.covers(request).then(|| Outcome::Revoked(revocation("revoked")))
}

fn revocation(why: &str) -> Exception {
    Exception::new("celery.exceptions", "TaskRevokedError", vec![why.into()])
}

/// A message for which no plugin offers `task` waits for one that does, but not for ever.
fn unknown(worker: &Worker, delivery: &Delivery, request: Arc<Request>, task: TaskName) -> End {
    let now = worker.clock.now();
    let latest = clock::after(now, worker.options.park);
    // A sender could have noted any time.
    let until = request.notes.parked_until.map_or(latest, |noted| noted.min(latest));
    match message::mark_parked(&delivery.message, until) {
        Some(message) if until > now => End::Parked { request, task, until, message },
        _ => {
            let exception = Exception::new("celery.exceptions", "NotRegistered", vec![task.as_str().into()]);
            End::given_up(request, Failure::without_traceback(exception))
        }
    }
}

fn refused(tenant: Tenant, refusal: Refusal) -> End {
    let (exception, reason) = (Some(refusal.exception()), refusal.to_string());
    End::Refused { tenant, id: refusal.id, task: refusal.task, exception, reason }
}

/// The message was running when its worker died, once or several times.
fn lost_its_worker(request: Arc<Request>) -> End {
    let attempts = request.notes.deaths.max(1);
    let workers = if attempts == 1 { "the worker".to_owned() } else { format!("{attempts} workers") };
    let text = format!("Worker exited prematurely: {workers} ended while running this task.");
    let exception = Exception::new("billiard.exceptions", "WorkerLostError", vec![text.into()]);
    End::GivenUp { request, failure: Failure::without_traceback(exception), attempts }
}

/// A panic in the host ends the one task it happened in.
fn panicked(life: Option<&Life>) -> End {
    let text = "the worker failed inside while it ran this task; this is a bug in host";
    match life {
        Some(life) => {
            let exception = Exception::builtin("SystemError", text);
            let outcome = Outcome::Failure(Failure::without_traceback(exception));
            End::without_run(life.request.clone(), outcome)
        }
        None => {
            let tenant = Tenant::DEFAULT;
            End::Refused { tenant, id: None, task: None, exception: None, reason: text.to_owned() }
        }
    }
}

/// Stores a state that the guest sets, and announces it.
fn progress_sink(worker: Arc<Worker>, request: Arc<Request>) -> ProgressSink {
    Arc::new(move |state, meta| {
        let (worker, request) = (worker.clone(), request.clone());
        async move {
            let (id, state) = (request.id.clone(), State::from(state.as_str()));
            let meta = result::of_progress(&id, &state, &meta);
            let stored = StoredResult { id, state, meta };
            worker.store.backend.store(&request.tenant, &stored).await.map_err(|error| {
                tracing::warn!(%error, "a task's progress was not stored");
                "the progress could not be stored".to_owned()
            })
        }
        .boxed()
    })
}

/// The most lines that one run gets into the log.
const MOST_LOGGED_LINES: usize = 100;

/// Passes on the end of what the guest printed.
fn log_output(request: &Request, run: &Run) {
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let (task, id, output) = (request.tenant.shown(request.task.as_str()), &request.id, &run.output);
    let lines: Vec<&str> = output.tail.lines().collect();
    let shown = &lines[lines.len().saturating_sub(MOST_LOGGED_LINES)..];
    if shown.len() < lines.len() || output.dropped > 0 {
        tracing::info!("{task}[{id}] printed more; this is the end of it");
    }
    for line in shown {
        tracing::info!("{task}[{id}]: {line}");
    }
}
