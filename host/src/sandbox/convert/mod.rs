//! JSON to WebAssembly values and back, along a function's [`Signature`](super::signature::Signature).
//!
//! What each WIT type takes from JSON, what it gives back, and which exception tells of a misfit is one table:
//! `wit/README.md`, "How JSON becomes WIT and back". The tests of this folder go through it row by row.
//!
//! Nothing here runs a guest. What always holds: memory and recursion are bounded by constants and by the signature,
//! whatever a message or a guest says, and every misfit is an [`Exception`](crate::task::Exception) for the caller.

mod arguments;
mod marker;
mod parts;
mod result;
#[cfg(test)]
mod tests;
mod text;
mod value;

pub use arguments::{BadArgument, arguments, check};
pub use result::result;
pub use text::json_text;
