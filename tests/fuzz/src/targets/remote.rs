//! Remote control and events: what workers and monitors tell each other.

use host::protocol::{
    control::{Reply, Request},
    event,
    message::MessageLimits,
};

/// Anything that comes on a channel of those.
pub fn told(bytes: &[u8]) {
    let limits = MessageLimits { bytes: 64 << 10, depth: 64 };
    if let Ok(request) = Request::decode(bytes, &limits) {
        request.audience.includes("celery@host");
        let again = Request::decode(&request.encode(1e9, "tag"), &MessageLimits::default());
        assert_eq!(again.expect("what was read can be sent").method, request.method);
    }
    if let Ok(reply) = Reply::decode(bytes, &limits) {
        Reply::decode(&reply.encode("inbox", "tag"), &MessageLimits::default())
            .expect("what was read can be sent");
    }
    for heard in event::decode(bytes, &limits).into_iter().flatten() {
        heard.uuid();
    }
}
