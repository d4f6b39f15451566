//! `host inspect`: asks workers, those of Python among them, what they do and know. It changes nothing.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Exit,
    ask::{AskArgs, beginning, one_line, plain, spoken},
    print,
};

/// Ask workers what they do and know; exit code 69 if none replies
#[derive(Debug, Args)]
#[command(mut_args(|argument| argument.global(true)))]
pub struct Inspect {
    #[command(flatten)]
    ask: AskArgs,

    #[command(subcommand)]
    method: Method,
}

/// What is asked, by Celery's names.
#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
enum Method {
    /// Who is there
    Ping,
    /// The tasks that run
    Active,
    /// The tasks that were taken and wait for a slot
    Reserved,
    /// The tasks that wait for their time
    Scheduled,
    /// The tasks that must not run
    Revoked,
    /// The tasks that can be run
    Registered {
        /// What to tell of each task, such as rate_limit, time_limit, signature or plugin
        items: Vec<String>,

        /// Also those that Celery brings along
        #[arg(long)]
        builtins: bool,
    },
    /// The queues that are taken from
    ActiveQueues,
    /// What is known of single tasks
    QueryTask {
        /// The tasks' ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Counts, pool, memory and broker
    Stats,
    /// The settings; secrets are masked
    Conf {
        /// Also those that nobody changed
        #[arg(long)]
        with_defaults: bool,
    },
    /// What belongs into a bug report
    Report,
    /// The logical clock
    Clock,
    /// How much memory the worker uses
    Memsample,
    /// What a Python worker remembers of its memory
    Memdump {
        /// How many of its samples
        #[arg(default_value = "10")]
        samples: u32,
    },
    /// A picture of the objects in a Python worker's memory
    Objgraph {
        /// Which objects
        #[arg(default_value = "Request")]
        object_type: String,
    },
}

impl Inspect {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let control = self.ask.control().await?;
        let (name, arguments) = self.method.question();
        let replies = self.ask.ask(&control, name, arguments).await?;
        Ok(replies.show(self.ask.json, |replies| self.method.show(replies)))
    }
}

impl Method {
    /// The method's name and arguments on the wire.
    fn question(&self) -> (&'static str, Value) {
        match self {
            Self::Ping => ("ping", json!({})),
            Self::Active => ("active", json!({})),
            Self::Reserved => ("reserved", json!({})),
            Self::Scheduled => ("scheduled", json!({})),
            Self::Revoked => ("revoked", json!({})),
            Self::Registered { items, builtins } => {
                let items = (!items.is_empty()).then_some(items);
                ("registered", json!({"taskinfoitems": items, "builtins": builtins}))
            }
            Self::ActiveQueues => ("active_queues", json!({})),
            Self::QueryTask { ids } => ("query_task", json!({"ids": ids})),
            Self::Stats => ("stats", json!({})),
            Self::Conf { with_defaults } => ("conf", json!({"with_defaults": with_defaults})),
            Self::Report => ("report", json!({})),
            Self::Clock => ("clock", json!({})),
            Self::Memsample => ("memsample", json!({})),
            Self::Memdump { samples } => ("memdump", json!({"samples": samples})),
            Self::Objgraph { object_type } => {
                ("objgraph", json!({"num": 200, "max_depth": 10, "type": object_type}))
            }
        }
    }

    fn show(&self, replies: &[(&str, &Value)]) {
        match self {
            Self::Active | Self::Reserved => show_tasks(replies),
            Self::Scheduled => show_scheduled(replies),
            Self::Revoked => show_lists(replies, ["worker", "id"]),
            Self::Registered { .. } => show_lists(replies, ["worker", "task"]),
            Self::ActiveQueues => show_queues(replies),
            Self::QueryTask { .. } => show_states(replies),
            _ => show_values(replies),
        }
    }
}

/// The longest arguments that a line of a table has, in characters.
const LONGEST: usize = 60;

/// What a worker tells of a task: name, id, arguments.
fn task(info: &Value) -> [String; 3] {
    let name = ["name", "type"].into_iter().find_map(|key| info[key].as_str()).unwrap_or("?");
    let given = |key: &str| match &info[key] {
        Value::Array(args) if args.is_empty() => String::new(),
        Value::Object(kwargs) if kwargs.is_empty() => String::new(),
        value => one_line(value),
    };
    let arguments = [given("args"), given("kwargs")].join(" ");
    [plain(name), one_line(&info["id"]), beginning(arguments.trim(), LONGEST)]
}

fn show_tasks(replies: &[(&str, &Value)]) {
    let mut rows = vec![["worker", "task", "id", "running for", "arguments"].map(str::to_owned)];
    let now = Timestamp::now().as_duration().as_secs_f64();
    for (node, info) in each(replies) {
        let [name, id, arguments] = task(info);
        let since = info["time_start"].as_f64().map(|since| (now - since).max(0.0));
        let since = since.and_then(|since| Duration::try_from_secs_f64(since).ok()).map(spoken);
        rows.push([plain(node), name, id, since.unwrap_or_default(), arguments]);
    }
    print_rows(&rows);
}

fn show_scheduled(replies: &[(&str, &Value)]) {
    let mut rows = vec![["worker", "eta", "task", "id", "arguments"].map(str::to_owned)];
    for (node, scheduled) in each(replies) {
        let [name, id, arguments] = task(&scheduled["request"]);
        rows.push([plain(node), one_line(&scheduled["eta"]), name, id, arguments]);
    }
    print_rows(&rows);
}

fn show_queues(replies: &[(&str, &Value)]) {
    let mut rows = vec![["worker", "queue", "exchange", "routing key"].map(str::to_owned)];
    for (node, queue) in each(replies) {
        let exchange = one_line(&queue["exchange"]["name"]);
        rows.push([plain(node), one_line(&queue["name"]), exchange, one_line(&queue["routing_key"])]);
    }
    print_rows(&rows);
}

fn show_states(replies: &[(&str, &Value)]) {
    let mut rows = vec![["worker", "state", "task", "id", "arguments"].map(str::to_owned)];
    for (node, reply) in replies {
        for state_and_info in reply.as_object().into_iter().flat_map(Map::values) {
            let [name, id, arguments] = task(&state_and_info[1]);
            rows.push([plain(node), one_line(&state_and_info[0]), name, id, arguments]);
        }
    }
    print_rows(&rows);
}

fn show_lists(replies: &[(&str, &Value)], header: [&str; 2]) {
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(each(replies).map(|(node, value)| [plain(node), one_line(value)]));
    print_rows(&rows);
}

/// Each worker's reply below its name.
fn show_values(replies: &[(&str, &Value)]) {
    for (i, (node, reply)) in replies.iter().enumerate() {
        if i > 0 {
            print::line("");
        }
        print::line(format!("{}:", plain(node)));
        let reply = match reply.as_object() {
            Some(object) if object.len() == 1 => object.get("ok").unwrap_or(reply),
            _ => reply,
        };
        match reply {
            Value::String(text) => {
                text.lines().for_each(|line| print::line(format!("  {}", plain(line)).trim_end()));
            }
            reply => {
                let mut rows = Vec::new();
                flatten("", reply, &mut rows);
                print::table(&rows);
            }
        }
    }
}

/// A line for each value, named by the way to it: `pool.max-concurrency`.
fn flatten(way: &str, value: &Value, rows: &mut Vec<[String; 2]>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (key, value) in object {
                let way = if way.is_empty() { key.clone() } else { format!("{way}.{key}") };
                flatten(&way, value, rows);
            }
        }
        value => rows.push([format!("  {}", plain(way)), one_line(value)]),
    }
}

/// The members of the lists that workers reply, with the worker.
fn each<'a>(replies: &'a [(&'a str, &'a Value)]) -> impl Iterator<Item = (&'a str, &'a Value)> {
    replies
        .iter()
        .flat_map(|(node, reply)| reply.as_array().into_iter().flatten().map(move |value| (*node, value)))
}

/// A table that may have no rows but its header.
fn print_rows<const N: usize>(rows: &[[String; N]]) {
    match rows {
        [_] => print::line("- empty -"),
        rows => print::table(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_values_are_named_by_the_way_to_them() {
        let mut rows = Vec::new();
        flatten("", &json!({"pool": {"size": 3, "ids": [1, 2]}, "empty": {}, "none": null}), &mut rows);
        let rows: Vec<_> = rows.iter().map(|[way, value]| (&way[2..], &**value)).collect();
        assert_eq!(rows, [("pool.size", "3"), ("pool.ids", "[1,2]"), ("empty", "{}"), ("none", "")]);
    }

    #[test]
    fn a_task_is_told_by_whatever_a_worker_says_of_it() {
        let told = json!({"name": "a\nb", "id": "1", "args": [1, "x"], "kwargs": {"k": null}});
        assert_eq!(task(&told), ["a b", "1", r#"[1,"x"] {"k":null}"#]);
        assert_eq!(task(&json!({"type": "t", "args": "(1, 2)", "kwargs": {}})), ["t", "", "(1, 2)"]);
        assert_eq!(task(&json!("nonsense")), ["?", "", ""]);
    }
}
