//! What is told to all reaches all who listen, and a reply reaches whoever asked.

use bytes::Bytes;

use super::*;

fn event(text: impl Into<Bytes>) -> Broadcast {
    Broadcast { topic: Topic::Events, routing_key: "task.multi".to_owned(), message: text.into() }
}

fn request(text: impl Into<Bytes>) -> Broadcast {
    Broadcast { topic: Topic::Requests, routing_key: String::new(), message: text.into() }
}

fn heard(broadcasts: &[Broadcast]) -> Vec<Heard> {
    broadcasts.iter().map(|broadcast| Heard::Message(broadcast.message.clone())).collect()
}

async fn hear(listener: &mut crate::store::Listener, count: usize) -> Vec<Heard> {
    in_time(async {
        let mut heard = Vec::new();
        while heard.len() < count {
            heard.push(listener.next().await);
        }
        heard
    })
    .await
}

pub async fn broadcasts_reach_all_who_listen_in_their_order<E: Engine>() {
    let engine = E::start().await;
    let (store, other) = (engine.connect().await, engine.connect().await);
    let mut listeners = [
        store.listen(Topic::Events).await.unwrap(),
        other.listen(Topic::Events).await.unwrap(),
        other.listen(Topic::Events).await.unwrap(),
    ];
    let any_bytes = event(vec![0, 255, b'\n', b'"']);
    let told: Vec<_> =
        (0..500).map(|number| event(format!("{number}"))).chain([any_bytes, event("")]).collect();
    store.broadcast(&[]).await.unwrap();
    for some in told.chunks(100) {
        store.broadcast(some).await.unwrap();
    }
    for listener in &mut listeners {
        assert_eq!(hear(listener, told.len()).await, heard(&told));
    }
}

pub async fn events_and_requests_are_told_apart<E: Engine>() {
    let engine = E::start().await;
    let (store, other) = (engine.connect().await, engine.connect().await);
    let mut events = other.listen(Topic::Events).await.unwrap();
    let mut requests = other.listen(Topic::Requests).await.unwrap();
    other.bind("celery@box").await.unwrap();
    let told = [event("e1"), request("r1"), event("e2"), request("r2")];
    store.broadcast(&told).await.unwrap();
    assert_eq!(hear(&mut events, 2).await, heard(&[told[0].clone(), told[2].clone()]));
    assert_eq!(hear(&mut requests, 2).await, heard(&[told[1].clone(), told[3].clone()]));
    other.unbind("celery@box").await.unwrap();
}

pub async fn what_was_broadcast_before_is_not_heard<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    store.broadcast(&[event("before")]).await.unwrap();
    let mut listener = store.listen(Topic::Events).await.unwrap();
    store.broadcast(&[event("after")]).await.unwrap();
    assert_eq!(hear(&mut listener, 1).await, heard(&[event("after")]));
}

pub async fn a_listener_that_does_not_read_loses_messages_and_is_told<E: Engine>() {
    let engine = E::start().await;
    let (store, other) = (engine.connect().await, engine.connect().await);
    let mut listener = other.listen(Topic::Events).await.unwrap();
    let large = event(vec![b'x'; 1 << 20]);
    for _ in 0..40 {
        store.broadcast(std::slice::from_ref(&large)).await.unwrap();
    }
    // The last is always heard in the end, and either the queue or the engine says that something is missing.
    let last = event("last");
    in_time(async {
        let (mut read, mut gaps) = (0, 0);
        loop {
            store.broadcast(std::slice::from_ref(&last)).await.unwrap();
            match listener.next().await {
                Heard::Message(message) if message == last.message => break,
                Heard::Message(_) => read += 1,
                Heard::Gap => gaps += 1,
            }
        }
        assert!(read < 40, "all of them were kept");
        assert!(listener.dropped() > 0 || gaps > 0, "it does not know that {} are missing", 40 - read);
    })
    .await;
}

pub async fn replies_come_into_the_inbox_they_are_for<E: Engine>() {
    let engine = E::start().await;
    let (store, worker) = (engine.connect().await, engine.connect().await);
    let (mut one, mut two) = (store.open_inbox().await.unwrap(), store.open_inbox().await.unwrap());
    assert_ne!(one.name(), two.name());
    for (inbox, text) in [(one.name(), "1a"), (two.name(), "2"), (one.name(), "1b"), (one.name(), "\0\"")] {
        worker.reply(inbox, text.as_bytes()).await.unwrap();
    }
    let name = one.name().to_owned();
    for (inbox, expected) in [(&mut one, &["1a", "1b", "\0\""][..]), (&mut two, &["2"])] {
        let mut replies = Vec::new();
        while replies.len() < expected.len() {
            replies.extend(in_time(inbox.receive()).await.unwrap());
        }
        assert_eq!(replies, expected);
    }
    worker.reply(&name, b"never read").await.unwrap();
    one.close().await.unwrap();
    two.close().await.unwrap();
    worker.reply(&name, b"too late").await.unwrap();
}

pub async fn a_reply_is_heard_at_once<E: Engine>() {
    let engine = E::start().await;
    let (store, worker) = (engine.connect().await, engine.connect().await);
    let mut inbox = store.open_inbox().await.unwrap();
    let mut slow = Duration::ZERO;
    for _ in 0..5 {
        let name = inbox.name().to_owned();
        let reply = async {
            // The other one waits by then.
            tokio::time::sleep(Duration::from_millis(20)).await;
            worker.reply(&name, b"reply").await.unwrap();
            std::time::Instant::now()
        };
        let (replies, sent) = in_time(async { tokio::join!(inbox.receive(), reply) }).await;
        assert_eq!(replies.unwrap(), ["reply"]);
        slow += sent.elapsed();
    }
    assert!(slow < Duration::from_secs(2), "{slow:?}");
}

pub async fn a_reply_to_nobody_is_no_error<E: Engine>() {
    let engine = E::start().await;
    engine.connect().await.reply("nobody", b"reply").await.unwrap();
}
