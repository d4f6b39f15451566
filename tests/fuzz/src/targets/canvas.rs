//! Signatures: calls that a running guest asks for.

use std::sync::Arc;

use host::{
    canvas::{self, InvalidCanvas, Raw, Sent, Setting, Workflow},
    protocol::message::{self, MessageLimits},
    task::{Outcome, QueueName},
};
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::{assert_one_short_line, message::sendable, tenant};

/// How a guest may ask for a call.
type Way = fn(&mut Sent, &Raw) -> Result<String, InvalidCanvas>;

const WAYS: [Way; 2] = [Sent::call, |sent, json| sent.replace(json).map(|()| String::new())];

/// A guest sends this call, and then hands its place to it.
pub fn signature(bytes: &[u8]) {
    let Ok(json) = serde_json::from_slice::<Box<RawValue>>(bytes) else { return };
    let json: Raw = Arc::from(json);
    let message =
        br#"{"headers": {"task": "f", "id": "i", "group": "g"}, "properties": {}, "body": "[[], {}, {}]"}"#;
    let request =
        message::decode(message, tenant(), &MessageLimits::default()).expect("it is a good message");
    for ask in WAYS {
        let mut sent = Sent::default();
        let queue = QueueName::new("celery").expect("it is a name");
        let setting = Setting { queue: &queue, now: Timestamp::UNIX_EPOCH, takes_several: &|_| false };
        let outcome = Outcome::Success(RawValue::NULL.to_owned());
        let followed = ask(&mut sent, &json)
            .and_then(|_| canvas::after(&request, &Workflow::default(), &outcome, sent, setting));
        match followed {
            Ok(follow) => sendable(&follow),
            Err(refusal) => assert_one_short_line(&refusal.to_string()),
        }
    }
}
