//! Remote control: what workers are asked, and what they reply (celery-protocol.md, 8.1 and 8.2). Both directions: workers
//! read requests and write replies, whoever steers them does the opposite.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    envelope::{self, Destination, Unreadable},
    message::MessageLimits,
};

mod audience;
#[cfg(test)]
mod tests;

pub use audience::{Audience, Matcher};

/// The exchange of requests.
const REQUESTS: &str = "celery.pidbox";

/// The exchange of replies.
const REPLIES: &str = "reply.celery.pidbox";

/// A request to workers.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What is to be done.
    pub method: String,
    /// With what; an object, if the sender keeps to the protocol.
    pub arguments: Value,
    /// Who is to do it.
    pub audience: Audience,
    /// Where the reply goes, if one is wanted.
    pub reply_to: Option<ReplyTo>,
    /// The sender's logical clock.
    pub clock: u64,
}

/// Where a reply goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTo {
    /// The name of the inbox.
    pub inbox: String,
    /// By what the sender knows to which request the reply belongs.
    pub ticket: String,
}

/// The reply of one or several workers.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// To which request it belongs.
    pub ticket: String,
    /// The worker's logical clock.
    pub clock: u64,
    /// What each worker says, by its name.
    pub by_node: Map<String, Value>,
}

impl Request {
    /// Writes the request. `expires` is when the sender stops waiting, in seconds since 1970, or 0.
    pub fn encode(&self, expires: f64, delivery_tag: &str) -> Vec<u8> {
        let body = RequestBody {
            method: self.method.clone(),
            arguments: self.arguments.clone(),
            destination: self.audience.destination.clone(),
            pattern: self.audience.pattern.clone(),
            matcher: self.audience.matcher.map(|matcher| matcher.as_str().to_owned()),
            ticket: self.reply_to.as_ref().map(|to| to.ticket.clone()),
            reply_to: self
                .reply_to
                .as_ref()
                .map(|to| Address { exchange: REPLIES.to_owned(), routing_key: to.inbox.clone() }),
        };
        let headers = RequestHeaders { clock: Some(self.clock), expires: Some(expires) };
        let to = Destination { delivery_mode: 2, exchange: REQUESTS, routing_key: "", delivery_tag };
        envelope::write(&body, &headers, &to)
    }

    /// Reads a request.
    pub fn decode(message: &[u8], limits: &MessageLimits) -> Result<Self, Unreadable> {
        let (headers, body): (RequestHeaders, RequestBody) = envelope::read(message, limits)?;
        let RequestBody { method, arguments, destination, pattern, matcher, ticket, reply_to } = body;
        let arguments = if arguments.is_null() { Value::Object(Map::new()) } else { arguments };
        let matcher = matcher.as_deref().map(Matcher::named);
        let reply_to =
            reply_to.map(|to| ReplyTo { inbox: to.routing_key, ticket: ticket.unwrap_or_default() });
        let audience = Audience { destination, pattern, matcher };
        Ok(Self { method, arguments, audience, reply_to, clock: headers.clock.unwrap_or(0) })
    }
}

impl Reply {
    /// What one worker says.
    pub fn of(node: &str, ticket: &str, clock: u64, reply: Value) -> Self {
        Self { ticket: ticket.to_owned(), clock, by_node: Map::from_iter([(node.to_owned(), reply)]) }
    }

    /// Writes the reply for an inbox.
    pub fn encode(&self, inbox: &str, delivery_tag: &str) -> Vec<u8> {
        let headers = ReplyHeaders { ticket: Some(self.ticket.clone()), clock: Some(self.clock) };
        let to = Destination { delivery_mode: 1, exchange: REPLIES, routing_key: inbox, delivery_tag };
        envelope::write(&self.by_node, &headers, &to)
    }

    /// Reads a reply.
    pub fn decode(message: &[u8], limits: &MessageLimits) -> Result<Self, Unreadable> {
        let (headers, by_node): (ReplyHeaders, _) = envelope::read(message, limits)?;
        let (ticket, clock) = (headers.ticket.unwrap_or_default(), headers.clock.unwrap_or(0));
        Ok(Self { ticket, clock, by_node })
    }
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct RequestHeaders {
    clock: Option<u64>,
    expires: Option<f64>,
}

#[derive(Serialize, Deserialize)]
struct RequestBody {
    method: String,
    #[serde(default)]
    arguments: Value,
    destination: Option<Vec<String>>,
    pattern: Option<String>,
    matcher: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Address>,
}

#[derive(Serialize, Deserialize)]
struct Address {
    exchange: String,
    routing_key: String,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct ReplyHeaders {
    ticket: Option<String>,
    clock: Option<u64>,
}
