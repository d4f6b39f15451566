//! Events, requests and replies as Python's clients see them in Redis, and a server that goes away.

use super::{super::Redis, Server};
use crate::store::{
    Broadcast, Bus, Heard, Listener, Topic,
    conformance::{Engine, in_time},
};

fn event(text: &'static str) -> Broadcast {
    Broadcast { topic: Topic::Events, routing_key: "worker.heartbeat".to_owned(), message: text.into() }
}

/// Broadcasts until it is heard, and answers what was heard until then.
async fn until_heard(store: &Redis, listener: &mut Listener, told: &Broadcast) -> Vec<Heard> {
    in_time(async {
        let mut heard = Vec::new();
        loop {
            // Fails while the server is away.
            let _ = store.broadcast(std::slice::from_ref(told)).await;
            let pause = tokio::time::sleep(std::time::Duration::from_millis(20));
            tokio::select! {
                next = listener.next() => match next {
                    Heard::Message(message) if message == told.message => return heard,
                    next => heard.push(next),
                },
                () = pause => {}
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_listener_hears_of_the_gap_when_the_server_was_away() {
    let mut server = Server::start();
    let store = server.connect().await;
    let mut listener = store.listen(Topic::Events).await.unwrap();
    assert_eq!(until_heard(&store, &mut listener, &event("1")).await, []);
    for (text, frozen) in [("2", false), ("3", true)] {
        if frozen {
            // Connections that are cut by somebody in between look no different.
            let mut client = server.client().await;
            ask!(client, u64, "CLIENT", "KILL", "TYPE", "pubsub");
        } else {
            server.restart();
        }
        let heard = until_heard(&store, &mut listener, &event(text)).await;
        assert!(heard.contains(&Heard::Gap), "{heard:?}");
    }
}

#[tokio::test]
async fn channels_and_bindings_are_those_of_kombu() {
    let server = Server::start();
    let store = server.connect().await;
    let mut client = server.client().await;
    let listener = redis::Client::open(server.url()).unwrap();
    let mut listener = listener.get_async_pubsub().await.unwrap();
    listener.psubscribe("*").await.unwrap();
    let request =
        Broadcast { topic: Topic::Requests, routing_key: "ignored".to_owned(), message: "r".into() };
    store.broadcast(&[event("e"), request]).await.unwrap();
    for (channel, message) in [("/0.celeryev/worker.heartbeat", "e"), ("/0.celery.pidbox", "r")] {
        let heard = in_time(futures_util::StreamExt::next(&mut listener.on_message())).await.unwrap();
        assert_eq!(
            (heard.get_channel_name(), heard.get_payload::<String>().unwrap()),
            (channel, message.to_owned())
        );
    }

    store.bind("w@box").await.unwrap();
    let workers = "_kombu.binding.celery.pidbox";
    let bound = ask!(client, Vec<String>, "SMEMBERS", workers);
    assert_eq!(bound, ["\x06\x16\x06\x16w@box.celery.pidbox"]);
    ask!(client, u64, "LPUSH", "w@box.celery.pidbox", "what kombu might leave");
    store.unbind("w@box").await.unwrap();
    assert_eq!(ask!(client, u64, "EXISTS", workers, "w@box.celery.pidbox"), 0);

    let inbox = store.open_inbox().await.unwrap();
    let (name, list) = (inbox.name().to_owned(), format!("{}.reply.celery.pidbox", inbox.name()));
    let clients = "_kombu.binding.reply.celery.pidbox";
    assert_eq!(ask!(client, Vec<String>, "SMEMBERS", clients), [format!("{name}\x06\x16\x06\x16{list}")]);
    store.reply(&name, b"reply").await.unwrap();
    assert_eq!(ask!(client, Vec<String>, "LRANGE", list.as_str(), "0", "-1"), ["reply"]);
    let stays = ask!(client, i64, "PTTL", list.as_str());
    assert!((3_500_000..=3_600_000).contains(&stays), "an inbox of somebody who was killed: {stays}");
    inbox.close().await.unwrap();
    assert_eq!(ask!(client, u64, "EXISTS", clients, list.as_str()), 0);
    store.reply(&name, b"too late").await.unwrap();
    let stays = ask!(client, i64, "PTTL", list.as_str());
    assert!((50_000..=60_000).contains(&stays), "nobody waits for it: {stays}");
}
