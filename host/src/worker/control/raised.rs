//! What goes wrong with a request, as a Python worker would raise it.

use crate::{protocol::repr, store::StoreError, task::Exception};

/// An exception that becomes the reply.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Raised(Exception);

impl Raised {
    /// A built-in exception with this text.
    pub fn new(class: &str, text: impl Into<String>) -> Self {
        Self(Exception::builtin(class, text.into()))
    }

    /// An argument has a value that it cannot have.
    pub fn value(text: impl Into<String>) -> Self {
        Self::new("ValueError", text)
    }

    /// As Python prints it.
    pub fn repr(&self) -> String {
        repr::exception(&self.0)
    }
}

impl From<StoreError> for Raised {
    fn from(error: StoreError) -> Self {
        Self::new("OperationalError", error.to_string())
    }
}
