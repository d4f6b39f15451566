//! What a message needs done: a call of a plugin's function, or one of the tasks that Celery itself brings along
//! (celery-protocol.md, 4.1).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::value::{RawValue, to_raw_value};

use super::{Worker, follow::Life};
use crate::{
    canvas::Builtin,
    plugin::Entry,
    sandbox::{Call, Run, TimeLimits},
    task::{CompleteChord, Exception, Failure, Json, Outcome, Request, TaskName},
};

/// What a message needs done with a plugin.
pub(super) struct Work {
    /// The function that is called.
    pub entry: Entry,
    /// The arguments of each call, if it is called for each of a list.
    each: Option<Vec<Json>>,
}

/// Why there is nothing to do with a plugin.
pub(super) enum NotHere {
    /// It needed no plugin.
    Ended(Outcome),
    /// A chord is finished when its parts have ended, and looked at again after a pause if they have not.
    Unlock(CompleteChord, Duration),
    /// No plugin offers this task.
    Unknown(TaskName),
}

impl Work {
    /// On the version on which the workflow stays, if it does and that can be run; else on the one that takes calls now.
    pub async fn of(worker: &Worker, life: &Life) -> Result<Self, NotHere> {
        let (task, each) = match life.builtin() {
            None => (life.request.task.clone(), None),
            Some(Builtin::Each { task, args }) => (task, Some(args)),
            Some(Builtin::Unlock { chord, pause }) => return Err(NotHere::Unlock(chord, pause)),
            Some(Builtin::Ended(outcome)) => return Err(NotHere::Ended(outcome)),
        };
        let request = &life.request;
        let pinned = match request.notes.pins.of(&task) {
            Some((plugin, digest)) => worker.uploads.pinned(&request.tenant, plugin, digest).await,
            None => None,
        };
        let pinned =
            pinned.and_then(|plugin| Entry::of(&plugin, &task)).filter(|entry| entry.options().pin_version);
        match pinned.or_else(|| worker.registry.find_for(&request.tenant, &task, &request.root_id)) {
            Some(entry) => Ok(Self { entry, each }),
            None => Err(NotHere::Unknown(task)),
        }
    }

    /// Runs the function, once or for each of the list. The limits are those of all calls together.
    pub async fn run(&self, call: Call) -> Run {
        let Entry { plugin, function } = &self.entry;
        let Some(each) = &self.each else { return plugin.program.run(*function, call).await };
        let begin = Instant::now();
        let mut results = Vec::with_capacity(each.len());
        let mut size = 0;
        let mut all = Run::of_nothing();
        for args in each {
            let Call { request, limits, memory, progress, outbox, access } = &call;
            let request = Request {
                args: args.clone(),
                kwargs: RawValue::from_string("{}".to_owned()).expect("it is JSON"),
                ..Request::clone(request)
            };
            let spent = begin.elapsed();
            let limits = TimeLimits {
                hard: limits.hard.saturating_sub(spent),
                soft: limits.soft.map(|soft| soft.saturating_sub(spent)),
                cpu: limits.cpu.saturating_sub(all.cpu),
            };
            let (progress, outbox, access) = (progress.clone(), outbox.clone(), access.clone());
            let (request, memory) = (Arc::new(request), *memory);
            let call = Call { request, limits, memory, progress, outbox, access };
            let run = plugin.program.run(*function, call).await;
            all.add(&run);
            match run.outcome {
                Outcome::Success(result) => {
                    size += result.get().len();
                    results.push(result);
                }
                outcome => return Run { outcome, asked: run.asked, ..all },
            }
            if size > plugin.program.largest_result() {
                let text =
                    format!("results of more than {size} bytes; call fewer at a time (--max-result-size)");
                let exception = Exception::new("kombu.exceptions", "EncodeError", vec![text.into()]);
                return Run { outcome: Outcome::Failure(Failure::without_traceback(exception)), ..all };
            }
        }
        let result = to_raw_value(&results).expect("JSON values can always be written");
        Run { outcome: Outcome::Success(result), ..all }
    }
}
