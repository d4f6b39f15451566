//! Servers that go away, come back empty, answer late, are full, or refuse.

use std::time::{Duration, Instant};

use super::{
    super::{Options, Redis},
    Server,
};
use crate::{
    store::{
        Backend, Broker, Fate, Settled, StoreError,
        conformance::{
            Engine, drain, in_time, marked, message, publication, publish_all, queue, report, result,
            settlement, take,
        },
    },
    task::{State, TaskId, Tenant},
};

#[tokio::test]
async fn a_take_that_was_answered_too_late_is_restored() {
    let server = Server::start();
    let options = Options { response_timeout: Duration::from_millis(300), ..Options::default() };
    let (store, q) = (server.connect_with(options).await, queue("q"));
    assert!(take(&store, &q, 1).await.unwrap().is_empty());
    publish_all(&store, &q, 0..2).await;
    server.signal("-STOP");
    let error = take(&store, &q, 2).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    server.signal("-CONT");
    in_time(async { while !matches!(store.held().await, Ok(2)) {} }).await;
    assert_eq!(store.restore().await.unwrap(), 2);
    let again: Vec<_> = drain(&store, &q).await.into_iter().map(|taken| taken.message.to_vec()).collect();
    assert_eq!(again, [marked(&message(0)), marked(&message(1))]);
}

#[tokio::test]
async fn an_answer_that_came_too_late_is_waited_for_longer_the_next_time() {
    let server = Server::start();
    let usual = Duration::from_millis(300);
    let options = Options { response_timeout: usual, ..Options::default() };
    let (store, q) = (server.connect_with(options).await, queue("q"));
    let mut client = server.client().await;
    for _ in 0..2 {
        // An answer in time makes it as impatient as it was.
        in_time(async { while take(&store, &q, 1).await.is_err() {} }).await;
        ask!(client, String, "CLIENT", "PAUSE", "60000", "WRITE");
        for (least, most) in [(usual, 2 * usual), (2 * usual, 4 * usual), (4 * usual, 20 * usual)] {
            let begin = Instant::now();
            let error = take(&store, &q, 1).await.unwrap_err();
            let elapsed = begin.elapsed();
            assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
            assert!(elapsed >= least && elapsed < most, "{elapsed:?} is not from {least:?} to {most:?}");
        }
        ask!(client, String, "CLIENT", "UNPAUSE");
    }
}

/// Everything works on a store whose server has lost everything.
async fn works_again(store: &Redis, server: &Server) {
    let (q, id) = (queue("again"), TaskId::random());
    in_time(async { while take(store, &q, 1).await.is_err() {} }).await;
    in_time(async { while store.beat(Duration::from_secs(9), &report()).await.is_err() {} }).await;
    in_time(async { while store.get(&Tenant::DEFAULT, &id).await.is_err() {} }).await;
    assert!(take(store, &q, 1).await.unwrap().is_empty());
    let (producer, text) = (server.connect().await, message(1));
    let (taken, published) = tokio::join!(
        async {
            loop {
                let taken = take(store, &q, 1).await.unwrap();
                if !taken.is_empty() {
                    return taken;
                }
                store.arrival().await;
            }
        },
        async { producer.publish(&[publication(&q, 9, &text)]).await }
    );
    published.unwrap();
    let success = result(&id, State::Success, "");
    let end = settlement(&taken[0].tag, Fate::Acknowledge, Some(success.clone()));
    assert_eq!(store.settle(&[end]).await.unwrap(), [Settled::Done]);
    assert_eq!(store.get(&Tenant::DEFAULT, &id).await.unwrap(), Some(success.meta));
}

#[tokio::test]
async fn a_restarted_server_is_used_again() {
    let mut server = Server::start();
    let store = server.connect().await;
    works_again(&store, &server).await;
    server.stop();
    let begin = Instant::now();
    for error in [
        take(&store, &queue("q"), 1).await.map(drop).unwrap_err(),
        store.held().await.map(drop).unwrap_err(),
        store.store(&Tenant::DEFAULT, &result(&TaskId::random(), State::Success, "")).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Unreachable { .. }) && error.is_transient(), "{error:?}");
    }
    assert!(begin.elapsed() < Duration::from_secs(15));
    server.restart();
    works_again(&store, &server).await;
}

#[tokio::test]
async fn forgotten_scripts_are_sent_again() {
    let server = Server::start();
    let store = server.connect().await;
    let mut client = server.client().await;
    for _ in 0..2 {
        works_again(&store, &server).await;
        ask!(client, String, "SCRIPT", "FLUSH");
    }
}

#[tokio::test]
async fn a_wait_outlives_a_restart_of_the_server() {
    let mut server = Server::start();
    let (store, id) = (server.connect().await, TaskId::random());
    let mut client = server.client().await;
    let is_success = |text: &str| text.contains("SUCCESS");
    let mut wait = std::pin::pin!(store.wait(&Tenant::DEFAULT, &id, &is_success));
    let subscribed = async {
        while ask!(client, Vec<String>, "PUBSUB", "CHANNELS").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut wait => panic!("nothing is stored yet"),
        () = in_time(subscribed) => {}
    }
    server.restart();
    let success = result(&id, State::Success, "");
    server.connect().await.store(&Tenant::DEFAULT, &success).await.unwrap();
    assert_eq!(in_time(wait).await.unwrap(), success.meta);
}

#[tokio::test]
async fn a_key_that_is_no_list_does_not_hide_other_queues() {
    let server = Server::start();
    let store = server.connect().await;
    let mut client = server.client().await;
    ask!(client, String, "SET", "broken", "x");
    publish_all(&store, &queue("sound"), 0..1).await;
    let queues = [queue("broken"), queue("sound")];
    assert_eq!(store.take(&queues, 10).await.unwrap().deliveries.len(), 1);
    let error = store.take(&queues, 10).await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused { .. }) && !error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_message_that_cannot_be_recorded_stays_in_its_queue() {
    let server = Server::start();
    let (store, q) = (server.connect().await, queue("q"));
    let mut client = server.client().await;
    publish_all(&store, &q, 0..2).await;
    for key in ["unacked", "unacked_index"] {
        ask!(client, String, "SET", key, "of the wrong type");
        assert!(matches!(take(&store, &q, 2).await, Err(StoreError::Refused { .. })));
        ask!(client, u64, "DEL", key);
        assert_eq!((store.length(&q).await.unwrap(), store.held().await.unwrap()), (2, 0));
    }
    assert_eq!(drain(&store, &q).await[0].message, message(0));
}

#[tokio::test]
async fn queues_can_be_emptied_when_memory_is_full() {
    let server = Server::start();
    let (store, q, id) = (server.connect().await, queue("q"), TaskId::random());
    let mut client = server.client().await;
    publish_all(&store, &q, 0..1).await;
    ask!(client, String, "CONFIG", "SET", "maxmemory", "1");
    let error = store.publish(&[publication(&q, 0, &message(1))]).await.unwrap_err();
    assert!(matches!(&error, StoreError::NotReady { .. }) && error.is_transient(), "{error:?}");
    let tag = drain(&store, &q).await[0].tag.clone();
    let end = settlement(&tag, Fate::Acknowledge, Some(result(&id, State::Success, "")));
    assert_eq!(store.settle(&[end]).await.unwrap(), [Settled::Done]);
    assert!(store.get(&Tenant::DEFAULT, &id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_that_refuses_or_is_away_is_told_apart() {
    let mut server = Server::start();
    let mut client = server.client().await;
    ask!(client, String, "CONFIG", "SET", "requirepass", "secret");
    let with_password = format!("redis://:secret@127.0.0.1:{}/0", server.port);
    let store = Redis::connect(&with_password, None, Options::default()).await.unwrap();
    assert_eq!(store.address(), format!("redis://:**@127.0.0.1:{}/0", server.port));
    for url in
        [server.url(), with_password.replace("secret", "wrong-secret"), with_password.replace("/0", "/4000")]
    {
        let error = Redis::connect(&url, None, Options::default()).await.map(drop).unwrap_err();
        assert!(matches!(&error, StoreError::Refused { .. }), "{error:?}");
        let text = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(!text.contains("wrong-secret") && !text.contains("6.2"), "{text}");
    }
    let tls = Redis::connect(&server.url().replace("redis:", "rediss:"), None, Options::default()).await;
    assert!(matches!(tls.map(drop).unwrap_err(), StoreError::Unreachable { .. }));
    server.stop();
    let error = Redis::connect(&with_password, None, Options::default()).await.map(drop).unwrap_err();
    assert!(matches!(&error, StoreError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(":**@"), "{error}");
}

#[tokio::test]
async fn a_server_without_tracking_is_refused_with_the_reason() {
    let server = Server::start();
    let mut client = server.client().await;
    ask!(client, String, "ACL", "SETUSER", "old", "on", ">pw", "~*", "&*", "+@all", "-client|tracking");
    let url = format!("redis://old:pw@127.0.0.1:{}/0", server.port);
    let error = Redis::connect(&url, None, Options::default()).await.map(drop).unwrap_err();
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert!(text.contains("Redis 6.2 or newer is needed"), "{text}");
}
