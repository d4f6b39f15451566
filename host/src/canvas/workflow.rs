//! What a message says is to come after its task: the part `embed` of its body (celery-protocol.md, 1.3).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    InvalidCanvas,
    signature::{Raw, Signature, as_list},
};
use crate::task::Request;

/// What is to come after a task.
#[derive(Debug, Default)]
pub struct Workflow {
    /// Called with its result.
    pub(super) callbacks: Vec<Signature>,
    /// Called when it fails.
    pub(super) errbacks: Vec<Signature>,
    /// The next of its chain.
    pub(super) next: Option<Signature>,
    /// What comes after that: the last is the first.
    pub(super) rest: Vec<Raw>,
    /// Whether it is part of a chain, if only of one that ends with it.
    pub(super) is_chained: bool,
    /// The body of the chord that it is a part of.
    pub(super) chord: Option<Raw>,
}

/// The part of a body as it is written.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Embed {
    pub callbacks: Option<Raw>,
    pub errbacks: Option<Raw>,
    pub chain: Option<Raw>,
    pub chord: Option<Raw>,
}

/// What clients write for a task that stands alone.
const NOTHING: &str = r#"{"callbacks": null, "errbacks": null, "chain": null, "chord": null}"#;

impl Workflow {
    /// Whether nothing is to come.
    pub fn is_nothing(&self) -> bool {
        let Self { callbacks, errbacks, next, rest, is_chained: _, chord } = self;
        callbacks.is_empty() && errbacks.is_empty() && next.is_none() && rest.is_empty() && chord.is_none()
    }

    /// Reads what is to come after a request. It is read before the task is run, so that one that could not go on is not
    /// begun.
    pub fn of(request: &Request) -> Result<Self, InvalidCanvas> {
        let embed = &request.embed;
        if matches!(embed.get(), NOTHING | "{}" | "null") {
            return Ok(Self::default());
        }
        let Embed { callbacks, errbacks, chain, chord } = Embed::read(embed)?;
        let parse = |list: Option<Raw>| {
            as_list(list.as_ref()).iter().map(|each| Signature::parse(each)).collect::<Result<Vec<_>, _>>()
        };
        let is_chained = chain.is_some();
        let mut rest = as_list(chain.as_ref());
        let next = rest.pop().map(|next| Signature::parse(&next)).transpose()?;
        Ok(Self {
            callbacks: parse(callbacks)?,
            errbacks: parse(errbacks)?,
            next,
            rest,
            is_chained,
            chord: chord.filter(|chord| chord.get().starts_with('{') && chord.get() != "{}"),
        })
    }
}

impl Workflow {
    /// Only the chord that a request is a part of, whatever else cannot be read.
    pub fn chord_of(request: &Request) -> Self {
        let embed = Embed::read(&request.embed).unwrap_or_default();
        Self { chord: embed.chord.filter(|chord| chord.get().starts_with('{')), ..Self::default() }
    }
}

impl Embed {
    pub(super) fn read(embed: &RawValue) -> Result<Self, InvalidCanvas> {
        let read: Option<Self> = serde_json::from_str(embed.get())
            .map_err(|error| InvalidCanvas::signature(embed, &error.to_string()))?;
        Ok(read.unwrap_or_default())
    }
}
