//! From a [`Submission`] to the bytes in a queue: protocol 2, as a current Python client writes it, so that a Python
//! worker could take it as well.
//!
//! One property is missing: `expiration`, the time left in milliseconds. Workers go by the header `expires`.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use indexmap::IndexMap;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Number;

use crate::{
    protocol::{envelope::DeliveryInfo, repr, time},
    task::{Json, Limits, Pins, QueueName, SharedJson, TaskId, TaskName},
};

/// A task to be sent.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Names the call and its result.
    pub id: TaskId,
    /// What to run.
    pub task: TaskName,
    /// Positional arguments: the text of a JSON array.
    pub args: Json,
    /// Keyword arguments: the text of a JSON object.
    pub kwargs: Json,
    /// Where it is sent.
    pub queue: QueueName,
    /// 0 to 9, 0 the most urgent.
    pub priority: u8,
    /// Not to be run before.
    pub eta: Option<Timestamp>,
    /// Not to be run after.
    pub expires: Option<Timestamp>,
    /// What the run may take.
    pub limits: Limits,
    /// How often the task was retried before.
    pub retries: u32,
    /// Whether no result is wanted.
    pub ignore_result: bool,
    /// The first task of the workflow; its own `id` when it stands alone.
    pub root_id: TaskId,
    /// The task that sends this one.
    pub parent_id: Option<TaskId>,
    /// The group it is part of.
    pub group_id: Option<TaskId>,
    /// Where in the group it is.
    pub group_index: Option<i64>,
    /// The name to show instead of `task`.
    pub shadow: Option<String>,
    /// How often a task has handed its place to another before this one had it.
    pub replaced_task_nesting: u32,
    /// The names of its stamps, as its sender wrote them.
    pub stamped_headers: Option<SharedJson>,
    /// Its stamps.
    pub stamps: IndexMap<String, SharedJson>,
    /// Headers of the sender's own. None of Celery's is replaced by them.
    pub headers: IndexMap<String, SharedJson>,
    /// What is to be called when it has ended.
    pub embed: Embed,
    /// On which versions of plugins it stays.
    pub pins: Pins,
}

/// What is to be called when a task has ended, as JSON (celery-protocol.md, 1.3).
#[derive(Debug, Clone, Default)]
pub struct Embed {
    /// With its result.
    pub callbacks: Option<SharedJson>,
    /// When it has failed.
    pub errbacks: Option<SharedJson>,
    /// The rest of its chain, the next at the end.
    pub chain: Option<SharedJson>,
    /// The body of the chord that it is a part of.
    pub chord: Option<SharedJson>,
}

impl Embed {
    /// As Python's clients write it.
    fn text(&self) -> String {
        let text = |part: &Option<SharedJson>| part.as_ref().map_or("null", |part| part.get()).to_owned();
        let [callbacks, errbacks, chain, chord] =
            [&self.callbacks, &self.errbacks, &self.chain, &self.chord].map(text);
        format!(r#"{{"callbacks": {callbacks}, "errbacks": {errbacks}, "chain": {chain}, "chord": {chord}}}"#)
    }
}

impl Submission {
    /// A task that stands alone, to be run as soon as can be.
    pub fn new(id: TaskId, task: TaskName, args: Json, kwargs: Json, queue: QueueName) -> Self {
        Self {
            root_id: id.clone(),
            id,
            task,
            args,
            kwargs,
            queue,
            priority: 0,
            eta: None,
            expires: None,
            limits: Limits::default(),
            retries: 0,
            ignore_result: false,
            parent_id: None,
            group_id: None,
            group_index: None,
            shadow: None,
            replaced_task_nesting: 0,
            stamped_headers: None,
            stamps: IndexMap::new(),
            headers: IndexMap::new(),
            embed: Embed::default(),
            pins: Pins::default(),
        }
    }

    /// About how many bytes its message has.
    pub fn size(&self) -> usize {
        let Embed { callbacks, errbacks, chain, chord } = &self.embed;
        let embed: usize =
            [callbacks, errbacks, chain, chord].into_iter().flatten().map(|part| part.get().len()).sum();
        // What base64 adds, and the envelope.
        (self.args.get().len() + self.kwargs.get().len() + embed) / 3 * 4 + 1_000
    }
}

/// Writes the message, sent at the time `now`. `delivery_tag` must be new for each; `origin` tells who sends it, as
/// `gen<pid>@<host>`.
pub fn encode(submission: &Submission, now: Timestamp, delivery_tag: &str, origin: &str) -> Vec<u8> {
    let Submission { id, args, kwargs, .. } = submission;
    let embed = submission.embed.text();
    let envelope = Envelope {
        body: STANDARD.encode(format!("[{args}, {kwargs}, {embed}]")),
        content_encoding: "utf-8",
        content_type: "application/json",
        headers: Headers {
            lang: "py",
            task: submission.task.as_str(),
            id: id.as_str(),
            shadow: submission.shadow.as_deref(),
            eta: submission.eta.map(time::write),
            expires: submission.expires.map(time::write),
            group: submission.group_id.as_ref().map(TaskId::as_str),
            group_index: submission.group_index,
            retries: submission.retries,
            timelimit: [submission.limits.hard.map(seconds), submission.limits.soft.map(seconds)],
            root_id: submission.root_id.as_str(),
            parent_id: submission.parent_id.as_ref().map(TaskId::as_str),
            argsrepr: repr::args(args),
            kwargsrepr: repr::value(kwargs),
            origin,
            ignore_result: submission.ignore_result,
            replaced_task_nesting: submission.replaced_task_nesting,
            stamped_headers: submission.stamped_headers.as_ref(),
            stamps: &submission.stamps,
            host: super::rewrite::notes_of_sending(now, &submission.pins),
            own: submission.headers.iter().filter(|(name, _)| !is_celerys(name)).collect(),
        },
        properties: Properties {
            correlation_id: id.as_str(),
            // On Redis, results come by the result's own key and channel.
            reply_to: "",
            delivery_mode: 2,
            // As whoever takes it calls the queue: a tenant's Kombu puts the tenant before it by itself.
            delivery_info: DeliveryInfo { exchange: "", routing_key: submission.queue.owner().1 },
            priority: submission.priority,
            body_encoding: "base64",
            delivery_tag,
        },
    };
    serde_json::to_vec(&envelope).expect("texts and numbers can always be written")
}

/// Seconds as Python's clients write them: whole ones without a fraction.
fn seconds(time: Duration) -> Number {
    if time.subsec_nanos() == 0 {
        return time.as_secs().into();
    }
    Number::from_f64(time.as_secs_f64()).expect("a duration is finite")
}

#[derive(Serialize)]
struct Envelope<'a, Notes: Serialize> {
    body: String,
    #[serde(rename = "content-encoding")]
    content_encoding: &'a str,
    #[serde(rename = "content-type")]
    content_type: &'a str,
    headers: Headers<'a, Notes>,
    properties: Properties<'a>,
}

#[derive(Serialize)]
struct Headers<'a, Notes: Serialize> {
    lang: &'a str,
    task: &'a str,
    id: &'a str,
    shadow: Option<&'a str>,
    eta: Option<String>,
    expires: Option<String>,
    group: Option<&'a str>,
    group_index: Option<i64>,
    retries: u32,
    timelimit: [Option<Number>; 2],
    root_id: &'a str,
    parent_id: Option<&'a str>,
    argsrepr: String,
    kwargsrepr: String,
    origin: &'a str,
    ignore_result: bool,
    replaced_task_nesting: u32,
    stamped_headers: Option<&'a SharedJson>,
    stamps: &'a IndexMap<String, SharedJson>,
    host: Notes,
    #[serde(flatten)]
    own: IndexMap<&'a String, &'a SharedJson>,
}

/// Whether a header has a meaning to Celery or to us, so that no sender can set it beside its option.
fn is_celerys(name: &str) -> bool {
    const CELERYS: &[&str] = &[
        "lang",
        "task",
        "id",
        "shadow",
        "eta",
        "expires",
        "group",
        "group_index",
        "retries",
        "timelimit",
        "root_id",
        "parent_id",
        "argsrepr",
        "kwargsrepr",
        "origin",
        "ignore_result",
        "replaced_task_nesting",
        "stamped_headers",
        "stamps",
        "compression",
        "redelivered",
        super::rewrite::HEADER,
    ];
    CELERYS.contains(&name)
}

#[derive(Serialize)]
struct Properties<'a> {
    correlation_id: &'a str,
    reply_to: &'a str,
    delivery_mode: u8,
    delivery_info: DeliveryInfo<'a>,
    priority: u8,
    body_encoding: &'a str,
    delivery_tag: &'a str,
}
