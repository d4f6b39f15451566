//! Messages of limited tasks are run at the rate of their limit, whoever asks, and wait for their turn where none is lost.

use super::*;
use crate::{
    store::{Admission, Candidate, Pace},
    task::{OwnedTask, RateLimit},
};

fn limit(text: &str) -> RateLimit {
    text.parse().unwrap()
}

/// After the first none comes within a test's time.
const SELDOM: &str = "1/h";

/// What is put back instead of a message.
fn marked_as_admitted(message: &[u8]) -> Vec<u8> {
    [message, b" admitted"].concat()
}

async fn admit(store: &impl RateLimits, held: &Delivery, task: &OwnedTask, limited: &str) -> Admission {
    let message = marked_as_admitted(&held.message).into();
    let candidate =
        Candidate { tag: held.tag.clone(), task: task.task.clone(), limit: limit(limited), message };
    store.admit(&candidate).await.unwrap()
}

/// Uses up the token of a task.
async fn use_up<S: Broker + RateLimits>(store: &S, task: &OwnedTask, limited: &str) {
    let q = queue("a queue of its own");
    publish(store, &q, 0, b"first").await;
    let held = drain(store, &q).await;
    assert_eq!(admit(store, &held[0], task, limited).await, Admission::Admitted);
    store.settle(&[settlement(&held[0].tag, Fate::Acknowledge, None)]).await.unwrap();
}

/// Takes all that is in a queue and has it set aside.
async fn set_aside_all<S: Broker + RateLimits>(store: &S, q: &QueueName, task: &OwnedTask) -> Vec<Delivery> {
    let held = drain(store, q).await;
    for held in &held {
        assert_eq!(admit(store, held, task, SELDOM).await, Admission::SetAside);
    }
    held
}

/// Releases at this rate and takes what comes, until nothing is set aside any more.
async fn run_all<S: Broker + RateLimits>(
    store: &S,
    q: &QueueName,
    task: &OwnedTask,
    rate: &str,
) -> Vec<Delivery> {
    let pace = Pace::Limited(limit(rate));
    let mut taken = Vec::new();
    in_time(async {
        while let Some(wait) = store.release_set_aside(task, &pace).await.unwrap().next {
            taken.extend(drain(store, q).await);
            tokio::time::sleep(wait).await;
        }
    })
    .await;
    taken.extend(drain(store, q).await);
    taken
}

pub async fn a_limited_message_waits_for_its_turn_whoever_dies<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (dead, living) = (engine.connect().await, engine.connect().await);
    let (a, b) = (task("app.a"), task("\"b\": {}, ü.*:1"));
    assert_eq!(living.set_aside().await.unwrap(), []);
    publish_all(&dead, &q, 0..4).await;
    let held = drain(&dead, &q).await;
    for (held, task, expected) in [
        (&held[0], &a, Admission::Admitted),
        (&held[1], &a, Admission::SetAside),
        (&held[2], &b, Admission::Admitted),
        (&held[3], &a, Admission::SetAside),
        (&held[1], &a, Admission::NotHeld),
    ] {
        assert_eq!(admit(&dead, held, task, SELDOM).await, expected);
    }
    assert_eq!(living.set_aside().await.unwrap(), [(a, 2)]);
    assert_eq!((living.held().await.unwrap(), living.length(&q).await.unwrap()), (2, 0));
    assert_eq!((living.delayed().await.unwrap(), living.parked().await.unwrap()), (0, Vec::new()));
    let late = settlement(&held[1].tag, Fate::Restore, None);
    assert_eq!(dead.settle(&[late]).await.unwrap(), [Settled::NotHeld]);
    dead.leave().await.unwrap();
    assert_eq!(living.restore().await.unwrap(), 2, "what was admitted is held, what was set aside is not");
}

pub async fn what_is_not_held_uses_no_token_and_is_not_set_aside<E: Engine>() {
    let (engine, q, a) = (E::start().await, queue("q"), task("a"));
    let store = engine.connect().await;
    publish_all(&store, &q, 0..1).await;
    let mut held = drain(&store, &q).await.remove(0);
    store.settle(&[settlement(&held.tag, Fate::Acknowledge, None)]).await.unwrap();
    for tag in [held.tag.clone(), Tag("".into()), Tag("no tag of this engine".into())] {
        held.tag = tag;
        assert_eq!(admit(&store, &held, &a, SELDOM).await, Admission::NotHeld);
    }
    use_up(&store, &a, SELDOM).await;
    assert_eq!(admit(&store, &held, &a, SELDOM).await, Admission::NotHeld);
    assert_eq!(store.set_aside().await.unwrap(), []);
}

pub async fn any_number_of_workers_share_one_bucket<E: Engine>() {
    let (engine, q, a) = (E::start().await, queue("q"), task("a"));
    let stores = [engine.connect().await, engine.connect().await];
    publish_all(&stores[0], &q, 0..40).await;
    let held = [take(&stores[0], &q, 20).await.unwrap(), take(&stores[1], &q, 20).await.unwrap()];
    let ask = |n: usize| {
        let (store, held, a) = (&stores[n], &held[n], &a);
        let all = held.iter().map(move |held| admit(store, held, a, SELDOM));
        futures_util::future::join_all(all)
    };
    let (first, second) = tokio::join!(ask(0), ask(1));
    let admitted = first.iter().chain(&second).filter(|answer| **answer == Admission::Admitted).count();
    assert_eq!(admitted, 1);
    assert_eq!(stores[1].set_aside().await.unwrap(), [(a, 39)]);
}

pub async fn messages_come_back_at_the_rate_of_their_limit_in_their_order<E: Engine>() {
    let (engine, q, a) = (E::start().await, queue("mail.out"), task("a"));
    let store = engine.connect().await;
    use_up(&store, &a, SELDOM).await;
    for number in 0..12 {
        publish(&store, &q, if number < 9 { 4 } else { 0 }, &message(number)).await;
    }
    let waiting = set_aside_all(&store, &q, &a).await;
    let begin = std::time::Instant::now();
    let taken = run_all(&store, &q, &a, "50").await;
    // The first comes at once and some may be caught up with.
    let least = Duration::from_millis(20 * 11) - crate::store::rate_limit::CATCH_UP;
    assert!(begin.elapsed() >= least, "{:?}", begin.elapsed());
    let expected: Vec<_> = waiting.iter().map(|held| marked_as_admitted(&held.message)).collect();
    assert_eq!(messages(&waiting)[..3], [9, 10, 11].map(message), "the urgent ones first");
    assert_eq!(messages(&taken), expected);
    assert_eq!(store.set_aside().await.unwrap(), []);
}

pub async fn nobody_overtakes_what_was_set_aside<E: Engine>() {
    let (engine, q, a) = (E::start().await, queue("q"), task("a"));
    let store = engine.connect().await;
    use_up(&store, &a, SELDOM).await;
    publish_all(&store, &q, 0..2).await;
    set_aside_all(&store, &q, &a).await;
    publish_all(&store, &q, 2..4).await;
    let late = drain(&store, &q).await;
    // For them alone there would be tokens.
    for held in &late {
        assert_eq!(admit(&store, held, &a, "1000000").await, Admission::SetAside);
    }
    let expected: Vec<_> = (0..4).map(|number| marked_as_admitted(&message(number))).collect();
    assert_eq!(messages(&run_all(&store, &q, &a, "1000").await), expected);
}

pub async fn released_messages_go_to_the_head_and_wait_there_for_a_worker<E: Engine>() {
    let (engine, q, other, a) = (E::start().await, queue("q"), queue("r"), task("a"));
    let store = engine.connect().await;
    use_up(&store, &a, SELDOM).await;
    publish_all(&store, &q, 0..3).await;
    set_aside_all(&store, &q, &a).await;
    publish_all(&store, &q, 7..8).await;
    let pace = Pace::Limited(limit("100"));
    let release = async || store.release_set_aside(&a, &pace).await.unwrap();
    let first = in_time(async {
        loop {
            let released = release().await;
            match released.count {
                0 => tokio::time::sleep(released.next.unwrap()).await,
                count => break count,
            }
        }
    })
    .await;
    assert_eq!(store.length(&q).await.unwrap(), first + 1);
    // As long as nobody takes it, none follows: but to another queue.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let blocked = release().await;
    assert_eq!(blocked.count, 0);
    assert!(blocked.next.is_some_and(|wait| !wait.is_zero()), "{blocked:?}");
    publish_all(&store, &other, 4..5).await;
    set_aside_all(&store, &other, &a).await;
    assert_eq!(release().await.count, 1);
    assert_eq!(messages(&drain(&store, &other).await), [marked_as_admitted(&message(4))]);

    let taken = messages(&drain(&store, &q).await);
    assert_eq!(taken.first(), Some(&marked_as_admitted(&message(0))));
    assert_eq!(taken.last(), Some(&message(7)));
    let rest = run_all(&store, &q, &a, "100").await;
    assert_eq!(taken.len() - 1 + rest.len(), 3);
    assert_eq!(messages(&rest).last(), Some(&marked_as_admitted(&message(2))));
}

pub async fn all_come_back_when_the_limit_is_gone<E: Engine>() {
    let (engine, q, a) = (E::start().await, queue("q"), task("a"));
    let store = engine.connect().await;
    use_up(&store, &a, SELDOM).await;
    let many: Vec<_> = (0..2_100).map(|number| publication(&q, 0, &message(number))).collect();
    store.publish(&many).await.unwrap();
    let held = drain(&store, &q).await;
    let all = held.iter().map(|held| admit(&store, held, &a, SELDOM));
    assert!(futures_util::future::join_all(all).await.iter().all(|answer| *answer == Admission::SetAside));
    publish_all(&store, &q, 3_000..3_001).await;
    assert_eq!(store.release_set_aside(&task("b"), &Pace::Unlimited).await.unwrap().count, 0);
    // To whom the task is not known leaves it to others for some time.
    let left = store.release_set_aside(&a, &Pace::Abandoned).await.unwrap();
    assert!(left.count == 0 && left.next > Some(Duration::from_secs(30)), "{left:?}");

    let released = store.release_set_aside(&a, &Pace::Unlimited).await.unwrap();
    assert_eq!((released.count, released.next), (2_100, None));
    let mut taken = messages(&drain(&store, &q).await);
    assert_eq!(taken.pop(), Some(message(3_000)));
    // They were asked for together, so that their own order is the engine's.
    let mut expected: Vec<_> = (0..2_100).map(|number| marked_as_admitted(&message(number))).collect();
    taken.sort();
    expected.sort();
    assert_eq!(taken, expected);
    assert_eq!(store.set_aside().await.unwrap(), []);
}

pub async fn a_message_whose_turn_has_come_is_an_arrival<E: Engine>() {
    let (engine, q, a) = (E::start().await, queue("q"), task("a"));
    let (store, worker) = (engine.connect().await, engine.connect().await);
    use_up(&store, &a, SELDOM).await;
    publish_all(&store, &q, 0..1).await;
    set_aside_all(&store, &q, &a).await;
    let told = take_when_told(&worker, &q, 1);
    let (taken, released) = tokio::join!(told, store.release_set_aside(&a, &Pace::Unlimited));
    assert_eq!((messages(&taken), released.unwrap().count), (vec![marked_as_admitted(&message(0))], 1));
}

pub async fn purging_a_queue_takes_what_was_set_aside_from_it<E: Engine>() {
    let (engine, q, other) = (E::start().await, queue("q"), queue("q.9"));
    let (a, b) = (task("a"), task("b"));
    let store = engine.connect().await;
    for (task, to) in [(&a, &q), (&b, &q), (&b, &other)] {
        for priority in [0, 5, 9] {
            publish(&store, to, priority, &message(usize::from(priority))).await;
            let held = drain(&store, to).await;
            let admitted = admit(&store, &held[0], task, SELDOM).await;
            assert_ne!(admitted, Admission::NotHeld);
            if admitted == Admission::Admitted {
                store.settle(&[settlement(&held[0].tag, Fate::Acknowledge, None)]).await.unwrap();
            }
        }
    }
    publish_all(&store, &q, 0..2).await;
    assert_eq!(store.set_aside().await.unwrap(), [(a, 2), (b.clone(), 5)]);
    assert_eq!(store.purge(&q).await.unwrap(), 2 + 2 + 2);
    assert_eq!(store.set_aside().await.unwrap(), [(b.clone(), 3)]);
    assert_eq!(store.purge(&q).await.unwrap(), 0);
    let released = store.release_set_aside(&b, &Pace::Unlimited).await.unwrap();
    assert_eq!((released.count, released.next), (3, None));
    assert_eq!((store.length(&q).await.unwrap(), store.length(&other).await.unwrap()), (0, 3));
}
