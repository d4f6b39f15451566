//! Celery's wire format (protocol 2 and, for reading, 1): bytes to words and back. Pure: no I/O, no clock.
//!
//! - [`message`]: task messages, as they lie in a queue.
//! - [`result`]: results, as callers read them.
//! - [`event`]: what workers tell all who watch. [`control`]: what they are asked, and what they reply.
//! - [`receipt`]: what a run took, as results and events carry it.
//! - [`repr`]: values as Python prints them, for people.
//!
//! Everything read here may come from anyone who can reach the broker. Whatever the bytes are, the answer is a value or a
//! named refusal, in time and memory proportional to the input; nothing here recurses further than a fixed depth. What a

pub mod control;
pub mod event;
pub mod message;
pub mod receipt;
pub mod repr;
pub mod result;

mod envelope;
mod scan;
pub mod time;

pub use envelope::Unreadable;
