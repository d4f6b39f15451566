//! Messages come and go in their order.

use super::*;

pub async fn messages_of_one_priority_leave_in_the_order_they_came<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    publish_all(&store, &q, 0..5).await;
    assert_eq!(store.length(&q).await.unwrap(), 5);
    let taken = drain(&store, &q).await;
    assert_eq!(messages(&taken), (0..5).map(message).collect::<Vec<_>>());
    assert!(taken.iter().all(|delivery| delivery.queue == q));
}

pub async fn urgent_messages_leave_first<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    for priority in [9, 0, 3, 6, 200] {
        publish(&store, &q, priority, &message(priority.into())).await;
    }
    assert_eq!(store.length(&q).await.unwrap(), 5);
    let expected: Vec<_> = [0, 3, 6, 9, 200].map(message).to_vec();
    assert_eq!(messages(&drain(&store, &q).await), expected);
}

pub async fn queues_take_turns<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    let queues = [queue("a"), queue("b")];
    for q in &queues {
        publish_all(&store, q, 0..10).await;
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(store.take(&queues, 1).await.unwrap().deliveries[0].queue.clone());
    }
    for q in &queues {
        assert_eq!(seen.iter().filter(|seen| *seen == q).count(), 2, "{seen:?}");
    }
    publish(&store, &queues[1], 9, &message(99)).await;
    publish(&store, &queues[0], 0, &message(98)).await;
    let rest = store.take(&queues, 100).await.unwrap().deliveries;
    assert_eq!(rest.last().unwrap().message, message(99), "priority comes before turns");
}

pub async fn no_more_is_taken_than_was_asked_for<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    publish_all(&store, &q, 0..3).await;
    assert!(take(&store, &q, 0).await.unwrap().is_empty());
    assert!(store.take(&[], 10).await.unwrap().deliveries.is_empty());
    assert_eq!(take(&store, &q, 2).await.unwrap().len(), 2);
    assert_eq!(store.length(&q).await.unwrap(), 1);
}

pub async fn arrivals_are_announced_in_every_priority<E: Engine>() {
    let engine = E::start().await;
    let (worker, producer) = (engine.connect().await, engine.connect().await);
    let queues = [queue("a"), queue("b")];
    for (number, priority) in [0, 3, 6, 9, 0, 9].into_iter().enumerate() {
        while !worker.take(&queues, 1).await.unwrap().deliveries.is_empty() {}
        let q = &queues[number % 2];
        let woken = async {
            loop {
                worker.arrival().await;
                let taken = worker.take(&queues, 1).await.unwrap().deliveries;
                if !taken.is_empty() {
                    return taken;
                }
            }
        };
        let announce = async { publish(&producer, q, priority, &message(number)).await };
        let (taken, ()) = in_time(async { tokio::join!(woken, announce) }).await;
        assert_eq!((&taken[0].queue, taken[0].message.to_vec()), (q, message(number)));
    }
}

pub async fn queues_are_known_once_they_are_used<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    assert!(store.queues().await.unwrap().is_empty());
    publish(&store, &queue("published"), 0, &message(0)).await;
    store.take(&[queue("taken from")], 1).await.unwrap();
    assert_eq!(store.queues().await.unwrap(), [queue("published"), queue("taken from")]);
}

pub async fn purging_a_queue_leaves_the_others<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    for priority in 0..10 {
        publish(&store, &queue("a"), priority, &message(0)).await;
    }
    publish_all(&store, &queue("b"), 0..1).await;
    assert_eq!(store.purge(&queue("a")).await.unwrap(), 10);
    assert_eq!(store.purge(&queue("a")).await.unwrap(), 0);
    assert_eq!(store.length(&queue("a")).await.unwrap(), 0);
    assert_eq!(store.length(&queue("b")).await.unwrap(), 1);
}

pub async fn a_look_at_a_queue_tells_what_comes_next_and_takes_nothing<E: Engine>() {
    let engine = E::start().await;
    let (store, a, b) = (engine.connect().await, queue("a"), queue("b"));
    assert_eq!(store.peek(std::slice::from_ref(&a), 10).await.unwrap(), []);
    for (queue, priority, number) in [(&a, 9, 1), (&a, 0, 2), (&b, 0, 3), (&a, 0, 4)] {
        publish(&store, queue, priority, &message(number)).await;
    }
    let seen = |numbers: &[(&QueueName, usize)]| -> Vec<(QueueName, bytes::Bytes)> {
        numbers.iter().map(|(queue, number)| ((*queue).clone(), message(*number).into())).collect()
    };
    let both = [a.clone(), b.clone()];
    let all = seen(&[(&a, 2), (&a, 4), (&b, 3), (&a, 1)]);
    for _ in 0..2 {
        assert_eq!(store.peek(&both, 10).await.unwrap(), all);
    }
    assert_eq!(store.peek(&both, 2).await.unwrap(), all[..2]);
    assert_eq!(store.peek(std::slice::from_ref(&b), 10).await.unwrap(), seen(&[(&b, 3)]));
    assert_eq!(store.peek(&[], 10).await.unwrap(), []);
    assert_eq!(store.length(&a).await.unwrap(), 3);
}

pub async fn many_tenants_can_be_served_at_once<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    let queues: Vec<_> = (0..2_500).map(|tenant| queue(&format!("tenant-{tenant}/q"))).collect();
    assert!(store.take(&queues, 10).await.unwrap().deliveries.is_empty());
    publish(&store, &queues[2_499], 0, &message(1)).await;
    assert_eq!(messages(&store.take(&queues, 10).await.unwrap().deliveries), [message(1)]);
}
