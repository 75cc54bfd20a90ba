//! Live clusters, read in batched calls into one plain value.
//!
//! [`model`] is that value, all that `plan` ever sees of a cluster.

pub mod model;
