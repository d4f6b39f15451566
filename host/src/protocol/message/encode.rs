//! From a [`Submission`] to the bytes in a queue: protocol 2, as a current Python client writes it, so that a Python
//! worker could take it as well.
//!
//! One property is missing: `expiration`, the time left in milliseconds. Workers go by the header `expires`.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Number;

use crate::{
    protocol::{repr, time},
    task::{Json, Limits, QueueName, TaskId, TaskName},
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
        }
    }
}

/// Writes the message. `delivery_tag` must be new for each; `origin` tells who sends it, as `gen<pid>@<host>`.
pub fn encode(submission: &Submission, delivery_tag: &str, origin: &str) -> Vec<u8> {
    let Submission { id, args, kwargs, .. } = submission;
    let embed = r#"{"callbacks": null, "errbacks": null, "chain": null, "chord": null}"#;
    let envelope = Envelope {
        body: STANDARD.encode(format!("[{args}, {kwargs}, {embed}]")),
        content_encoding: "utf-8",
        content_type: "application/json",
        headers: Headers {
            lang: "py",
            task: submission.task.as_str(),
            id: id.as_str(),
            shadow: None,
            eta: submission.eta.map(time::write),
            expires: submission.expires.map(time::write),
            group: submission.group_id.as_ref().map(TaskId::as_str),
            group_index: None,
            retries: submission.retries,
            timelimit: [submission.limits.hard.map(seconds), submission.limits.soft.map(seconds)],
            root_id: submission.root_id.as_str(),
            parent_id: submission.parent_id.as_ref().map(TaskId::as_str),
            argsrepr: repr::args(args),
            kwargsrepr: repr::value(kwargs),
            origin,
            ignore_result: submission.ignore_result,
            replaced_task_nesting: 0,
            stamped_headers: None,
            stamps: Empty {},
        },
        properties: Properties {
            correlation_id: id.as_str(),
            // On Redis, results come by the result's own key and channel.
            reply_to: "",
            delivery_mode: 2,
            delivery_info: DeliveryInfo { exchange: "", routing_key: submission.queue.as_str() },
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
struct Envelope<'a> {
    body: String,
    #[serde(rename = "content-encoding")]
    content_encoding: &'a str,
    #[serde(rename = "content-type")]
    content_type: &'a str,
    headers: Headers<'a>,
    properties: Properties<'a>,
}

#[derive(Serialize)]
struct Headers<'a> {
    lang: &'a str,
    task: &'a str,
    id: &'a str,
    shadow: Option<&'a str>,
    eta: Option<String>,
    expires: Option<String>,
    group: Option<&'a str>,
    group_index: Option<u32>,
    retries: u32,
    timelimit: [Option<Number>; 2],
    root_id: &'a str,
    parent_id: Option<&'a str>,
    argsrepr: String,
    kwargsrepr: String,
    origin: &'a str,
    ignore_result: bool,
    replaced_task_nesting: u32,
    stamped_headers: Option<&'a str>,
    stamps: Empty,
}

#[derive(Serialize)]
struct Empty {}

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

#[derive(Serialize)]
struct DeliveryInfo<'a> {
    exchange: &'a str,
    routing_key: &'a str,
}
