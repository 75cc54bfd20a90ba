//! A plan carried out.
//!
//! [`execute`] decides what is sent in which order and what is skipped when something fails; it
//! knows clusters only through [`effects::Effects`], so that the same order runs against brokers and
//! against a model in memory. [`apply`] puts the locks and the second look at the clusters around it.

mod brokers;
pub mod effects;
mod endings;
mod execute;
mod follow;
pub mod journal;
mod links;
#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod model_links;
mod session;

pub use endings::{Awaited, awaited, wait_for};
pub use execute::{Asked, Event, Manner, Outcome, PARALLELISM, Progress, execute};
pub use follow::{Follow, is_due};
pub use session::{ApplyError, ApplyOptions, apply};
