//! Messages of tasks that nobody offers wait until somebody does, or until their time has come.

use super::*;
use crate::task::OwnedTask;

/// Parks for so many milliseconds, under a message that tells what was parked.
fn park(task: &OwnedTask, millis: u64, message: &[u8]) -> Fate {
    let until = Timestamp::now() + Duration::from_millis(millis);
    Fate::Park { task: task.task.clone(), until, message: message.to_vec().into() }
}

/// Longer than any test.
const HOUR: u64 = 3_600_000;

pub async fn parked_messages_are_counted_and_wait_whoever_dies<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (dead, living) = (engine.connect().await, engine.connect().await);
    assert_eq!(dead.parked().await.unwrap(), []);
    publish_all(&dead, &q, 0..3).await;
    let held = drain(&dead, &q).await;
    let (a, b) = (task("app.a"), task("\"b\": {}, ü.*:1"));
    let ends: Vec<_> = [&a, &b, &a]
        .into_iter()
        .zip(&held)
        .map(|(task, held)| settlement(&held.tag, park(task, HOUR, b"\xff\0"), None))
        .collect();
    assert_eq!(dead.settle(&ends).await.unwrap(), vec![Settled::Done; 3]);
    assert_eq!(dead.settle(&ends).await.unwrap(), vec![Settled::NotHeld; 3]);
    dead.leave().await.unwrap();
    assert_eq!(living.restore().await.unwrap(), 0, "nobody holds them");
    let mut parked = living.parked().await.unwrap();
    parked.sort();
    assert_eq!(parked, [(b, 1), (a, 2)]);
    assert_eq!((living.held().await.unwrap(), living.length(&q).await.unwrap()), (0, 0));
    assert_eq!(living.delayed().await.unwrap(), 0, "a parked message waits for its task");
}

pub async fn released_messages_are_next_in_their_order<E: Engine>() {
    let (engine, q) = (E::start().await, queue("mail.out"));
    let (store, worker) = (engine.connect().await, engine.connect().await);
    for number in 0..12 {
        publish(&store, &q, if number < 9 { 0 } else { 7 }, &message(number)).await;
    }
    let held = drain(&store, &q).await;
    let (a, b) = (task("app.a"), task("app.a.b"));
    for (number, held) in held.iter().enumerate() {
        let task = if number == 4 { &b } else { &a };
        let end = settlement(&held.tag, park(task, HOUR, format!("parked {number}").as_bytes()), None);
        assert_eq!(store.settle(&[end]).await.unwrap(), [Settled::Done]);
    }
    publish_all(&store, &q, 20..21).await;
    assert_eq!(worker.release(&task("app")).await.unwrap(), 0);
    assert_eq!(worker.release(&a).await.unwrap(), 11);
    assert_eq!(worker.release(&a).await.unwrap(), 0);
    assert_eq!(worker.parked().await.unwrap(), [(b.clone(), 1)]);
    let parked = |number: usize| format!("parked {number}").into_bytes();
    let expected: Vec<_> = [0, 1, 2, 3, 5, 6, 7, 8]
        .map(parked)
        .into_iter()
        .chain([message(20)])
        .chain([9, 10, 11].map(parked))
        .collect();
    assert_eq!(messages(&drain(&worker, &q).await), expected);
    assert_eq!(worker.release(&b).await.unwrap(), 1);
    assert_eq!(messages(&drain(&worker, &q).await), [parked(4)]);
    assert_eq!(worker.parked().await.unwrap(), []);
}

pub async fn a_release_is_an_arrival<E: Engine>() {
    let (engine, q, a) = (E::start().await, queue("q"), task("a"));
    let (store, worker) = (engine.connect().await, engine.connect().await);
    publish_all(&store, &q, 0..1).await;
    let held = drain(&store, &q).await;
    store.settle(&[settlement(&held[0].tag, park(&a, HOUR, b"parked"), None)]).await.unwrap();
    let told = take_when_told(&worker, &q, 1);
    let (taken, released) = tokio::join!(told, async { store.release(&a).await.unwrap() });
    assert_eq!((messages(&taken), released), (vec![b"parked".to_vec()], 1));
}

pub async fn parked_messages_are_put_back_when_their_time_has_come<E: Engine>() {
    let (engine, q, a) = (E::start().await, queue("q"), task("a"));
    let store = engine.connect().await;
    publish_all(&store, &q, 0..4).await;
    let held = take(&store, &q, 3).await.unwrap();
    let ends = [(0, 200), (1, HOUR), (2, 100)].map(|(number, millis)| {
        let fate = park(&a, millis, format!("parked {number}").as_bytes());
        settlement(&held[number].tag, fate, None)
    });
    let first = match &ends[2].fate {
        Fate::Park { until, .. } => *until,
        _ => unreachable!(),
    };
    assert_eq!(store.settle(&ends).await.unwrap(), vec![Settled::Done; 3]);
    in_time(async {
        let mut restored = 0;
        while restored < 2 {
            restored += store.restore().await.unwrap();
            assert!(restored == 0 || Timestamp::now() >= first, "it came early");
        }
    })
    .await;
    assert_eq!(store.parked().await.unwrap(), [(a, 1)]);
    let mut taken = messages(&drain(&store, &q).await);
    assert_eq!(taken.pop(), Some(message(3)), "the parked ones go to the head");
    taken.sort();
    assert_eq!(taken, [b"parked 0", b"parked 2"], "without a mark");
}
