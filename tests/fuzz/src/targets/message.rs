//! Task messages: what is in a queue, from the envelope to what its workflow would send.

use host::{
    canvas::{self, Follow, Sent, Setting, Workflow},
    protocol::{
        event::What,
        message::{self, MessageLimits},
        repr, result,
    },
    task::{Exception, Failure, Outcome, QueueName, Request},
};
use jiff::Timestamp;
use serde_json::json;

use super::{assert_one_short_line, tenant};

/// The least that is refused for its size, so that libFuzzer finds it.
const LIMITS: MessageLimits = MessageLimits { bytes: 64 << 10, depth: 64 };

/// A whole message.
pub fn message(bytes: &[u8]) {
    match message::decode(bytes, tenant(), &LIMITS) {
        Ok(request) => {
            marked(bytes, &request);
            lived(&request);
        }
        Err(refusal) => {
            assert_one_short_line(&refusal.to_string());
            let exception = refusal.exception();
            assert!(!exception.class.is_empty());
            if let Some(id) = &refusal.id {
                let meta = result::of_failure(id, &exception, Timestamp::UNIX_EPOCH);
                result::decode(&meta).expect("what is stored of a refused message can be read");
            }
        }
    }
    // These look at messages that could not be read as well.
    for mark in [message::mark_redelivered, message::mark_lost, message::mark_requeued] {
        mark(bytes);
    }
    message::replayed(bytes, "tag");
}

/// A body in a good envelope, so that libFuzzer need not know base64.
pub fn body(bytes: &[u8]) {
    let Ok(body) = std::str::from_utf8(bytes) else { return };
    let headers =
        json!({"task": "app.divide", "id": "some-id", "root_id": "root", "group": "group", "group_index": 1});
    let envelope =
        json!({"headers": headers, "properties": {}, "content-type": "application/json", "body": body});
    message(envelope.to_string().as_bytes());
}

/// What comes back is the same message, with a note.
fn marked(bytes: &[u8], request: &Request) {
    let roomy = MessageLimits { bytes: LIMITS.bytes * 2, depth: LIMITS.depth + 2 };
    let marks = [
        message::mark_redelivered,
        message::mark_lost,
        message::mark_running,
        message::mark_requeued,
        message::mark_admitted,
    ];
    for marked in marks.into_iter().filter_map(|mark| mark(bytes)) {
        let again =
            message::decode(&marked, tenant(), &roomy).expect("a message that was marked can be read again");
        assert_eq!((&again.id, &again.task), (&request.id, &request.task));
        assert_eq!(again.args.get(), request.args.get());
    }
    let parked = message::mark_parked(bytes, Timestamp::UNIX_EPOCH);
    let retried =
        message::retried(bytes, request.id.as_str(), 3, Timestamp::UNIX_EPOCH, "tag", &request.notes.pins);
    for changed in [parked, retried, message::replayed(bytes, "tag")].into_iter().flatten() {
        let again = message::decode(&changed, tenant(), &roomy)
            .expect("a message that was changed can be read again");
        assert_eq!(again.id, request.id);
    }
}

/// What is done with a request, all but running it.
fn lived(request: &Request) {
    message::stamps(&request.headers);
    let (args, kwargs) = repr::arguments(request);
    assert!(args.len() + kwargs.len() < 10_000);
    What::received(request);
    let mut sent = Sent::default();
    canvas::builtin(request, &mut sent);
    let workflow = match Workflow::of(request) {
        Ok(workflow) => workflow,
        Err(refusal) => return assert_one_short_line(&refusal.to_string()),
    };
    let failure = Failure::without_traceback(Exception::builtin("ValueError", "no"));
    let outcomes = [
        Outcome::Success(serde_json::value::RawValue::NULL.to_owned()),
        Outcome::Failure(failure.clone()),
        Outcome::Revoked(failure.exception),
    ];
    for outcome in outcomes {
        let meta = result::of_outcome(request, &outcome, &[], None, Timestamp::UNIX_EPOCH);
        let stored = result::decode(&meta).expect("what is stored can be read");
        assert_eq!((&stored.id, stored.state), (&request.id, outcome.state()));
        follow(request, &workflow, &outcome, std::mem::take(&mut sent));
    }
}

/// What comes after it is at most what one task may send, and can be read by those that take it.
fn follow(request: &Request, workflow: &Workflow, outcome: &Outcome, sent: Sent) {
    let queue = QueueName::new("celery").expect("it is a name");
    let setting = Setting { queue: &queue, now: Timestamp::UNIX_EPOCH, takes_several: &|_| true };
    match canvas::after(request, workflow, outcome, sent, setting) {
        Ok(follow) => sendable(&follow),
        Err(refusal) => assert_one_short_line(&refusal.to_string()),
    }
}

/// Each message of it can be read again.
pub fn sendable(follow: &Follow) {
    assert!(follow.sends.len() <= 100_001);
    for submission in follow.sends.iter().take(100) {
        let message = message::encode(submission, Timestamp::UNIX_EPOCH, "tag", "gen1@host");
        let roomy = MessageLimits { bytes: usize::MAX, depth: 1_000 };
        let request = message::decode(&message, tenant(), &roomy).expect("what is sent can be read");
        assert_eq!((&request.id, &request.task), (&submission.id, &submission.task));
        let queue = submission.queue.as_str();
        assert!(queue.starts_with("acme/"), "{queue} is not a queue of the sender's tenant");
    }
    for (id, _, meta) in &follow.results {
        assert_eq!(result::decode(meta).expect("what is stored of others can be read").id, *id);
    }
}
