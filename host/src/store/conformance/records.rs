//! Records are changed by one at a time, told to all, and kept with who changed them.

use super::*;
use crate::task::Tenant;

/// Who did it, for the default tenant.
fn entry(action: &str) -> Entry {
    Entry {
        at: Timestamp::from_second(1_700_000_000).unwrap(),
        actor: "ann \"x\"\n".to_owned(),
        action: action.to_owned(),
        tenant: Tenant::DEFAULT,
        subject: "s".to_owned(),
        digest: None,
        detail: Some("ü, \"detail\"".to_owned()),
    }
}

fn of_tenant(name: &str, action: &str) -> Entry {
    Entry { tenant: Tenant::new(name).unwrap(), ..entry(action) }
}

fn change(table: Table, key: &str, was: Option<u64>, value: Option<&str>) -> Change {
    Change { table, key: key.to_owned(), was, value: value.map(str::to_owned) }
}

/// Changes one record of a kind.
async fn set(store: &impl Records, key: &str, was: Option<u64>, value: Option<&str>) -> Option<u64> {
    store.change(&[change(Table::Plugins, key, was, value)], &entry("set")).await.unwrap()
}

pub async fn a_record_is_changed_only_as_it_was_known<E: Engine>() {
    let engine = E::start().await;
    let (store, other) = (engine.connect().await, engine.connect().await);
    assert_eq!(store.records(Table::Plugins).await.unwrap(), (store.revision().await.unwrap(), vec![]));
    let key = "acme/ü \"1\" {}\n";
    assert_eq!(set(&store, key, Some(1), Some("{}")).await, None, "it is not there");
    let first = set(&store, key, None, Some("{\"a\": \"\\u0000ü\"}")).await.unwrap();
    assert_eq!(set(&other, key, None, Some("{}")).await, None, "it is there");
    let record = other.record(Table::Plugins, key).await.unwrap().unwrap();
    assert_eq!(
        record,
        Record { key: key.to_owned(), value: "{\"a\": \"\\u0000ü\"}".to_owned(), revision: first }
    );
    assert_eq!(other.record(Table::Tenants, key).await.unwrap(), None, "another kind");
    let second = set(&other, key, Some(first), Some("{}")).await.unwrap();
    assert!(second > first && store.revision().await.unwrap() == second);
    assert_eq!(set(&store, key, Some(first), None).await, None, "it has changed since");
    assert!(set(&store, key, Some(second), None).await.unwrap() > second);
    assert_eq!(store.record(Table::Plugins, key).await.unwrap(), None);
    assert_eq!(set(&store, key, Some(second), Some("{}")).await, None, "it is gone");
    assert!(set(&store, key, None, Some("{}")).await.is_some());
}

pub async fn of_two_that_change_a_record_at_once_one_does<E: Engine>() {
    let engine = E::start().await;
    let (store, other) = (engine.connect().await, engine.connect().await);
    let mut was = None;
    for _ in 0..20 {
        let (one, two) = tokio::join!(set(&store, "k", was, Some("1")), set(&other, "k", was, Some("2")));
        assert!(one.is_some() != two.is_some(), "{one:?} {two:?}");
        was = one.or(two);
        let value = if one.is_some() { "1" } else { "2" };
        assert_eq!(store.record(Table::Plugins, "k").await.unwrap().unwrap().value, value);
    }
    assert_eq!(store.entries(None, 0, 100).await.unwrap().len(), 20, "nothing is noted of what was not done");
}

pub async fn several_records_change_together_or_not_at_all<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    let both =
        |was| [change(Table::Plugins, "p", None, Some("1")), change(Table::Versions, "v", was, Some("2"))];
    assert_eq!(store.change(&both(Some(7)), &entry("no")).await.unwrap(), None);
    assert_eq!(store.record(Table::Plugins, "p").await.unwrap(), None);
    assert_eq!(store.entries(None, 0, 9).await.unwrap(), []);
    let revision = store.change(&both(None), &entry("yes")).await.unwrap().unwrap();
    for (table, key) in [(Table::Plugins, "p"), (Table::Versions, "v")] {
        assert_eq!(store.record(table, key).await.unwrap().unwrap().revision, revision);
    }
    assert_eq!(store.entries(None, 0, 9).await.unwrap(), [entry("yes")]);
}

pub async fn what_has_changed_since_a_revision_is_told_with_all_that_there_is<E: Engine>() {
    let engine = E::start().await;
    let (store, other) = (engine.connect().await, engine.connect().await);
    let keys = |news: &[Record]| news.iter().map(|record| record.key.clone()).collect::<Vec<_>>();
    for key in ["b", "a", "c"] {
        set(&store, key, None, Some("1")).await.unwrap();
    }
    let all = other.records_since(Table::Plugins, 0).await.unwrap();
    assert_eq!(
        (keys(&all.changed), all.keys),
        (vec!["a".into(), "b".into(), "c".into()], keys(&all.changed))
    );
    let (a, c) = (all.changed[0].revision, all.changed[2].revision);
    set(&store, "a", Some(a), Some("2")).await.unwrap();
    set(&store, "c", Some(c), None).await.unwrap();
    let news = other.records_since(Table::Plugins, all.revision).await.unwrap();
    assert_eq!((keys(&news.changed), &news.keys), (vec!["a".into()], &vec!["a".into(), "b".into()]));
    assert_eq!(news.changed[0].value, "2");
    let nothing = other.records_since(Table::Plugins, news.revision).await.unwrap();
    assert_eq!((nothing.revision, nothing.changed, nothing.keys), (news.revision, vec![], news.keys));
    // Who has heard more than this store knows is told everything.
    let everything = other.records_since(Table::Plugins, news.revision + 1_000).await.unwrap();
    assert_eq!(keys(&everything.changed), ["a", "b"]);
    assert_eq!(other.records(Table::Tokens).await.unwrap(), (news.revision, vec![]));
}

pub async fn news_of_records_wake_all_who_wait<E: Engine>() {
    let engine = E::start().await;
    let (store, worker, q) = (engine.connect().await, engine.connect().await, queue("q"));
    let (mut known, mut was, mut slow) = (worker.revision().await.unwrap(), None, Duration::ZERO);
    // By looking now and then, once a second, it would take some seconds to hear of all.
    for _ in 0..6 {
        let hear = || async {
            while worker.revision().await.unwrap() == known {
                worker.records_news(known).await;
            }
        };
        let work = async {
            loop {
                worker.take(std::slice::from_ref(&q), 1).await.unwrap();
                worker.arrival().await;
            }
        };
        let change = async {
            // The others listen by then.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let revision = set(&store, "k", was, Some("1")).await.unwrap();
            (revision, std::time::Instant::now())
        };
        let all = async { tokio::join!(change, hear(), hear()) };
        let ((revision, changed), (), ()) = in_time(async {
            tokio::select! { all = all => all, () = work => unreachable!() }
        })
        .await;
        slow += changed.elapsed();
        (known, was) = (revision, Some(revision));
    }
    assert!(slow < Duration::from_secs(2), "{slow:?}");
}

pub async fn each_change_is_noted_with_who_made_it<E: Engine>() {
    let engine = E::start().await;
    let (store, other) = (engine.connect().await, engine.connect().await);
    let revision = store.revision().await.unwrap();
    let whole = Entry { digest: Some("d".to_owned()), detail: None, ..of_tenant("acme", "first") };
    store.note(&whole).await.unwrap();
    assert_eq!(store.revision().await.unwrap(), revision, "no record has changed");
    for (tenant, action) in [("acme", "second"), ("other", "third")] {
        let change = change(Table::Queues, action, None, Some("{}"));
        store.change(&[change], &of_tenant(tenant, action)).await.unwrap().unwrap();
    }
    store.note(&entry("fourth")).await.unwrap();
    let (second, third, fourth) = (of_tenant("acme", "second"), of_tenant("other", "third"), entry("fourth"));
    let all = [fourth.clone(), third.clone(), second.clone(), whole.clone()];
    assert_eq!(other.entries(None, 0, 10).await.unwrap(), all);
    assert_eq!(other.entries(None, 1, 2).await.unwrap(), all[1..3]);
    assert_eq!(other.entries(None, 3, usize::MAX).await.unwrap(), all[3..]);
    assert_eq!(other.entries(None, 0, 0).await.unwrap(), []);
    assert_eq!(other.entries(None, usize::MAX, 1).await.unwrap(), []);
    let acme = Tenant::new("acme").unwrap();
    assert_eq!(other.entries(Some(&acme), 0, 10).await.unwrap(), [second, whole]);
    assert_eq!(other.entries(Some(&Tenant::DEFAULT), 0, 10).await.unwrap(), [fourth]);
    assert_eq!(other.entries(Some(&Tenant::new("nobody").unwrap()), 0, 10).await.unwrap(), []);
}

pub async fn the_audit_is_bounded_and_keeps_the_newest_of_each_tenant<E: Engine>() {
    let engine = E::start().await;
    let (store, quiet, loud) =
        (engine.connect().await, of_tenant("quiet", "q"), Tenant::new("loud").unwrap());
    store.note(&quiet).await.unwrap();
    let numbers: Vec<_> = (0..10_020).collect();
    for numbers in numbers.chunks(60) {
        let notes = numbers.iter().map(|number| {
            let entry = of_tenant("loud", &number.to_string());
            let store = &store;
            async move { store.note(&entry).await.unwrap() }
        });
        futures_util::future::join_all(notes).await;
    }
    assert_eq!(store.entries(None, 9_999, 10).await.unwrap().len(), 1);
    assert_eq!(store.entries(None, 0, usize::MAX).await.unwrap().len(), 10_000);
    assert_eq!(store.entries(Some(&loud), 0, usize::MAX).await.unwrap().len(), 1_000);
    assert_eq!(store.entries(Some(&quiet.tenant), 0, 10).await.unwrap(), [quiet], "nobody can push it out");
}
