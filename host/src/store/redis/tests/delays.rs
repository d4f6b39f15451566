//! Delayed messages in numbers, and those that cannot be put back.

use std::time::Duration;

use jiff::Timestamp;

use super::Server;
use crate::{
    store::{
        Broker, Fate, Publication,
        conformance::{Engine, drain, message, publication, publish_all, queue, settlement, take},
    },
    task::QueueName,
};

fn later(queue: &QueueName, due: Timestamp, message: &[u8]) -> Publication {
    Publication { due: Some(due), ..publication(queue, 0, message) }
}

#[tokio::test]
async fn many_that_are_due_at_once_come_in_the_order_of_their_times() {
    let server = Server::start();
    let (store, q, other) = (server.connect().await, queue("q"), queue("other"));
    let begin = Timestamp::now() - Duration::from_secs(3_600);
    let due = |number: u64| begin + Duration::from_millis(number);
    let many: Vec<_> =
        (0..5_000).map(|number| later(&q, due(number), number.to_string().as_bytes())).collect();
    store.publish(&many).await.unwrap();
    // More than one take can move, so several are needed before the first in line is in its place.
    while store.delayed().await.unwrap() > 0 {
        assert!(take(&store, &other, 1).await.unwrap().is_empty());
    }
    let taken = drain(&store, &q).await;
    let numbers: Vec<u64> =
        taken.iter().map(|taken| std::str::from_utf8(&taken.message).unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, (0..5_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn messages_delayed_until_the_same_time_come_in_the_order_in_which_they_were_taken() {
    let server = Server::start();
    let (store, q) = (server.connect().await, queue("q"));
    publish_all(&store, &q, 0..12).await;
    let held = drain(&store, &q).await;
    let due = Timestamp::now() + Duration::from_millis(100);
    let ends: Vec<_> = held.iter().map(|held| settlement(&held.tag, Fate::Delay(due), None)).collect();
    store.settle(&ends).await.unwrap();
    let mut taken = Vec::new();
    while taken.len() < 12 {
        taken.extend(take(&store, &q, 100).await.unwrap());
        store.arrival().await;
    }
    let taken: Vec<_> = taken.into_iter().map(|taken| taken.message.to_vec()).collect();
    assert_eq!(taken, (0..12).map(message).collect::<Vec<_>>());
}

#[tokio::test]
async fn delayed_messages_that_cannot_be_put_back_wait_on_and_hinder_nobody() {
    let server = Server::start();
    let (store, q, broken) = (server.connect().await, queue("q"), queue("broken"));
    let mut client = server.client().await;
    ask!(client, String, "SET", "broken", "no list");
    ask!(client, u64, "ZADD", "host:delayed", "1", "no name of ours");
    ask!(client, u64, "HSET", "host:delayed:messages", "no name of ours", "x");
    let past = Timestamp::UNIX_EPOCH;
    store.publish(&[later(&broken, past, b"waits"), later(&q, past, b"comes")]).await.unwrap();
    let taken = drain(&store, &q).await;
    assert_eq!(taken.iter().map(|taken| &taken.message[..]).collect::<Vec<_>>(), [b"comes"]);
    assert_eq!(store.delayed().await.unwrap(), 2);
    ask!(client, u64, "DEL", "broken");
    // They are tried again after a pause, which this ends.
    let names = ask!(client, Vec<String>, "ZRANGE", "host:delayed", "0", "-1");
    for name in names {
        ask!(client, u64, "ZADD", "host:delayed", "XX", "CH", "1", name);
    }
    assert_eq!(drain(&store, &broken).await[0].message, &b"waits"[..]);
    assert_eq!(store.delayed().await.unwrap(), 1, "what nobody can put back is not thrown away");
}

#[tokio::test]
async fn delayed_messages_are_put_back_when_memory_is_full() {
    let server = Server::start();
    let (store, q) = (server.connect().await, queue("q"));
    let mut client = server.client().await;
    store.publish(&[later(&q, Timestamp::UNIX_EPOCH, b"late")]).await.unwrap();
    ask!(client, String, "CONFIG", "SET", "maxmemory", "1");
    assert_eq!(drain(&store, &q).await.len(), 1);
    assert_eq!(store.delayed().await.unwrap(), 0);
}

/// A measurement, not a test: it prints how fast a million delayed messages leave and how long a take waits meanwhile.
#[tokio::test]
#[ignore = "it measures for half a minute"]
async fn a_million_delayed_messages_leave_fast() {
    let server = Server::start();
    let (store, q, other) = (server.connect().await, queue("q"), server.connect().await);
    let begin = Timestamp::now() - Duration::from_secs(3_600);
    for thousand in 0..1_000 {
        let due = |number: u64| begin + Duration::from_micros(thousand * 1_000 + number);
        let text = vec![b'x'; 500];
        let many: Vec<_> = (0..1_000).map(|number| later(&q, due(number), &text)).collect();
        store.publish(&many).await.unwrap();
    }
    let start = std::time::Instant::now();
    let (mut slowest, mut sum, mut takes, mut promoted) = (Duration::ZERO, 0, 0, None);
    while sum < 1_000_000 {
        let begin = std::time::Instant::now();
        let taken = take(&store, &q, 100).await.unwrap();
        slowest = slowest.max(begin.elapsed());
        (sum, takes) = (sum + taken.len(), takes + 1);
        let ends: Vec<_> =
            taken.iter().map(|taken| settlement(&taken.tag, Fate::Acknowledge, None)).collect();
        store.settle(&ends).await.unwrap();
        if promoted.is_none() && other.delayed().await.unwrap() == 0 {
            promoted = Some((start.elapsed(), takes));
        }
    }
    println!("all are in their lists after {promoted:?}, and gone after {:?}", start.elapsed());
    println!("the slowest of {takes} takes: {slowest:?}");
}
