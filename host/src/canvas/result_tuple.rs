//! The results that a caller will know a workflow by, as Celery writes them: `[["<id>", <parent>], <members>]`
//! (celery-protocol.md, 4.2).

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::signature::{Raw, parse};

/// A result, with those it comes after.
#[derive(Debug, Clone)]
pub struct ResultTuple {
    id: Raw,
    parent: Option<Box<ResultTuple>>,
    /// Of a group.
    members: Option<Vec<ResultTuple>>,
}

impl ResultTuple {
    /// Of one task.
    pub fn task(id: Raw) -> Self {
        Self { id, parent: None, members: None }
    }

    /// Of a group.
    pub fn group(id: Raw, members: Vec<Self>) -> Self {
        Self { id, parent: None, members: Some(members) }
    }

    /// Of a chain with nothing in it.
    pub fn nothing() -> Self {
        Self::task(super::signature::raw(&()))
    }

    /// The same, coming after `earlier`: that is the parent of its first ancestor.
    pub fn after(mut self, earlier: Self) -> Self {
        let mut first = &mut self;
        while let Some(ref mut parent) = first.parent {
            first = parent;
        }
        first.parent = Some(Box::new(earlier));
        self
    }

    /// Its id.
    pub fn id(&self) -> &Raw {
        &self.id
    }

    /// The members of a group.
    pub fn members(&self) -> Option<&[Self]> {
        self.members.as_deref()
    }

    /// Whether members of the group are groups themselves, so that their results are lists.
    pub fn is_nested(&self) -> bool {
        self.members.iter().flatten().any(|member| member.members.is_some())
    }

    /// A group of one that is a group is that group: so does Celery.
    pub fn simplified(mut self) -> Self {
        match &mut self.members {
            Some(members) if members.len() == 1 && members[0].members.is_some() => {
                members.pop().expect("there is one")
            }
            _ => self,
        }
    }

    /// Reads a tuple; parents are left out. Nothing if it is none.
    pub fn parse(json: &RawValue) -> Option<Self> {
        let ((id, _parent), members): ((Raw, Option<Raw>), Option<Vec<Raw>>) = parse(json)?;
        let members = match members {
            Some(members) => Some(members.iter().map(|member| Self::parse(member)).collect::<Option<_>>()?),
            None => None,
        };
        Some(Self { id, parent: None, members })
    }
}

impl Serialize for ResultTuple {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ((&self.id, &self.parent), &self.members).serialize(serializer)
    }
}
