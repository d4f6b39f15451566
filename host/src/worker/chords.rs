//! Finishes chords whose parts have all ended: sends the body, or tells those who wait for it why there is none.
//!
//! The worker that settled the last part does it at once. Should it die before, any other one does it some seconds later.

use std::{sync::Arc, time::Duration};

use serde_json::value::RawValue;

use super::{
    Outage, Worker,
    end::{self, End},
    follow::{self, Life},
};
use crate::{
    canvas, fail_point,
    protocol::result,
    store::{Finish, Settled, StoreError},
    task::{CompleteChord, Failure, Outcome, Request},
};

/// Finishes what is complete, for ever.
pub(super) async fn follow(worker: &Worker) {
    let mut outage = Outage::new("finish chords");
    loop {
        match finish_complete(worker).await {
            Ok(()) => {
                outage.over();
                worker.store.chords.chord_news().await;
            }
            Err(error) => outage.wait(&error, &worker.shutdown).await,
        }
    }
}

async fn finish_complete(worker: &Worker) -> Result<(), StoreError> {
    for chord in worker.store.chords.complete().await? {
        finish(worker, &chord).await?;
    }
    Ok(())
}

async fn finish(worker: &Worker, chord: &CompleteChord) -> Result<(), StoreError> {
    fail_point::reach("chord:complete");
    let stored: Vec<_> = stored_endings(worker, chord).await?.into_iter().flatten().collect();
    let group = &chord.group;
    let finish = match follow::setting(worker, &chord.tenant, |setting| {
        canvas::finish(chord, &stored, setting)
    }) {
        Ok(follow) => end::finish(follow),
        Err(error) => {
            tracing::error!("the body of chord {group} cannot be read, so nothing comes after it: {error}");
            Finish::default()
        }
    };
    let finished = worker.store.chords.finish(&chord.tenant, group, &finish).await?;
    fail_point::reach("chord:finished");
    match finished {
        Settled::Done => tracing::debug!("chord {group} is finished"),
        Settled::NotHeld => {}
        Settled::Refused(why) => tracing::error!("the store refused what comes after chord {group}: {why}"),
    }
    Ok(())
}

/// The end of the task `celery.chord_unlock`, which finishes a chord that nobody counts the parts of. While some of them have
/// not ended, its message waits.
pub(super) async fn unlock(worker: &Worker, life: &Life, chord: &CompleteChord, pause: Duration) -> End {
    let request = life.request.clone();
    let later = End::Delayed { request: request.clone(), until: worker.clock.after(pause) };
    let stored = match stored_endings(worker, chord).await {
        Ok(endings) => endings.into_iter().collect::<Option<Vec<_>>>(),
        Err(error) => {
            tracing::warn!(%error, "cannot see whether the parts of chord {} have ended", chord.group);
            None
        }
    };
    let Some(stored) = stored else { return later };
    let outcome =
        match follow::setting(worker, &chord.tenant, |setting| canvas::finish(chord, &stored, setting)) {
            Ok(follow) => {
                life.finishes(follow);
                Outcome::Success(RawValue::NULL.to_owned())
            }
            Err(error) => Outcome::Failure(Failure::without_traceback(error.exception())),
        };
    // Celery keeps no result of it.
    let request = Arc::new(Request { ignore_result: true, ..Request::clone(&request) });
    End::without_run(request, outcome)
}

/// How the tasks ended whose results are [`canvas::missing`], as parts of a chord would tell it; nothing of those that have not.
async fn stored_endings(worker: &Worker, chord: &CompleteChord) -> Result<Vec<Option<String>>, StoreError> {
    let mut endings = Vec::new();
    for id in canvas::missing(chord) {
        let text = worker.store.backend.get(&chord.tenant, &id).await?;
        let meta = text.and_then(|text| result::decode(&text).ok()).filter(|meta| meta.state.is_ready());
        endings.push(meta.map(|meta| canvas::ending(&meta.id, &meta.state, &meta.result.into())));
    }
    Ok(endings)
}
