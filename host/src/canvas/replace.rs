//! What a run sends by itself: other tasks, or one that takes its place (celery-protocol.md, 4.6).

use super::{
    InvalidCanvas,
    apply::{Sends, Surroundings},
    freeze::{Place, freeze, overlay},
    signature::{Kind, Raw, Signature, raw, text},
    workflow::Workflow,
};
use crate::task::Request;

/// What a run sends once it has succeeded. Of a run that fails nothing is sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// With the arguments that go before their own.
    calls: Vec<(Signature, Vec<Raw>)>,
    replacement: Option<Signature>,
}

impl Sent {
    /// Adds a call; answers the id by which its result will be known, or the id of its group.
    pub fn call(&mut self, signature: &Raw) -> Result<String, InvalidCanvas> {
        let mut signature = Signature::parse(signature)?;
        let result = freeze(&mut signature, Place::default());
        self.calls.push((signature, Vec::new()));
        Ok(text(result.id()).unwrap_or_default())
    }

    /// Adds a call with `partial` arguments before its own; answers its results, as Celery writes them.
    pub(super) fn call_with(&mut self, mut signature: Signature, partial: &[Raw]) -> Raw {
        let result = freeze(&mut signature, Place::default());
        self.calls.push((signature, partial.to_vec()));
        raw(&result)
    }

    /// Puts a call in the place of the task that runs.
    pub fn replace(&mut self, signature: &Raw) -> Result<(), InvalidCanvas> {
        let replacement = Signature::parse(signature)?;
        let refuse = |reason: &str| {
            Err(InvalidCanvas::Task { task: replacement.task.clone(), reason: reason.to_owned() })
        };
        if replacement.option("chord").is_some() {
            return refuse("what takes a task's place must not be part of a chord");
        }
        if matches!(&replacement.kind, Kind::Chain(tasks) | Kind::Group(tasks) if tasks.is_empty()) {
            return refuse("what takes a task's place must not be empty");
        }
        self.replacement = Some(replacement);
        Ok(())
    }

    /// How many calls there are.
    pub fn len(&self) -> usize {
        self.calls.len() + usize::from(self.replacement.is_some())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the task hands its place to another.
    pub(super) fn is_replaced(&self) -> bool {
        self.replacement.is_some()
    }

    pub(super) fn apply(
        self,
        sends: &mut Sends,
        request: &Request,
        workflow: &Workflow,
    ) -> Result<(), InvalidCanvas> {
        for (call, partial) in self.calls {
            sends.apply(call, &partial, Surroundings::default())?;
        }
        match self.replacement {
            Some(replacement) => {
                sends.apply(in_place_of(replacement, request, workflow), &[], Surroundings::default())
            }
            None => Ok(()),
        }
    }
}

/// The replacement with all that the task has to pass on: its id, its place in groups and chains, and who waits for it.
fn in_place_of(mut replacement: Signature, request: &Request, workflow: &Workflow) -> Signature {
    if matches!(replacement.kind, Kind::Group(_)) {
        let mut first = Signature::task("celery.accumulate");
        first.kwargs.insert("index".to_owned(), raw(&0));
        replacement = Signature::chord(replacement, first);
    }
    workflow.callbacks.iter().for_each(|callback| replacement.link(&callback.to_raw()));
    workflow.errbacks.iter().for_each(|errback| replacement.link_error(&errback.to_raw()));
    let id = Some(raw(request.id.as_str()));
    freeze(&mut replacement, Place { id, ..Place::default() });

    let nesting = raw(&(request.replaced_task_nesting + 1));
    if let Kind::Chain(tasks) = &mut replacement.kind {
        for task in tasks {
            task.options.insert("replaced_task_nesting".to_owned(), nesting.clone());
        }
    }
    let chain = || {
        let next = workflow.next.as_ref().map(Signature::to_raw);
        raw(&workflow.rest.iter().cloned().chain(next).collect::<Vec<_>>())
    };
    let options = &mut replacement.options;
    for (name, value) in [
        ("chord", workflow.chord.clone()),
        ("group_id", request.group_id.as_ref().map(|id| raw(id.as_str()))),
        ("group_index", request.group_index.map(|index| raw(&index))),
        ("root_id", Some(raw(request.root_id.as_str()))),
        ("replaced_task_nesting", Some(nesting)),
        ("chain", workflow.is_chained.then(chain)),
    ] {
        overlay(options, name, value);
    }
    replacement
}
