//! Asking workers: the flags that `host inspect`, `host control` and `host status` share, and what is done with replies.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use super::{Exit, print};
use crate::{
    client::{Control, Patience, Question},
    config::{self, StoreArgs},
    protocol::control::Audience,
    store,
};

/// Who is asked, and how.
#[derive(Debug, Clone, Args)]
pub(super) struct AskArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// Only the workers of these names, such as celery@web1, with commas between [default: all]
    #[arg(short, long, value_name = "NODE", value_delimiter = ',')]
    destination: Vec<String>,

    /// How many seconds to wait for replies
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = config::seconds)]
    timeout: Duration,

    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
}

/// What each worker replied, by its name.
pub(super) struct Replies {
    by_node: Vec<(String, Value)>,
    /// Workers that were asked by their names and did not reply.
    missing: Vec<String>,
    waited: Duration,
}

impl AskArgs {
    /// Opens the store and steers its workers.
    pub async fn control(&self) -> anyhow::Result<Control> {
        Ok(Control::new(self.store.open(store::Options::default()).await?))
    }

    /// A question to those who are asked here.
    pub fn question(&self, method: &str, arguments: Value) -> Question {
        let names = (!self.destination.is_empty()).then(|| self.destination.clone());
        let audience = Audience { destination: names, ..Audience::everybody() };
        Question { method: method.to_owned(), arguments, audience }
    }

    /// Asks, and waits for the replies.
    pub async fn ask(&self, control: &Control, method: &str, arguments: Value) -> anyhow::Result<Replies> {
        let patience = Patience { time: self.timeout, ..Patience::default() };
        let mut by_node = control.ask(self.question(method, arguments), patience).await?;
        by_node.sort_by(|(a, _), (b, _)| a.cmp(b));
        let replied = |name: &&String| by_node.iter().any(|(node, _)| node == *name);
        let missing = self.destination.iter().filter(|name| !replied(name)).cloned().collect();
        Ok(Replies { by_node, missing, waited: self.timeout })
    }
}

impl Replies {
    /// Shows the replies, in JSON as Celery does or as `show` does those that are no errors. It answers how the command ends: a
    /// worker that did not reply is not there, and one that replied with an error did not do what was asked.
    pub fn show(&self, json: bool, show: impl FnOnce(&[(&str, &Value)])) -> Exit {
        if json {
            let by_node: Map<String, Value> = self.by_node.iter().cloned().collect();
            print::json(&by_node);
        } else {
            let sound = self.by_node.iter().filter(|(_, reply)| error_of(reply).is_none());
            let sound: Vec<_> = sound.map(|(node, reply)| (&**node, reply)).collect();
            if !sound.is_empty() {
                show(&sound);
            }
        }
        let mut exit = Exit::Success;
        for (node, error) in self.by_node.iter().filter_map(|(node, reply)| Some((node, error_of(reply)?))) {
            exit = Exit::Failure;
            if !json {
                print::aside(format!("{}: error: {}", plain(node), plain(error)));
            }
        }
        let within = format!("within {} s", self.waited.as_secs_f64());
        match &self.missing[..] {
            [] if self.by_node.is_empty() => print::aside(format!("no worker replied {within}")),
            [] => return exit,
            missing => print::aside(format!("no reply {within} from {}", missing.join(", "))),
        }
        Exit::Unavailable
    }

    /// The reply of a node.
    pub fn of(&self, node: &str) -> Option<&Value> {
        self.by_node.iter().find(|(name, _)| name == node).map(|(_, reply)| reply)
    }
}

fn error_of(reply: &Value) -> Option<&str> {
    reply.as_object().filter(|reply| reply.len() == 1)?.get("error")?.as_str()
}

/// A text of somebody else in one line that is safe to show.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A value in one line that is safe to show: texts as they are, all else as JSON.
pub(super) fn one_line(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        value => value.to_string(),
    }
}

/// The beginning of a text that may be long.
pub(super) fn beginning(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A time as people say it: `0.3s`, `12s`, `3m05s`, `2h10m`, `4d03h`.
pub(super) fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_two_units_at_most() {
        for (seconds, expected) in [
            (0.04, "0.0s"),
            (9.96, "10.0s"),
            (59.9, "59s"),
            (185.0, "3m05s"),
            (7_800.0, "2h10m"),
            (356_400.0, "4d03h"),
        ] {
            assert_eq!(spoken(Duration::from_secs_f64(seconds)), expected);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!((beginning("äöü", 3), beginning("äöü", 2)), ("äöü".to_owned(), "äö…".to_owned()));
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a [2Jb ");
    }
}
