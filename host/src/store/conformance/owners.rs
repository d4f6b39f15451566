//! What the dead held comes back; what the living hold does not.

use super::*;

pub async fn messages_of_the_dead_are_restored_in_order_and_marked<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (dead, living) = (engine.connect().await, engine.connect().await);
    publish_all(&dead, &q, 0..12).await;
    assert_eq!(take(&dead, &q, 11).await.unwrap().len(), 11);
    dead.leave().await.unwrap();
    assert_eq!(living.restore().await.unwrap(), 11);
    assert_eq!(living.held().await.unwrap(), 0);
    let mut expected: Vec<_> = (0..11).map(|number| marked(&message(number))).collect();
    expected.push(message(11));
    assert_eq!(messages(&drain(&living, &q).await), expected);
}

pub async fn messages_of_the_living_are_not_restored<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (holder, other) = (engine.connect().await, engine.connect().await);
    publish_all(&holder, &q, 0..2).await;
    assert_eq!(drain(&holder, &q).await.len(), 2);
    // Before its first heartbeat, after it, and by the holder itself.
    assert_eq!(other.restore().await.unwrap(), 0);
    holder.beat(Duration::from_secs(60)).await.unwrap();
    assert_eq!(other.restore().await.unwrap(), 0);
    assert_eq!(holder.restore().await.unwrap(), 0);
    assert_eq!(holder.held().await.unwrap(), 2);
}

pub async fn two_that_restore_at_once_restore_each_message_once<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (dead, a, b) = (engine.connect().await, engine.connect().await, engine.connect().await);
    publish_all(&dead, &q, 0..200).await;
    assert_eq!(drain(&dead, &q).await.len(), 200);
    dead.leave().await.unwrap();
    let (by_a, by_b) = tokio::join!(a.restore(), b.restore());
    assert_eq!(by_a.unwrap() + by_b.unwrap(), 200);
    assert_eq!(a.length(&q).await.unwrap(), 200);
}

pub async fn a_worker_that_was_taken_for_dead_can_settle_nothing<E: Engine>() {
    let (engine, q, id) = (E::start().await, queue("q"), TaskId::random());
    let (late, other) = (engine.connect().await, engine.connect().await);
    publish_all(&late, &q, 0..1).await;
    let tag = drain(&late, &q).await[0].tag.clone();
    late.leave().await.unwrap();
    assert_eq!(other.restore().await.unwrap(), 1);
    let again = drain(&other, &q).await;
    // Its heartbeat must not bring the lost delivery back either.
    late.beat(Duration::from_secs(60)).await.unwrap();
    let end = settlement(&tag, Fate::Acknowledge, Some(result(&id, State::Failure, "late")));
    assert_eq!(late.settle(&[end]).await.unwrap(), [Settled::NotHeld]);
    assert_eq!(other.held().await.unwrap(), 1);
    let end = settlement(&again[0].tag, Fate::Acknowledge, Some(result(&id, State::Success, "")));
    assert_eq!(other.settle(&[end]).await.unwrap(), [Settled::Done]);
}

pub async fn a_take_that_nobody_received_is_restored<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    let mut in_hand = 0;
    for round in 0..60 {
        publish_all(&store, &q, 0..1).await;
        let taken = tokio::time::timeout(Duration::from_micros(10 * round), take(&store, &q, 10)).await;
        in_hand += taken.map_or(0, |taken| taken.unwrap().len());
    }
    in_time(async {
        // A take that was given up may still be on its way to the server.
        while store.held().await.unwrap() != in_hand as u64 {
            store.restore().await.unwrap();
        }
    })
    .await;
    assert_eq!(store.length(&q).await.unwrap(), 60 - in_hand as u64);
}
