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
    let mut expected: Vec<_> = (0..11).map(|number| lost(&message(number))).collect();
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
    holder.beat(Duration::from_secs(60), &report()).await.unwrap();
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
    late.beat(Duration::from_secs(60), &report()).await.unwrap();
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
    // Their owner lives: nothing died with them.
    for message in messages(&drain(&store, &q).await) {
        assert!([super::message(0), marked(&super::message(0))].contains(&message), "{message:?}");
    }
}

pub async fn a_worker_whose_heartbeat_stops_is_taken_for_dead<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (dead, living) = (engine.connect().await, engine.connect().await);
    publish_all(&dead, &q, 0..1).await;
    drain(&dead, &q).await;
    let lease = Duration::from_millis(500);
    let begin = std::time::Instant::now();
    dead.beat(lease, &report()).await.unwrap();
    in_time(async { while living.restore().await.unwrap() == 0 {} }).await;
    assert!(begin.elapsed() >= lease, "it was taken for dead early");
    assert_eq!(messages(&drain(&living, &q).await), [lost(&message(0))]);
}

pub async fn a_worker_hears_once_what_it_has_lost<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (late, other) = (engine.connect().await, engine.connect().await);
    publish_all(&late, &q, 0..6).await;
    let lease = Duration::from_secs(60);
    let held = take(&late, &q, 5).await.unwrap();
    assert_eq!(late.beat(lease, &report()).await.unwrap(), []);
    late.settle(&[settlement(&held[0].tag, Fate::Acknowledge, None)]).await.unwrap();
    late.settle(&[settlement(&held[1].tag, Fate::Restore, None)]).await.unwrap();
    assert_eq!(late.beat(lease, &report()).await.unwrap(), [], "what it settled is not lost");
    late.leave().await.unwrap();
    assert_eq!(other.restore().await.unwrap(), 3);

    let kept = take(&late, &q, 1).await.unwrap();
    let tags = |tags: Vec<Tag>| tags.into_iter().collect::<std::collections::HashSet<_>>();
    let lost = tags(late.beat(lease, &report()).await.unwrap());
    assert_eq!(lost, tags(held[2..].iter().map(|held| held.tag.clone()).collect()));
    assert_eq!(late.beat(lease, &report()).await.unwrap(), [], "it was told");
    assert_eq!(other.beat(lease, &report()).await.unwrap(), [], "others lost nothing");
    let settled = late.settle(&[settlement(&kept[0].tag, Fate::Acknowledge, None)]).await.unwrap();
    assert_eq!(settled, [Settled::Done]);
}

pub async fn workers_that_live_tell_of_themselves<E: Engine>() {
    let engine = E::start().await;
    let (a, b, silent) = (engine.connect().await, engine.connect().await, engine.connect().await);
    let tenants = vec![TenantLoad {
        tenant: Tenant::new("acme").unwrap(),
        in_flight: 3,
        most_in_flight: Some(3),
        cpu_ms: 1_500,
        held_back: true,
    }];
    let report = |node: &str, active| Report {
        node: node.to_owned(),
        pid: u32::MAX,
        active,
        processed: 7,
        tenants: tenants.clone(),
    };
    assert_eq!(a.workers().await.unwrap(), []);
    let lease = Duration::from_secs(60);
    a.beat(lease, &report("a@\"x\" ü", 1)).await.unwrap();
    a.beat(lease, &report("a@\"x\" ü", 2)).await.unwrap();
    b.beat(Duration::from_millis(1_500), &report("b@box", 3)).await.unwrap();
    // To take is a sign of life as well, but says nothing of its worker.
    publish_all(&silent, &queue("q"), 0..1).await;
    drain(&silent, &queue("q")).await;
    let mut all = silent.workers().await.unwrap();
    all.sort_by(|a, b| a.node.cmp(&b.node));
    assert_eq!(all, [report("a@\"x\" ü", 2), report("b@box", 3)]);
    in_time(async { while silent.workers().await.unwrap() != [report("a@\"x\" ü", 2)] {} }).await;
    a.leave().await.unwrap();
    assert_eq!(silent.workers().await.unwrap(), []);
}
