//! A plan carried out.
//!
//! [`execute`] decides what is sent in which order and what is skipped when something fails; it
//! knows clusters only through [`effects::Effects`], so that the same order runs against brokers and
//! against a model in memory.

pub mod effects;
mod execute;
#[cfg(test)]
pub(crate) mod model;

pub use execute::{Event, Outcome, Progress, execute};
