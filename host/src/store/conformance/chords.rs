//! Parts of chords are counted as they are settled, and whoever is first finishes what is complete, once.

use super::*;
use crate::{
    store::Finish,
    task::{ChordPart, CompleteChord, GroupChange},
};

fn part(index: i64, chord: &str) -> ChordPart {
    let id = TaskId::new(&format!("part {index}")).unwrap();
    ChordPart {
        ending: format!(r#"[1, "{id}", "SUCCESS", {index}]"#),
        id,
        index: Some(index),
        chord: chord.to_owned(),
    }
}

fn ends(tag: &Tag, groups: &[(TaskId, GroupChange)]) -> Settlement {
    Settlement { groups: groups.to_vec(), ..settlement(tag, Fate::Acknowledge, None) }
}

/// Deliveries to be settled.
async fn held<S: Broker>(store: &S, count: usize) -> Vec<Tag> {
    publish_all(store, &queue("q"), 0..count).await;
    drain(store, &queue("q")).await.into_iter().map(|delivery| delivery.tag).collect()
}

pub async fn the_part_that_comes_last_completes_a_chord<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    let (group, tags) = (TaskId::random(), held(&store, 4).await);
    let change = |change| [(group.clone(), change)];
    // The first ends before the size is known, and the order in which they end is none of places.
    for (tag, change) in tags.iter().zip([
        change(GroupChange::Part(part(2, "first"))),
        change(GroupChange::Size(3)),
        change(GroupChange::Part(part(0, "second"))),
    ]) {
        assert_eq!(store.settle(&[ends(tag, &change)]).await.unwrap(), [Settled::Done]);
    }
    assert_eq!(store.complete().await.unwrap(), []);
    let news = async { tokio::time::timeout(Duration::from_secs(10), store.chord_news()).await };
    let last = ends(&tags[3], &change(GroupChange::Part(part(10, "third"))));
    let last = std::slice::from_ref(&last);
    let (news, settled) = tokio::join!(news, store.settle(last));
    assert_eq!((news.is_ok(), settled.unwrap()), (true, vec![Settled::Done]));
    let endings = [0, 2, 10].map(|index| part(index, "").ending).to_vec();
    let chord =
        CompleteChord { tenant: Tenant::DEFAULT, group, chord: "third".to_owned(), endings, shape: None };
    assert_eq!(store.complete().await.unwrap(), [chord]);
}

pub async fn a_chord_is_finished_once_with_all_that_comes_after_it<E: Engine>() {
    let engine = E::start().await;
    let (store, other) = (engine.connect().await, engine.connect().await);
    let (group, outer, tags) = (TaskId::random(), TaskId::random(), held(&store, 2).await);
    let shape = GroupChange::Saved("[]".to_owned());
    let changes = [
        (outer.clone(), GroupChange::Size(1)),
        (group.clone(), shape),
        (group.clone(), GroupChange::Size(1)),
        (group.clone(), GroupChange::Part(part(0, "note"))),
    ];
    assert_eq!(store.settle(&[ends(&tags[0], &changes)]).await.unwrap(), [Settled::Done]);
    assert_eq!(store.complete().await.unwrap()[0].shape.as_deref(), Some("[]"));

    let body = TaskId::random();
    let finish = Finish {
        results: vec![result(&body, State::Failure, "")],
        groups: vec![(outer.clone(), GroupChange::Part(part(0, "outer")))],
        sends: vec![publication(&queue("body"), 0, &message(7))],
    };
    let (one, two) = tokio::join!(
        store.finish(&Tenant::DEFAULT, &group, &finish),
        other.finish(&Tenant::DEFAULT, &group, &finish)
    );
    let mut settled = [one.unwrap(), two.unwrap()];
    settled.sort_by_key(|settled| *settled == Settled::NotHeld);
    assert_eq!(settled, [Settled::Done, Settled::NotHeld]);
    assert_eq!(store.finish(&Tenant::DEFAULT, &group, &finish).await.unwrap(), Settled::NotHeld);
    assert_eq!(store.length(&queue("body")).await.unwrap(), 1);
    assert!(store.get(&Tenant::DEFAULT, &body).await.unwrap().is_some());

    // The outer chord is complete by that, whoever of the two did it.
    let mut complete = store.complete().await.unwrap();
    complete.extend(other.complete().await.unwrap());
    assert!(complete.iter().all(|chord| chord.group == outer), "{complete:?}");
    assert_eq!(complete[0].chord, "outer");

    // A part that is late changes nothing.
    let late = ends(&tags[1], &[(group.clone(), GroupChange::Part(part(5, "late")))]);
    assert_eq!(store.settle(&[late]).await.unwrap(), [Settled::Done]);
    assert!(store.complete().await.unwrap().iter().all(|chord| chord.group != group));
}

pub async fn a_part_is_counted_once<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    let (group, tags) = (TaskId::random(), held(&store, 4).await);
    let count = |index| [(group.clone(), GroupChange::Part(part(index, "note")))];
    let again = ChordPart { ending: "[1, \"part 0\", \"FAILURE\", null]".to_owned(), ..part(0, "note") };
    let again = [(group.clone(), GroupChange::Part(again))];
    store.settle(&[ends(&tags[0], &[(group.clone(), GroupChange::Size(2))])]).await.unwrap();
    let twice = [ends(&tags[1], &count(0)), ends(&tags[2], &again)];
    assert_eq!(store.settle(&twice).await.unwrap(), [Settled::Done, Settled::Done]);
    assert_eq!(store.complete().await.unwrap(), []);
    store.settle(&[ends(&tags[3], &count(1))]).await.unwrap();
    let endings = [0, 1].map(|index| part(index, "").ending);
    assert_eq!(store.complete().await.unwrap()[0].endings, endings);
}

pub async fn a_worker_that_was_taken_for_dead_counts_nothing<E: Engine>() {
    let engine = E::start().await;
    let (dead, store) = (engine.connect().await, engine.connect().await);
    let (group, tags) = (TaskId::random(), held(&dead, 1).await);
    dead.leave().await.unwrap();
    assert_eq!(store.restore().await.unwrap(), 1);
    let changes =
        [(group.clone(), GroupChange::Size(1)), (group.clone(), GroupChange::Part(part(0, "note")))];
    assert_eq!(dead.settle(&[ends(&tags[0], &changes)]).await.unwrap(), [Settled::NotHeld]);
    assert_eq!(dead.complete().await.unwrap(), []);
}

pub async fn a_chord_that_its_worker_did_not_finish_is_found_by_another<E: Engine>() {
    let engine = E::start().await;
    let (dies, store) = (engine.connect().await, engine.connect().await);
    let (group, tags) = (TaskId::random(), held(&dies, 1).await);
    let changes =
        [(group.clone(), GroupChange::Size(1)), (group.clone(), GroupChange::Part(part(0, "note")))];
    dies.settle(&[ends(&tags[0], &changes)]).await.unwrap();
    drop(dies);
    let found = async {
        while store.complete().await.unwrap().is_empty() {
            store.chord_news().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.expect("it is found in some seconds");
    assert_eq!(store.finish(&Tenant::DEFAULT, &group, &Finish::default()).await.unwrap(), Settled::Done);
    assert_eq!(store.complete().await.unwrap(), []);
}
