//! Settlements that Redis refuses, one by one, while others take effect.

use std::time::Duration;

use jiff::Timestamp;

use super::{super::Redis, Server, TwoDatabases};
use crate::{
    store::{
        Backend, Broker, Fate, Settled, Settlement, StoreError,
        conformance::{Engine, drain, publication, publish_all, queue, report, result, settlement},
    },
    task::{State, TaskId, TaskName, Tenant},
};

fn is_refused(settled: &Settled, why: &str) -> bool {
    matches!(settled, Settled::Refused(text) if text.contains(why))
}

#[tokio::test]
async fn a_refused_settlement_does_nothing_and_hinders_no_other() {
    let server = Server::start();
    let (store, q) = (server.connect().await, queue("q"));
    let mut client = server.client().await;
    ask!(client, String, "SET", "broken", "no list");
    ask!(client, String, "SET", "host:parked:task:a", "no set");
    publish_all(&store, &q, 0..5).await;
    let held = drain(&store, &q).await;
    let ids: Vec<_> = held.iter().map(|_| TaskId::random()).collect();
    let sends = vec![publication(&queue("next"), 0, b"1"), publication(&queue("broken"), 0, b"2")];
    let task = TaskName::new("a").unwrap();
    let park = Fate::Park { task, until: Timestamp::now(), message: b"parked".to_vec().into() };
    let end = |i: usize, fate, sends: &[_]| Settlement {
        sends: sends.to_vec(),
        ..settlement(&held[i].tag, fate, Some(result(&ids[i], State::Success, "")))
    };
    let ends = [
        end(0, Fate::Acknowledge, &sends),
        end(1, Fate::Acknowledge, &[]),
        end(2, Fate::Restore, &sends),
        end(3, park, &[]),
        end(4, Fate::Requeue, &[]),
    ];
    let settled = store.settle(&ends).await.unwrap();
    for i in [0, 2, 3] {
        assert!(is_refused(&settled[i], "WRONGTYPE"), "{settled:?}");
        assert_eq!(
            store.get(&Tenant::DEFAULT, &ids[i]).await.unwrap(),
            None,
            "its result is not stored either"
        );
    }
    assert_eq!((&settled[1], &settled[4]), (&Settled::Done, &Settled::Done));
    assert_eq!((store.held().await.unwrap(), store.length(&queue("next")).await.unwrap()), (3, 0));
    // What was refused is still held, and so is not lost.
    assert_eq!(store.beat(Duration::from_secs(60), &report()).await.unwrap(), []);
    ask!(client, u64, "DEL", "broken", "host:parked:task:a");
    let again = [ends[0].clone(), ends[2].clone(), ends[3].clone()];
    assert_eq!(store.settle(&again).await.unwrap(), vec![Settled::Done; 3]);
}

#[tokio::test]
async fn what_redis_would_not_even_read_is_refused() {
    let server = Server::start();
    let mut client = server.client().await;
    ask!(client, String, "CONFIG", "SET", "proto-max-bulk-len", "2mb");
    let two = TwoDatabases(server);
    for store in [two.0.connect().await, two.connect().await] {
        let q = queue("q");
        publish_all(&store, &q, 0..4).await;
        let held = drain(&store, &q).await;
        let huge = "x".repeat(3 << 20);
        let (id, sound) = (TaskId::random(), TaskId::random());
        let park = Fate::Park {
            task: TaskName::new("a").unwrap(),
            until: Timestamp::now(),
            message: huge.clone().into(),
        };
        let ends = [
            settlement(&held[0].tag, Fate::Acknowledge, Some(result(&id, State::Success, &huge))),
            settlement(&held[1].tag, Fate::Acknowledge, Some(result(&sound, State::Success, ""))),
            Settlement {
                sends: vec![publication(&q, 0, huge.as_bytes())],
                ..settlement(&held[2].tag, Fate::Acknowledge, None)
            },
            settlement(&held[3].tag, park, None),
        ];
        let settled = store.settle(&ends).await.unwrap();
        assert!([0, 2, 3].iter().all(|&i| is_refused(&settled[i], "more than Redis takes")), "{settled:?}");
        assert_eq!(settled[1], Settled::Done);
        assert!(
            store.get(&Tenant::DEFAULT, &id).await.unwrap().is_none()
                && store.get(&Tenant::DEFAULT, &sound).await.unwrap().is_some()
        );
        assert_eq!(store.held().await.unwrap(), 3);
        let ends = [0, 2, 3].map(|i| settlement(&held[i].tag, Fate::Acknowledge, None));
        assert_eq!(store.settle(&ends).await.unwrap(), vec![Settled::Done; 3]);
    }
}

#[tokio::test]
async fn a_result_that_its_own_database_refuses_leaves_the_delivery_held() {
    let two = TwoDatabases::start().await;
    let mut client = two.0.client().await;
    // The user may do everything to the broker, and read results but not write them.
    ask!(client, String, "ACL", "SETUSER", "half", "on", ">pw", "~*", "&*", "+@all");
    let url = |database: u8| format!("redis://half:pw@127.0.0.1:{}/{database}", two.0.port);
    let store = Redis::connect(&url(0), Some(&url(1)), super::Options::default()).await.unwrap();
    let q = queue("q");
    publish_all(&store, &q, 0..2).await;
    let held = drain(&store, &q).await;
    ask!(client, String, "ACL", "SETUSER", "half", "resetkeys", "~q", "~unacked*", "~host:*", "~_kombu*");
    let with_result =
        settlement(&held[0].tag, Fate::Acknowledge, Some(result(&TaskId::random(), State::Success, "")));
    let without = settlement(&held[1].tag, Fate::Acknowledge, None);
    let settled = store.settle(&[with_result, without]).await.unwrap();
    assert!(is_refused(&settled[0], "refused"), "{settled:?}");
    assert_eq!(settled[1], Settled::Done);
    assert_eq!(store.held().await.unwrap(), 1);
}

#[tokio::test]
async fn a_condition_that_passes_fails_the_whole_call() {
    let server = Server::start();
    let (store, q) = (server.connect().await, queue("q"));
    let mut client = server.client().await;
    publish_all(&store, &q, 0..1).await;
    let held = drain(&store, &q).await;
    ask!(client, String, "CONFIG", "SET", "maxmemory", "1");
    let end = settlement(&held[0].tag, Fate::Requeue, None);
    let error = store.settle(std::slice::from_ref(&end)).await.unwrap_err();
    assert!(matches!(&error, StoreError::NotReady { .. }), "{error:?}");
    ask!(client, String, "CONFIG", "SET", "maxmemory", "0");
    assert_eq!(store.settle(&[end]).await.unwrap(), [Settled::Done]);
}

#[tokio::test]
async fn a_tenant_that_spoils_its_keys_is_in_nobody_s_way() {
    let server = Server::start();
    let (store, q, spoilt) = (server.connect().await, queue("q"), queue("acme/q"));
    let mut client = server.client().await;
    ask!(client, u64, "SADD", "acme/q", "no list");
    ask!(client, u64, "LPUSH", "acme/_kombu.binding.q", "no set");
    let queues = [spoilt.clone(), q.clone()];
    assert!(store.take(&queues, 10).await.unwrap().deliveries.is_empty(), "and no error");
    publish_all(&store, &q, 0..1).await;
    assert_eq!(store.take(&queues, 10).await.unwrap().deliveries.len(), 1);
    assert_eq!(store.queues().await.unwrap(), [q]);
    assert_eq!(store.length(&spoilt).await.unwrap(), 0);
}
