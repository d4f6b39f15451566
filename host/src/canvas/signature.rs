//! Signatures: calls that are not made yet, as Celery writes them into messages (celery-protocol.md, 1.3).
//!
//! What a signature says that `host` does not know is kept: options pass through as they came, to the byte.

use indexmap::IndexMap;
use serde::{
    Deserialize, Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::value::{RawValue, to_raw_value};

use super::InvalidCanvas;
use crate::task::SharedJson;

/// Any JSON value, as its text.
pub type Raw = SharedJson;

/// An object whose keys keep their order.
pub type Object = IndexMap<String, Raw>;

/// A call that is not made yet.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The task's name; `celery.chain` and the like for what is made of several.
    pub task: String,
    /// Positional arguments.
    pub args: Vec<Raw>,
    /// Keyword arguments, but for those that [`Kind`] has.
    pub kwargs: Object,
    /// How it is to be sent: `task_id`, `queue`, `link`, ...
    pub options: Object,
    /// Whether it takes no arguments but its own.
    pub immutable: bool,
    /// What it is made of.
    pub kind: Kind,
}

/// The kinds of signatures (`subtask_type`).
#[derive(Debug, Clone)]
pub enum Kind {
    /// One task.
    Task,
    /// A task that calls another one for each of a list (`xmap`, `xstarmap`).
    Map(&'static str),
    /// A group of starmaps, not made yet.
    Chunks,
    /// One after the other.
    Chain(Vec<Signature>),
    /// Side by side.
    Group(Vec<Signature>),
    /// A group, and then a body with the results of all.
    Chord {
        /// A signature of the kind [`Kind::Group`].
        header: Box<Signature>,
        /// What gets the results.
        body: Box<Signature>,
    },
}

impl Signature {
    /// A task without arguments or options.
    pub fn task(name: &str) -> Self {
        Self {
            task: name.to_owned(),
            args: Vec::new(),
            kwargs: Object::new(),
            options: Object::new(),
            immutable: false,
            kind: Kind::Task,
        }
    }

    /// A group of these.
    pub fn group(tasks: Vec<Self>) -> Self {
        Self { kind: Kind::Group(tasks), ..Self::task("celery.group") }
    }

    /// One after the other.
    pub fn chain(tasks: Vec<Self>) -> Self {
        Self { kind: Kind::Chain(tasks), ..Self::task("celery.chain") }
    }

    /// A group and what gets its results.
    pub fn chord(header: Self, body: Self) -> Self {
        let kwargs = Object::from([("kwargs".to_owned(), raw(&Object::new()))]);
        let kind = Kind::Chord { header: Box::new(header), body: Box::new(body) };
        Self { kwargs, kind, ..Self::task("celery.chord") }
    }

    /// Reads a signature.
    pub fn parse(json: &RawValue) -> Result<Self, InvalidCanvas> {
        let invalid = |error: serde_json::Error| InvalidCanvas::signature(json, &error.to_string());
        if !json.get().starts_with('{') {
            return Err(InvalidCanvas::signature(json, "it is no object"));
        }
        let written: Written = serde_json::from_str(json.get()).map_err(invalid)?;
        let mut kwargs = written.kwargs.unwrap_or_default();
        let kind = match written.subtask_type.as_deref() {
            None | Some("") => Kind::Task,
            Some("xmap") => Kind::Map("xmap"),
            Some("xstarmap") => Kind::Map("xstarmap"),
            Some("chunks") => Kind::Chunks,
            Some("chain") => Kind::Chain(parse_list(&taken(&mut kwargs, "tasks", json)?)?),
            Some("group") => Kind::Group(parse_list(&taken(&mut kwargs, "tasks", json)?)?),
            Some("chord") => {
                let header = taken(&mut kwargs, "header", json)?;
                let header = match header.get().starts_with('[') {
                    true => Self::group(parse_list(&header)?),
                    false => Self::header(Self::parse(&header)?),
                };
                let body = Self::parse(&taken(&mut kwargs, "body", json)?)?;
                Kind::Chord { header: Box::new(header), body: Box::new(body) }
            }
            Some(other) => {
                let reason = format!("there is no subtask_type {:?}", super::quoted(other));
                return Err(InvalidCanvas::signature(json, &reason));
            }
        };
        let task = match (written.task, &kind) {
            (Some(task), _) if !task.is_empty() => task,
            (_, Kind::Chain(_)) => "celery.chain".to_owned(),
            (_, Kind::Group(_)) => "celery.group".to_owned(),
            (_, Kind::Chord { .. }) => "celery.chord".to_owned(),
            _ => return Err(InvalidCanvas::signature(json, "it names no task")),
        };
        Ok(Self {
            task,
            args: written.args.unwrap_or_default(),
            kwargs,
            options: written.options.unwrap_or_default(),
            // What maps over a list takes no more arguments.
            immutable: written.immutable.unwrap_or(false) || matches!(kind, Kind::Map(_) | Kind::Chunks),
            kind,
        })
    }

    /// A header that is no group is one of its tasks, or of itself.
    fn header(signature: Self) -> Self {
        match signature.kind {
            Kind::Group(_) => signature,
            Kind::Chain(tasks) => Self::group(tasks),
            _ => Self::group(vec![signature]),
        }
    }

    /// Its text.
    pub fn to_raw(&self) -> Raw {
        raw(self)
    }

    /// An option, if it is set and not null.
    pub fn option(&self, name: &str) -> Option<&Raw> {
        option(&self.options, name)
    }

    /// An option that is text, if it is set; anything else counts as not set.
    pub fn text_option(&self, name: &str) -> Option<String> {
        self.option(name).and_then(|value| text(value))
    }

    /// Sets an option.
    pub fn set(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        self.options.insert(name.to_owned(), raw(value));
    }

    /// Adds to an option that is a list, unless it is in it.
    pub fn add_to_list(&mut self, name: &str, value: &Raw) {
        let mut list = as_list(self.option(name));
        if !list.iter().any(|known| known.get() == value.get()) {
            list.push(value.clone());
            self.set(name, &list);
        }
    }

    /// Adds what is to be called when it fails.
    pub fn link_error(&mut self, errback: &Raw) {
        match &mut self.kind {
            Kind::Group(tasks) => tasks.iter_mut().for_each(|task| task.link_error(errback)),
            Kind::Chord { body, .. } => body.link_error(errback),
            _ => self.add_to_list("link_error", errback),
        }
    }

    /// Adds what is to be called with its result.
    pub fn link(&mut self, callback: &Raw) {
        match &mut self.kind {
            // What one of several returned is not what the callback is about.
            Kind::Group(tasks) => {
                let callback = immutable(callback);
                if let Some(first) = tasks.first_mut() {
                    first.link(&callback);
                }
            }
            Kind::Chord { body, .. } => body.link(callback),
            _ => self.add_to_list("link", callback),
        }
    }

    /// The options with others laid over them, as Celery merges them: which group a call belongs to, and its stamps, stay
    /// as they are.
    pub fn merged(&self, over: &Object) -> Object {
        let stamps: Vec<String> =
            self.option("stamped_headers").and_then(|names| parse(names)).unwrap_or_default();
        let stays = |name: &String| {
            (matches!(name.as_str(), "group_id" | "stamped_headers") || stamps.contains(name))
                && self.options.contains_key(name)
        };
        let mut merged = self.options.clone();
        for (name, value) in over {
            if !stays(name) {
                merged.insert(name.clone(), value.clone());
            }
        }
        merged
    }

    /// Its positional arguments behind `partial` ones, unless it is immutable.
    pub fn args_after(&self, partial: &[Raw]) -> Vec<Raw> {
        if self.immutable { self.args.clone() } else { [partial, &self.args].concat() }
    }
}

/// A signature as it is written. Anything else in it is of older Celerys and means nothing any more.
#[derive(Deserialize)]
struct Written {
    task: Option<String>,
    args: Option<Vec<Raw>>,
    kwargs: Option<Object>,
    options: Option<Object>,
    subtask_type: Option<String>,
    immutable: Option<bool>,
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("task", &self.task)?;
        map.serialize_entry("args", &self.args)?;
        map.serialize_entry("kwargs", &Kwargs(self))?;
        map.serialize_entry("options", &self.options)?;
        let subtask_type = match &self.kind {
            Kind::Task => None,
            Kind::Map(kind) => Some(*kind),
            Kind::Chunks => Some("chunks"),
            Kind::Chain(_) => Some("chain"),
            Kind::Group(_) => Some("group"),
            Kind::Chord { .. } => Some("chord"),
        };
        map.serialize_entry("subtask_type", &subtask_type)?;
        map.serialize_entry("immutable", &self.immutable)?;
        map.end()
    }
}

/// The keyword arguments, with what the kind keeps of them.
struct Kwargs<'a>(&'a Signature);

impl Serialize for Kwargs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.0.kwargs {
            map.serialize_entry(name, value)?;
        }
        match &self.0.kind {
            Kind::Chain(tasks) | Kind::Group(tasks) => map.serialize_entry("tasks", &List(tasks))?,
            Kind::Chord { header, body } => {
                map.serialize_entry("header", header)?;
                map.serialize_entry("body", body)?;
            }
            Kind::Task | Kind::Map(_) | Kind::Chunks => {}
        }
        map.end()
    }
}

struct List<'a>(&'a [Signature]);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for signature in self.0 {
            list.serialize_element(signature)?;
        }
        list.end()
    }
}

/// Reads a list of signatures; one alone and null are lists too.
pub fn parse_list(json: &RawValue) -> Result<Vec<Signature>, InvalidCanvas> {
    as_list(Some(&json.to_owned().into())).iter().map(|each| Signature::parse(each)).collect()
}

/// What an option that may be one or several has in it.
pub fn as_list(value: Option<&Raw>) -> Vec<Raw> {
    let Some(value) = value else { return Vec::new() };
    match value.get().as_bytes().first() {
        Some(b'[') => parse(value).unwrap_or_default(),
        Some(b'n') => Vec::new(),
        _ => vec![value.clone()],
    }
}

/// An option, if it is set and not null.
pub fn option<'o>(options: &'o Object, name: &str) -> Option<&'o Raw> {
    options.get(name).filter(|value| value.get() != "null")
}

/// The text of any value that can be written as JSON.
pub fn raw(value: &(impl Serialize + ?Sized)) -> Raw {
    to_raw_value(value).expect("texts, numbers and JSON values can always be written").into()
}

/// The text that a JSON string stands for.
pub fn text(value: &RawValue) -> Option<String> {
    parse(value)
}

/// A value of some type; nothing if it is one of another.
pub fn parse<'v, T: Deserialize<'v>>(value: &'v RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

/// A signature that takes no arguments but its own. What is no signature stays as it is, and is refused when it is used.
fn immutable(signature: &Raw) -> Raw {
    match parse::<Object>(signature) {
        Some(mut fields) => {
            fields.insert("immutable".to_owned(), raw(&true));
            raw(&fields)
        }
        None => signature.clone(),
    }
}

fn taken(kwargs: &mut Object, name: &str, json: &RawValue) -> Result<Raw, InvalidCanvas> {
    let value = kwargs.shift_remove(name).filter(|value| value.get() != "null");
    value.ok_or_else(|| InvalidCanvas::signature(json, &format!("its kwargs have no {name}")))
}
