//! Files that are none of ours, are full, or are locked; and what becomes of what is in them.

use std::{error::Error, fs, time::Duration};

use jiff::Timestamp;
use rusqlite::Connection;

use super::{File, Sqlite};
use crate::{
    store::{
        Backend, Broadcast, Broker, Bus, Candidate, DeadLetters, Fate, Heard, Options, Pace, Publication,
        RateLimits, Settled, Store, StoreError, Topic,
        conformance::{
            Engine, dead, drain, in_time, marked, message, publication, publish, publish_all, queue, result,
            settlement, take,
        },
    },
    task::{OwnedTask, State, TaskId, Tenant},
};

/// The error with all its causes, as a person reads it.
fn chain(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| (*error).source()).map(|error| format!("{error}; ")).collect()
}

async fn refused(file: &File) -> String {
    let error = Sqlite::open(&file.url(), None, Options::default()).await.map(drop).unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }) && !error.is_transient(), "{error:?}");
    let told = chain(&error);
    assert!(told.contains(&file.url()), "it names the file: {told}");
    told
}

#[tokio::test]
async fn a_file_of_somebody_else_is_refused_and_left_as_it_is() {
    let file = File::start().await;
    let path = file.0.path().join("host.db");
    for text in ["a few words", &"no database ".repeat(1_000)] {
        fs::write(&path, text).unwrap();
        assert!(refused(&file).await.contains("not a database of host; name another file"));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::remove_file(&path).unwrap();
    let theirs = Connection::open(&path).unwrap();
    theirs.execute_batch("CREATE TABLE messages (text); PRAGMA user_version = 1").unwrap();
    drop(theirs);
    let bytes = fs::read(&path).unwrap();
    assert!(refused(&file).await.contains("not a database of host; name another file"));
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_date_with_all_that_is_in_it() {
    let file = File::start().await;
    let path = file.0.path().join("host.db");
    let first = Connection::open(&path).unwrap();
    first.execute_batch(include_str!("../schema.sql")).unwrap();
    first.pragma_update(None, "application_id", 0x686f_7374).unwrap();
    first.pragma_update(None, "user_version", 1).unwrap();
    first
        .execute("INSERT INTO messages (state, queue, step, message) VALUES (0, 'q', 0, ?1)", [message(1)])
        .unwrap();
    let (store, other) = tokio::join!(file.connect(), file.connect());
    let mut listener = other.listen(Topic::Events).await.unwrap();
    assert_eq!(drain(&store, &queue("q")).await.len(), 1);
    let event =
        Broadcast { topic: Topic::Events, routing_key: String::new(), message: b"event".to_vec().into() };
    store.broadcast(std::slice::from_ref(&event)).await.unwrap();
    assert_eq!(in_time(listener.next()).await, Heard::Message(event.message));
}

#[tokio::test]
async fn a_file_of_a_later_version_is_refused_and_left_as_it_is() {
    let file = File::start().await;
    drop(file.connect().await);
    let path = file.0.path().join("host.db");
    let later = Connection::open(&path).unwrap();
    later.pragma_update(None, "user_version", 99).unwrap();
    let told = refused(&file).await;
    assert!(
        told.contains("its schema is version 99 and this host knows 5; use a host at least as new"),
        "{told}"
    );
    assert_eq!(later.query_row("PRAGMA user_version", (), |row| row.get::<_, i64>(0)).unwrap(), 99);
}

#[tokio::test]
async fn there_must_be_a_folder_for_the_file() {
    let file = File::start().await;
    fs::create_dir(file.0.path().join("host.db")).unwrap();
    assert!(refused(&file).await.contains("the folder must exist"));
    fs::remove_dir_all(file.0.path()).unwrap();
    assert!(refused(&file).await.contains("the folder must exist"));
}

#[tokio::test]
async fn a_store_of_a_file_has_no_other_backend() {
    let file = File::start().await;
    let (url, other) = (file.url(), format!("{}2", file.url()));
    let same = Store::open(&url, Some(&url), Options::default()).await.unwrap();
    assert_eq!((&same.broker_address, &same.backend_address), (&url, &url));
    for (broker, backend) in
        [(&*url, &*other), (&url, "redis://127.0.0.1:1/0"), ("redis://127.0.0.1:1/0", &url)]
    {
        let error = Store::open(broker, Some(backend), Options::default()).await.map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Url { .. }), "{error:?}");
        assert!(error.to_string().contains(backend), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_passes() {
    let file = File::start().await;
    let (store, q) = (file.connect().await, queue("q"));
    publish_all(&store, &q, 0..20).await;
    let held = take(&store, &q, 10).await.unwrap();
    let limit_pages = |spare: i64| {
        store.writes.run(move |connection| {
            let pages: i64 = connection.query_row("PRAGMA page_count", (), |row| row.get(0))?;
            connection.query_row(&format!("PRAGMA max_page_count = {}", pages + spare), (), |row| {
                row.get::<_, i64>(0)
            })
        })
    };
    limit_pages(2).await.unwrap();
    let large = publication(&q, 0, &[b'x'; 100_000]);
    let error = store.publish(std::slice::from_ref(&large)).await.unwrap_err();
    assert!(matches!(error, StoreError::NotReady { .. }) && error.is_transient(), "{error:?}");
    // What needs no room is done, also together with what needs it.
    let end = settlement(&held[0].tag, Fate::Acknowledge, None);
    let (ended, published, small) = tokio::join!(
        store.settle(std::slice::from_ref(&end)),
        store.publish(std::slice::from_ref(&large)),
        store.replace(&held[1].tag, b"small"),
    );
    assert_eq!((ended.unwrap(), small.unwrap()), (vec![Settled::Done], true));
    assert!(published.is_err());
    assert_eq!((store.held().await.unwrap(), store.length(&q).await.unwrap()), (9, 10));

    limit_pages(1_000).await.unwrap();
    store.publish(std::slice::from_ref(&large)).await.unwrap();
    let waiting = drain(&store, &q).await;
    let expected: Vec<_> = (10..20).map(message).chain([large.message.to_vec()]).collect();
    assert_eq!(waiting.iter().map(|waiting| waiting.message.to_vec()).collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_held_too_long_passes() {
    let file = File::start().await;
    let (store, q) = (file.connect().await, queue("q"));
    publish_all(&store, &q, 0..1).await;
    let other = Connection::open(file.0.path().join("host.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begin = std::time::Instant::now();
    let one = [publication(&q, 0, b"x")];
    let all = [(); 4].map(|()| store.publish(&one));
    for answer in futures_util::future::join_all(all).await {
        let error = answer.unwrap_err();
        assert!(matches!(error, StoreError::NotReady { .. }) && error.is_transient(), "{error:?}");
    }
    assert!(begin.elapsed() < Duration::from_secs(18), "they wait together, not one after the other");
    assert_eq!(store.length(&q).await.unwrap(), 1, "reading waits for nobody");
    other.execute_batch("COMMIT").unwrap();
    store.publish(&one).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_harms_nothing_else() {
    let file = File::start().await;
    let (store, q, id) = (file.connect().await, queue("q"), TaskId::new("bad").unwrap());
    let refuse = "CREATE TRIGGER no BEFORE INSERT ON results WHEN new.task_id = 'bad' BEGIN SELECT raise(ABORT, 'never'); END";
    store.writes.run(|connection| connection.execute_batch(refuse)).await.unwrap();
    publish_all(&store, &q, 0..2).await;
    let held = drain(&store, &q).await;
    let bad = result(&id, State::Success, "");
    let mut ends = [
        settlement(&held[0].tag, Fate::Acknowledge, Some(bad.clone())),
        settlement(&held[1].tag, Fate::Acknowledge, None),
    ];
    ends[0].sends.push(publication(&q, 0, b"sent"));
    let another = [publication(&queue("other"), 0, b"x")];
    let (settled, stored, published) =
        tokio::join!(store.settle(&ends), store.store(&Tenant::DEFAULT, &bad), store.publish(&another));
    assert_eq!(settled.unwrap(), [Settled::Refused("never".to_owned()), Settled::Done]);
    assert!(matches!(stored, Err(StoreError::Refused { .. })), "{stored:?}");
    published.unwrap();
    assert_eq!(
        (store.held().await.unwrap(), store.length(&q).await.unwrap()),
        (1, 0),
        "still held, nothing sent"
    );
    assert_eq!(store.length(&queue("other")).await.unwrap(), 1);
}

#[tokio::test]
async fn a_restored_message_is_next_even_before_what_is_due() {
    let file = File::start().await;
    let (store, q) = (file.connect().await, queue("q"));
    let due = |seconds| Some(Timestamp::from_second(seconds).unwrap());
    let late = |seconds, number| Publication { due: due(seconds), ..publication(&q, 0, &message(number)) };
    store.publish(&[late(30, 3), late(20, 2), publication(&q, 0, &message(4))]).await.unwrap();
    publish(&store, &q, 9, &message(9)).await;
    assert_eq!((store.length(&q).await.unwrap(), store.delayed().await.unwrap()), (4, 0));
    let taken = take(&store, &q, 1).await.unwrap();
    assert_eq!(taken[0].message, message(2));
    store.settle(&[settlement(&taken[0].tag, Fate::Restore, None)]).await.unwrap();
    let order: Vec<_> = drain(&store, &q).await.iter().map(|taken| taken.message.to_vec()).collect();
    assert_eq!(order, [marked(&message(2)), message(3), message(4), message(9)]);
    // What is due counts as waiting in every way.
    store.publish(&[late(30, 3), late(4_000_000_000, 5)]).await.unwrap();
    assert_eq!(store.purge(&q).await.unwrap(), 1);
    assert_eq!((store.length(&q).await.unwrap(), store.delayed().await.unwrap()), (0, 1));
}

#[tokio::test]
async fn what_has_expired_is_gone_and_takes_no_room() {
    let file = File::start().await;
    let short = Duration::from_millis(300);
    let options = Options { result_lifetime: short, dead_letter_lifetime: short, ..Options::default() };
    let (store, q, id) = (file.connect_with(options).await, queue("q"), TaskId::random());
    publish_all(&store, &q, 0..1).await;
    let held = drain(&store, &q).await;
    let begin = std::time::Instant::now();
    let end = settlement(&held[0].tag, dead("r"), Some(result(&id, State::Success, "")));
    store.settle(&[end]).await.unwrap();
    in_time(async {
        while store.get(&Tenant::DEFAULT, &id).await.unwrap().is_some()
            || store.dead_count().await.unwrap() > 0
        {}
    })
    .await;
    assert!(begin.elapsed() >= short);
    assert_eq!(store.dead_letters(0, 9).await.unwrap(), []);
    // A success that has expired counts no more, not even before it is dropped.
    let kept = Options { result_lifetime: Duration::ZERO, ..Options::default() };
    let failure = result(&id, State::Failure, "");
    file.connect_with(kept).await.store(&Tenant::DEFAULT, &failure).await.unwrap();
    assert_eq!(store.restore().await.unwrap(), 0);
    let rows = "SELECT (SELECT count(*) FROM results) * 10 + (SELECT count(*) FROM dead_letters)
        + (SELECT sum(value) FROM counters)";
    let rows = store.reads.run(|connection| connection.query_row(rows, (), |row| row.get::<_, i64>(0))).await;
    assert_eq!(rows.unwrap(), 10, "the failure alone is left");
    assert_eq!(store.get(&Tenant::DEFAULT, &id).await.unwrap(), Some(failure.meta));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_may_make_the_file_at_once() {
    for _ in 0..5 {
        let file = File::start().await;
        let all = (0..8).map(|_| file.connect());
        for store in futures_util::future::join_all(all).await {
            publish_all(&store, &queue("q"), 0..1).await;
        }
        assert_eq!(file.connect().await.length(&queue("q")).await.unwrap(), 8);
    }
}

#[tokio::test]
async fn what_was_set_aside_comes_back_when_nobody_offers_its_task_any_more() {
    let (file, q, task) = (File::start().await, queue("q"), OwnedTask::named("a").unwrap());
    let store = file.connect().await;
    publish_all(&store, &q, 0..2).await;
    for held in drain(&store, &q).await {
        let (tag, message, limit) = (held.tag, held.message, "60/h".parse().unwrap());
        store.admit(&Candidate { tag, task: task.task.clone(), limit, message }).await.unwrap();
    }
    let release = async || store.release_set_aside(&task, &Pace::Abandoned).await.unwrap();
    assert_eq!(release().await.count, 0);
    // Nobody has taken a token for long.
    store.writes.run(|connection| connection.execute("UPDATE buckets SET next = 0", ())).await.unwrap();
    assert_eq!(release().await.count, 1);
    assert_eq!(drain(&store, &q).await.len(), 1);
}
