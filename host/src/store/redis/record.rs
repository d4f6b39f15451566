//! The record of a delivery in `unacked`, in Kombu's shape: `[<message>, "<exchange>", "<routing key>"]`
//! (celery-protocol.md, 2.2). With the empty exchange Kombu takes the routing key for the queue, so a Python worker
//! restores our deliveries as it does its own.
//!
//! Our records are put together and taken apart as text. They hold whatever was in the queue, byte for byte, even
//! what is no JSON; only the records of Python workers are parsed.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::task::QueueName;

/// What follows the message in our records of messages from `queue`.
pub fn tail(queue: &QueueName) -> String {
    format!(", \"\", {}]", json_text(queue.as_str()))
}

/// The message in one of our records.
pub fn message<'a>(record: &'a [u8], queue: &QueueName) -> Option<&'a [u8]> {
    record.strip_prefix(b"[")?.strip_suffix(tail(queue).as_bytes())
}

/// The beginning of a dead letter. The time follows, then [`DEAD_MESSAGE`], then the message, which comes last because
/// it may be anything, then `}`.
pub fn dead_head(reason: &str, queue: &QueueName) -> String {
    format!("{{\"reason\": {}, \"queue\": {}, \"at\": ", json_text(reason), json_text(queue.as_str()))
}

/// Stands before the message in a dead letter. It occurs there first: inside JSON strings its quotes are escaped.
pub const DEAD_MESSAGE: &str = ", \"message\": ";

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A record that a Python worker made.
#[derive(Debug, Deserialize)]
pub struct KombuRecord<'a>(
    /// The message.
    #[serde(borrow)]
    pub &'a RawValue,
    /// The exchange it was sent to.
    pub String,
    /// Its routing key.
    pub String,
);

impl<'a> KombuRecord<'a> {
    /// Reads a record; `None` if it is not in Kombu's shape.
    pub fn parse(record: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(record).ok()
    }

    /// The message's own priority; 0, the most urgent, if it has none.
    pub fn priority(&self) -> u8 {
        #[derive(Deserialize)]
        struct Message {
            properties: Properties,
        }
        #[derive(Deserialize)]
        struct Properties {
            priority: i64,
        }
        serde_json::from_str::<Message>(self.0.get())
            .map_or(0, |message| u8::try_from(message.properties.priority.clamp(0, 9)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_records_give_back_any_message_byte_for_byte() {
        let queue = QueueName::new("a\", \"\", \"b").unwrap();
        for text in [&b"{}"[..], b"", b"\xff\0, \"\", \"a\"]", b"[1, \"\", \"\"]"] {
            let record = [b"[", text, tail(&queue).as_bytes()].concat();
            assert_eq!(message(&record, &queue), Some(text));
        }
        assert_eq!(message(b"[1, \"\", \"other\"]", &queue), None);
    }

    #[test]
    fn our_records_of_json_messages_are_records_to_kombu() {
        let queue = QueueName::new("q \"1\"").unwrap();
        let record = format!("[{{\"properties\": {{\"priority\": 7}}}}{}", tail(&queue));
        let parsed = KombuRecord::parse(record.as_bytes()).unwrap();
        assert_eq!((parsed.1.as_str(), parsed.2.as_str(), parsed.priority()), ("", "q \"1\"", 7));
    }

    #[test]
    fn records_of_others_may_be_anything() {
        for record in [&b""[..], b"{}", b"[1, 2, 3]", b"[{}, \"\"]", b"\xff", &[b'['; 100_000]] {
            assert!(KombuRecord::parse(record).is_none());
        }
        for (message, priority) in [("{}", 0), ("3", 0), (r#"{"properties": {"priority": -4}}"#, 0)] {
            let record = format!("[{message}, \"\", \"q\"]");
            assert_eq!(KombuRecord::parse(record.as_bytes()).unwrap().priority(), priority);
        }
    }
}
