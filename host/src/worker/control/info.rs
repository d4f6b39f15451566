//! How a task is described to those who ask (celery-protocol.md, 8.4).

use serde_json::{Value, json};

use crate::{
    protocol::repr,
    task::{Json, Request},
    worker::Worker,
};

/// How many bytes of arguments one reply brings as values; from there on they are printed, and cut. Whoever asks wants to see
/// them, not to have them.
const LARGEST: usize = 1 << 20;

/// Describes tasks for one reply.
pub(super) struct Describing<'a> {
    worker: &'a Worker,
    /// Whether arguments are printed rather than told as values.
    safe: bool,
    room: usize,
}

impl<'a> Describing<'a> {
    /// With arguments as they are, or `safe`: printed, as their sender wanted them to be seen.
    pub fn new(worker: &'a Worker, safe: bool) -> Self {
        Self { worker, safe, room: LARGEST }
    }

    /// Describes a task; one that runs does so since a time in seconds since 1970.
    pub fn info(&mut self, request: &Request, since: Option<f64>) -> Value {
        let (args, kwargs) = self.arguments(request);
        let properties: Value = serde_json::from_str(request.properties.get()).unwrap_or_default();
        let delivery = |name: &str| properties["delivery_info"][name].as_str().unwrap_or("").to_owned();
        json!({
            "id": request.shown_id(),
            "name": request.shown_name(),
            "args": args,
            "kwargs": kwargs,
            "type": request.tenant.shown(request.task.as_str()),
            "hostname": self.worker.options.node,
            "time_start": since,
            // The message is kept until the result is stored.
            "acknowledged": false,
            "delivery_info": {
                "exchange": delivery("exchange"),
                "routing_key": delivery("routing_key"),
                "priority": request.priority,
                "redelivered": request.redelivered,
            },
            "worker_pid": since.map(|_| std::process::id()),
        })
    }

    fn arguments(&mut self, request: &Request) -> (Value, Value) {
        let size = request.args.get().len() + request.kwargs.get().len();
        if !self.safe && size <= self.room {
            self.room -= size;
            // What serde_json cannot hold, half a surrogate pair say, is printed as well.
            let value = |json: &Json| serde_json::from_str(json.get()).ok();
            if let (Some(args), Some(kwargs)) = (value(&request.args), value(&request.kwargs)) {
                return (args, kwargs);
            }
        }
        let (args, kwargs) = repr::arguments(request);
        (args.into(), kwargs.into())
    }
}
