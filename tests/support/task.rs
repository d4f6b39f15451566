//! One request as a client sends it, and the answer as a client reads it.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// A request for a task. What is not said is as Celery's client has it.
pub struct Task {
    name: String,
    id: String,
    args: Value,
    kwargs: Value,
    queue: String,
    priority: u8,
    headers: Map<String, Value>,
    /// The body of the chord that it is a part of.
    chord: Value,
    /// The rest of the chain, the next at the end.
    chain: Value,
}

impl Task {
    pub fn new(name: &str, args: Value) -> Self {
        let id = Uuid::new_v4().to_string();
        let mut headers = Map::new();
        for (name, value) in [("lang", "py"), ("task", name), ("id", &id), ("root_id", &id)] {
            headers.insert(name.to_owned(), value.into());
        }
        let name = name.to_owned();
        Self {
            name,
            id,
            args,
            kwargs: json!({}),
            queue: "celery".to_owned(),
            priority: 0,
            headers,
            chord: Value::Null,
            chain: Value::Null,
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stands before its result's key: `acme/_` if it is a tenant's.
    pub fn tenant(&self) -> String {
        self.queue.split_once('/').map_or(String::new(), |(tenant, _)| format!("{tenant}/_"))
    }

    pub fn args(&self) -> &Value {
        &self.args
    }

    pub fn kwargs(self, kwargs: Value) -> Self {
        Self { kwargs, ..self }
    }

    pub fn queue(self, queue: &str) -> Self {
        Self { queue: queue.to_owned(), ..self }
    }

    pub fn priority(self, priority: u8) -> Self {
        Self { priority, ..self }
    }

    pub fn header(mut self, name: &str, value: Value) -> Self {
        self.headers.insert(name.to_owned(), value);
        self
    }

    /// A part of a chord with this body.
    pub fn part_of_chord(self, group: &str, index: usize, body: &Value) -> Self {
        let task = self.header("group", group.into()).header("group_index", index.into());
        Self { chord: body.clone(), ..task }
    }

    /// The first of a chain that goes on with these calls, the next at the end.
    pub fn chain(self, calls: Value) -> Self {
        Self { chain: calls, ..self }
    }

    /// Hard and soft time limit in seconds.
    pub fn limits(self, hard: Option<f64>, soft: Option<f64>) -> Self {
        self.header("timelimit", json!([hard, soft]))
    }

    /// The Redis list that the message goes to.
    pub fn list(&self) -> String {
        match self.priority / 3 * 3 {
            0 => self.queue.clone(),
            step => format!("{}\u{6}\u{16}{step}", self.queue),
        }
    }

    pub fn message(&self) -> String {
        let embed = json!({"callbacks": null, "errbacks": null, "chain": self.chain, "chord": self.chord});
        let body = json!([self.args, self.kwargs, embed]).to_string();
        json!({
            "body": BASE64.encode(body),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": self.headers,
            "properties": {
                "correlation_id": self.id,
                "reply_to": "",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": self.queue},
                "priority": self.priority,
                "body_encoding": "base64",
                "delivery_tag": Uuid::new_v4().to_string(),
            },
        })
        .to_string()
    }
}

/// A stored result. Shown as `SUCCESS 0.5` or `FAILURE builtins.ZeroDivisionError: division by zero`.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: String,
    pub result: Value,
    pub traceback: Option<String>,
    /// All of it.
    pub meta: Value,
}

impl Answer {
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let meta: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in the result {text}"));
        let text = |name: &str| meta[name].as_str().map(str::to_owned);
        Self {
            status: text("status").expect("a result has a status"),
            result: meta["result"].clone(),
            traceback: text("traceback"),
            meta,
        }
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.status.as_str(), "SUCCESS" | "FAILURE" | "REVOKED")
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, result, .. } = self;
        let (Some(class), Some(module)) = (result["exc_type"].as_str(), result["exc_module"].as_str()) else {
            return write!(f, "{status} {result}");
        };
        write!(f, "{status} {module}.{class}:")?;
        for (i, argument) in result["exc_message"].as_array().into_iter().flatten().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match argument {
                Value::String(text) => write!(f, "{comma} {text}")?,
                other => write!(f, "{comma} {other}")?,
            }
        }
        Ok(())
    }
}
