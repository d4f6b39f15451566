//! Several that share take together.

use super::*;

pub async fn each_gets_its_share_and_then_what_others_leave<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    let [a, b, c] = ["a", "b", "c"].map(|name| [queue(name)]);
    publish_all(&store, &a[0], 0..20).await;
    publish_all(&store, &b[0], 100..103).await;
    publish(&store, &b[0], 9, &message(104)).await;
    let portion = |queues, share, most| Portion { queues, share, most };

    let portions = [portion(&c, 4, 100), portion(&b, 3, 100), portion(&a, 4, 100)];
    let taken = store.take_portions(&portions, 10).await.unwrap();
    // The shares of b and a, then the rest: of c nothing, of b the last, of a two more.
    let expected: Vec<_> = [100, 101, 102, 0, 1, 2, 3, 104, 4, 5].map(message).to_vec();
    assert_eq!(messages(&taken.deliveries), expected);
    assert!(taken.more);

    let portions = [portion(&a, 1, 5), portion(&b, 9, 9)];
    let taken = store.take_portions(&portions, 10).await.unwrap();
    assert_eq!(
        messages(&taken.deliveries),
        (6..11).map(message).collect::<Vec<_>>(),
        "no more than the most"
    );

    let taken = store.take_portions(&[portion(&a, 0, 0), portion(&b, 9, 9)], 10).await.unwrap();
    assert!(taken.deliveries.is_empty() && !taken.more, "who may have nothing is not looked at");
    assert_eq!(store.length(&a[0]).await.unwrap(), 9);
}

pub async fn one_who_may_have_no_more_does_not_hide_the_arrivals_of_others<E: Engine>() {
    let engine = E::start().await;
    let (worker, producer) = (engine.connect().await, engine.connect().await);
    let [a, b] = ["a", "b"].map(|name| [queue(name)]);
    publish_all(&producer, &a[0], 0..5).await;
    let portions = [Portion { queues: &a, share: 1, most: 1 }, Portion { queues: &b, share: 1, most: 1 }];
    assert_eq!(worker.take_portions(&portions, 10).await.unwrap().deliveries.len(), 1);
    let woken = async {
        loop {
            let taken = worker.take_portions(&portions[1..], 10).await.unwrap().deliveries;
            if !taken.is_empty() {
                return taken;
            }
            worker.arrival().await;
        }
    };
    let announce = async { publish_all(&producer, &b[0], 7..8).await };
    let (taken, ()) = in_time(async { tokio::join!(woken, announce) }).await;
    assert_eq!(messages(&taken), [message(7)]);
}
