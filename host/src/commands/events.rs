//! `host events`: what happens on the workers, while it happens.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use super::{
    Exit,
    ask::{beginning, one_line, plain},
    print,
};
use crate::{
    client::{Control, Question},
    config::StoreArgs,
    protocol::{
        control::Matcher,
        event::{self, Heard},
        message::MessageLimits,
    },
    store::{self, Topic},
};

/// Show what happens on the workers, a line for each event, until interrupted. Workers are told to tell of tasks
#[derive(Debug, Args)]
pub struct Events {
    #[command(flatten)]
    store: StoreArgs,

    /// Only events of these tasks, with commas between; * stands for any text: 'app.*'
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    task: Vec<String>,

    /// Only events of the tasks with these ids, with commas between
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    id: Vec<String>,

    /// Only events of these types, with commas between: task-failed, 'worker-*'
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    kind: Vec<String>,

    /// Only events of these workers, with commas between: celery@web1, '*@web1'
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    worker: Vec<String>,

    /// Do not tell workers to tell of tasks: only those do that do so already
    #[arg(long)]
    passive: bool,

    /// End after so many events
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<u64>,

    /// Print JSON, an object on each line: the event as it was told, and the task's name where it is known
    #[arg(short, long)]
    json: bool,
}

/// How often workers are told to tell of tasks: some may have started since. As often as Flower does.
const REMIND: Duration = Duration::from_secs(5);

impl Events {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let store = self.store.open(store::Options::default()).await?;
        let control = Control::new(store.clone());
        let mut listener = store.bus.listen(Topic::Events).await?;
        let mut remind = tokio::time::interval(REMIND);
        remind.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut names, mut shown, mut dropped) = (Names::default(), 0, 0);
        loop {
            let heard = tokio::select! {
                heard = listener.next() => heard,
                _ = remind.tick(), if !self.passive => {
                    control.tell(Question::new("enable_events")).await?;
                    continue;
                }
            };
            let missed = listener.dropped() - std::mem::replace(&mut dropped, listener.dropped());
            if missed > 0 {
                print::aside(format!("{missed} messages were dropped: they come faster than they are shown"));
            }
            let message = match heard {
                store::Heard::Message(message) => message,
                store::Heard::Gap => {
                    print::aside("the connection was broken for a while; events may be missing here");
                    continue;
                }
            };
            let events = match event::decode(&message, &MessageLimits::default()) {
                Ok(events) => events,
                Err(error) => {
                    print::aside(format!("passing over an event: {}", plain(&error.to_string())));
                    continue;
                }
            };
            for event in events {
                names.learn(&event);
                let name = event.uuid().and_then(|id| names.of(id));
                if !self.wants(&event, name) {
                    continue;
                }
                match self.json {
                    true => print::json(&as_json(&event, name)),
                    false => print::line(line(&event, name)),
                }
                shown += 1;
                if self.limit.is_some_and(|limit| shown >= limit) {
                    return Ok(Exit::Success);
                }
            }
        }
    }

    fn wants(&self, event: &Heard, name: Option<&str>) -> bool {
        let is_any = |patterns: &[String], text: Option<&str>| {
            let matches = |text: &str| patterns.iter().any(|pattern| Matcher::Glob.matches(pattern, text));
            patterns.is_empty() || text.is_some_and(matches)
        };
        is_any(&self.task, name)
            && is_any(&self.kind, Some(&event.kind))
            && is_any(&self.worker, Some(&event.hostname))
            && (self.id.is_empty() || event.uuid().is_some_and(|id| self.id.iter().any(|asked| asked == id)))
    }
}

/// The names of tasks. Only the first event of a task tells it.
#[derive(Default)]
pub(super) struct Names {
    names: HashMap<String, String>,
    /// The ids, the oldest first.
    ids: VecDeque<String>,
}

impl Names {
    /// The most that are remembered. Of a task whose name was forgotten the id is shown.
    const MOST: usize = 20_000;

    pub fn learn(&mut self, event: &Heard) {
        let (Some(id), Some(name)) = (event.uuid(), event.text("name")) else { return };
        if self.names.insert(id.to_owned(), name.to_owned()).is_none() {
            self.ids.push_back(id.to_owned());
        }
        if self.ids.len() > Self::MOST {
            self.ids.pop_front().map(|id| self.names.remove(&id));
        }
    }

    pub fn of(&self, id: &str) -> Option<&str> {
        self.names.get(id).map(String::as_str)
    }
}

fn as_json(event: &Heard, name: Option<&str>) -> Value {
    let mut object = event.fields.clone();
    object.insert("type".to_owned(), event.kind.clone().into());
    object.insert("hostname".to_owned(), event.hostname.clone().into());
    object.insert("timestamp".to_owned(), event.timestamp.into());
    object.insert("clock".to_owned(), event.clock.into());
    if let Some(name) = name {
        object.entry("name").or_insert_with(|| name.into());
    }
    Value::Object(object)
}

/// The longest value that a line shows of a field, in characters.
const LONGEST: usize = 100;

/// What is told in every event, and what is shown before the fields.
const KNOWN: [&str; 7] = ["uuid", "name", "pid", "utcoffset", "local_received", "sw_sys", "root_id"];

/// An event in one line: time, worker, type, task, and what else it tells.
fn line(event: &Heard, name: Option<&str>) -> String {
    let task = event.uuid().map(|id| format!(" {}[{}]", plain(name.unwrap_or("?")), plain(id)));
    let mut line = format!(
        "{} {} {}{}",
        time_of_day(event.timestamp),
        plain(&event.hostname),
        plain(&event.kind),
        task.unwrap_or_default()
    );
    for (field, value) in &event.fields {
        let is_empty = matches!(value, Value::Null | Value::Bool(false));
        if !KNOWN.contains(&&**field) && !is_empty {
            line += &format!(" {}={}", plain(field), beginning(&one_line(value), LONGEST));
        }
    }
    line
}

/// A time of the day where this runs: `12:04:31.123`.
fn time_of_day(timestamp: f64) -> String {
    let time = Timestamp::from_microsecond((timestamp * 1e6) as i64).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_zoned_datetime(TimeZone::system()).strftime("%H:%M:%S.%3f").to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn heard(event: Value) -> Heard {
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn a_later_event_is_told_with_the_name_of_its_task() {
        let received = heard(json!({
            "type": "task-received", "hostname": "w@h", "timestamp": 1.5, "uuid": "1", "name": "app.add", "args": "(1, 2)",
            "eta": null,
        }));
        let failed = heard(json!({
            "type": "task-failed", "hostname": "w@h", "timestamp": 1.5, "uuid": "1", "exception": "E('\u{1b}[2J')",
        }));
        let mut names = Names::default();
        assert!(line(&failed, names.of("1")).ends_with(" w@h task-failed ?[1] exception=E(' [2J')"));
        names.learn(&received);
        assert!(line(&received, names.of("1")).ends_with(" w@h task-received app.add[1] args=(1, 2)"));
        assert!(line(&failed, names.of("1")).contains(" app.add[1] "));
        assert_eq!(as_json(&failed, names.of("1"))["name"], "app.add");
    }

    #[test]
    fn names_are_not_remembered_without_end() {
        let mut names = Names::default();
        for id in 0..Names::MOST + 1 {
            let event =
                json!({"type": "t", "hostname": "h", "timestamp": 0, "uuid": id.to_string(), "name": "n"});
            names.learn(&heard(event));
        }
        assert_eq!((names.of("0"), names.of("1")), (None, Some("n")));
        assert_eq!(names.names.len(), Names::MOST);
    }

    #[test]
    fn a_time_that_no_calendar_knows_is_shown_all_the_same() {
        for timestamp in [f64::NAN, f64::INFINITY, -1e300] {
            assert_eq!(time_of_day(timestamp).len(), 12);
        }
    }
}
