//! What operators see of parked messages, rate limits, dead letters, workers and revocations.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{
    super::{Options, keys, record::KombuRecord, tag::OwnTag},
    Server,
};
use crate::{
    store::{
        Admission, Broker, Candidate, DeadLetters, Fate, Pace, RateLimits, Report, Revocation, Revocations,
        Settled, Target,
        conformance::{
            Engine, dead, drain, in_time, message, publish, publish_all, queue, report, settlement, task,
        },
    },
    task::{TaskId, Tenant},
};

/// The keys that Redis has, without those of Kombu and without heartbeats.
async fn ours(client: &mut redis::aio::MultiplexedConnection) -> Vec<String> {
    let mut keys = ask!(*client, Vec<String>, "KEYS", "host:*");
    keys.retain(|key| !key.starts_with("host:worker"));
    keys.sort();
    keys
}

#[tokio::test]
async fn a_replaced_message_is_recorded_as_kombu_records_it() {
    let server = Server::start();
    let (store, q) = (server.connect().await, queue("mail \"eu\""));
    let mut client = server.client().await;
    publish_all(&store, &q, 0..1).await;
    let held = drain(&store, &q).await;
    assert!(store.replace(&held[0].tag, &message(7)).await.unwrap());
    let records = ask!(client, Vec<(String, Vec<u8>)>, "HGETALL", "unacked");
    assert_eq!((records.len(), &*records[0].0), (1, &*held[0].tag.0));
    let record = KombuRecord::parse(&records[0].1).unwrap();
    assert_eq!((record.0.get().as_bytes(), &*record.1, &*record.2), (&message(7)[..], "", q.as_str()));
}

#[tokio::test]
async fn nothing_is_left_of_parked_messages_that_went_back() {
    let server = Server::start();
    let (store, q) = (server.connect().await, queue("q"));
    let mut client = server.client().await;
    let now = Timestamp::now();
    for (name, until) in [("a", now + Duration::from_secs(60)), ("b", now)] {
        publish_all(&store, &q, 0..1).await;
        let held = drain(&store, &q).await;
        let fate = Fate::Park { task: task(name).task, until, message: message(0).into() };
        store.settle(&[settlement(&held[0].tag, fate, None)]).await.unwrap();
    }
    let tasks = ["host:parked:task:a", "host:parked:task:b"];
    assert_eq!(
        ours(&mut client).await,
        ["host:parked", "host:parked:messages", tasks[0], tasks[1], "host:parked:tasks"]
    );
    assert_eq!(store.restore().await.unwrap(), 1);
    assert_eq!(store.parked().await.unwrap(), [(task("a"), 1)]);
    assert_eq!(store.release(&task("a")).await.unwrap(), 1);
    assert_eq!(ours(&mut client).await, [""; 0]);
}

#[tokio::test]
async fn nothing_is_left_of_messages_that_were_set_aside_but_their_bucket_for_a_time() {
    let server = Server::start();
    let (store, q) = (server.connect().await, queue("q"));
    let mut client = server.client().await;
    publish(&store, &q, 4, &message(0)).await;
    publish(&store, &q, 4, &message(1)).await;
    let held = drain(&store, &q).await;
    for held in &held {
        let (tag, message) = (held.tag.clone(), held.message.clone());
        let limit = "60/h".parse().unwrap();
        store.admit(&Candidate { tag, task: task("a").task, limit, message }).await.unwrap();
    }
    assert_eq!(
        ours(&mut client).await,
        ["host:aside", "host:aside:list:a\u{6}\u{16}3.q", "host:aside:places:a", "host:bucket:a"]
    );
    let kept: u64 = ask!(client, u64, "PTTL", "host:bucket:a");
    assert!((119_000..=120_010).contains(&kept), "until it is full, and a minute more: {kept}");
    // Nobody has taken a token for long.
    ask!(client, u64, "DEL", "host:bucket:a");
    assert_eq!(store.release_set_aside(&task("a"), &Pace::Abandoned).await.unwrap().count, 1);
    assert_eq!(ours(&mut client).await, [""; 0]);
    assert_eq!(drain(&store, &q).await.len(), 1);
}

#[tokio::test]
async fn a_message_that_can_be_neither_counted_nor_set_aside_stays_held() {
    let server = Server::start();
    let (store, q) = (server.connect().await, queue("q"));
    let mut client = server.client().await;
    for key in ["host:bucket:a", "host:aside:places:a", "host:aside"] {
        ask!(client, u64, "LPUSH", key, "no number, no set, no hash");
        publish_all(&store, &q, 0..1).await;
        let held = drain(&store, &q).await.remove(0);
        let (task, limit) = (task("a").task, "1/h".parse().unwrap());
        let candidate = Candidate { tag: held.tag.clone(), task, limit, message: held.message };
        let admission = store.admit(&candidate).await.unwrap();
        assert!(matches!(&admission, Admission::Refused(why) if why.contains("WRONGTYPE")), "{admission:?}");
        let settled = store.settle(&[settlement(&held.tag, Fate::Acknowledge, None)]).await.unwrap();
        assert_eq!(settled, [Settled::Done], "it was still held");
        ask!(client, u64, "DEL", key);
    }
}

#[tokio::test]
async fn many_parked_messages_are_released_in_their_order_and_counted_at_once() {
    let server = Server::start();
    let (store, q) = (server.connect().await, queue("q"));
    publish_all(&store, &q, 0..2_500).await;
    let until = Timestamp::now() + Duration::from_secs(3_600);
    let fate = Fate::Park { task: task("a").task, until, message: b"".to_vec().into() };
    let ends: Vec<_> = drain(&store, &q)
        .await
        .into_iter()
        .map(|held| {
            let Fate::Park { task, until, .. } = fate.clone() else { unreachable!() };
            settlement(&held.tag, Fate::Park { task, until, message: held.message }, None)
        })
        .collect();
    store.settle(&ends).await.unwrap();
    assert_eq!(store.parked().await.unwrap(), [(task("a"), 2_500)]);
    assert_eq!(store.release(&task("a")).await.unwrap(), 2_500);
    let taken: Vec<_> = drain(&store, &q).await.into_iter().map(|taken| taken.message.to_vec()).collect();
    assert_eq!(taken, (0..2_500).map(message).collect::<Vec<_>>());
}

#[tokio::test]
async fn dead_letters_expire_each_at_its_own_time_and_leave_nothing() {
    let server = Server::start();
    let lifetime = Duration::from_millis(600);
    let (brief, usual) = (
        server.connect_with(Options { dead_letter_lifetime: lifetime, ..Options::default() }).await,
        server.connect().await,
    );
    let mut client = server.client().await;
    for store in [&brief, &usual] {
        publish_all(store, &queue("q"), 0..1).await;
        let held = drain(store, &queue("q")).await;
        store.settle(&[settlement(&held[0].tag, dead("r"), None)]).await.unwrap();
    }
    let letters = usual.dead_letters(0, 10).await.unwrap();
    let [kept, expiring] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(expiring.expires, expiring.since + lifetime);
    assert_eq!(kept.expires, kept.since + Options::default().dead_letter_lifetime);
    // Who looks with another lifetime in mind does not shorten theirs.
    in_time(async { while brief.dead_count().await.unwrap() == 2 {} }).await;
    assert!(Timestamp::now() >= expiring.expires);
    assert_eq!(usual.dead_letter(&expiring.id).await.unwrap(), None);
    assert!(!usual.replay(&expiring.id, b"x").await.unwrap());
    assert_eq!(brief.drop_dead_letters(std::slice::from_ref(&kept.id)).await.unwrap(), 1);
    assert_eq!(ask!(client, String, "GET", "host:dead:bytes"), "0");
    assert_eq!((brief.dead_count().await.unwrap(), ours(&mut client).await), (0, Vec::new()));
}

#[tokio::test]
async fn a_letter_that_somebody_spoilt_does_not_hide_the_others() {
    let server = Server::start();
    let (store, q) = (server.connect().await, queue("q"));
    let mut client = server.client().await;
    for _ in 0..3 {
        publish_all(&store, &q, 0..1).await;
        let held = drain(&store, &q).await;
        store.settle(&[settlement(&held[0].tag, dead("r"), None)]).await.unwrap();
    }
    let letters = store.dead_letters(0, 3).await.unwrap();
    ask!(client, u64, "HSET", "host:dead:letters", letters[0].id.as_str(), "{");
    ask!(client, u64, "HDEL", "host:dead:messages", letters[1].id.as_str());
    assert_eq!(store.dead_letters(0, 3).await.unwrap(), letters[2..]);
    assert_eq!(
        store
            .drop_dead_letters(&letters.iter().map(|letter| letter.id.clone()).collect::<Vec<_>>())
            .await
            .unwrap(),
        3
    );
}

#[tokio::test]
async fn a_replayed_message_without_a_priority_goes_to_the_list_it_came_from() {
    let server = Server::start();
    let (store, q) = (server.connect().await, queue("q"));
    let mut client = server.client().await;
    publish(&store, &q, 6, b"\xff").await;
    let held = drain(&store, &q).await;
    store.settle(&[settlement(&held[0].tag, dead("r"), None)]).await.unwrap();
    let letter = store.dead_letters(0, 1).await.unwrap().remove(0);
    assert!(store.replay(&letter.id, &letter.message).await.unwrap());
    assert_eq!(ask!(client, Vec<Vec<u8>>, "LRANGE", "q\x06\x166", "0", "-1"), [b"\xff"]);
}

#[tokio::test]
async fn a_heartbeat_is_the_workers_report() {
    let server = Server::start();
    let (store, q) = (server.connect().await, queue("q"));
    let mut client = server.client().await;
    publish_all(&store, &q, 0..1).await;
    let owner = OwnTag::parse(&drain(&store, &q).await[0].tag.0).unwrap().owner;
    store.beat(Duration::from_secs(60), &report()).await.unwrap();
    let text = ask!(client, String, "GET", keys::heartbeat(&owner));
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report());
    ask!(client, String, "SET", keys::heartbeat(&owner), "no report");
    assert_eq!(store.workers().await.unwrap(), []);
    store.beat(Duration::from_millis(1), &report()).await.unwrap();
    let other = server.connect().await;
    in_time(async {
        while ask!(client, Vec<String>, "ZRANGE", "host:workers", "0", "-1").contains(&owner) {
            other.beat(Duration::from_secs(60), &report()).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_over_is_not_reported_as_lost_while_its_end_is_on_its_way() {
    let server = Server::start();
    let (store, q) = (server.connect().await, queue("q"));
    for _ in 0..20 {
        publish_all(&store, &q, 0..50).await;
        let held = drain(&store, &q).await;
        let ends: Vec<_> = held.iter().map(|held| settlement(&held.tag, Fate::Acknowledge, None)).collect();
        let settle = async { store.settle(&ends).await.unwrap() };
        let (report, lease) = (report(), Duration::from_secs(60));
        let beats = async {
            let mut lost = Vec::new();
            for _ in 0..5 {
                lost.extend(store.beat(lease, &report).await.unwrap());
            }
            lost
        };
        let (_, lost) = tokio::join!(settle, beats);
        assert_eq!(lost, []);
    }
}

fn revocation() -> Revocation {
    let until = Timestamp::now() + Duration::from_secs(3_600);
    Revocation { tenant: Tenant::DEFAULT, target: Target::Task(TaskId::random()), terminate: true, until }
}

#[tokio::test]
async fn many_revocations_are_told_in_full_and_what_is_past_leaves_nothing() {
    let server = Server::start();
    // A busy machine may need longer for so many than a worker waits at first.
    let options = Options { response_timeout: Duration::from_secs(30), ..Options::default() };
    let store = server.connect_with(options).await;
    let mut client = server.client().await;
    let brief: Vec<_> = (0..10_001).map(|_| revocation()).collect();
    let last = revocation();
    store.revoke(&brief).await.unwrap();
    let (told, revision) = store.revoked_since(0).await.unwrap();
    assert_eq!((told.len(), revision), (10_001, 10_001));
    assert_eq!(told[0].until, brief[0].until, "to the nanosecond");
    let age = "for _, target in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('ZADD', KEYS[1], 1, target) end";
    ask!(client, redis::Value, "EVAL", age, "1", "host:revoked:until");
    assert_eq!(store.revoked_since(0).await.unwrap(), (Vec::new(), revision));
    // Some at a time, so that no call takes long.
    for _ in 0..15 {
        store.revoke(std::slice::from_ref(&last)).await.unwrap();
    }
    for count in [
        ask!(client, u64, "HLEN", "host:revoked"),
        ask!(client, u64, "ZCARD", "host:revoked:until"),
        ask!(client, u64, "ZCARD", "host:revoked:changes"),
    ] {
        assert_eq!(count, 1);
    }
    assert_eq!(store.revoked_since(revision).await.unwrap(), (vec![last], revision + 15));
}

#[tokio::test]
async fn a_server_that_has_lost_its_memory_tells_everything() {
    let mut server = Server::start();
    let (store, last) = (server.connect().await, revocation());
    store.revoke(&[revocation(), revocation()]).await.unwrap();
    let (_, revision) = store.revoked_since(0).await.unwrap();
    server.restart();
    server.connect().await.revoke(std::slice::from_ref(&last)).await.unwrap();
    let told = in_time(async {
        loop {
            if let Ok(told) = store.revoked_since(revision).await {
                return told;
            }
        }
    });
    assert_eq!(told.await, (vec![last], 1));
}

#[tokio::test]
async fn revocations_are_news_and_no_arrivals() {
    let server = Server::start();
    let (worker, client, q) = (server.connect().await, server.connect().await, queue("q"));
    async fn time(waiting: impl Future<Output = ()>) -> Duration {
        let begin = Instant::now();
        waiting.await;
        begin.elapsed()
    }
    let (brief, long) = (Duration::from_millis(800), Duration::from_millis(950));
    for _ in 0..3 {
        while !worker.take(std::slice::from_ref(&q), 9).await.unwrap().deliveries.is_empty() {}
        worker.revoked_since(0).await.unwrap();
        let (news, arrival, ()) = tokio::join!(time(worker.revoked_news()), time(worker.arrival()), async {
            client.revoke(&[revocation()]).await.unwrap();
        });
        assert!(news < brief && arrival >= long, "a revocation: {news:?} {arrival:?}");

        while !worker.take(std::slice::from_ref(&q), 9).await.unwrap().deliveries.is_empty() {}
        let (news, arrival, ()) = tokio::join!(time(worker.revoked_news()), time(worker.arrival()), async {
            publish(&client, &q, 0, &message(0)).await;
        });
        assert!(news >= long && arrival < brief, "an arrival: {news:?} {arrival:?}");
    }
}
