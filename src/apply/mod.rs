//! A plan carried out.
//!
//! [`execute`] decides what is sent in which order and what is skipped when something fails; it
//! knows clusters only through [`effects::Effects`], so that the same order runs against brokers and
//! against a model in memory. [`apply`] puts the locks and the second look at the clusters around it.

mod brokers;
pub mod effects;
mod execute;
mod follow;
#[cfg(test)]
pub(crate) mod model;
mod session;

pub use execute::{Event, Outcome, Progress, execute};
pub use follow::{Follow, is_due};
pub use session::{ApplyError, ApplyOptions, apply};
