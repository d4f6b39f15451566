//! What is sent at once, what is sent for later, and what is sent by a settlement.

use super::*;

/// A publication that is due in so many milliseconds.
fn later(queue: &QueueName, millis: u64, message: &[u8]) -> Publication {
    let due = Some(Timestamp::now() + Duration::from_millis(millis));
    Publication { due, ..publication(queue, 0, message) }
}

/// Longer than any test.
const HOUR: u64 = 3_600_000;

pub async fn a_batch_is_published_in_its_order<E: Engine>() {
    let (engine, a, b) = (E::start().await, queue("a"), queue("b"));
    let store = engine.connect().await;
    let batch: Vec<_> =
        (0..10).map(|i| publication(if i % 2 == 0 { &a } else { &b }, 0, &message(i))).collect();
    store.publish(&batch).await.unwrap();
    store.publish(&[]).await.unwrap();
    assert_eq!(messages(&drain(&store, &a).await), [0, 2, 4, 6, 8].map(message));
    assert_eq!(messages(&drain(&store, &b).await), [1, 3, 5, 7, 9].map(message));
}

pub async fn a_message_sent_for_later_comes_when_it_is_due<E: Engine>() {
    let (engine, q) = (E::start().await, queue("mail.out"));
    let (producer, worker) = (engine.connect().await, engine.connect().await);
    let batch = [later(&q, 600, b"\xff\0 later"), later(&q, HOUR, b"never"), later(&q, 300, b"sooner")];
    producer.publish(&batch).await.unwrap();
    assert_eq!((worker.length(&q).await.unwrap(), worker.delayed().await.unwrap()), (0, 3));
    producer.leave().await.unwrap();
    assert_eq!(worker.restore().await.unwrap(), 0, "nobody holds them");
    for sent in [&batch[2], &batch[0]] {
        let taken = take_when_told(&worker, &q, 1).await;
        assert!(Some(Timestamp::now()) >= sent.due, "it came early");
        assert_eq!(messages(&taken), [sent.message.to_vec()], "as it was sent");
        assert_eq!(taken[0].queue, q);
    }
    assert_eq!(worker.delayed().await.unwrap(), 1);
}

pub async fn two_messages_sent_for_one_time_both_come<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    let due = Some(Timestamp::now() + Duration::from_millis(200));
    let twins: Vec<_> =
        [0, 0, 1].map(|i| Publication { due, ..publication(&q, 0, &message(i)) }).into_iter().collect();
    store.publish(&twins).await.unwrap();
    let mut taken = messages(&take_when_told(&store, &q, 3).await);
    taken.sort();
    assert_eq!(taken, [message(0), message(0), message(1)]);
}

pub async fn what_is_sent_for_a_time_that_has_passed_comes_at_once<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    let due = Some(Timestamp::UNIX_EPOCH);
    store.publish(&[Publication { due, ..publication(&q, 3, b"late") }]).await.unwrap();
    assert_eq!(messages(&drain(&store, &q).await), [b"late".to_vec()]);
    assert_eq!(store.delayed().await.unwrap(), 0);
}

pub async fn a_settlement_sends_in_the_same_step<E: Engine>() {
    let (engine, q, next) = (E::start().await, queue("q"), queue("next.a"));
    let (store, worker) = (engine.connect().await, engine.connect().await);
    publish_all(&store, &q, 0..2).await;
    let held = drain(&store, &q).await;
    let id = TaskId::random();
    let sends = vec![
        publication(&next, 0, b"\xff\0 first"),
        publication(&next, 0, &message(2)),
        publication(&q, 9, &message(3)),
        later(&next, HOUR, &message(4)),
    ];
    let success = result(&id, State::Success, "x");
    let end = Settlement { sends, ..settlement(&held[0].tag, Fate::Acknowledge, Some(success.clone())) };
    let told = take_when_told(&worker, &next, 2);
    let settled = async { store.settle(std::slice::from_ref(&end)).await.unwrap() };
    let (taken, settled) = tokio::join!(told, settled);
    assert_eq!(settled, [Settled::Done]);
    assert_eq!(messages(&taken), [b"\xff\0 first".to_vec(), message(2)]);
    assert_eq!(messages(&drain(&worker, &q).await), [message(3)]);
    assert_eq!(worker.delayed().await.unwrap(), 1);
    assert_eq!(worker.get(&Tenant::DEFAULT, &id).await.unwrap(), Some(success.meta));
    assert_eq!(worker.queues().await.unwrap(), [next.clone(), q.clone()]);

    // Other fates send as well; and once.
    let again = Settlement { fate: Fate::Restore, tag: held[1].tag.clone(), ..end };
    assert_eq!(store.settle(std::slice::from_ref(&again)).await.unwrap(), [Settled::Done]);
    assert_eq!(store.settle(&[again]).await.unwrap(), [Settled::NotHeld]);
    assert_eq!((store.length(&next).await.unwrap(), store.delayed().await.unwrap()), (2, 2));
    assert_eq!(messages(&drain(&store, &q).await), [marked(&message(1)), message(3)]);
}

pub async fn nothing_is_sent_for_what_is_not_held<E: Engine>() {
    let (engine, q, next) = (E::start().await, queue("q"), queue("next"));
    let store = engine.connect().await;
    publish_all(&store, &q, 0..1).await;
    let gone = drain(&store, &q).await[0].tag.clone();
    store.settle(&[settlement(&gone, Fate::Acknowledge, None)]).await.unwrap();
    for tag in [gone, Tag("no tag of this engine".into())] {
        for fate in [Fate::Acknowledge, Fate::Restore, Fate::Requeue, dead("r")] {
            let sends = vec![publication(&next, 0, &message(1)), later(&next, HOUR, &message(2))];
            let late = Settlement { sends, ..settlement(&tag, fate, None) };
            assert_eq!(store.settle(&[late]).await.unwrap(), [Settled::NotHeld]);
        }
    }
    assert_eq!((store.length(&next).await.unwrap(), store.delayed().await.unwrap()), (0, 0));
    assert_eq!((store.length(&q).await.unwrap(), store.dead_count().await.unwrap()), (0, 0));
}

fn once(key: &str, value: &str, millis: u64) -> Once {
    Once { key: key.to_owned(), value: value.to_owned(), lifetime: Duration::from_millis(millis) }
}

pub async fn what_is_sent_under_a_key_is_sent_once<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (one, other) = (engine.connect().await, engine.connect().await);
    let batch = [publication(&q, 0, b"a"), publication(&q, 3, b"b"), later(&q, HOUR, b"later")];
    let (first, second) = (once("acme/1", "first \u{e9}", HOUR), once("acme/1", "second", HOUR));
    let answers = tokio::join!(one.publish_once(&batch, &first), other.publish_once(&batch, &first));
    let answers = [answers.0.unwrap(), answers.1.unwrap()];
    assert_eq!(answers.iter().flatten().collect::<Vec<_>>(), ["first \u{e9}"], "one of them was first");
    assert_eq!(one.publish_once(&batch, &second).await.unwrap().as_deref(), Some("first \u{e9}"));
    assert_eq!(one.publish_once(&[publication(&q, 0, b"c")], &once("2", "", HOUR)).await.unwrap(), None);
    assert_eq!(messages(&drain(&one, &q).await), [b"a".to_vec(), b"c".to_vec(), b"b".to_vec()]);
    assert_eq!(one.delayed().await.unwrap(), 1);
}

pub async fn a_key_is_forgotten_after_its_time<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    let batch = [publication(&q, 0, b"a")];
    assert_eq!(store.publish_once(&batch, &once("k", "", 1)).await.unwrap(), None);
    in_time(async {
        while store.publish_once(&batch, &once("k", "", 1)).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(messages(&drain(&store, &q).await).len(), 2);
}
