//! What becomes of a message once its task has run: Celery's rules for retries, `Ignore` and `Reject`, without doing any
//! of it. Pure: chance is passed in, and the time is counted from whenever the caller acts.

use std::time::Duration;

use super::{Asked, Exception, Failure, LONGEST_DELAY, Outcome, Request, RetryPolicy};

/// What becomes of a message, and what is stored. In all cases this delivery of it ends.
#[derive(Debug)]
pub enum Disposition {
    /// The outcome is stored.
    Finish(Outcome),
    /// The failure is stored, and the message is kept as a dead letter: the retries of the task are used up, or it is one
    /// with automatic retries and failed with what they are not for, or it was rejected (Celery's
    /// `Reject(requeue=False)`).
    GiveUp(Failure),
    /// The task is run again; the failure is stored with the state RETRY.
    Retry {
        /// Why.
        failure: Failure,
        /// The time before the next run, a year at most.
        after: Duration,
        /// The count of retries that the next run has in its message.
        retries: u32,
    },
    /// Nothing is stored: Celery's `Ignore`.
    Ignore,
    /// The message goes back to the tail of its queue as it came, marked as redelivered, and nothing is stored: Celery's
    /// `Reject(requeue=True)`.
    Requeue,
}

/// Decides about a run of `request` that ended with `outcome` and had `asked` for something. `random` is from 0 to 1, and
/// `reprs` gives the request's positional and keyword arguments as Python prints them, for the rare text that names them.
pub fn decide(
    request: &Request,
    outcome: Outcome,
    asked: Option<Asked>,
    policy: &RetryPolicy,
    random: f64,
    reprs: impl FnOnce(&Request) -> (String, String),
) -> Disposition {
    let Outcome::Failure(failure) = outcome else { return Disposition::Finish(outcome) };
    // A run that was stopped has no say: it did not come to the end for which it asked.
    let asked = asked.filter(|_| !failure.exception.is_hard_limit());
    let (after, max, explained) = match asked {
        Some(Asked::Ignore) => return Disposition::Ignore,
        Some(Asked::Reject { requeue: true }) => return Disposition::Requeue,
        Some(Asked::Reject { requeue: false }) => {
            return Disposition::GiveUp(rejected(&failure));
        }
        Some(Asked::Retry { delay, max, explained }) => {
            let after = delay.unwrap_or(policy.default_retry_delay);
            (after, max.or(policy.max_retries), explained)
        }
        None if policy.retries_for(&failure.exception) => {
            (policy.countdown(request.retries, random), policy.max_retries, true)
        }
        None if policy.autoretry_for.is_empty() => return Disposition::Finish(Outcome::Failure(failure)),
        None => return Disposition::GiveUp(failure),
    };
    match request.retries.checked_add(1).filter(|retries| max.is_none_or(|max| *retries <= max)) {
        Some(retries) => Disposition::Retry { failure, after: after.min(LONGEST_DELAY), retries },
        None if explained => Disposition::GiveUp(failure),
        None => Disposition::GiveUp(too_many_retries(request, failure, reprs(request))),
    }
}

/// The failure of a task that rejected its message. The text of its own exception is the reason.
fn rejected(failure: &Failure) -> Failure {
    let reason = failure.exception.message();
    let args = vec![reason.into(), false.into()];
    Failure::without_traceback(Exception::new("celery.exceptions", "Reject", args))
}

/// The failure of a task that asked for one retry too many and never told why. Worded and traced as Python does it.
fn too_many_retries(request: &Request, failure: Failure, (args, kwargs): (String, String)) -> Failure {
    let (task, id) = (&request.task, &request.id);
    let text = format!("Can't retry {task}[{id}] args:{args} kwargs:{kwargs}");
    let traceback = failure.traceback.map(|traceback| {
        format!(
            "{traceback}\nDuring handling of the above exception, another exception occurred:\n\n\
            Traceback (most recent call last):\ncelery.exceptions.MaxRetriesExceededError: {text}\n"
        )
    });
    let exception = Exception::new("celery.exceptions", "MaxRetriesExceededError", vec![text.into()]);
    Failure { exception, traceback }
}

#[cfg(test)]
mod tests;
