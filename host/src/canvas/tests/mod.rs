//! Workflows from their first message to their last, in memory: what real workers do is in the end-to-end tests.

mod signatures;
mod workflows;
mod world;

use world::World;
