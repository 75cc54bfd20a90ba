//! Live clusters, read in batched calls into one plain value.
//!
//! [`model`] is that value, all that `plan` ever sees of a cluster; [`Clusters`] is the way to it.
//! [`rehearse`] lets brokers check a plan's writes before anybody is asked to confirm them.

mod clusters;
pub mod halves;
pub mod linking;
pub mod model;
pub mod platform;
mod rehearse;

pub use clusters::{Clusters, Unreachable, UnreadableCluster};
pub use rehearse::rehearse;
pub(crate) use rehearse::{alteration, new_topic};
