//! Every rule of celery-protocol.md, 5, as a line of a table.

use serde_json::{json, value::to_raw_value};

use super::*;
use crate::task::{Limits, Notes, TaskId, TaskName, Tenant};

fn request(retries: u32) -> Request {
    let empty = || to_raw_value(&json!({})).unwrap();
    let id = TaskId::new("some-id").unwrap();
    Request {
        tenant: Tenant::DEFAULT,
        id: id.clone(),
        task: TaskName::new("app.f").unwrap(),
        shadow: None,
        args: empty(),
        kwargs: empty(),
        embed: empty(),
        retries,
        eta: None,
        // A retry goes out past this, as in Celery, and expires when it comes.
        expires: Some(jiff::Timestamp::UNIX_EPOCH),
        limits: Limits::default(),
        ignore_result: false,
        root_id: id,
        parent_id: None,
        group_id: None,
        group_index: None,
        replaced_task_nesting: 0,
        priority: 0,
        redelivered: false,
        notes: Notes::default(),
        headers: empty(),
        properties: empty(),
    }
}

fn failed_with(module: &str, class: &str, args: Vec<serde_json::Value>) -> Outcome {
    let exception = Exception::new(module, class, args);
    Outcome::Failure(Failure { exception, traceback: Some("Traceback (most recent call last):\nE\n".into()) })
}

fn failed() -> Outcome {
    failed_with("builtins", "ConnectionRefusedError", vec!["no route".into()])
}

fn hard_limit() -> Outcome {
    failed_with("billiard.exceptions", "TimeLimitExceeded", vec![30.into()])
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A policy that retries after network errors.
fn automatic() -> RetryPolicy {
    RetryPolicy { autoretry_for: vec!["OSError".into()], ..RetryPolicy::default() }
}

fn asks(delay: Option<Duration>, max: Option<u32>) -> Option<Asked> {
    Some(Asked::Retry { delay, max, explained: true })
}

/// The disposition in a line.
fn decided(retries: u32, outcome: Outcome, asked: Option<Asked>, policy: &RetryPolicy) -> String {
    let reprs = |_: &Request| ("(1,)".to_owned(), "{'b': None}".to_owned());
    let told = |outcome: &Outcome| match outcome {
        Outcome::Success(value) => value.get().to_owned(),
        Outcome::Failure(failure) => {
            let Exception { module, class, args } = &failure.exception;
            format!("{module}.{class}{}", json!(args))
        }
        Outcome::Revoked(exception) => exception.message(),
    };
    match decide(&request(retries), outcome, asked, policy, 0.5, reprs) {
        Disposition::Finish(outcome) => format!("finish {}", told(&outcome)),
        Disposition::GiveUp(failure) => format!("give up {}", told(&Outcome::Failure(failure))),
        Disposition::Retry { after, retries, failure } => {
            assert_eq!(failure.exception.class, "ConnectionRefusedError");
            assert!(failure.traceback.is_some());
            format!("retry {retries} after {after:?}")
        }
        Disposition::Ignore => "ignore".to_owned(),
        Disposition::Requeue => "requeue".to_owned(),
    }
}

const REFUSED: &str = r#"builtins.ConnectionRefusedError["no route"]"#;

#[test]
fn what_did_not_fail_is_finished_whatever_it_asked_for() {
    let success = || Outcome::Success(to_raw_value(&json!(7)).unwrap());
    let revoked = || Outcome::Revoked(Exception::builtin("TaskRevokedError", "terminated"));
    for asked in [None, asks(None, None), Some(Asked::Ignore), Some(Asked::Reject { requeue: true })] {
        assert_eq!(decided(0, success(), asked, &automatic()), "finish 7");
        assert_eq!(decided(0, revoked(), asked, &automatic()), "finish terminated");
    }
}

#[test]
fn a_failure_is_retried_when_the_run_asked_or_the_policy_says_so() {
    let backoff = RetryPolicy { retry_backoff: Some(seconds(4)), ..automatic() };
    let patient = RetryPolicy { max_retries: None, default_retry_delay: seconds(1), ..automatic() };
    let plain = RetryPolicy::default();
    for (retries, asked, policy, expected) in [
        (0, None, &plain, format!("finish {REFUSED}")),
        (2, None, &plain, format!("finish {REFUSED}")),
        (0, None, &automatic(), "retry 1 after 180s".to_owned()),
        (2, None, &automatic(), "retry 3 after 180s".to_owned()),
        (3, None, &automatic(), format!("give up {REFUSED}")),
        (0, None, &backoff, "retry 1 after 2s".to_owned()),
        (2, None, &backoff, "retry 3 after 8s".to_owned()),
        (99, None, &patient, "retry 100 after 1s".to_owned()),
        (u32::MAX, None, &patient, format!("give up {REFUSED}")),
        (0, asks(None, None), &plain, "retry 1 after 180s".to_owned()),
        (3, asks(None, None), &plain, format!("give up {REFUSED}")),
        (3, asks(None, Some(4)), &plain, "retry 4 after 180s".to_owned()),
        (0, asks(None, Some(0)), &plain, format!("give up {REFUSED}")),
        (0, asks(Some(seconds(5)), None), &plain, "retry 1 after 5s".to_owned()),
        (0, asks(Some(Duration::ZERO), None), &plain, "retry 1 after 0ns".to_owned()),
        (0, asks(Some(Duration::MAX), None), &plain, format!("retry 1 after {LONGEST_DELAY:?}")),
        // What the run asks for beats the policy's own.
        (0, asks(Some(seconds(5)), None), &backoff, "retry 1 after 5s".to_owned()),
        (0, asks(None, None), &backoff, "retry 1 after 180s".to_owned()),
        (1, asks(None, Some(1)), &patient, format!("give up {REFUSED}")),
        (99, asks(None, None), &patient, "retry 100 after 1s".to_owned()),
    ] {
        assert_eq!(decided(retries, failed(), asked, policy), expected, "{retries} {asked:?} {policy:?}");
    }
}

#[test]
fn a_failure_that_automatic_retries_are_not_for_is_given_up() {
    let other = || failed_with("builtins", "ValueError", vec!["bad".into()]);
    assert_eq!(decided(0, other(), None, &automatic()), r#"give up builtins.ValueError["bad"]"#);
    assert_eq!(decided(0, other(), None, &RetryPolicy::default()), r#"finish builtins.ValueError["bad"]"#);
}

#[test]
fn a_run_stopped_at_its_hard_limit_has_failed_for_good() {
    let all = RetryPolicy { autoretry_for: vec!["Exception".into()], ..RetryPolicy::default() };
    let expected = "billiard.exceptions.TimeLimitExceeded[30]";
    for asked in [None, asks(None, None), Some(Asked::Ignore), Some(Asked::Reject { requeue: true })] {
        assert_eq!(decided(0, hard_limit(), asked, &all), format!("give up {expected}"));
        assert_eq!(decided(0, hard_limit(), asked, &RetryPolicy::default()), format!("finish {expected}"));
    }
}

#[test]
fn ignore_and_reject_beat_automatic_retries() {
    let decided = |asked| decided(0, failed(), Some(asked), &automatic());
    assert_eq!(decided(Asked::Ignore), "ignore");
    assert_eq!(decided(Asked::Reject { requeue: true }), "requeue");
    let rejected = r#"give up celery.exceptions.Reject["no route",false]"#;
    assert_eq!(decided(Asked::Reject { requeue: false }), rejected);
}

#[test]
fn retries_that_were_never_explained_end_as_in_celery() {
    let asked = Some(Asked::Retry { delay: None, max: None, explained: false });
    let exit = || failed_with("builtins", "RuntimeError", vec!["exit code 75".into()]);
    let reprs = |_: &Request| ("(1,)".to_owned(), "{'b': None}".to_owned());
    let last = decide(&request(3), exit(), asked, &RetryPolicy::default(), 0.5, reprs);
    let Disposition::GiveUp(Failure { exception, traceback }) = last else {
        panic!("not given up: {last:?}")
    };
    let text = "Can't retry app.f[some-id] args:(1,) kwargs:{'b': None}";
    assert_eq!(exception, Exception::new("celery.exceptions", "MaxRetriesExceededError", vec![text.into()]));
    let traceback = traceback.unwrap();
    assert!(traceback.starts_with("Traceback (most recent call last):\nE\n\nDuring "), "{traceback}");
    assert!(traceback.ends_with(&format!("\ncelery.exceptions.MaxRetriesExceededError: {text}\n")));
    let unused = |_: &Request| panic!("nobody asked how the arguments are printed");
    let first = decide(&request(0), exit(), asked, &RetryPolicy::default(), 0.5, unused);
    assert!(matches!(first, Disposition::Retry { retries: 1, .. }));
}
