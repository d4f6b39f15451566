//! Results as Celery writes and reads them.

use super::*;

fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

fn raw(json: &str) -> Json {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn noon() -> Timestamp {
    "2026-11-23T12:00:00.5Z".parse().unwrap()
}

#[test]
fn results_are_written_in_celerys_form() {
    let divided = Exception::builtin("ZeroDivisionError", "division by zero");
    let meta = Meta {
        id: &id("i"),
        state: &State::Success,
        result: MetaResult::Value(&raw(r#"[1.50, "\ud800"]"#)),
        traceback: None,
        children: &[],
        date_done: Some(noon()),
        group_id: None,
        parent_id: None,
        ran: None,
    };
    let done = r#""date_done":"2026-11-23T12:00:00.500000+00:00""#;
    let cases = [
        (
            meta,
            format!(r#"{{"status":"SUCCESS","result":[1.50, "\ud800"],"traceback":null,"children":[],{done},"task_id":"i"}}"#),
        ),
        (
            Meta {
                state: &State::Failure,
                result: MetaResult::Exception(&divided),
                traceback: Some("Traceback\n"),
                group_id: Some(&id("g")),
                parent_id: Some(&id("p")),
                ..meta
            },
            format!(
                r#"{{"status":"FAILURE","result":{{"exc_type":"ZeroDivisionError","exc_message":["division by zero"],"exc_module":"builtins"}},"traceback":"Traceback\n","children":[],{done},"group_id":"g","parent_id":"p","task_id":"i"}}"#
            ),
        ),
        (
            Meta {
                state: &State::Custom("PROGRESS".to_owned()),
                result: MetaResult::Value(&raw("{}")),
                date_done: None,
                ..meta
            },
            r#"{"status":"PROGRESS","result":{},"traceback":null,"children":[],"date_done":null,"task_id":"i"}"#.to_owned(),
        ),
        (
            Meta { state: &State::Retry, result: MetaResult::Null, date_done: None, ..meta },
            r#"{"status":"RETRY","result":null,"traceback":null,"children":[],"date_done":null,"task_id":"i"}"#.to_owned(),
        ),
    ];
    for (meta, expected) in cases {
        assert_eq!(encode(&meta), expected);
    }
}

/// A request that is part of a group and was sent by another task.
fn request() -> Request {
    let mut message = crate::protocol::message::Submission::new(
        id("i"),
        "f".parse().unwrap(),
        raw("[]"),
        raw("{}"),
        "celery".parse().unwrap(),
    );
    message.group_id = Some(id("g"));
    message.parent_id = Some(id("p"));
    let message = crate::protocol::message::encode(&message, noon(), "tag", "gen1@host1");
    crate::protocol::message::decode(&message, Default::default(), &Default::default()).unwrap()
}

#[test]
fn every_outcome_has_its_text() {
    let request = request();
    let error = Exception::new("m", "MyErr", vec!["boom".into(), 1.into()]);
    let traced = Failure { exception: error.clone(), traceback: Some("Traceback\n".to_owned()) };
    let revoked = Exception::new("celery.exceptions", "TaskRevokedError", vec!["expired".into()]);
    let cases = [
        (Outcome::Success(raw("3")), State::Success, None, None),
        (Outcome::Failure(traced), State::Failure, Some(error.clone()), Some("Traceback\n")),
        (Outcome::Failure(Failure::without_traceback(error.clone())), State::Failure, Some(error), None),
        (Outcome::Revoked(revoked.clone()), State::Revoked, Some(revoked), None),
    ];
    for (outcome, state, exception, traceback) in cases {
        let text = of_outcome(&request, &outcome, &[], None, noon());
        assert!(text.ends_with(r#""group_id":"g","parent_id":"p","task_id":"i"}"#), "{text}");
        let stored = decode(&text).unwrap();
        assert_eq!((stored.id, stored.state), (id("i"), state));
        assert_eq!(stored.exception, exception);
        assert_eq!(stored.traceback.as_deref(), traceback);
        assert_eq!(stored.date_done.as_deref(), Some("2026-11-23T12:00:00.500000+00:00"));
    }
}

#[test]
fn a_task_that_is_retried_has_an_exception_and_is_not_done() {
    let error = Exception::builtin("ValueError", "nope");
    let failure = Failure { exception: error.clone(), traceback: Some("Traceback\n".to_owned()) };
    let text = of_retry(&request(), &failure, None);
    assert_eq!(
        text,
        r#"{"status":"RETRY","result":{"exc_type":"ValueError","exc_message":["nope"],"exc_module":"builtins"},"traceback":"Traceback\n","children":[],"date_done":null,"group_id":"g","parent_id":"p","task_id":"i"}"#
    );
    let stored = decode(&text).unwrap();
    assert_eq!((stored.state, stored.exception), (State::Retry, Some(error)));
    assert_eq!((stored.traceback.as_deref(), stored.date_done), (Some("Traceback\n"), None));
    // Python stores no exception when the task gave none.
    let bare = decode(r#"{"status":"RETRY","result":null,"traceback":null,"task_id":"i"}"#).unwrap();
    assert_eq!((bare.state, bare.exception), (State::Retry, None));
}

#[test]
fn every_recorded_result_is_read_and_can_be_written_again() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/celery/results.jsonl");
    let mut count = 0;
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        let theirs = &recorded["value"];
        let stored = decode(&theirs.to_string()).unwrap();
        assert_eq!(stored.state.as_str(), theirs["status"]);
        assert_eq!(stored.traceback.as_deref(), theirs["traceback"].as_str());
        let is_exception = theirs["result"].get("exc_type").is_some();
        assert_eq!(stored.exception.is_some(), is_exception, "{line}");

        let optional = |key: &str| theirs[key].as_str().map(id);
        let (group_id, parent_id) = (optional("group_id"), optional("parent_id"));
        let children: Vec<SharedJson> = serde_json::from_value(theirs["children"].clone()).unwrap();
        let ours = encode(&Meta {
            id: &stored.id,
            state: &stored.state,
            result: match &stored.exception {
                Some(exception) => MetaResult::Exception(exception),
                None => MetaResult::Value(&stored.result),
            },
            traceback: stored.traceback.as_deref(),
            children: &children,
            date_done: stored.date_done.as_deref().map(|time| time.parse().unwrap()),
            group_id: group_id.as_ref(),
            parent_id: parent_id.as_ref(),
            ran: None,
        });
        let mut theirs = theirs.clone();
        // There with `result_extended` only.
        for extended in
            ["name", "args", "kwargs", "worker", "retries", "queue", "stamped_headers", "my_stamp"]
        {
            theirs.as_object_mut().unwrap().shift_remove(extended);
        }
        assert_eq!(ours, theirs.to_string());
        count += 1;
    }
    assert!(count >= 20, "only {count} recorded results were found");
}

#[test]
fn exceptions_of_careless_workers_are_read_as_clients_read_them() {
    let read = |result: &str| {
        let text = format!(r#"{{"status":"FAILURE","result":{result},"task_id":"i"}}"#);
        decode(&text).unwrap().exception
    };
    let made = |args: Vec<Value>| Some(Exception::new("celery.backends.base", "E", args));
    assert_eq!(read(r#"{"exc_type": "E", "exc_message": "m"}"#), made(vec!["m".into()]));
    assert_eq!(read(r#"{"exc_type": "E", "exc_module": null}"#), made(vec!["".into()]));
    for broken in ["null", "{}", r#""text""#, "[]", r#"{"exc_type": 1}"#] {
        assert_eq!(read(broken), None, "{broken}");
    }
}

#[test]
fn what_is_no_result_is_refused() {
    for text in [
        "",
        "null",
        "{}",
        r#"{"status": "SUCCESS", "result": 1}"#,
        r#"{"status":1,"result":1,"task_id":"i"}"#,
    ] {
        assert!(decode(text).is_err(), "{text}");
    }
}
