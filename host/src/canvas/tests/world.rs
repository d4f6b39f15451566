//! Queue, results, groups and a worker, in memory.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;
use serde_json::{Value, json, value::RawValue};

use crate::{
    canvas::{
        self, Builtin, Caller, Follow, Raw, Sends, Sent, Setting, Signature, Workflow, apply::Surroundings,
        signature::raw,
    },
    protocol::{
        message::{self, MessageLimits},
        result::{Meta, MetaResult, encode as encode_result},
    },
    task::{
        ChordPart, CompleteChord, Exception, Failure, GroupChange, Outcome, QueueName, Request, State,
        TaskId, Tenant,
    },
};

/// Everything that workers share, and what has happened.
#[derive(Default)]
pub struct World {
    queue: VecDeque<Vec<u8>>,
    /// What is stored: state and result of each task.
    pub results: HashMap<String, (String, Value)>,
    /// The `children` of each task.
    pub children: HashMap<String, Value>,
    groups: HashMap<TaskId, Group>,
    /// The tasks that ran, in order: `name(args)`.
    pub ran: Vec<String>,
    /// The requests that were run.
    pub requests: Vec<Request>,
    /// The groups whose chords were finished.
    pub finished: Vec<TaskId>,
}

#[derive(Default)]
struct Group {
    size: Option<u64>,
    shape: Option<String>,
    parts: Vec<ChordPart>,
    complete: bool,
}

impl World {
    /// Applies a signature, as a client does, runs all that follows, and answers the state and the result of its last task.
    pub fn run(&mut self, signature: Value) -> (String, Value) {
        let id = self.apply(signature);
        self.drain();
        self.results.get(&id).cloned().unwrap_or(("PENDING".to_owned(), Value::Null))
    }

    /// Applies a signature without running anything; answers the id of its result.
    pub fn apply(&mut self, signature: Value) -> String {
        let mut signature = Signature::parse(&raw(&signature)).unwrap();
        let result = canvas::freeze::freeze(&mut signature, canvas::freeze::Place::default());
        let mut sends = Sends::by(caller("client", "client"));
        sends.apply(signature, &[], Surroundings::default()).unwrap();
        let mut follow = Follow::default();
        follow.take(sends);
        self.commit(follow);
        serde_json::from_str(result.id().get()).unwrap()
    }

    /// Runs until nothing is left to do.
    pub fn drain(&mut self) {
        for _ in 0..10_000 {
            let complete =
                self.groups.iter().find(|(id, group)| group.complete && !self.finished.contains(id));
            if let Some((id, group)) = complete {
                let id = id.clone();
                let chord = group.completed(&id);
                self.finished.push(id);
                let stored: Vec<_> =
                    canvas::missing(&chord).iter().filter_map(|id| self.ending(id)).collect();
                self.commit(canvas::finish(&chord, &stored, setting(&"celery".parse().unwrap())).unwrap());
            } else if let Some(message) = self.queue.pop_front() {
                self.run_one(&message);
            } else {
                return;
            }
        }
        panic!("it never ends: {:?}", self.ran);
    }

    fn ending(&self, id: &TaskId) -> Option<String> {
        let (state, result) = self.results.get(id.as_str())?;
        Some(canvas::ending(id, &State::from(state.as_str()), &raw(result)))
    }

    fn run_one(&mut self, message: &[u8]) {
        let request = message::decode(message, Tenant::DEFAULT, &MessageLimits::default()).unwrap();
        let workflow = Workflow::of(&request).unwrap();
        let mut sent = Sent::default();
        let outcome = match canvas::builtin(&request, &mut sent) {
            Some(Builtin::Ended(outcome)) => outcome,
            Some(Builtin::Each { task, args }) => {
                let call = |args: &crate::task::Json| value(&task_outcome(task.as_str(), args.get(), "{}"));
                Outcome::Success((*raw(&args.iter().map(call).collect::<Vec<_>>())).to_owned())
            }
            Some(Builtin::Unlock { chord, .. }) => {
                let stored =
                    canvas::missing(&chord).iter().map(|id| self.ending(id)).collect::<Option<Vec<_>>>();
                let Some(stored) = stored else { return self.queue.push_back(message.to_vec()) };
                self.commit(canvas::finish(&chord, &stored, setting(&"celery".parse().unwrap())).unwrap());
                Outcome::Success(RawValue::NULL.to_owned())
            }
            None => self.call(&request, &mut sent),
        };
        let queue = "celery".parse().unwrap();
        let follow = canvas::after(&request, &workflow, &outcome, sent, setting(&queue)).unwrap();
        self.ran.push(format!("{}{}", request.task, crate::protocol::repr::args(&request.args)));
        if !follow.replaced {
            let id = request.id.to_string();
            self.results.insert(id.clone(), (outcome.state().as_str().to_owned(), value(&outcome)));
            self.children.insert(id, serde_json::to_value(&follow.children).unwrap());
        }
        self.requests.push(request);
        self.commit(follow);
    }

    fn call(&self, request: &Request, sent: &mut Sent) -> Outcome {
        if request.task.as_str() == "replace" {
            let args: Vec<Raw> = serde_json::from_str(request.args.get()).unwrap();
            sent.replace(&args[0]).unwrap();
            return Outcome::Success(RawValue::NULL.to_owned());
        }
        task_outcome(request.task.as_str(), request.args.get(), request.kwargs.get())
    }

    fn commit(&mut self, follow: Follow) {
        for (id, change) in follow.groups {
            let group = self.groups.entry(id).or_default();
            match change {
                GroupChange::Size(size) => group.size = Some(size),
                GroupChange::Saved(shape) => group.shape = Some(shape),
                GroupChange::Part(part) => group.parts.push(part),
            }
            assert!(group.size.is_none_or(|size| group.parts.len() as u64 <= size), "a part too many");
            group.complete |= group.size == Some(group.parts.len() as u64);
        }
        for (id, state, meta) in follow.results {
            let meta: Value = serde_json::from_str(&meta).unwrap();
            self.results.entry(id.to_string()).or_insert((state.as_str().to_owned(), meta["result"].clone()));
        }
        for submission in &follow.sends {
            self.queue.push_back(message::encode(submission, Timestamp::UNIX_EPOCH, "tag", "gen1@host"));
        }
    }
}

impl Group {
    fn completed(&self, group: &TaskId) -> CompleteChord {
        let mut parts = self.parts.clone();
        parts.sort_by_key(|part| (part.index.unwrap_or(i64::MAX), part.ending.clone()));
        CompleteChord {
            tenant: Tenant::DEFAULT,
            group: group.clone(),
            chord: self.parts.last().unwrap().chord.clone(),
            endings: parts.into_iter().map(|part| part.ending).collect(),
            shape: self.shape.clone(),
        }
    }
}

fn caller(id: &str, root_id: &str) -> Caller {
    Caller {
        tenant: Tenant::DEFAULT,
        id: id.parse().unwrap(),
        root_id: root_id.parse().unwrap(),
        queue: "celery".parse().unwrap(),
        now: now(),
    }
}

/// The tasks that take several arguments have that in their names.
fn setting(queue: &QueueName) -> Setting<'_> {
    Setting { queue, now: now(), takes_several: &|task| task.contains("several") }
}

fn now() -> Timestamp {
    "2030-01-31T12:00:00Z".parse().unwrap()
}

/// What the tasks do: `add` and `sum` as their names say, `fail` fails, `revoke` is revoked, any other gives back its arguments.
fn task_outcome(task: &str, args: &str, kwargs: &str) -> Outcome {
    let args: Value = serde_json::from_str(args).unwrap();
    let sum = |values: &Value| values.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).sum::<i64>();
    let result = match task {
        "add" => json!(sum(&args)),
        "sum" => json!(sum(&args[0])),
        "fail" => {
            let exception = Exception::builtin("ValueError", args[0].to_string());
            return Outcome::Failure(Failure::without_traceback(exception));
        }
        "revoke" => {
            return Outcome::Revoked(Exception::new(
                "celery.exceptions",
                "TaskRevokedError",
                vec!["revoked".into()],
            ));
        }
        _ if kwargs == "{}" => json!(args),
        _ => json!([args, serde_json::from_str::<Value>(kwargs).unwrap()]),
    };
    Outcome::Success((*raw(&result)).to_owned())
}

fn value(outcome: &Outcome) -> Value {
    let (id, state) = (TaskId::new("x").unwrap(), outcome.state());
    let result = match outcome {
        Outcome::Success(value) => MetaResult::Value(value),
        Outcome::Failure(failure) => MetaResult::Exception(&failure.exception),
        Outcome::Revoked(exception) => MetaResult::Exception(exception),
    };
    let meta = encode_result(&Meta {
        id: &id,
        state: &state,
        result,
        traceback: None,
        children: &[],
        date_done: None,
        group_id: None,
        parent_id: None,
        ran: None,
    });
    serde_json::from_str::<Value>(&meta).unwrap()["result"].clone()
}
