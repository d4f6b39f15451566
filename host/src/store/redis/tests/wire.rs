//! What others see in Redis, and what it costs: keys, records, lifetimes, announcements.

use std::time::{Duration, Instant};

use super::{
    super::{Options, Redis, keys, tag::OwnTag},
    Server,
};
use crate::{
    store::{
        Backend, Broker, Fate,
        conformance::{
            Engine, drain, in_time, marked, message, publication, publish_all, queue, report, result,
            settlement, take,
        },
    },
    task::{State, TaskId, Tenant},
};

#[tokio::test]
async fn a_delivery_is_recorded_as_kombu_records_it() {
    let server = Server::start();
    let store = server.connect().await;
    let mut client = server.client().await;
    let q = queue("mail \"eu\"");
    store.publish(&[publication(&q, 4, &message(1))]).await.unwrap();
    let before = ask!(client, Vec<f64>, "TIME")[0];
    let taken = drain(&store, &q).await;
    let records = ask!(client, Vec<(String, String)>, "HGETALL", "unacked");
    let expected = format!("[{}, \"\", \"mail \\\"eu\\\"\"]", String::from_utf8(message(1)).unwrap());
    assert_eq!(records, [(taken[0].tag.0.to_string(), expected)]);
    let index = ask!(client, Vec<(String, f64)>, "ZRANGE", "unacked_index", "0", "-1", "WITHSCORES");
    assert_eq!(index[0].0, records[0].0);
    assert!((before..before + 60.0).contains(&index[0].1), "{index:?}");
    let parsed = OwnTag::parse(&taken[0].tag.0).unwrap();
    assert_eq!((parsed.number, parsed.step, parsed.queue), (0, 3, q.clone()));
    let lease = ask!(client, i64, "PTTL", keys::heartbeat(&parsed.owner));
    assert!((1..=10_000).contains(&lease), "it lives before its first heartbeat: {lease}");

    store.settle(&[settlement(&taken[0].tag, Fate::Restore, None)]).await.unwrap();
    assert_eq!(ask!(client, u64, "LLEN", format!("{q}\x06\x163")), 1, "back to the list of its priority");
    assert_eq!(ask!(client, u64, "EXISTS", "unacked", "unacked_index"), 0);
}

#[tokio::test]
async fn a_result_is_kept_for_its_lifetime_and_published_as_stored() {
    let server = Server::start();
    let mut client = server.client().await;
    for (lifetime, ttl) in [(86_400, 86_390..=86_400), (0, -1..=-1)] {
        let options = Options { result_lifetime: Duration::from_secs(lifetime), ..Options::default() };
        let (store, id) = (server.connect_with(options).await, TaskId::random());
        let key = format!("celery-task-meta-{id}");
        let listener = redis::Client::open(server.url()).unwrap();
        let mut listener = listener.get_async_pubsub().await.unwrap();
        listener.subscribe(&key).await.unwrap();
        let success = result(&id, State::Success, "1");
        store.store(&Tenant::DEFAULT, &success).await.unwrap();
        let heard = in_time(futures_util::StreamExt::next(&mut listener.on_message())).await.unwrap();
        assert_eq!(heard.get_payload::<String>().unwrap(), success.meta);
        assert_eq!(ask!(client, String, "GET", key.as_str()), success.meta);
        assert!(ttl.contains(&ask!(client, i64, "TTL", key)));
    }
}

#[tokio::test]
async fn who_subscribes_a_moment_after_a_result_was_announced_hears_it_all_the_same() {
    let server = Server::start();
    let store = server.connect().await;
    let q = queue("q");
    // On a machine that is busy enough, a moment is too long; but not every time.
    for _ in 0..50 {
        store.publish(&[publication(&q, 0, &message(1))]).await.unwrap();
        let (taken, id) = (drain(&store, &q).await, TaskId::random());
        let listener = redis::Client::open(server.url()).unwrap();
        let mut listener = listener.get_async_pubsub().await.unwrap();
        let success = result(&id, State::Success, "1");
        store.settle(&[settlement(&taken[0].tag, Fate::Acknowledge, Some(success.clone()))]).await.unwrap();
        listener.subscribe(keys::result(&Tenant::DEFAULT, &id)).await.unwrap();
        let mut messages = listener.on_message();
        let heard =
            tokio::time::timeout(Duration::from_millis(200), futures_util::StreamExt::next(&mut messages));
        if let Ok(Some(heard)) = heard.await {
            assert_eq!(heard.get_payload::<String>().unwrap(), success.meta);
            return;
        }
    }
    panic!("it is never heard");
}

#[tokio::test]
async fn a_result_key_of_another_type_is_no_obstacle() {
    let server = Server::start();
    let (store, id) = (server.connect().await, TaskId::random());
    let mut client = server.client().await;
    ask!(client, u64, "LPUSH", keys::result(&Tenant::DEFAULT, &id), "x");
    store.store(&Tenant::DEFAULT, &result(&id, State::Success, "1")).await.unwrap();
    assert!(store.get(&Tenant::DEFAULT, &id).await.unwrap().is_some());
}

/// How many commands the server has processed, those in scripts included.
async fn commands(client: &mut redis::aio::MultiplexedConnection) -> u64 {
    let info = ask!(*client, redis::InfoDict, "INFO", "stats");
    info.get("total_commands_processed").unwrap()
}

#[tokio::test]
async fn an_idle_worker_asks_nothing_and_an_arrival_wakes_it_at_once() {
    let server = Server::start();
    let (worker, producer) = (server.connect().await, server.connect().await);
    let mut client = server.client().await;
    let queues = [queue("a"), queue("b")];
    assert!(worker.take(&queues, 10).await.unwrap().deliveries.is_empty());
    let before = commands(&mut client).await;
    worker.arrival().await;
    assert_eq!(commands(&mut client).await - before, 1, "only this question itself");

    let text = message(0);
    for priority in [0, 3, 6, 9] {
        while !worker.take(&queues, 10).await.unwrap().deliveries.is_empty() {}
        let waiting = async {
            let begin = Instant::now();
            worker.arrival().await;
            begin.elapsed()
        };
        let (elapsed, published) = tokio::join!(waiting, async {
            producer.publish(&[publication(&queues[1], priority, &text)]).await
        });
        published.unwrap();
        assert!(elapsed < Duration::from_millis(900), "woken by the clock, not by the message: {elapsed:?}");
    }
}

#[tokio::test]
async fn an_ended_wait_ends_its_subscription() {
    let server = Server::start();
    let (store, id) = (server.connect().await, TaskId::random());
    let mut client = server.client().await;
    store.store(&Tenant::DEFAULT, &result(&id, State::Success, "")).await.unwrap();
    store.wait(&Tenant::DEFAULT, &id, &|_| true).await.unwrap();
    in_time(async { while !ask!(client, Vec<String>, "PUBSUB", "CHANNELS").is_empty() {} }).await;
}

#[tokio::test]
async fn python_workers_deliveries_are_restored_after_the_visibility_timeout() {
    let server = Server::start();
    let store = server.connect().await;
    let mut client = server.client().await;
    let now = ask!(client, Vec<u64>, "TIME")[0];
    let (overdue, fresh) = ((now - 3601).to_string(), (now - 3500).to_string());
    let text = r#"{"headers": {}, "properties": {"priority": 4, "delivery_info": {}}}"#;
    ask!(client, u64, "SADD", "_kombu.binding.tasks", "mail\x06\x16\x06\x16letters");
    for (tag, score, record) in [
        ("1-overdue", &overdue, format!("[{text}, \"\", \"q\"]")),
        ("2-exchange", &overdue, format!("[{text}, \"tasks\", \"mail\"]")),
        ("3-fresh", &fresh, format!("[{text}, \"\", \"q\"]")),
        ("4-unknown-exchange", &overdue, format!("[{text}, \"none\", \"mail\"]")),
        ("5-garbage", &overdue, "garbage".to_owned()),
    ] {
        ask!(client, u64, "ZADD", "unacked_index", score.as_str(), tag);
        ask!(client, u64, "HSET", "unacked", tag, record);
    }
    ask!(client, u64, "ZADD", "unacked_index", overdue, "6-without-record");
    let mutex = ask!(client, String, "SET", "unacked_mutex", "a Python worker");
    assert_eq!(store.restore().await.unwrap(), 0, "a Python worker is at it: {mutex}");
    ask!(client, u64, "DEL", "unacked_mutex");

    assert_eq!(store.restore().await.unwrap(), 2);
    assert_eq!(ask!(client, Vec<Vec<u8>>, "LRANGE", "q\x06\x163", "0", "-1"), [marked(text.as_bytes())]);
    assert_eq!(ask!(client, u64, "LLEN", "letters\x06\x163"), 1);
    let left = ask!(client, Vec<String>, "ZRANGE", "unacked_index", "0", "-1");
    assert_eq!(left, ["4-unknown-exchange", "5-garbage", "3-fresh"]);
    assert_eq!(ask!(client, u64, "EXISTS", "unacked_mutex", "host:restore"), 0, "the locks are given up");
}

#[tokio::test]
async fn a_beat_keeps_python_workers_from_restoring_what_is_held() {
    let server = Server::start();
    let (store, q) = (server.connect().await, queue("q"));
    let mut client = server.client().await;
    publish_all(&store, &q, 0..2).await;
    let taken = drain(&store, &q).await;
    ask!(client, u64, "ZADD", "unacked_index", "1", &*taken[0].tag.0);
    ask!(client, u64, "ZREM", "unacked_index", &*taken[1].tag.0);
    store.beat(Duration::from_secs(60), &report()).await.unwrap();
    let old = ask!(client, Vec<String>, "ZRANGE", "unacked_index", "0", "1000", "BYSCORE");
    assert!(old.is_empty(), "{old:?}");
    assert_eq!(ask!(client, u64, "ZCARD", "unacked_index"), 1, "what was lost is not added");
    let ttl = ask!(client, i64, "PTTL", keys::heartbeat(&OwnTag::parse(&taken[0].tag.0).unwrap().owner));
    assert!((50_000..=60_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn large_messages_are_taken_one_at_a_time_and_come_back_whole() {
    let server = Server::start();
    // A busy machine may need longer than a worker waits at first.
    let options = Options { response_timeout: Duration::from_secs(30), ..Options::default() };
    let (store, q) = (server.connect_with(options).await, queue("q"));
    let large = [b"\"", &vec![b'x'; 50 << 20][..], b"\""].concat();
    store.publish(&[publication(&q, 0, &large)]).await.unwrap();
    store.publish(&[publication(&q, 0, &large)]).await.unwrap();
    let taken = take(&store, &q, 10).await.unwrap();
    assert_eq!(taken.len(), 1);
    store.settle(&[settlement(&taken[0].tag, Fate::Restore, None)]).await.unwrap();
    let taken = drain(&store, &q).await;
    assert!(taken.len() == 2 && taken.iter().all(|taken| taken.message == large));
}

#[tokio::test]
async fn a_unix_socket_can_be_used() {
    let server = Server::start();
    let path = server.folder.path().join("redis.sock");
    let url = format!("redis+socket://{}?virtual_host=2", path.display());
    let store = Redis::connect(&url, None, Options::default()).await.unwrap();
    publish_all(&store, &queue("q"), 0..1).await;
    assert_eq!(drain(&store, &queue("q")).await.len(), 1);
}
