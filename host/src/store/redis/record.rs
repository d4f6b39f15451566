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

/// One of our records, of a message from `queue`.
pub fn record(message: &[u8], queue: &QueueName) -> Vec<u8> {
    [b"[", message, tail(queue).as_bytes()].concat()
}

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
        priority(self.0.get().as_bytes()).unwrap_or(0)
    }
}

/// A message's own priority, if it has one.
pub fn priority(message: &[u8]) -> Option<u8> {
    #[derive(Deserialize)]
    struct Message {
        properties: Properties,
    }
    #[derive(Deserialize)]
    struct Properties {
        priority: i64,
    }
    let priority = serde_json::from_slice::<Message>(message).ok()?.properties.priority;
    u8::try_from(priority.clamp(0, 9)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_records_give_back_any_message_byte_for_byte() {
        let queue = QueueName::new("a\", \"\", \"b").unwrap();
        for text in [&b"{}"[..], b"", b"\xff\0, \"\", \"a\"]", b"[1, \"\", \"\"]"] {
            assert_eq!(message(&record(text, &queue), &queue), Some(text));
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
