//! Delayed messages come when they are due.

use super::*;

pub async fn a_delayed_message_comes_when_it_is_due_whoever_has_died<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (dead, living) = (engine.connect().await, engine.connect().await);
    publish_all(&dead, &q, 0..3).await;
    let held = drain(&dead, &q).await;
    let due = |millis| Timestamp::now() + Duration::from_millis(millis);
    let (sooner, later) = (due(400), due(800));
    let ends = [(0, later), (1, sooner), (2, due(3_600_000))];
    let delays = ends.map(|(i, until)| settlement(&held[i].tag, Fate::Delay(until), None));
    assert_eq!(dead.settle(&delays).await.unwrap(), vec![Settled::Done; 3]);
    assert_eq!((dead.held().await.unwrap(), dead.delayed().await.unwrap()), (0, 3));
    dead.leave().await.unwrap();
    assert_eq!(living.restore().await.unwrap(), 0, "nobody holds it");

    for (number, due) in [(1, sooner), (0, later)] {
        let taken = take_when_told(&living, &q, 1).await;
        assert!(Timestamp::now() >= due, "{number} came early");
        assert_eq!(messages(&taken), [message(number)], "as it was sent, without a mark");
    }
    assert_eq!(living.delayed().await.unwrap(), 1);
}

pub async fn due_messages_are_taken_in_the_order_of_their_priorities<E: Engine>() {
    let (engine, q) = (E::start().await, queue("mail.out"));
    let store = engine.connect().await;
    for (number, priority) in [(0, 9), (1, 0), (2, 9), (3, 0)] {
        publish(&store, &q, priority, &message(number)).await;
    }
    // Taken as 1, 3, 0, 2.
    let held = drain(&store, &q).await;
    let due = |i: u64| Timestamp::now() + Duration::from_millis(300 + i);
    let delays = held.iter().zip(0..).map(|(held, i)| settlement(&held.tag, Fate::Delay(due(i)), None));
    assert_eq!(store.settle(&delays.collect::<Vec<_>>()).await.unwrap(), vec![Settled::Done; 4]);
    // All are due when they are looked at.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(messages(&drain(&store, &q).await), [message(1), message(3), message(0), message(2)]);
}

pub async fn a_worker_that_was_taken_for_dead_can_delay_nothing<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (late, other) = (engine.connect().await, engine.connect().await);
    publish_all(&late, &q, 0..1).await;
    let tag = drain(&late, &q).await[0].tag.clone();
    late.leave().await.unwrap();
    assert_eq!(other.restore().await.unwrap(), 1);
    let delay = settlement(&tag, Fate::Delay(Timestamp::now()), None);
    assert_eq!(late.settle(&[delay]).await.unwrap(), [Settled::NotHeld]);
    assert_eq!((late.delayed().await.unwrap(), late.length(&q).await.unwrap()), (0, 1));
}

pub async fn delayed_messages_are_shown_to_those_who_take_from_their_queues<E: Engine>() {
    let (engine, ours, others) = (E::start().await, queue("q.a"), queue("q.b"));
    let store = engine.connect().await;
    assert_eq!(store.scheduled(std::slice::from_ref(&ours), 10).await.unwrap(), []);
    let hour = |count: u64| {
        let due = Timestamp::now() + Duration::from_secs(3_600 * count);
        Timestamp::from_millisecond(due.as_millisecond()).unwrap()
    };
    let (first, second, third) = (hour(1), hour(2), hour(3));
    let delayed = [(&ours, 9, second, 1), (&others, 0, third, 2), (&ours, 0, first, 3)];
    let publications = delayed.map(|(queue, priority, due, number)| Publication {
        due: Some(due),
        ..publication(queue, priority, &message(number))
    });
    store.publish(&publications).await.unwrap();
    let scheduled = |queue: &QueueName, due, number| Scheduled {
        due,
        queue: queue.clone(),
        message: message(number).into(),
    };
    let of_ours = [scheduled(&ours, first, 3), scheduled(&ours, second, 1)];
    assert_eq!(store.scheduled(std::slice::from_ref(&ours), 10).await.unwrap(), of_ours);
    assert_eq!(store.scheduled(std::slice::from_ref(&ours), 1).await.unwrap(), of_ours[..1]);
    let both = store.scheduled(&[others.clone(), ours], 10).await.unwrap();
    assert_eq!(both[2], scheduled(&others, third, 2));
    assert_eq!((both.len(), store.scheduled(&[], 10).await.unwrap().len()), (3, 0));
    assert_eq!(store.delayed().await.unwrap(), 3, "looking changes nothing");
}
