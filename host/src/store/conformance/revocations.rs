//! What is revoked is known to all, in time, and for as long as was asked.

use super::*;
use crate::store::{Revocation, Target};

/// Of a task, for so many milliseconds.
fn revocation(id: &TaskId, millis: u64) -> Revocation {
    let until = whole(Timestamp::now() + Duration::from_millis(millis));
    Revocation { tenant: Tenant::DEFAULT, target: Target::Task(id.clone()), terminate: false, until }
}

/// A time in whole milliseconds: a store need not keep finer ones.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap()
}

fn sorted(mut revocations: Vec<Revocation>) -> Vec<Revocation> {
    revocations.sort_by_key(|revocation| format!("{:?}", revocation.target));
    revocations
}

/// Longer than any test.
const HOUR: u64 = 3_600_000;

pub async fn what_is_revoked_is_told_since_a_revision<E: Engine>() {
    let engine = E::start().await;
    let (store, other) = (engine.connect().await, engine.connect().await);
    let (none, start) = other.revoked_since(0).await.unwrap();
    assert_eq!(none, []);
    let stamp = |value: &str| {
        let target = Target::Stamp { name: "ü \"x\": \n".to_owned(), value: value.to_owned() };
        Revocation { target, terminate: true, ..revocation(&TaskId::random(), HOUR) }
    };
    let first = [revocation(&TaskId::random(), HOUR), stamp("a"), stamp("\0,b")];
    store.revoke(&first).await.unwrap();
    store.revoke(&[]).await.unwrap();
    let (told, middle) = other.revoked_since(start).await.unwrap();
    assert_eq!(sorted(told), sorted(first.to_vec()));
    assert!(middle > start);
    assert_eq!(other.revoked_since(middle).await.unwrap(), (Vec::new(), middle));

    let second = revocation(&TaskId::new("id \"1\" {}").unwrap(), HOUR);
    other.revoke(std::slice::from_ref(&second)).await.unwrap();
    let (told, end) = store.revoked_since(middle).await.unwrap();
    assert_eq!(told, std::slice::from_ref(&second));
    assert!(end > middle);
    // Who asks for everything, and who has heard more than this store knows, is told everything.
    let everything = sorted(first.into_iter().chain([second]).collect());
    for revision in [0, end + 1_000] {
        let (told, reached) = store.revoked_since(revision).await.unwrap();
        assert_eq!((sorted(told), reached), (everything.clone(), end), "since {revision}");
    }
}

pub async fn what_is_revoked_again_is_so_until_the_later_time<E: Engine>() {
    let (engine, id) = (E::start().await, TaskId::random());
    let store = engine.connect().await;
    let (long, short) = (revocation(&id, 2 * HOUR), revocation(&id, HOUR));
    let longest = Revocation { terminate: true, ..revocation(&id, 3 * HOUR) };
    store.revoke(&[short.clone(), long.clone()]).await.unwrap();
    let (told, revision) = store.revoked_since(0).await.unwrap();
    assert_eq!(told, std::slice::from_ref(&long));
    // It is news that it is now to be stopped as well.
    store.revoke(&[Revocation { terminate: true, ..short }]).await.unwrap();
    let (told, next) = store.revoked_since(revision).await.unwrap();
    assert_eq!(told, [Revocation { terminate: true, ..long }]);
    assert!(next > revision);
    store.revoke(std::slice::from_ref(&longest)).await.unwrap();
    assert_eq!(store.revoked_since(0).await.unwrap().0, [longest]);
}

pub async fn what_is_revoked_is_forgotten_in_time<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    let kept = revocation(&TaskId::random(), HOUR);
    let forgotten = revocation(&TaskId::random(), 300);
    store.revoke(&[kept.clone(), forgotten.clone()]).await.unwrap();
    let (_, revision) = store.revoked_since(0).await.unwrap();
    in_time(async {
        while store.revoked_since(0).await.unwrap().0 != [kept.clone()] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(Timestamp::now() >= forgotten.until, "it was forgotten early");
    let (_, later) = store.revoked_since(0).await.unwrap();
    assert!(later >= revision, "forgetting does not turn the clock back");
    store.revoke(&[forgotten]).await.unwrap();
    assert_eq!(store.revoked_since(0).await.unwrap().0, [kept], "what has passed is not remembered");
}

pub async fn a_take_tells_what_was_revoked_before_it<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (store, worker) = (engine.connect().await, engine.connect().await);
    publish_all(&store, &q, 0..3).await;
    let mut known = worker.revoked_since(0).await.unwrap().1;
    for _ in 0..3 {
        assert_eq!(worker.take(&[queue("empty")], 1).await.unwrap().revision, known);
        store.revoke(&[revocation(&TaskId::random(), HOUR)]).await.unwrap();
        let taken = worker.take(std::slice::from_ref(&q), 1).await.unwrap();
        assert_eq!(taken.deliveries.len(), 1);
        assert!(taken.revision > known, "{} after {known}", taken.revision);
        let (told, reached) = worker.revoked_since(known).await.unwrap();
        assert_eq!((told.len(), reached), (1, taken.revision));
        known = reached;
    }
}

pub async fn news_of_revocations_are_told_at_once<E: Engine>() {
    let engine = E::start().await;
    let (store, idle, busy) = (engine.connect().await, engine.connect().await, engine.connect().await);
    // One that waits for arrivals in vain, and one that does nothing else, must hear of it alike. By looking now and then, once
    // a second, it would take some seconds to hear of all.
    for worker in [&idle, &busy] {
        let mut known = worker.revoked_since(0).await.unwrap().1;
        let mut slow = Duration::ZERO;
        for _ in 0..6 {
            let heard = async {
                loop {
                    let (told, reached) = worker.revoked_since(known).await.unwrap();
                    if !told.is_empty() {
                        return reached;
                    }
                    worker.revoked_news().await;
                }
            };
            let revoke = async {
                // The other one listens by then.
                tokio::time::sleep(Duration::from_millis(20)).await;
                store.revoke(&[revocation(&TaskId::random(), HOUR)]).await.unwrap();
                std::time::Instant::now()
            };
            let work = async {
                while std::ptr::eq(worker, &busy) {
                    worker.take(&[queue("q")], 1).await.unwrap();
                    worker.arrival().await;
                }
                std::future::pending().await
            };
            let both = async { tokio::join!(heard, revoke) };
            let (reached, revoked) = in_time(async {
                tokio::select! { both = both => both, () = work => unreachable!() }
            })
            .await;
            slow += revoked.elapsed();
            known = reached;
        }
        assert!(slow < Duration::from_secs(2), "{slow:?}");
    }
}
