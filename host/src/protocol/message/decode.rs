//! From the bytes in a queue to a [`Request`].
//!
//! The envelope and its headers are read first, as far as they can be, so that a refusal can say whom it concerns.
//! All JSON is read into borrowed text; only what the request keeps is copied.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    MessageLimits, Refusal,
    body::{self, Arguments},
    field::{self, Field, kind},
    refusal::{Reason, quoted},
    rewrite,
};
use crate::{
    protocol::scan,
    task::{Request, TaskId, TaskName, Tenant},
};

/// Reads a task message of protocol 2 or 1, from a queue of this tenant.
pub fn decode(message: &[u8], tenant: Tenant, limits: &MessageLimits) -> Result<Request, Refusal> {
    let mut subject = Subject::default();
    read(message, tenant, limits, &mut subject)
        .map_err(|reason| Refusal::new(subject.id, subject.task, reason))
}

/// The headers and the unpacked body of a message that is no task, within the same limits.
pub fn open<'a>(message: &'a [u8], limits: &MessageLimits) -> Result<(&'a RawValue, Cow<'a, str>), Refusal> {
    unpack(message, limits).map_err(|reason| Refusal::new(None, None, reason))
}

fn unpack<'a>(message: &'a [u8], limits: &MessageLimits) -> Result<(&'a RawValue, Cow<'a, str>), Reason> {
    check_length(message, limits)?;
    let text = std::str::from_utf8(message)
        .map_err(|error| Reason::Undecodable(format!("message is not UTF-8: {error}")))?;
    let envelope: Envelope<'_> = object("message", text)?;
    check_content_type(envelope.content_type)?;
    let raw_headers = envelope.headers.unwrap_or(RawValue::NULL);
    body::check_depth("headers", raw_headers.get(), limits)?;
    let headers: Headers<'_> = part("headers", envelope.headers)?;
    let properties: Properties<'_> = part("properties", envelope.properties)?;
    let encoding = Field::new("body_encoding", properties.body_encoding).text()?;
    let compression = Field::new("compression", headers.compression).text()?;
    let body = body::unpack(envelope.body, encoding.as_deref(), compression.as_deref(), limits)?;
    body::check_depth("body", &body, limits)?;
    Ok((raw_headers, body))
}

/// Whom a message is about, as far as it was read before something turned out to be wrong with it.
#[derive(Default)]
struct Subject {
    id: Option<TaskId>,
    task: Option<TaskName>,
}

impl Subject {
    fn learn(&mut self, headers: &Headers<'_>) {
        self.id = Field::new("id", headers.id).identifier().unwrap_or_default();
        self.task = Field::new("task", headers.task).identifier().unwrap_or_default();
    }

    /// Learns what it can of a message that is JSON but for Python's `NaN` and `Infinity`, say in a header that the
    /// sender added.
    fn learn_despite_floats(&mut self, text: &str) {
        let Some((clean, _)) = scan::without_special_floats(text) else { return };
        let Ok(envelope) = object::<Envelope<'_>>("message", &clean) else { return };
        if let Ok(headers) = part("headers", envelope.headers) {
            self.learn(&headers);
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(rename = "content-type")]
    content_type: Option<&'a RawValue>,
    headers: Option<&'a RawValue>,
    properties: Option<&'a RawValue>,
}

/// The headers that a worker reads. In protocol 1 they stand in the body, `taskset` is the group, and the arguments are
/// among them.
#[derive(Deserialize, Default)]
struct Headers<'a> {
    #[serde(borrow)]
    task: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    shadow: Option<&'a RawValue>,
    eta: Option<&'a RawValue>,
    expires: Option<&'a RawValue>,
    group: Option<&'a RawValue>,
    group_index: Option<&'a RawValue>,
    replaced_task_nesting: Option<&'a RawValue>,
    retries: Option<&'a RawValue>,
    timelimit: Option<&'a RawValue>,
    root_id: Option<&'a RawValue>,
    parent_id: Option<&'a RawValue>,
    ignore_result: Option<&'a RawValue>,
    redelivered: Option<&'a RawValue>,
    /// Our own notes.
    host: Option<&'a RawValue>,
    compression: Option<&'a RawValue>,
    taskset: Option<&'a RawValue>,
    args: Option<&'a RawValue>,
    kwargs: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Properties<'a> {
    #[serde(borrow)]
    body_encoding: Option<&'a RawValue>,
    priority: Option<&'a RawValue>,
    delivery_info: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct DeliveryInfo<'a> {
    #[serde(borrow)]
    redelivered: Option<&'a RawValue>,
}

fn read(
    message: &[u8],
    tenant: Tenant,
    limits: &MessageLimits,
    subject: &mut Subject,
) -> Result<Request, Reason> {
    let text = std::str::from_utf8(message)
        .map_err(|error| Reason::Undecodable(format!("message is not UTF-8: {error}")))?;
    let envelope: Envelope<'_> =
        object("message", text).inspect_err(|_| subject.learn_despite_floats(text))?;
    let headers: Headers<'_> = part("headers", envelope.headers)?;
    subject.learn(&headers);

    check_length(message, limits)?;
    for (what, part) in [("headers", envelope.headers), ("properties", envelope.properties)] {
        body::check_depth(what, part.unwrap_or(RawValue::NULL).get(), limits)?;
    }
    check_content_type(envelope.content_type)?;

    let properties: Properties<'_> = part("properties", envelope.properties)?;
    let delivery: DeliveryInfo<'_> = part("delivery_info", properties.delivery_info)?;
    let redelivered = Field::new("redelivered", headers.redelivered).flag()?
        || Field::new("redelivered", delivery.redelivered).flag()?;
    let encoding = Field::new("body_encoding", properties.body_encoding).text()?;
    let compression = Field::new("compression", headers.compression).text()?;
    let body = body::unpack(envelope.body, encoding.as_deref(), compression.as_deref(), limits)?;
    body::check_depth("body", &body, limits)?;

    let notes = rewrite::read_notes(headers.host);
    let is_protocol_1 = headers.task.is_none() && body.trim_start().starts_with('{');
    let (headers, arguments) = if is_protocol_1 {
        let fields: Headers<'_> = object("body", &body)?;
        subject.learn(&fields);
        let (args, kwargs) = (fields.args.unwrap_or(empty("[]")), fields.kwargs.unwrap_or(empty("{}")));
        // `callbacks`, `errbacks` and `chord` stand beside the arguments.
        let arguments = Arguments::new(args, kwargs, object("body", &body)?)?;
        (Headers { group: fields.taskset, ..fields }, arguments)
    } else {
        (headers, body::arguments(&body)?)
    };

    let id: TaskId = Field::new("id", headers.id)
        .identifier()?
        .ok_or_else(|| Reason::Invalid("message has no id, under which to store a result".to_owned()))?;
    let task: TaskName = Field::new("task", headers.task)
        .identifier()?
        .ok_or_else(|| Reason::Invalid("message does not say which task to run".to_owned()))?;
    let shadow: Option<TaskName> = Field::new("shadow", headers.shadow).identifier()?;
    Ok(Request {
        tenant,
        shadow: shadow.map(|name| name.as_str().to_owned()),
        args: arguments.args.to_owned(),
        kwargs: arguments.kwargs.to_owned(),
        embed: arguments.embed.to_owned(),
        retries: Field::new("retries", headers.retries).count()?,
        eta: Field::new("eta", headers.eta).time()?,
        expires: Field::new("expires", headers.expires).time()?,
        limits: Field::new("timelimit", headers.timelimit).limits()?,
        ignore_result: Field::new("ignore_result", headers.ignore_result).flag()?,
        root_id: Field::new("root_id", headers.root_id).identifier()?.unwrap_or_else(|| id.clone()),
        parent_id: Field::new("parent_id", headers.parent_id).identifier()?,
        group_id: Field::new("group", headers.group).identifier()?,
        group_index: Field::new("group_index", headers.group_index).place()?,
        replaced_task_nesting: Field::new("replaced_task_nesting", headers.replaced_task_nesting).count()?,
        priority: Field::new("priority", properties.priority).priority(),
        redelivered,
        notes,
        headers: envelope.headers.unwrap_or(empty("{}")).to_owned(),
        properties: envelope.properties.unwrap_or(empty("{}")).to_owned(),
        id,
        task,
    })
}

/// The length is checked only once the headers are read, which costs little, so that the caller gets an answer.
fn check_length(message: &[u8], limits: &MessageLimits) -> Result<(), Reason> {
    let (length, allowed) = (message.len(), limits.bytes);
    if length <= allowed {
        return Ok(());
    }
    Err(Reason::Undecodable(format!(
        "message is {length} bytes long; {allowed} are allowed; store large data elsewhere and send its address"
    )))
}

/// Accepts JSON only, and refuses the rest in Kombu's own words. Pickle in particular is code.
fn check_content_type(content_type: Option<&RawValue>) -> Result<(), Reason> {
    let Some(value) = content_type else { return Ok(()) };
    let given = field::text(value).unwrap_or_else(|| value.get().into());
    let given = quoted(&given);
    let name = match given.as_str() {
        "application/json" | "" => return Ok(()),
        "application/x-python-serialize" => "pickle",
        "application/x-yaml" => "yaml",
        "application/x-msgpack" => "msgpack",
        other => other,
    };
    Err(Reason::Disallowed(format!("Refusing to deserialize untrusted content of type {name} ({given})")))
}

/// Reads a part of the envelope that may be absent.
fn part<'a, T: Deserialize<'a> + Default>(what: &str, value: Option<&'a RawValue>) -> Result<T, Reason> {
    value.map_or_else(|| Ok(T::default()), |value| object(what, value.get()))
}

/// Reads an object, and nothing else: a derived `Deserialize` would also take a list of the fields' values.
fn object<'a, T: Deserialize<'a>>(what: &str, text: &'a str) -> Result<T, Reason> {
    let error = match serde_json::from_str(text) {
        Ok(read) if text.trim_start().starts_with('{') => return Ok(read),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    Err(match (serde_json::from_str::<&RawValue>(text), error) {
        (Err(error), _) => body::not_json(what, text, &error),
        // JSON and an object, and still refused: a field stands in it twice.
        (Ok(value), Some(error)) if kind(value) == "an object" => {
            Reason::Undecodable(format!("{what} cannot be read: {error}"))
        }
        (Ok(value), _) => Reason::Undecodable(format!("{what} is {}, not an object", kind(value))),
    })
}

/// An empty list or object, in JSON.
fn empty(text: &'static str) -> &'static RawValue {
    serde_json::from_str(text).expect("the callers pass JSON")
}
