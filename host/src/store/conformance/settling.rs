//! A delivery is held until it is settled, and settled once.

use super::*;

pub async fn any_bytes_survive_being_taken_and_restored<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q \", \"\", \"…"));
    let store = engine.connect().await;
    let hostile: [&[u8]; 6] =
        [b"", b"\0\xff\r\n", b"[1, \"\", \"q\"]", b"\"", b"{\"headers\": 1}", &[b'['; 10_000]];
    for text in hostile {
        publish(&store, &q, 4, text).await;
        let taken = drain(&store, &q).await;
        assert_eq!(messages(&taken), [text]);
        let settled = store.settle(&[settlement(&taken[0].tag, Fate::Restore, None)]).await.unwrap();
        assert_eq!(settled, [Settled::Done]);
        let again = drain(&store, &q).await;
        assert_eq!(messages(&again), [mark_redelivered(text).unwrap_or_else(|| text.to_vec())]);
        store.settle(&[settlement(&again[0].tag, dead("?"), None)]).await.unwrap();
    }
    assert_eq!(store.held().await.unwrap(), 0);
}

pub async fn a_taken_message_is_held_until_it_is_settled<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    publish_all(&store, &q, 0..2).await;
    let taken = drain(&store, &q).await;
    assert_eq!((store.length(&q).await.unwrap(), store.held().await.unwrap()), (0, 2));
    assert_ne!(taken[0].tag, taken[1].tag);
    store.settle(&[settlement(&taken[0].tag, Fate::Acknowledge, None)]).await.unwrap();
    assert_eq!(store.held().await.unwrap(), 1);
}

pub async fn a_delivery_is_settled_once<E: Engine>() {
    let (engine, q, id) = (E::start().await, queue("q"), TaskId::random());
    let store = engine.connect().await;
    for fate in [Fate::Acknowledge, dead("because"), Fate::Restore] {
        publish_all(&store, &q, 0..1).await;
        let tag = drain(&store, &q).await[0].tag.clone();
        let end = settlement(&tag, fate.clone(), Some(result(&id, State::Success, "")));
        assert_eq!(store.settle(std::slice::from_ref(&end)).await.unwrap(), [Settled::Done], "{fate:?}");
        assert_eq!(store.settle(&[end]).await.unwrap(), [Settled::NotHeld], "{fate:?}");
        assert_eq!(store.held().await.unwrap(), 0);
    }
    assert_eq!(store.length(&q).await.unwrap(), 1, "restored, and only once");
    assert_eq!(store.dead_count().await.unwrap(), 1);
    assert!(store.get(&Tenant::DEFAULT, &id).await.unwrap().is_some());
}

pub async fn settling_what_is_not_held_stores_nothing<E: Engine>() {
    let (engine, q, id) = (E::start().await, queue("q"), TaskId::random());
    let store = engine.connect().await;
    publish_all(&store, &q, 0..1).await;
    let held = drain(&store, &q).await[0].tag.clone();
    store.settle(&[settlement(&held, Fate::Acknowledge, None)]).await.unwrap();
    for tag in [held, Tag("".into()), Tag("no tag of this engine".into())] {
        for fate in [Fate::Acknowledge, Fate::Restore, dead("r")] {
            let late = settlement(&tag, fate, Some(result(&id, State::Success, "late")));
            assert_eq!(store.settle(&[late]).await.unwrap(), [Settled::NotHeld]);
        }
    }
    assert_eq!(store.get(&Tenant::DEFAULT, &id).await.unwrap(), None);
    assert_eq!(store.length(&q).await.unwrap() + store.dead_count().await.unwrap(), 0);
}

pub async fn settlements_are_answered_in_the_order_asked<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    publish_all(&store, &q, 0..3).await;
    let taken = drain(&store, &q).await;
    let gone = Tag("gone".into());
    let settlements = [
        settlement(&gone, Fate::Restore, None),
        settlement(&taken[0].tag, Fate::Restore, None),
        settlement(&taken[1].tag, Fate::Acknowledge, None),
        settlement(&gone, Fate::Acknowledge, None),
        settlement(&taken[2].tag, dead("r"), None),
        settlement(&taken[2].tag, Fate::Acknowledge, None),
    ];
    let settled = store.settle(&settlements).await.unwrap();
    use Settled::{Done, NotHeld};
    assert_eq!(settled, [NotHeld, Done, Done, NotHeld, Done, NotHeld]);
    assert_eq!(store.settle(&[]).await.unwrap(), []);
}

pub async fn a_restored_message_is_next_and_marked<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    publish_all(&store, &q, 0..3).await;
    let taken = take(&store, &q, 1).await.unwrap();
    store.settle(&[settlement(&taken[0].tag, Fate::Restore, None)]).await.unwrap();
    let expected = vec![marked(&message(0)), message(1), message(2)];
    assert_eq!(messages(&drain(&store, &q).await), expected);
}

pub async fn several_messages_restored_together_keep_their_order_and_priority<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    for number in 0..8 {
        publish(&store, &q, if number < 4 { 0 } else { 7 }, &message(number)).await;
    }
    let mut taken = drain(&store, &q).await;
    publish_all(&store, &q, 8..9).await;
    taken.rotate_left(3);
    let all: Vec<_> = taken.iter().map(|taken| settlement(&taken.tag, Fate::Restore, None)).collect();
    store.settle(&all).await.unwrap();
    let numbers =
        [(0, true), (1, true), (2, true), (3, true), (8, false), (4, true), (5, true), (6, true), (7, true)];
    let expected: Vec<_> = numbers
        .map(|(number, restored)| if restored { marked(&message(number)) } else { message(number) })
        .to_vec();
    assert_eq!(messages(&drain(&store, &q).await), expected);
}

pub async fn a_requeued_message_is_last_and_marked<E: Engine>() {
    let (engine, q, id) = (E::start().await, queue("q"), TaskId::random());
    let store = engine.connect().await;
    publish(&store, &q, 3, &message(0)).await;
    publish(&store, &q, 3, &message(1)).await;
    publish(&store, &q, 9, b"\xff no message of Celery's").await;
    publish(&store, &q, 9, &message(2)).await;
    let taken = take(&store, &q, 3).await.unwrap();
    for number in [0, 2] {
        let retry = Some(result(&id, State::Retry, ""));
        let end = settlement(&taken[number].tag, Fate::Requeue, retry);
        assert_eq!(store.settle(std::slice::from_ref(&end)).await.unwrap(), [Settled::Done]);
        assert_eq!(store.settle(&[end]).await.unwrap(), [Settled::NotHeld]);
    }
    store.settle(&[settlement(&taken[1].tag, Fate::Restore, None)]).await.unwrap();
    let expected =
        [marked(&message(1)), marked(&message(0)), message(2), b"\xff no message of Celery's".to_vec()];
    assert_eq!(messages(&drain(&store, &q).await), expected);
    assert_eq!(store.get(&Tenant::DEFAULT, &id).await.unwrap(), Some(result(&id, State::Retry, "").meta));
}

pub async fn a_replaced_message_is_what_comes_back<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q \", \"\", \"…"));
    let (store, other) = (engine.connect().await, engine.connect().await);
    publish_all(&store, &q, 0..3).await;
    let taken = drain(&store, &q).await;
    for text in [b"\xff\0 any bytes".to_vec(), message(10)] {
        assert!(store.replace(&taken[0].tag, &text).await.unwrap());
    }
    assert!(store.replace(&taken[1].tag, b"\", \"\", \"q\"]").await.unwrap());
    assert_eq!(store.held().await.unwrap(), 3, "they stay held");
    store.settle(&[settlement(&taken[0].tag, Fate::Restore, None)]).await.unwrap();
    store.leave().await.unwrap();
    assert_eq!(other.restore().await.unwrap(), 2);
    let expected = [b"\", \"\", \"q\"]".to_vec(), lost(&message(2)), marked(&message(10))];
    assert_eq!(messages(&drain(&other, &q).await), expected);

    let strange = [Tag("".into()), Tag("no tag of this engine".into())];
    for tag in taken.iter().map(|taken| &taken.tag).chain(&strange) {
        assert!(!store.replace(tag, b"late").await.unwrap());
    }
    assert_eq!(store.held().await.unwrap(), 3, "held by the other, and as they were");
}

pub async fn a_dead_letter_leaves_the_queues_and_is_counted<E: Engine>() {
    let (engine, q, id) = (E::start().await, queue("q"), TaskId::random());
    let store = engine.connect().await;
    assert_eq!(store.dead_count().await.unwrap(), 0);
    publish_all(&store, &q, 0..2).await;
    let taken = drain(&store, &q).await;
    let failure = result(&id, State::Failure, "not readable");
    let ends = [
        settlement(&taken[0].tag, dead("not \"readable\""), Some(failure.clone())),
        settlement(&taken[1].tag, dead(""), None),
    ];
    assert_eq!(store.settle(&ends).await.unwrap(), vec![Settled::Done; 2]);
    assert_eq!(store.dead_count().await.unwrap(), 2);
    assert_eq!(store.length(&q).await.unwrap() + store.held().await.unwrap(), 0);
    assert_eq!(store.get(&Tenant::DEFAULT, &id).await.unwrap(), Some(failure.meta));
}
