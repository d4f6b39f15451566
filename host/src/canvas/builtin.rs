//! The tasks that Celery itself brings along, `celery.map` and the like (celery-protocol.md, 4.1).

use std::time::Duration;

use super::{
    InvalidCanvas, Sent, chord,
    signature::{Kind, Object, Raw, Signature, as_list, option, parse, parse_list, raw, text},
};
use crate::task::{CompleteChord, Exception, Failure, Json, Outcome, Request, TaskId, TaskName};

/// What a task of Celery's own needs done.
#[derive(Debug)]
pub enum Builtin {
    /// The task is called with each of these arguments, and the result is the list of results.
    Each {
        /// What is called.
        task: TaskName,
        /// The text of a JSON array for each call.
        args: Vec<Json>,
    },
    /// A chord is finished once the results of all its parts are stored, which are those that are [`super::missing`]. Only
    /// clients whose results are elsewhere ask for this.
    Unlock {
        /// What is known of it.
        chord: CompleteChord,
        /// After which pause to look again.
        pause: Duration,
    },
    /// It is done.
    Ended(Outcome),
}

/// After which pause Celery looks again for the results of a chord's parts, if the message does not say.
const UNLOCK_PAUSE: Duration = Duration::from_secs(1);

/// The names of these tasks.
pub const BUILTINS: &[&str] = &[
    "celery.accumulate",
    "celery.backend_cleanup",
    "celery.chain",
    "celery.chord",
    "celery.chord_unlock",
    "celery.chunks",
    "celery.group",
    "celery.map",
    "celery.starmap",
];

/// What the request needs done, if it is for one of these tasks. What is to be sent is put into `sent`.
pub fn builtin(request: &Request, sent: &mut Sent) -> Option<Builtin> {
    let name = BUILTINS.iter().find(|name| **name == request.task.as_str())?;
    Some(
        done(name, request, sent).unwrap_or_else(|exception| {
            Builtin::Ended(Outcome::Failure(Failure::without_traceback(exception)))
        }),
    )
}

fn done(name: &str, request: &Request, sent: &mut Sent) -> Result<Builtin, Exception> {
    let given = Given::of(name, request);
    let value = match name {
        "celery.map" | "celery.starmap" => {
            let signature = given.signature("task")?;
            let task = signature
                .task
                .parse()
                .map_err(|error: crate::task::InvalidName| given.wrong(&error.to_string()))?;
            let one = |item: &Raw| match name {
                "celery.map" => raw(&[item]),
                _ => item.clone(),
            };
            let args: Vec<Raw> = as_list(given.get("it")).iter().map(one).collect();
            if let Some(bad) = args.iter().find(|args| !args.get().starts_with('[')) {
                return Err(given.wrong(&format!("{} is no list of arguments", super::quoted(bad))));
            }
            let args = args.iter().map(|args| (**args).to_owned()).collect();
            return Ok(Builtin::Each { task, args });
        }
        "celery.chord_unlock" => {
            let group = given.text("group_id")?;
            let group = TaskId::new(&group).map_err(|error| given.wrong(&error.to_string()))?;
            let (body, parts) = (given.signature("callback")?.to_raw(), as_list(given.get("result")));
            let chord = chord::of_results(group, &body, &parts, request)
                .ok_or_else(|| given.wrong("its result is no list of results"))?;
            let interval = given.get("interval").and_then(|seconds| parse::<f64>(seconds));
            let pause = interval.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            return Ok(Builtin::Unlock {
                chord,
                pause: pause.unwrap_or(UNLOCK_PAUSE).max(UNLOCK_PAUSE / 10),
            });
        }
        "celery.accumulate" => given.accumulated()?,
        "celery.backend_cleanup" => raw(&()),
        "celery.chain" => {
            return Err(Exception::builtin("NotImplementedError", "chain is not a real task"));
        }
        "celery.group" => {
            let tasks = given.list("tasks")?;
            let mut group = Signature::group(tasks);
            if let Some(id) = given.get("group_id") {
                group.options.insert("task_id".to_owned(), id.clone());
            }
            sent.call_with(group, &as_list(given.get("partial_args")))
        }
        "celery.chord" => {
            let header = given.get("header").ok_or_else(|| given.missing("header"))?;
            let header = match Signature::parse(header) {
                Ok(Signature { kind: Kind::Group(tasks), .. }) => tasks,
                Ok(other) => vec![other],
                Err(_) => given.list("header")?,
            };
            let chord = Signature::chord(Signature::group(header), given.signature("body")?);
            sent.call_with(chord, &as_list(given.get("partial_args")))
        }
        _ => {
            let mut chunks =
                Signature { kind: Kind::Chunks, immutable: true, ..Signature::task("celery.chunks") };
            for name in ["task", "it", "n"] {
                let value = given.get(name).ok_or_else(|| given.missing(name))?;
                chunks.kwargs.insert(name.to_owned(), value.clone());
            }
            sent.call_with(chunks, &[])
        }
    };
    Ok(Builtin::Ended(Outcome::Success((*value).to_owned())))
}

/// What a task was called with, by the names of its parameters.
struct Given<'a> {
    task: &'a str,
    args: Vec<Raw>,
    kwargs: Object,
}

impl<'a> Given<'a> {
    fn of(task: &'a str, request: &Request) -> Self {
        let args: Vec<Raw> = parse(&request.args).unwrap_or_default();
        let kwargs: Object = parse(&request.kwargs).unwrap_or_default();
        Self { task, args, kwargs }
    }

    /// A parameter, given by name or, in Celery's order, by position.
    fn get(&self, name: &str) -> Option<&Raw> {
        let names: &[&str] = match self.task {
            "celery.group" => &["tasks", "result", "group_id", "partial_args"],
            "celery.chord" => &["header", "body", "partial_args"],
            "celery.chord_unlock" => &["group_id", "callback", "interval", "max_retries", "result"],
            _ => &["task", "it", "n"],
        };
        let position = names.iter().position(|known| *known == name)?;
        self.args.get(position).or_else(|| option(&self.kwargs, name))
    }

    fn text(&self, name: &str) -> Result<String, Exception> {
        let value = self.get(name).ok_or_else(|| self.missing(name))?;
        text(value).ok_or_else(|| self.wrong(&format!("{} is no text", super::quoted(value))))
    }

    fn signature(&self, name: &str) -> Result<Signature, Exception> {
        let value = self.get(name).ok_or_else(|| self.missing(name))?;
        Signature::parse(value).map_err(|error| InvalidCanvas::exception(&error))
    }

    fn list(&self, name: &str) -> Result<Vec<Signature>, Exception> {
        let value = self.get(name).ok_or_else(|| self.missing(name))?;
        parse_list(value).map_err(|error| InvalidCanvas::exception(&error))
    }

    /// All arguments, or the one that `index` picks; negative ones count from the end.
    fn accumulated(&self) -> Result<Raw, Exception> {
        let Some(index) = option(&self.kwargs, "index") else { return Ok(raw(&self.args)) };
        let index: i64 = parse(index)
            .ok_or_else(|| Exception::builtin("TypeError", "tuple indices must be integers or slices"))?;
        let place = if index < 0 { index + self.args.len() as i64 } else { index };
        let found = usize::try_from(place).ok().and_then(|place| self.args.get(place));
        found.cloned().ok_or_else(|| Exception::builtin("IndexError", "tuple index out of range"))
    }

    fn missing(&self, name: &str) -> Exception {
        let function = self.task.trim_start_matches("celery.");
        let text = format!("{function}() missing 1 required positional argument: '{name}'");
        Exception::builtin("TypeError", text)
    }

    fn wrong(&self, what: &str) -> Exception {
        Exception::builtin("TypeError", format!("{}: {what}", self.task))
    }
}
