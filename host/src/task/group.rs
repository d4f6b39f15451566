//! What becomes known of groups while their tasks run: facts that many workers add to and that one of them acts on.

use super::{TaskId, Tenant};

/// Something that becomes known of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupChange {
    /// How many parts its chord waits for.
    Size(u64),
    /// Its results are lists within lists; this is their shape, as JSON.
    Saved(String),
    /// A part of its chord has ended.
    Part(ChordPart),
}

/// A part of a chord that has ended, well or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChordPart {
    /// The task that was the part.
    pub id: TaskId,
    /// Where in the header it was; without a place it comes last.
    pub index: Option<i64>,
    /// How it ended, as JSON: `[1, "<task id>", "<STATE>", <result or exception>]`.
    pub ending: String,
    /// What whoever completes the chord has to know, as JSON. The part that makes it complete counts.
    pub chord: String,
}

/// A chord all of whose parts have ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompleteChord {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its group.
    pub group: TaskId,
    /// What the part that completed it knew of it: [`ChordPart::chord`].
    pub chord: String,
    /// How its parts ended, in the order of their places: [`ChordPart::ending`].
    pub endings: Vec<String>,
    /// The shape of its results, if they are lists within lists: [`GroupChange::Saved`].
    pub shape: Option<String>,
}
