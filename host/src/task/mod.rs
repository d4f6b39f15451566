//! The words the rest is said in. No I/O, and nothing of Celery's wire format or of WebAssembly.

mod asked;
mod builtins;
mod decide;
mod exception;
mod grants;
mod group;
mod keyvalue;
mod name;
mod options;
mod outcome;
mod pins;
mod rate;
mod receipt;
mod request;
mod retry;
mod secret;
mod tenant;
mod totals;

pub use asked::{Asked, LONGEST_DELAY};
pub use decide::{Disposition, decide};
pub use exception::Exception;
pub use grants::{Grants, HostPattern, NamePattern};
pub use group::{ChordPart, CompleteChord, GroupChange};
pub use keyvalue::{Bucket, KeyValueAnswer, KeyValueQuery};
pub use name::{InvalidName, QueueName, TaskId, TaskName};
pub use options::TaskOptions;
pub use outcome::{Failure, Outcome, State};
pub use pins::Pins;
pub use rate::{InvalidRateLimit, RateLimit};
pub use receipt::Receipt;
pub use request::{Limits, Notes, Request};
pub use retry::RetryPolicy;
pub use secret::Secret;
pub use tenant::{OwnedTask, Tenant};
pub use totals::Totals;

/// JSON text that is known to be well formed. Kept as text, so that what a caller sent reaches the guest unchanged:
/// integers of any size, floats to the last digit, the order of keys.
pub type Json = Box<serde_json::value::RawValue>;

/// The same where it is in several places at once: every part of a chord carries the whole body.
pub type SharedJson = std::sync::Arc<serde_json::value::RawValue>;
