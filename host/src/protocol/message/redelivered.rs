//! The mark on a message that comes back to its queue.

use indexmap::IndexMap;
use serde_json::value::{RawValue, to_raw_value};

/// Writes `true` into `headers.redelivered` and `properties.delivery_info.redelivered`, as Kombu does when it puts a message
/// back, and leaves every other value as it is, to the byte. `None` if the message is not such an object.
pub fn mark_redelivered(message: &[u8]) -> Option<Vec<u8>> {
    let mut envelope: Object<'_> = serde_json::from_slice(message).ok()?;

    let mut headers = object_at(&envelope, "headers")?;
    headers.insert(MARK.to_owned(), RawValue::TRUE);
    let headers = to_raw_value(&headers).ok()?;

    let mut properties = object_at(&envelope, "properties")?;
    let mut delivery_info = object_at(&properties, "delivery_info")?;
    delivery_info.insert(MARK.to_owned(), RawValue::TRUE);
    let delivery_info = to_raw_value(&delivery_info).ok()?;
    properties.insert("delivery_info".to_owned(), &delivery_info);
    let properties = to_raw_value(&properties).ok()?;

    envelope.insert("headers".to_owned(), &headers);
    envelope.insert("properties".to_owned(), &properties);
    serde_json::to_vec(&envelope).ok()
}

const MARK: &str = "redelivered";

/// An object whose keys keep their order and whose values keep their bytes.
type Object<'a> = IndexMap<String, &'a RawValue>;

/// The object under `key`; absent and `null` are an empty one.
fn object_at<'a>(object: &Object<'a>, key: &str) -> Option<Object<'a>> {
    match object.get(key) {
        None => Some(Object::new()),
        Some(value) if value.get() == "null" => Some(Object::new()),
        Some(value) => serde_json::from_str(value.get()).ok(),
    }
}
