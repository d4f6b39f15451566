//! Messages that come back: what is changed in their envelopes, every other value staying as it is, to the byte.
//!
//! Kombu's mark of a message that was delivered before is `redelivered`. What `host` has to remember of a message beyond
//! that stands in a header of its own, [`HEADER`], of which Python workers take no notice.

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    protocol::time,
    task::{Notes, Pins},
};

/// The header with our notes.
pub const HEADER: &str = "host";

/// Marks a message that was given back by a worker that lives, as Kombu does: `headers.redelivered` and
/// `properties.delivery_info.redelivered` are true. `None` if the message is not such an object.
pub fn mark_redelivered(message: &[u8]) -> Option<Vec<u8>> {
    let mut envelope = Envelope::read(message)?;
    envelope.notes.running = false;
    envelope.mark_redelivered()?;
    envelope.write()
}

/// Marks a message whose worker died with it. The first death counts for all that the worker held, whether it ran or
/// not; a later one only for what was noted to be running ([`mark_running`]).
pub fn mark_lost(message: &[u8]) -> Option<Vec<u8>> {
    let mut envelope = Envelope::read(message)?;
    let notes = &mut envelope.notes;
    notes.deaths = if notes.running { notes.deaths.saturating_add(1) } else { notes.deaths.max(1) };
    notes.begun |= notes.running;
    notes.running = false;
    envelope.mark_redelivered()?;
    envelope.write()
}

/// Notes that the message's task is about to run, so that it counts if the worker dies.
pub fn mark_running(message: &[u8]) -> Option<Vec<u8>> {
    let mut envelope = Envelope::read(message)?;
    envelope.notes.running = true;
    envelope.write()
}

/// Marks a message that its task wants to be run again later, as [`mark_redelivered`] does. That is another run, for which its
/// rate limit has to be asked again.
pub fn mark_requeued(message: &[u8]) -> Option<Vec<u8>> {
    let mut envelope = Envelope::read(message)?;
    envelope.notes.running = false;
    envelope.notes.admitted = false;
    envelope.mark_redelivered()?;
    envelope.write()
}

/// Notes that the message waits for its turn, and need not ask for it again when it comes back.
pub fn mark_admitted(message: &[u8]) -> Option<Vec<u8>> {
    let mut envelope = Envelope::read(message)?;
    envelope.notes.admitted = true;
    envelope.write()
}

/// Notes until when the message waits for a plugin that offers its task. When it comes there may be many that have waited
/// with it, so a rate limit is asked then.
pub fn mark_parked(message: &[u8], until: Timestamp) -> Option<Vec<u8>> {
    let mut envelope = Envelope::read(message)?;
    envelope.notes.admitted = false;
    envelope.notes.parked_until = Some(until);
    envelope.write()
}

/// The message for the next try of its task, as Python's `retry` sends it (celery-protocol.md, 5): the same but for the
/// count of retries, the eta, and the task itself as parent; it stays on the versions in `pins`. `None` also for a message of protocol 1, which has no headers
/// that could carry the count.
pub fn retried(
    message: &[u8],
    id: &str,
    retries: u32,
    eta: Timestamp,
    delivery_tag: &str,
    pins: &Pins,
) -> Option<Vec<u8>> {
    let mut envelope = Envelope::read_protocol_2(message)?;
    envelope.begin_anew(delivery_tag)?;
    envelope.notes.pins = pins.clone();
    envelope.set_header("retries", retries)?;
    envelope.set_header("eta", time::write(eta))?;
    envelope.set_header("parent_id", id)?;
    envelope.write()
}

/// The message to be sent again by hand after it was given up: nothing of its failed tries is left in it, nor the time
/// after which it should not have been run. `None` also for a message of protocol 1, as in [`retried`].
pub fn replayed(message: &[u8], delivery_tag: &str) -> Option<Vec<u8>> {
    let mut envelope = Envelope::read_protocol_2(message)?;
    envelope.begin_anew(delivery_tag)?;
    envelope.set_header("retries", 0)?;
    envelope.forget_own_retry()?;
    for header in ["eta", "expires"] {
        envelope.set_header(header, ())?;
    }
    envelope.write()
}

/// Our notes, as they are written.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct WrittenNotes {
    #[serde(skip_serializing_if = "is_default")]
    deaths: u32,
    #[serde(skip_serializing_if = "is_default")]
    running: bool,
    #[serde(skip_serializing_if = "is_default")]
    begun: bool,
    #[serde(skip_serializing_if = "is_default")]
    admitted: bool,
    #[serde(skip_serializing_if = "is_default")]
    parked_until: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    sent: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pins: Pins,
}

/// The notes of a message that is sent now, as its encoder writes them.
pub fn notes_of_sending(now: Timestamp, pins: &Pins) -> impl Serialize + use<> {
    WrittenNotes { sent: Some(time::write(now)), pins: pins.clone(), ..WrittenNotes::default() }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads our notes out of the header; what is not ours there counts as nothing.
pub fn read_notes(header: Option<&RawValue>) -> Notes {
    let written: WrittenNotes =
        header.and_then(|header| serde_json::from_str(header.get()).ok()).unwrap_or_default();
    Notes {
        deaths: written.deaths,
        running: written.running,
        begun: written.begun,
        admitted: written.admitted,
        parked_until: written.parked_until.and_then(|text| time::read(&text)),
        sent: written.sent.and_then(|text| time::read(&text)),
        pins: written.pins,
    }
}

/// An object whose keys keep their order and whose values keep their bytes.
type Object<'a> = IndexMap<String, std::borrow::Cow<'a, RawValue>>;

/// A message, taken apart.
struct Envelope<'a> {
    envelope: Object<'a>,
    headers: Object<'a>,
    properties: Object<'a>,
    notes: Notes,
}

impl<'a> Envelope<'a> {
    fn read(message: &'a [u8]) -> Option<Self> {
        let envelope: Raw<'a> = serde_json::from_slice(message).ok()?;
        let headers = object_at(&envelope, "headers")?;
        let properties = object_at(&envelope, "properties")?;
        let notes = read_notes(headers.get(HEADER).copied());
        Some(Self { envelope: lent(envelope), headers: lent(headers), properties: lent(properties), notes })
    }

    /// Reads a message that says in its headers what it is about.
    fn read_protocol_2(message: &'a [u8]) -> Option<Self> {
        let is_text = |value: &std::borrow::Cow<'_, RawValue>| value.get().starts_with('"');
        Self::read(message).filter(|envelope| envelope.headers.get("task").is_some_and(is_text))
    }

    /// A retry names the task itself as its parent. Whose child it was before is not known any more.
    fn forget_own_retry(&mut self) -> Option<()> {
        let text = |name: &str| self.headers.get(name).map(|value| value.get());
        match text("parent_id") {
            Some(parent) if Some(parent) == text("id") => self.set_header("parent_id", ()),
            _ => Some(()),
        }
    }

    fn set_header(&mut self, name: &str, value: impl Serialize) -> Option<()> {
        self.headers.insert(name.to_owned(), raw(&value)?);
        Some(())
    }

    fn set_redelivered(&mut self, redelivered: bool) -> Option<()> {
        const MARK: &str = "redelivered";
        let delivery_info = self.properties.get("delivery_info").map(|value| value.get()).unwrap_or("{}");
        let delivery_info = if delivery_info == "null" { "{}" } else { delivery_info };
        let mut delivery_info: IndexMap<String, Box<RawValue>> = serde_json::from_str(delivery_info).ok()?;
        if redelivered {
            self.set_header(MARK, true)?;
            delivery_info.insert(MARK.to_owned(), RawValue::TRUE.to_owned());
        } else {
            self.headers.shift_remove(MARK);
            delivery_info.shift_remove(MARK);
        }
        self.properties.insert("delivery_info".to_owned(), raw(&delivery_info)?);
        Some(())
    }

    fn mark_redelivered(&mut self) -> Option<()> {
        self.set_redelivered(true)
    }

    /// Makes a message that was never delivered.
    fn begin_anew(&mut self, delivery_tag: &str) -> Option<()> {
        self.notes = Notes::default();
        self.set_redelivered(false)?;
        self.properties.insert("delivery_tag".to_owned(), raw(&delivery_tag)?);
        Some(())
    }

    fn write(mut self) -> Option<Vec<u8>> {
        if self.notes == Notes::default() {
            self.headers.shift_remove(HEADER);
        } else {
            let Notes { deaths, running, begun, admitted, parked_until, sent, pins } =
                std::mem::take(&mut self.notes);
            let (parked_until, sent) = (parked_until.map(time::write), sent.map(time::write));
            self.set_header(
                HEADER,
                WrittenNotes { deaths, running, begun, admitted, parked_until, sent, pins },
            )?;
        }
        let (headers, properties) = (raw(&self.headers)?, raw(&self.properties)?);
        self.envelope.insert("headers".to_owned(), headers);
        self.envelope.insert("properties".to_owned(), properties);
        serde_json::to_vec(&self.envelope).ok()
    }
}

type Raw<'a> = IndexMap<String, &'a RawValue>;

/// The object under `key`; absent and `null` are an empty one.
fn object_at<'a>(object: &Raw<'a>, key: &str) -> Option<Raw<'a>> {
    match object.get(key) {
        None => Some(Raw::new()),
        Some(value) if value.get() == "null" => Some(Raw::new()),
        Some(value) => serde_json::from_str(value.get()).ok(),
    }
}

fn lent(object: Raw<'_>) -> Object<'_> {
    object.into_iter().map(|(key, value)| (key, std::borrow::Cow::Borrowed(value))).collect()
}

fn raw(value: &impl Serialize) -> Option<std::borrow::Cow<'static, RawValue>> {
    to_raw_value(value).ok().map(std::borrow::Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = r#"{"body": "[]", "headers": {"task": "f", "id": "a", "retries": 1.0, "x": 1e400}, "properties": {"delivery_tag": "t", "delivery_info": {"routing_key": "q"}}}"#;

    fn text(message: Option<Vec<u8>>) -> String {
        String::from_utf8(message.expect("it is a message")).unwrap()
    }

    fn notes(message: &str) -> Notes {
        Envelope::read(message.as_bytes()).unwrap().notes
    }

    #[test]
    fn redelivered_messages_are_marked_as_kombu_marks_them() {
        assert_eq!(
            text(mark_redelivered(SENT.as_bytes())),
            r#"{"body":"[]","headers":{"task":"f","id":"a","retries":1.0,"x":1e400,"redelivered":true},"properties":{"delivery_tag":"t","delivery_info":{"routing_key":"q","redelivered":true}}}"#
        );
        for not_a_message in ["", "[]", "{\"headers\": 1}", "{\"properties\": {\"delivery_info\": []}}"] {
            assert_eq!(mark_redelivered(not_a_message.as_bytes()), None, "{not_a_message}");
        }
    }

    #[test]
    fn the_first_death_counts_for_all_and_later_ones_for_what_was_running() {
        let once = text(mark_lost(SENT.as_bytes()));
        assert_eq!(notes(&once).deaths, 1);
        assert_eq!(notes(&text(mark_lost(once.as_bytes()))).deaths, 1, "it was only held");
        let running = text(mark_running(once.as_bytes()));
        let twice = text(mark_lost(running.as_bytes()));
        assert_eq!(notes(&twice), Notes { deaths: 2, begun: true, ..Notes::default() });
        let given_back = text(mark_redelivered(running.as_bytes()));
        assert_eq!(notes(&given_back), Notes { deaths: 1, ..Notes::default() });
    }

    #[test]
    fn a_retry_is_a_new_message_of_the_same_task() {
        let eta = "2030-01-31T12:00:00Z".parse().unwrap();
        let lost = text(mark_lost(SENT.as_bytes()));
        assert_eq!(
            text(retried(lost.as_bytes(), "a", 2, eta, "new", &Pins::default())),
            r#"{"body":"[]","headers":{"task":"f","id":"a","retries":2,"x":1e400,"eta":"2030-01-31T12:00:00.000000+00:00","parent_id":"a"},"properties":{"delivery_tag":"new","delivery_info":{"routing_key":"q"}}}"#
        );
        assert_eq!(
            text(replayed(lost.as_bytes(), "new")),
            r#"{"body":"[]","headers":{"task":"f","id":"a","retries":0,"x":1e400,"eta":null,"expires":null},"properties":{"delivery_tag":"new","delivery_info":{"routing_key":"q"}}}"#
        );
    }

    #[test]
    fn a_retry_stays_on_its_version_and_a_replay_does_not() {
        let pins = Pins::default().with("app", &"a".repeat(64));
        let eta = "2030-01-31T12:00:00Z".parse().unwrap();
        let retry = text(retried(SENT.as_bytes(), "a", 1, eta, "new", &pins));
        assert_eq!(notes(&retry).pins, pins);
        assert_eq!(notes(&text(mark_lost(retry.as_bytes()))).pins, pins, "whatever happens to it");
        assert_eq!(notes(&text(replayed(retry.as_bytes(), "newer"))).pins, Pins::default());
    }

    #[test]
    fn a_replay_of_a_retry_is_nobodys_child() {
        let eta = "2030-01-31T12:00:00Z".parse().unwrap();
        let retry = text(retried(SENT.as_bytes(), "a", 2, eta, "new", &Pins::default()));
        assert!(
            text(replayed(retry.as_bytes(), "newer"))
                .contains(r#""eta":null,"parent_id":null,"expires":null}"#)
        );
        let child = SENT.replace(r#""id": "a""#, r#""id": "a", "parent_id": "b""#);
        assert!(text(replayed(child.as_bytes(), "newer")).contains(r#""parent_id":"b""#));
    }

    #[test]
    fn messages_of_protocol_1_have_nowhere_to_keep_a_count() {
        let body = r#""body": "{\"task\": \"f\", \"id\": \"a\", \"args\": []}", "properties": {}"#;
        for headers in ["{}", "null", r#"{"task": null}"#, r#"{"task": 5}"#] {
            let message = format!(r#"{{{body}, "headers": {headers}}}"#);
            assert_eq!(
                retried(message.as_bytes(), "a", 1, Timestamp::UNIX_EPOCH, "new", &Pins::default()),
                None,
                "{headers}"
            );
            assert_eq!(replayed(message.as_bytes(), "new"), None, "{headers}");
            assert!(mark_redelivered(message.as_bytes()).is_some(), "{headers}");
        }
    }

    #[test]
    fn what_is_noted_of_a_message_of_protocol_1_is_read_again() {
        let body =
            r#""body": "{\"task\": \"f\", \"id\": \"a\", \"args\": [], \"host\": 5}", "properties": {}"#;
        let admitted = text(mark_admitted(format!(r#"{{{body}, "headers": {{}}}}"#).as_bytes()));
        let request =
            super::super::decode(admitted.as_bytes(), Default::default(), &Default::default()).unwrap();
        assert!(request.notes.admitted);
    }

    #[test]
    fn parked_messages_say_until_when() {
        let until: Timestamp = "2030-01-31T12:00:00.5Z".parse().unwrap();
        let parked = text(mark_parked(SENT.as_bytes(), until));
        assert_eq!(notes(&parked).parked_until, Some(until));
        assert_eq!(notes(&text(mark_redelivered(parked.as_bytes()))).parked_until, Some(until));
    }

    #[test]
    fn a_message_that_was_admitted_asks_again_only_for_another_run() {
        let admitted = text(mark_admitted(SENT.as_bytes()));
        assert!(admitted.contains(r#""host":{"admitted":true}"#), "{admitted}");
        let message = admitted.as_bytes();
        for (again, expected) in [
            (mark_redelivered(message), true),
            (mark_lost(message), true),
            (mark_requeued(message), false),
            (mark_parked(message, Timestamp::UNIX_EPOCH), false),
            (retried(message, "a", 1, Timestamp::UNIX_EPOCH, "new", &Pins::default()), false),
            (replayed(message, "new"), false),
        ] {
            let again = text(again);
            assert_eq!(notes(&again).admitted, expected, "{again}");
        }
    }

    #[test]
    fn a_header_of_ours_that_somebody_else_wrote_counts_as_nothing() {
        for header in
            ["5", "\"x\"", "{\"deaths\": -1}", "{\"deaths\": \"many\"}", "{\"parked_until\": \"soon\"}"]
        {
            let message = format!(r#"{{"headers": {{"host": {header}}}, "properties": {{}}}}"#);
            assert_eq!(notes(&message), Notes::default(), "{header}");
        }
    }
}
