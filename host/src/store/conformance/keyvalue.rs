//! Entries: each tenant's by itself, changed as a whole, and never more than may be.

use super::*;
use crate::task::{Bucket, KeyValueAnswer, KeyValueQuery, Tenant};

const PLENTY: u64 = 1 << 20;

fn bucket(tenant: &str, name: &str) -> Bucket {
    let tenant = if tenant.is_empty() { Tenant::DEFAULT } else { Tenant::new(tenant).unwrap() };
    Bucket { tenant, name: name.to_owned() }
}

async fn set(
    store: &impl KeyValue,
    bucket: &Bucket,
    quota: u64,
    entries: &[(&str, Option<&[u8]>)],
) -> KeyValueAnswer {
    let owned = |value: &[u8]| bytes::Bytes::copy_from_slice(value);
    let changes = entries.iter().map(|(key, value)| ((*key).to_owned(), value.map(owned))).collect();
    store.keyvalue(bucket, quota, &KeyValueQuery::Change(changes)).await.unwrap()
}

async fn get(store: &impl KeyValue, bucket: &Bucket, key: &str) -> Option<Vec<u8>> {
    match store.keyvalue(bucket, 0, &KeyValueQuery::Get(vec![key.to_owned()])).await.unwrap() {
        KeyValueAnswer::Values(values) => values[0].as_ref().map(|value| value.to_vec()),
        other => panic!("{other:?}"),
    }
}

async fn add(store: &impl KeyValue, bucket: &Bucket, quota: u64, key: &str, delta: i64) -> KeyValueAnswer {
    store.keyvalue(bucket, quota, &KeyValueQuery::Add { key: key.to_owned(), delta }).await.unwrap()
}

async fn keys(store: &impl KeyValue, bucket: &Bucket, skip: u64, most: usize) -> Vec<String> {
    match store.keyvalue(bucket, 0, &KeyValueQuery::Keys { skip, most }).await.unwrap() {
        KeyValueAnswer::Keys(keys) => keys,
        other => panic!("{other:?}"),
    }
}

pub async fn entries_of_one_key_are_each_tenant_s_and_each_bucket_s_own<E: Engine>() {
    let engine = E::start().await;
    let (store, other) = (engine.connect().await, engine.connect().await);
    let places = [
        bucket("", "b"),
        bucket("acme", "b"),
        bucket("acme", "c"),
        bucket("other", "b"),
        bucket("acme", "b/c"),
    ];
    for (n, place) in places.iter().enumerate() {
        assert_eq!(
            set(&store, place, PLENTY, &[("k", Some(&[n as u8, 0, 255]))]).await,
            KeyValueAnswer::Changed
        );
    }
    for (n, place) in places.iter().enumerate() {
        assert_eq!(get(&other, place, "k").await, Some(vec![n as u8, 0, 255]));
    }
    let has = KeyValueQuery::Has("k".to_owned());
    other.keyvalue_forget(&places[1].tenant).await.unwrap();
    for (place, expected) in places.iter().zip([true, false, false, true, false]) {
        assert_eq!(store.keyvalue(place, 0, &has).await.unwrap(), KeyValueAnswer::Is(expected), "{place:?}");
        let used = if expected { Bucket::cost("k", &[0; 3]) } else { 0 };
        assert_eq!(store.keyvalue_used(&place.tenant).await.unwrap(), used);
    }
}

pub async fn entries_are_changed_as_a_whole_and_listed_in_order<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    let place = bucket("acme", "b");
    let changes: &[(&str, Option<&[u8]>)] = &[
        ("ü", Some(b"1")),
        ("a", Some(b"2")),
        ("b", Some(b"")),
        ("a", Some(b"3")),
        ("c", Some(b"4")),
        ("c", None),
    ];
    assert_eq!(set(&store, &place, PLENTY, changes).await, KeyValueAnswer::Changed);
    assert_eq!(get(&store, &place, "a").await, Some(b"3".to_vec()), "the last of several values");
    assert_eq!(get(&store, &place, "b").await, Some(Vec::new()), "an empty value is a value");
    assert_eq!(get(&store, &place, "c").await, None);
    assert_eq!(keys(&store, &place, 0, 10).await, ["a", "b", "ü"]);
    assert_eq!(keys(&store, &place, 1, 1).await, ["b"]);
    assert_eq!(keys(&store, &place, 3, 10).await, Vec::<String>::new());
    assert_eq!(keys(&store, &place, u64::MAX, 10).await, Vec::<String>::new());
    let used = Bucket::cost("ü", b"1") + Bucket::cost("a", b"3") + Bucket::cost("b", b"");
    assert_eq!(store.keyvalue_used(&place.tenant).await.unwrap(), used);
    set(&store, &place, 0, &[("a", None), ("b", None), ("ü", None), ("nothing", None)]).await;
    assert_eq!(store.keyvalue_used(&place.tenant).await.unwrap(), 0);
    assert_eq!(keys(&store, &place, 0, 10).await, Vec::<String>::new());
}

pub async fn a_tenant_cannot_keep_more_than_its_quota<E: Engine>() {
    let engine = E::start().await;
    let (store, other) = (engine.connect().await, engine.connect().await);
    let (place, second) = (bucket("acme", "b"), bucket("acme", "c"));
    let quota = 3 * Bucket::cost("k", &[0; 100]);
    let full = |used| KeyValueAnswer::Full { used };
    assert_eq!(set(&store, &place, quota, &[("k", Some(&[0; 100]))]).await, KeyValueAnswer::Changed);
    assert_eq!(set(&other, &second, quota, &[("k", Some(&[0; 100]))]).await, KeyValueAnswer::Changed);
    let used = quota / 3 * 2;
    let too_much: &[(&str, Option<&[u8]>)] = &[("x", Some(&[0; 9])), ("y", Some(&[0; 100]))];
    assert_eq!(set(&store, &place, quota, too_much).await, full(used));
    assert_eq!(get(&store, &place, "x").await, None, "nothing of it is kept");
    assert_eq!(set(&store, &place, quota, &[("y", Some(&[0; 100]))]).await, KeyValueAnswer::Changed);
    assert_eq!(set(&store, &place, quota, &[("k", Some(&[0; 101]))]).await, full(quota));
    assert_eq!(add(&store, &place, quota, "n", 1).await, full(quota));
    // A replacement that takes no more, and whatever makes room, is let through, also when the quota has shrunk.
    assert_eq!(set(&store, &place, 1, &[("k", Some(&[1; 100]))]).await, KeyValueAnswer::Changed);
    assert_eq!(set(&store, &place, 1, &[("k", Some(&[2; 9])), ("y", None)]).await, KeyValueAnswer::Changed);
    let left = Bucket::cost("k", &[0; 9]) + Bucket::cost("k", &[0; 100]);
    assert_eq!(store.keyvalue_used(&place.tenant).await.unwrap(), left);
    assert_eq!(
        set(&store, &bucket("other", "b"), quota, &[("k", Some(&[0; 100]))]).await,
        KeyValueAnswer::Changed
    );
}

pub async fn numbers_are_added_to_by_many_at_once<E: Engine>() {
    let engine = E::start().await;
    let place = bucket("acme", "b");
    let stores = [engine.connect().await, engine.connect().await, engine.connect().await];
    let adds = stores.iter().flat_map(|store| (0..20).map(|_| add(store, &place, PLENTY, "n", 5)));
    futures_util::future::join_all(adds).await;
    let store = &stores[0];
    assert_eq!(get(store, &place, "n").await, Some(b"300".to_vec()));
    assert_eq!(store.keyvalue_used(&place.tenant).await.unwrap(), Bucket::cost("n", b"300"));
    // Numbers that a float cannot hold.
    let large = i64::MAX - 1;
    assert_eq!(add(store, &place, PLENTY, "large", large).await, KeyValueAnswer::Sum(large));
    assert_eq!(add(store, &place, PLENTY, "large", 1).await, KeyValueAnswer::Sum(i64::MAX));
    assert_eq!(add(store, &place, PLENTY, "large", 1).await, KeyValueAnswer::NoNumber);
    for text in ["x", "", "1.5", "+1", " 1", "01", "-0"] {
        set(store, &place, PLENTY, &[("text", Some(text.as_bytes()))]).await;
        assert_eq!(add(store, &place, PLENTY, "text", 1).await, KeyValueAnswer::NoNumber, "{text:?}");
        assert_eq!(get(store, &place, "text").await, Some(text.as_bytes().to_vec()));
    }
}
