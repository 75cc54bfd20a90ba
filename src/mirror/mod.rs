//! The built-in engine's data plane: record batches copied as bytes, exactly once, in order.
//!
//! [`worker`] decides which partitions run here, [`io`] connects each of them to its brokers, and
//! [`partition`] is the state machine that makes the copy exact. [`batch`] and [`select`] work on the bytes,
//! [`map`] keeps the offset map, [`translate`] answers questions about it.

pub mod batch;
pub mod io;
pub mod map;
pub mod partition;
pub mod select;
pub mod translate;
pub mod worker;

#[cfg(test)]
mod simulation;
