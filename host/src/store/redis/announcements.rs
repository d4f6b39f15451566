//! Who waits for which channel. One connection listens for all; its pushes are handed to those who wait.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::connection::Connection;

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A message on the channel.
    Message(String),
    /// The subscription is gone, and messages may have been missed: the connection broke, or another listener of this
    /// channel ended the subscription in the moment in which this one began.
    Gap,
}

/// The listeners of all channels.
#[derive(Default)]
pub struct Announcements {
    listeners: Mutex<HashMap<String, Vec<Entry>>>,
}

/// A listener's number among those of its channel, and the way to it.
type Entry = (u64, UnboundedSender<Heard>);

/// Hears one channel until it is dropped.
pub struct Listener {
    announcements: Arc<Announcements>,
    channel: String,
    number: u64,
    heard: UnboundedReceiver<Heard>,
}

/// Hands what `connection` pushes to the listeners.
pub fn listen(connection: Connection, announcements: Arc<Announcements>) -> Connection {
    connection.on_push(move |push| announcements.hand_out(push))
}

impl Announcements {
    /// Begins to listen. The caller subscribes.
    pub fn listener(self: &Arc<Self>, channel: &str) -> Listener {
        let (sender, heard) = unbounded_channel();
        let mut listeners = self.lock();
        let of_channel = listeners.entry(channel.to_owned()).or_default();
        let number = of_channel.last().map_or(0, |(number, _)| number + 1);
        of_channel.push((number, sender));
        Listener { announcements: self.clone(), channel: channel.to_owned(), number, heard }
    }

    /// Whether anybody listens.
    pub fn has_listener(&self, channel: &str) -> bool {
        self.lock().contains_key(channel)
    }

    fn hand_out(&self, push: PushInfo) {
        let mut data = push.data.into_iter().map_while(text);
        match push.kind {
            PushKind::Message => {
                if let (Some(channel), Some(message)) = (data.next(), data.next()) {
                    self.tell(&channel, &Heard::Message(message));
                }
            }
            PushKind::Unsubscribe => {
                if let Some(channel) = data.next() {
                    self.tell(&channel, &Heard::Gap);
                }
            }
            PushKind::Disconnection => {
                for (_, sender) in self.lock().values().flatten() {
                    // Here and below: a listener that is just leaving needs nothing any more.
                    let _ = sender.send(Heard::Gap);
                }
            }
            _ => {}
        }
    }

    fn tell(&self, channel: &str, heard: &Heard) {
        for (_, sender) in self.lock().get(channel).into_iter().flatten() {
            let _ = sender.send(heard.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Entry>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// What is heard next.
    pub async fn next(&mut self) -> Heard {
        // The sender lives in the table until this listener is dropped.
        self.heard.recv().await.unwrap_or(Heard::Gap)
    }

    /// Ends listening, as dropping does.
    pub fn leave(&mut self) {
        let mut listeners = self.announcements.lock();
        if let Some(of_channel) = listeners.get_mut(&self.channel) {
            of_channel.retain(|(number, _)| *number != self.number);
            if of_channel.is_empty() {
                listeners.remove(&self.channel);
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.leave();
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(kind: PushKind, data: &[&str]) -> PushInfo {
        PushInfo { kind, data: data.iter().map(|part| Value::BulkString((*part).into())).collect() }
    }

    #[tokio::test]
    async fn all_listeners_of_a_channel_hear_it_and_others_do_not() {
        let announcements = Arc::new(Announcements::default());
        let mut a = announcements.listener("a");
        let mut also_a = announcements.listener("a");
        let mut b = announcements.listener("b");
        announcements.hand_out(push(PushKind::Message, &["a", "1"]));
        announcements.hand_out(push(PushKind::Unsubscribe, &["a"]));
        announcements.hand_out(push(PushKind::Message, &["a", "2"]));
        announcements.hand_out(push(PushKind::Disconnection, &[]));
        let message = |text: &str| Heard::Message(text.to_owned());
        for listener in [&mut a, &mut also_a] {
            for heard in [message("1"), Heard::Gap, message("2"), Heard::Gap] {
                assert_eq!(listener.next().await, heard);
            }
        }
        assert_eq!(b.next().await, Heard::Gap);

        drop(a);
        assert!(announcements.has_listener("a"));
        drop(also_a);
        assert!(!announcements.has_listener("a"));
    }
}
