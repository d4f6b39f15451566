//! Results are stored, kept and announced.

use super::*;

pub async fn a_stored_success_is_never_replaced<E: Engine>() {
    let (engine, q, id) = (E::start().await, queue("q"), TaskId::random());
    let store = engine.connect().await;
    publish_all(&store, &q, 0..1).await;
    let tag = drain(&store, &q).await[0].tag.clone();
    // As Python writes it, and without the space.
    for success in [result(&id, State::Success, "first"), result(&id, State::Success, "second")] {
        store.store(&Tenant::DEFAULT, &success).await.unwrap();
    }
    store.store(&Tenant::DEFAULT, &result(&id, State::Started, "")).await.unwrap();
    let failure = settlement(&tag, Fate::Acknowledge, Some(result(&id, State::Failure, "")));
    assert_eq!(store.settle(&[failure]).await.unwrap(), [Settled::Done]);
    assert_eq!(
        store.get(&Tenant::DEFAULT, &id).await.unwrap(),
        Some(result(&id, State::Success, "first").meta)
    );

    let id = TaskId::random();
    let mut tight = result(&id, State::Success, "tight");
    tight.meta = tight.meta.replace("\": \"", "\":\"");
    store.store(&Tenant::DEFAULT, &tight).await.unwrap();
    store.store(&Tenant::DEFAULT, &result(&id, State::Failure, "")).await.unwrap();
    assert_eq!(store.get(&Tenant::DEFAULT, &id).await.unwrap(), Some(tight.meta));
}

pub async fn a_late_word_of_progress_does_not_replace_the_end<E: Engine>() {
    let (engine, id) = (E::start().await, TaskId::random());
    let store = engine.connect().await;
    for end in [State::Failure, State::Revoked] {
        store.store(&Tenant::DEFAULT, &result(&id, end.clone(), "")).await.unwrap();
        store.store(&Tenant::DEFAULT, &result(&id, State::Custom("PROGRESS".to_owned()), "")).await.unwrap();
        store.store(&Tenant::DEFAULT, &result(&id, State::Started, "")).await.unwrap();
        assert_eq!(store.get(&Tenant::DEFAULT, &id).await.unwrap(), Some(result(&id, end, "").meta));
    }
}

pub async fn a_failure_is_replaced_by_a_later_state<E: Engine>() {
    let (engine, id) = (E::start().await, TaskId::random());
    let store = engine.connect().await;
    for state in [State::Started, State::Failure, State::Retry, State::Success] {
        let next = result(&id, state, "");
        store.store(&Tenant::DEFAULT, &next).await.unwrap();
        assert_eq!(store.get(&Tenant::DEFAULT, &id).await.unwrap(), Some(next.meta));
    }
    assert_eq!(store.get(&Tenant::DEFAULT, &TaskId::random()).await.unwrap(), None);
}

fn is_success(text: &str) -> bool {
    text.contains("SUCCESS")
}

pub async fn a_wait_finds_what_is_stored_already<E: Engine>() {
    let (engine, id) = (E::start().await, TaskId::random());
    let store = engine.connect().await;
    let success = result(&id, State::Success, "x");
    store.store(&Tenant::DEFAULT, &success).await.unwrap();
    assert_eq!(in_time(store.wait(&Tenant::DEFAULT, &id, &is_success)).await.unwrap(), success.meta);
}

pub async fn a_wait_hears_of_what_is_stored_later<E: Engine>() {
    let (engine, q, id) = (E::start().await, queue("q"), TaskId::random());
    let (store, waiter) = (engine.connect().await, engine.connect().await);
    publish_all(&store, &q, 0..1).await;
    let tag = drain(&store, &q).await[0].tag.clone();
    let success = result(&id, State::Success, "x");
    let announce = async {
        store.store(&Tenant::DEFAULT, &result(&id, State::Started, "")).await.unwrap();
        store
            .store(&Tenant::DEFAULT, &result(&TaskId::random(), State::Success, "of another task"))
            .await
            .unwrap();
        let end = settlement(&tag, Fate::Acknowledge, Some(success.clone()));
        assert_eq!(store.settle(&[end]).await.unwrap(), [Settled::Done]);
    };
    let (text, ()) =
        in_time(async { tokio::join!(waiter.wait(&Tenant::DEFAULT, &id, &is_success), announce) }).await;
    assert_eq!(text.unwrap(), success.meta);
}

pub async fn many_waits_for_one_task_all_end<E: Engine>() {
    let (engine, id) = (E::start().await, TaskId::random());
    let store = Arc::new(engine.connect().await);
    let waits: Vec<_> = (0..50)
        .map(|_| {
            let (store, id) = (store.clone(), id.clone());
            tokio::spawn(async move { store.wait(&Tenant::DEFAULT, &id, &is_success).await.unwrap() })
        })
        .collect();
    let success = result(&id, State::Success, "x");
    store.store(&Tenant::DEFAULT, &success).await.unwrap();
    for wait in waits {
        assert_eq!(in_time(wait).await.unwrap(), success.meta);
    }
}

pub async fn an_abandoned_wait_does_not_deafen_the_next<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    for round in 0..20 {
        let id = TaskId::random();
        // Given up at a different point each time, at the latest while it listens.
        let given_up = tokio::time::timeout(
            Duration::from_micros(50 * round),
            store.wait(&Tenant::DEFAULT, &id, &is_success),
        )
        .await;
        assert!(given_up.is_err());
        let success = result(&id, State::Success, "x");
        let announce = async { store.store(&Tenant::DEFAULT, &success).await.unwrap() };
        let (text, ()) =
            in_time(async { tokio::join!(store.wait(&Tenant::DEFAULT, &id, &is_success), announce) }).await;
        assert_eq!(text.unwrap(), success.meta);
    }
}

pub async fn the_results_of_one_tenant_are_listed_in_pages<E: Engine>() {
    let (engine, acme) = (E::start().await, Tenant::new("acme").unwrap());
    let store = engine.connect().await;
    let mut stored = std::collections::BTreeMap::<Tenant, std::collections::BTreeSet<TaskId>>::new();
    for number in 0..60 {
        let tenant = if number % 3 == 0 { acme.clone() } else { Tenant::DEFAULT };
        let id = TaskId::new(&format!("acme/_celery-task-meta-{number}")).unwrap();
        store.store(&tenant, &result(&id, State::Success, "x")).await.unwrap();
        stored.entry(tenant).or_default().insert(id);
    }
    for (tenant, expected) in stored {
        let (mut found, mut next, mut pages) = (std::collections::BTreeSet::new(), None::<String>, 0);
        loop {
            let (ids, more) = store.results(&tenant, next.as_deref(), 7).await.unwrap();
            found.extend(ids);
            pages += 1;
            assert!(pages < 1_000, "it comes to an end");
            next = more;
            if next.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "of {tenant}");
    }
    assert_eq!(store.results(&Tenant::new("other").unwrap(), None, 7).await.unwrap().0, []);
}
