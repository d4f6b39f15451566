//! What two tenants call alike never meets: whatever is settled, waited for, counted, revoked or parked is that of one of them.

use super::*;
use crate::{
    store::{Admission, Candidate, Finish, Pace, Revocation, Target},
    task::{ChordPart, GroupChange},
};

/// The default tenant and two others.
fn tenants() -> [Tenant; 3] {
    [Tenant::DEFAULT, Tenant::new("acme").unwrap(), Tenant::new("other").unwrap()]
}

/// A delivery of each, from queues that they call alike.
async fn one_each<S: Broker>(store: &S) -> Vec<Delivery> {
    let mut held = Vec::new();
    for tenant in tenants() {
        let queue = tenant.queue(&queue("q")).unwrap();
        publish(store, &queue, 0, tenant.to_string().as_bytes()).await;
        held.extend(drain(store, &queue).await);
    }
    assert_eq!(held.iter().map(|held| held.queue.owner().0).collect::<Vec<_>>(), tenants());
    held
}

pub async fn a_result_is_stored_for_the_tenant_of_the_delivery<E: Engine>() {
    let (engine, id) = (E::start().await, TaskId::new("the id of all").unwrap());
    let store = engine.connect().await;
    let held = one_each(&store).await;
    let results = ["mine", "yours", "theirs"].map(|text| result(&id, State::Success, text));
    let metas = || results.iter().map(|result| result.meta.clone());
    let waits = async {
        let [a, b, c] = tenants();
        let any = |_: &str| true;
        let (a, b, c) =
            tokio::join!(store.wait(&a, &id, &any), store.wait(&b, &id, &any), store.wait(&c, &id, &any));
        [a.unwrap(), b.unwrap(), c.unwrap()].to_vec()
    };
    let settle = async {
        // One after the other, the last tenant first, so that whoever heard another's result would have it by now.
        for (held, result) in held.iter().zip(results.clone()).rev() {
            let settled = store.settle(&[settlement(&held.tag, Fate::Acknowledge, Some(result))]).await;
            assert_eq!(settled.unwrap(), [Settled::Done]);
        }
    };
    let (waited, ()) = in_time(async { tokio::join!(waits, settle) }).await;
    assert_eq!(waited, metas().collect::<Vec<_>>());
    for (tenant, meta) in tenants().iter().zip(metas()) {
        assert_eq!(store.get(tenant, &id).await.unwrap(), Some(meta));
    }
}

pub async fn progress_is_that_of_one_tenant<E: Engine>() {
    let (engine, id) = (E::start().await, TaskId::random());
    let store = engine.connect().await;
    let [default, acme, other] = tenants();
    let progress = |text| result(&id, State::Custom("PROGRESS".to_owned()), text);
    store.store(&acme, &progress("half")).await.unwrap();
    store.store(&default, &progress("a third")).await.unwrap();
    assert_eq!(store.get(&acme, &id).await.unwrap(), Some(progress("half").meta));
    assert_eq!(store.get(&default, &id).await.unwrap(), Some(progress("a third").meta));
    assert_eq!(store.get(&other, &id).await.unwrap(), None);
}

pub async fn a_settlement_sends_to_no_other_tenant<E: Engine>() {
    let (engine, id) = (E::start().await, TaskId::random());
    let store = engine.connect().await;
    let held = one_each(&store).await;
    for (held, stray) in held.iter().zip(["acme/q", "other/q", "q"]) {
        let sends = vec![publication(&queue(stray), 0, b"stray")];
        let success = Some(result(&id, State::Success, ""));
        let end = Settlement { sends, ..settlement(&held.tag, Fate::Acknowledge, success) };
        let refused = store.settle(&[end]).await.unwrap().remove(0);
        assert!(matches!(&refused, Settled::Refused(why) if why.contains(stray)), "{refused:?}");
        assert_eq!(store.length(&queue(stray)).await.unwrap(), 0);
        assert_eq!(store.get(&held.queue.owner().0, &id).await.unwrap(), None, "nothing of it is done");
        let sends = vec![publication(&held.queue, 0, b"own")];
        let end = Settlement { sends, ..settlement(&held.tag, Fate::Acknowledge, None) };
        assert_eq!(store.settle(&[end]).await.unwrap(), [Settled::Done]);
        assert_eq!(messages(&drain(&store, &held.queue).await), [b"own"]);
    }
}

pub async fn chords_are_counted_for_each_tenant<E: Engine>() {
    let (engine, group) = (E::start().await, TaskId::new("the group of all").unwrap());
    let store = engine.connect().await;
    let [default, acme, _] = tenants();
    let part = |number: i64| {
        let id = TaskId::new(&format!("part {number}")).unwrap();
        let (ending, chord) = (format!("[1, \"{id}\", \"SUCCESS\", {number}]"), "note".to_owned());
        (group.clone(), GroupChange::Part(ChordPart { id, index: Some(number), ending, chord }))
    };
    let count = async |changes: [Vec<(TaskId, GroupChange)>; 3]| {
        for (held, groups) in one_each(&store).await.iter().zip(changes) {
            let end = Settlement { groups, ..settlement(&held.tag, Fate::Acknowledge, None) };
            assert_eq!(store.settle(&[end]).await.unwrap(), [Settled::Done]);
        }
    };
    let size = || (group.clone(), GroupChange::Size(2));
    count([vec![size(), part(0)], vec![size(), part(1)], vec![size()]]).await;
    assert_eq!(store.complete().await.unwrap(), [], "no part of one is a part of another");
    count([vec![], vec![part(0)], vec![]]).await;
    let complete = store.complete().await.unwrap();
    assert_eq!((complete.len(), &complete[0].tenant, &complete[0].group), (1, &acme, &group));
    assert_eq!(complete[0].endings.len(), 2);

    let body = result(&TaskId::random(), State::Failure, "");
    let stray = Finish { sends: vec![publication(&queue("q"), 0, b"")], ..Finish::default() };
    let refused = store.finish(&acme, &group, &stray).await.unwrap();
    assert!(matches!(refused, Settled::Refused(_)), "{refused:?}");
    let sends = vec![publication(&queue("acme/q"), 0, b"body")];
    let finish = Finish { results: vec![body.clone()], sends, ..Finish::default() };
    assert_eq!(store.finish(&default, &group, &finish).await.unwrap_or(Settled::NotHeld), {
        let why = "acme/q is not a queue of the default tenant".to_owned();
        Settled::Refused(why)
    });
    assert_eq!(store.finish(&default, &group, &Finish::default()).await.unwrap(), Settled::NotHeld);
    assert_eq!(store.finish(&acme, &group, &finish).await.unwrap(), Settled::Done);
    assert_eq!(store.get(&acme, &body.id).await.unwrap(), Some(body.meta));
    assert_eq!(store.get(&default, &body.id).await.unwrap(), None);
    assert_eq!(messages(&drain(&store, &queue("acme/q")).await), [b"body"]);
}

pub async fn a_revocation_is_about_tasks_of_one_tenant<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    let (target, until) = (Target::Task(TaskId::random()), Timestamp::now() + Duration::from_secs(3_600));
    let until = Timestamp::from_millisecond(until.as_millisecond()).unwrap();
    let of = |tenant: &Tenant, terminate| Revocation {
        tenant: tenant.clone(),
        target: target.clone(),
        terminate,
        until,
    };
    let [default, acme, other] = tenants();
    store.revoke(&[of(&acme, true), of(&other, false)]).await.unwrap();
    let (mut told, revision) = store.revoked_since(0).await.unwrap();
    told.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    assert_eq!(told, [of(&acme, true), of(&other, false)]);
    store.revoke(&[of(&default, false)]).await.unwrap();
    let (told, _) = store.revoked_since(revision).await.unwrap();
    assert_eq!(told, [of(&default, false)]);
}

pub async fn what_waits_for_a_task_waits_for_that_of_its_tenant<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    let until = Timestamp::now() + Duration::from_secs(3_600);
    let all = tenants().map(|tenant| OwnedTask { tenant, ..task("app.f") });
    for held in one_each(&store).await {
        let fate = Fate::Park { task: task("app.f").task, until, message: held.message.clone() };
        store.settle(&[settlement(&held.tag, fate, None)]).await.unwrap();
    }
    let mut parked = store.parked().await.unwrap();
    parked.sort();
    assert_eq!(parked, all.clone().map(|task| (task, 1)));
    assert_eq!(store.release(&all[1]).await.unwrap(), 1);
    assert_eq!(messages(&drain(&store, &queue("acme/q")).await), [b"acme"]);
    assert_eq!(store.parked().await.unwrap().len(), 2);

    // The tokens of one are not those of another.
    let limit: crate::task::RateLimit = "1/h".parse().unwrap();
    for expected in [Admission::Admitted, Admission::SetAside] {
        for Delivery { tag, message, .. } in one_each(&store).await {
            let candidate = Candidate { tag, task: task("app.f").task, limit: limit.clone(), message };
            assert_eq!(store.admit(&candidate).await.unwrap(), expected);
        }
    }
    let mut aside = store.set_aside().await.unwrap();
    aside.sort();
    assert_eq!(aside, all.clone().map(|task| (task, 1)));
    assert_eq!(store.release_set_aside(&all[2], &Pace::Unlimited).await.unwrap().count, 1);
    assert_eq!(messages(&drain(&store, &queue("other/q")).await), [b"other"]);
    assert_eq!(store.purge(&queue("acme/q")).await.unwrap(), 1, "what was set aside from it");
    assert_eq!(store.set_aside().await.unwrap(), [(all[0].clone(), 1)]);
    let mut known = store.queues().await.unwrap();
    known.retain(|known| known.as_str().ends_with('q'));
    assert_eq!(known, ["acme/q", "other/q", "q"].map(queue));
}
