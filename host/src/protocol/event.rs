//! Events: what workers tell all who watch (celery-protocol.md, 7).
//!
//! What is told is typed, so that no field can be forgotten; what is heard may come from anyone, and may have any fields.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    envelope::{self, Destination, Unreadable},
    message::MessageLimits,
    receipt::Took,
    repr, time,
};
use crate::task::Request;

#[cfg(test)]
mod tests;

/// The exchange of events.
const EXCHANGE: &str = "celeryev";

/// The routing key of task events, which a worker tells many at a time.
const MANY: &str = "task.multi";

/// Who tells events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Teller {
    /// The node's name: `celery@box`.
    pub hostname: String,
    /// Its process.
    pub pid: u32,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The teller's logical clock.
    pub clock: u64,
    /// When, in seconds since 1970.
    pub timestamp: f64,
    /// What.
    pub what: What,
}

/// What can happen, by Celery's names.
#[expect(
    missing_docs,
    reason = "each field is told as it is named; celery-protocol.md, 7.2 says what it means"
)]
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type")]
pub enum What {
    #[serde(rename = "worker-online")]
    WorkerOnline(Pulse),
    #[serde(rename = "worker-heartbeat")]
    WorkerHeartbeat(Pulse),
    #[serde(rename = "worker-offline")]
    WorkerOffline(Pulse),
    #[serde(rename = "task-received")]
    TaskReceived {
        uuid: String,
        name: String,
        args: String,
        kwargs: String,
        root_id: String,
        parent_id: Option<String>,
        retries: u32,
        eta: Option<String>,
        expires: Option<String>,
    },
    #[serde(rename = "task-started")]
    TaskStarted { uuid: String },
    #[serde(rename = "task-succeeded")]
    TaskSucceeded {
        uuid: String,
        result: String,
        runtime: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        host: Option<Took>,
    },
    #[serde(rename = "task-failed")]
    TaskFailed {
        uuid: String,
        exception: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        traceback: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        host: Option<Took>,
    },
    #[serde(rename = "task-retried")]
    TaskRetried {
        uuid: String,
        exception: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        traceback: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        host: Option<Took>,
    },
    #[serde(rename = "task-revoked")]
    TaskRevoked { uuid: String, terminated: bool, signum: Option<i32>, expired: bool },
    #[serde(rename = "task-rejected")]
    TaskRejected { uuid: String, requeue: bool },
}

/// How a worker is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pulse {
    /// After how many seconds the next heartbeat comes. Who watches takes a worker for dead after twice that.
    pub freq: f64,
    /// How many tasks it runs.
    pub active: u64,
    /// How many it has run.
    pub processed: u64,
    /// The load of its machine, over 1, 5 and 15 minutes.
    pub loadavg: [f64; 3],
    /// What it is.
    pub sw_ident: &'static str,
    /// Which version.
    pub sw_ver: &'static str,
    /// On which system.
    pub sw_sys: &'static str,
}

impl What {
    /// A worker has received a task.
    pub fn received(request: &Request) -> Self {
        let (args, kwargs) = repr::arguments(request);
        Self::TaskReceived {
            uuid: request.shown_id().into_owned(),
            name: request.shown_name().into_owned(),
            args,
            kwargs,
            root_id: request.tenant.shown(request.root_id.as_str()).into_owned(),
            parent_id: request.parent_id.as_ref().map(|id| request.tenant.shown(id.as_str()).into_owned()),
            retries: request.retries,
            eta: request.eta.map(time::write),
            expires: request.expires.map(time::write),
        }
    }

    /// Whether it is about the worker, not about a task.
    pub fn is_of_worker(&self) -> bool {
        matches!(self, Self::WorkerOnline(_) | Self::WorkerHeartbeat(_) | Self::WorkerOffline(_))
    }

    fn routing_key(&self) -> &'static str {
        match self {
            Self::WorkerOnline(_) => "worker.online",
            Self::WorkerHeartbeat(_) => "worker.heartbeat",
            Self::WorkerOffline(_) => "worker.offline",
            _ => MANY,
        }
    }
}

/// An event as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// By what listeners may choose.
    pub routing_key: &'static str,
    /// The message.
    pub message: Vec<u8>,
}

/// Writes an event of a worker, as a message of its own.
pub fn encode(event: &Event, teller: &Teller, delivery_tag: &str) -> Told {
    tell(&Body::new(event, teller), event.what.routing_key(), teller, delivery_tag)
}

/// Writes task events, in their order, as one message.
pub fn encode_many(events: &[Event], teller: &Teller, delivery_tag: &str) -> Told {
    let bodies: Vec<_> = events.iter().map(|event| Body::new(event, teller)).collect();
    tell(&bodies, MANY, teller, delivery_tag)
}

fn tell(body: &impl Serialize, routing_key: &'static str, teller: &Teller, delivery_tag: &str) -> Told {
    #[derive(Serialize)]
    struct Headers<'a> {
        hostname: &'a str,
    }
    let to = Destination { delivery_mode: 1, exchange: EXCHANGE, routing_key, delivery_tag };
    let message = envelope::write(body, &Headers { hostname: &teller.hostname }, &to);
    Told { routing_key, message }
}

#[derive(Serialize)]
struct Body<'a> {
    hostname: &'a str,
    /// Times are told in UTC.
    utcoffset: i8,
    pid: u32,
    clock: u64,
    #[serde(flatten)]
    what: &'a What,
    timestamp: f64,
}

impl<'a> Body<'a> {
    fn new(event: &'a Event, teller: &'a Teller) -> Self {
        let Event { clock, timestamp, what } = event;
        Self {
            hostname: &teller.hostname,
            utcoffset: 0,
            pid: teller.pid,
            clock: *clock,
            what,
            timestamp: *timestamp,
        }
    }
}

/// An event that was heard.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Heard {
    /// Its type: `task-received`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who tells it.
    pub hostname: String,
    /// When, in seconds since 1970.
    pub timestamp: f64,
    /// The teller's logical clock.
    #[serde(default)]
    pub clock: u64,
    /// All else that it says.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Heard {
    /// The id of the task that it is about.
    pub fn uuid(&self) -> Option<&str> {
        self.text("uuid")
    }

    /// A field that is a text.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }
}

/// Reads the events of a message; those that are none are left out.
pub fn decode(message: &[u8], limits: &MessageLimits) -> Result<Vec<Heard>, Unreadable> {
    #[derive(Deserialize, Default)]
    struct Headers {}
    let (Headers {}, body) = envelope::read::<_, Value>(message, limits)?;
    let bodies = match body {
        Value::Array(bodies) => bodies,
        body => vec![body],
    };
    Ok(bodies.into_iter().filter_map(|body| serde_json::from_value(body).ok()).collect())
}
