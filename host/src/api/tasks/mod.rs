//! Tasks: sending them, and what becomes of them.

pub mod batch;
pub mod events;
pub mod list;
mod once;
pub mod revoke;
pub mod status;
pub mod submit;

use serde::Deserialize;
use utoipa::IntoParams;

/// Whose tasks are meant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Whose {
    /// The tenant; for the operator's tokens
    pub tenant: Option<String>,
}
