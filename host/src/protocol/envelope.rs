//! The envelope of Kombu's messages that are no tasks: a JSON body in base64, headers, and where it goes.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{message, message::MessageLimits, scan};

/// Where a message goes, as it stands in the message.
pub struct Destination<'a> {
    /// 1 for what may be lost, else 2.
    pub delivery_mode: u8,
    pub exchange: &'a str,
    pub routing_key: &'a str,
    /// New for each message.
    pub delivery_tag: &'a str,
}

/// Writes a message around a body.
pub fn write(body: &impl Serialize, headers: &impl Serialize, to: &Destination<'_>) -> Vec<u8> {
    let body = serde_json::to_vec(body).expect("what is told has only texts as keys");
    let envelope = Envelope {
        body: STANDARD.encode(body),
        content_encoding: "utf-8",
        content_type: "application/json",
        headers,
        properties: Properties {
            delivery_mode: to.delivery_mode,
            delivery_info: DeliveryInfo { exchange: to.exchange, routing_key: to.routing_key },
            priority: 0,
            body_encoding: "base64",
            delivery_tag: to.delivery_tag,
        },
    };
    serde_json::to_vec(&envelope).expect("texts and numbers can always be written")
}

/// Reads the headers and the body of a message. What does not stand in them is left at its default, and a header of another
/// type than it should have is an error.
pub fn read<H: for<'a> Deserialize<'a> + Default, B: for<'a> Deserialize<'a>>(
    message: &[u8],
    limits: &MessageLimits,
) -> Result<(H, B), Unreadable> {
    let (headers, body) =
        message::open(message, limits).map_err(|refusal| Unreadable(refusal.to_string()))?;
    let headers = if headers.get() == "null" { H::default() } else { parse("headers", headers.get())? };
    // Python writes floats that JSON does not have.
    let body = match scan::without_special_floats(&body) {
        Some((clean, _)) => Cow::Owned(clean),
        None => body,
    };
    Ok((headers, parse("body", &body)?))
}

/// A message that cannot be used, said in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

fn parse<T: for<'a> Deserialize<'a>>(what: &str, text: &str) -> Result<T, Unreadable> {
    serde_json::from_str(text).map_err(|error| Unreadable(format!("{what} cannot be used: {error}")))
}

#[derive(Serialize)]
struct Envelope<'a, H> {
    body: String,
    #[serde(rename = "content-encoding")]
    content_encoding: &'a str,
    #[serde(rename = "content-type")]
    content_type: &'a str,
    headers: &'a H,
    properties: Properties<'a>,
}

#[derive(Serialize)]
struct Properties<'a> {
    delivery_mode: u8,
    delivery_info: DeliveryInfo<'a>,
    priority: u8,
    body_encoding: &'a str,
    delivery_tag: &'a str,
}

/// Where a message goes, as every message says it.
#[derive(Serialize)]
pub struct DeliveryInfo<'a> {
    pub exchange: &'a str,
    pub routing_key: &'a str,
}
