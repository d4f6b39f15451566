//! Dead letters can be looked at, sent again, and dropped.

use super::*;
use crate::store::DeadLetter;

/// Makes dead letters, one after the other.
async fn bury(
    store: &(impl Broker + DeadLetters),
    queue: &QueueName,
    numbers: std::ops::Range<usize>,
) -> Vec<DeadLetter> {
    for number in numbers.clone() {
        publish(store, queue, 0, &message(number)).await;
        let held = drain(store, queue).await;
        let end = settlement(&held[0].tag, dead(&format!("reason {number}")), None);
        assert_eq!(store.settle(&[end]).await.unwrap(), [Settled::Done]);
    }
    store.dead_letters(0, numbers.len()).await.unwrap()
}

fn reasons(letters: &[DeadLetter]) -> Vec<&str> {
    letters.iter().map(|letter| letter.cause.reason.as_str()).collect()
}

pub async fn dead_letters_are_listed_newest_first<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (store, other) = (engine.connect().await, engine.connect().await);
    assert_eq!(store.dead_letters(0, 10).await.unwrap(), []);
    bury(&store, &q, 0..5).await;
    assert_eq!(other.dead_count().await.unwrap(), 5);
    let all = other.dead_letters(0, 100).await.unwrap();
    let expected: Vec<_> = (0..5).rev().map(|number| format!("reason {number}")).collect();
    assert_eq!(reasons(&all), expected);
    assert!(all.is_sorted_by(|newer, older| newer.since >= older.since));
    assert_eq!(other.dead_letters(1, 2).await.unwrap(), all[1..3]);
    assert_eq!(other.dead_letters(4, usize::MAX).await.unwrap(), all[4..]);
    assert_eq!(other.dead_letters(0, 0).await.unwrap(), []);
    assert_eq!(other.dead_letters(5, 1).await.unwrap(), []);
}

pub async fn a_dead_letter_tells_the_whole_cause_and_the_very_message<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q \", \"\", \"…"));
    let store = engine.connect().await;
    let whole = Cause {
        task_id: Some(TaskId::new("id \"1\"").unwrap()),
        task: Some(TaskName::new("app.\"divide\" ü").unwrap()),
        reason: "ConnectionError('no \"route\"')\n\0…, \"message\": ".to_owned(),
        traceback: Some(
            "Traceback (most recent call last):\n  …\nConnectionError: no \"route\"\n".to_owned(),
        ),
        attempts: u32::MAX,
    };
    let hostile: [&[u8]; 6] =
        [b"", b"\0\xff\r\n", b", \"message\": ", b"\"", b"{\"headers\": 1}", &[b'['; 10_000]];
    let begin = Timestamp::now();
    for (number, text) in hostile.into_iter().enumerate() {
        let cause = if number % 2 == 0 { whole.clone() } else { Cause::default() };
        publish(&store, &q, 4, text).await;
        let held = drain(&store, &q).await;
        let fate = Fate::DeadLetter(Box::new(cause.clone()));
        assert_eq!(store.settle(&[settlement(&held[0].tag, fate, None)]).await.unwrap(), [Settled::Done]);
        let letter = store.dead_letters(0, 1).await.unwrap().remove(0);
        assert_eq!((&letter.cause, &letter.queue), (&cause, &q));
        assert_eq!(letter.message, text);
        // The store may have a clock of its own; a minute is more than two clocks of one machine differ.
        let minute = Duration::from_secs(60);
        assert!(letter.since >= begin - minute && letter.since <= Timestamp::now() + minute);
        assert!(letter.expires > letter.since);
        assert_eq!(store.dead_letter(&letter.id).await.unwrap(), Some(letter));
    }
    for id in ["", "no such id", "host-x.1.0.q", "-1", "9223372036854775808"] {
        assert_eq!(store.dead_letter(id).await.unwrap(), None, "{id:?}");
    }
}

pub async fn a_dead_letter_is_replayed_once_to_the_tail_of_the_list_it_came_from<E: Engine>() {
    let (engine, q) = (E::start().await, queue("mail.out"));
    let store = engine.connect().await;
    let urgent = |number: usize| {
        format!(r#"{{"body": "{number}", "headers": {{}}, "properties": {{"priority": 6, "delivery_info": {{}}}}}}"#)
            .into_bytes()
    };
    publish(&store, &q, 6, &urgent(0)).await;
    let held = drain(&store, &q).await;
    store.settle(&[settlement(&held[0].tag, dead("r"), None)]).await.unwrap();
    for (priority, number) in [(9, 1), (6, 2), (3, 3)] {
        publish(&store, &q, priority, &message(number)).await;
    }
    let letter = store.dead_letters(0, 1).await.unwrap().remove(0);
    let sent = urgent(7);
    let (again, twice) = tokio::join!(store.replay(&letter.id, &sent), store.replay(&letter.id, &sent));
    assert_ne!(again.unwrap(), twice.unwrap(), "one of the two");
    assert!(!store.replay(&letter.id, &sent).await.unwrap());
    assert!(!store.replay("no such id", &sent).await.unwrap());
    assert_eq!(store.dead_count().await.unwrap(), 0);
    assert_eq!(store.dead_letter(&letter.id).await.unwrap(), None);
    assert_eq!(messages(&drain(&store, &q).await), [message(3), message(2), sent, message(1)]);
}

pub async fn a_replay_is_an_arrival<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let (store, worker) = (engine.connect().await, engine.connect().await);
    let letter = bury(&store, &q, 0..1).await.remove(0);
    let told = take_when_told(&worker, &q, 1);
    let replay = async { store.replay(&letter.id, &message(9)).await.unwrap() };
    let (taken, replayed) = tokio::join!(told, replay);
    assert_eq!((messages(&taken), replayed), (vec![message(9)], true));
}

pub async fn dead_letters_are_dropped_by_name<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    let letters = bury(&store, &q, 0..4).await;
    let ids = [&letters[0].id, &letters[2].id, &letters[0].id, &"no such id".to_owned()].map(String::clone);
    assert_eq!(store.drop_dead_letters(&ids).await.unwrap(), 2);
    assert_eq!(store.drop_dead_letters(&ids).await.unwrap(), 0);
    assert_eq!(store.drop_dead_letters(&[]).await.unwrap(), 0);
    assert_eq!(reasons(&store.dead_letters(0, 10).await.unwrap()), ["reason 2", "reason 0"]);
    assert_eq!(store.dead_count().await.unwrap(), 2);
    assert_eq!(store.length(&q).await.unwrap(), 0);
}

pub async fn only_the_newest_dead_letters_are_kept<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    let all: Vec<_> = (0..10_020).map(|number| publication(&q, 0, &message(number))).collect();
    store.publish(&all).await.unwrap();
    for held in drain(&store, &q).await.chunks(250) {
        let ends: Vec<_> = held.iter().map(|held| settlement(&held.tag, dead("r"), None)).collect();
        assert_eq!(store.settle(&ends).await.unwrap(), vec![Settled::Done; ends.len()]);
    }
    assert_eq!(store.dead_count().await.unwrap(), 10_000);
    assert_eq!(store.dead_letters(0, 1).await.unwrap()[0].message, message(10_019));
    assert_eq!(store.dead_letters(9_999, 2).await.unwrap()[0].message, message(20));
}

pub async fn dead_letters_do_not_fill_the_store<E: Engine>() {
    let (engine, q) = (E::start().await, queue("q"));
    let store = engine.connect().await;
    let mebibyte = |number: usize| vec![u8::try_from(number).unwrap(); 1 << 20];
    for number in 0..70 {
        publish(&store, &q, 0, &mebibyte(number)).await;
        let held = drain(&store, &q).await;
        store.settle(&[settlement(&held[0].tag, dead("r"), None)]).await.unwrap();
    }
    let count = store.dead_count().await.unwrap();
    // What surrounds a message may count as well, so that one fewer fits.
    assert!((63..=64).contains(&count), "{count}");
    assert_eq!(store.dead_letters(0, 1).await.unwrap()[0].message, mebibyte(69));
}
