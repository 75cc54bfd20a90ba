//! Links that are made over the REST API: what their configs mean to the built-in engine.
//!
//! Such a link is described by configs in the terms of Cluster Linking. [`keys`] is the table of them, [`configs`]
//! a link's set of them with everything that is checked, [`filters`] the JSON that selects topics, [`reach`] how
//! configs say to reach a cluster, [`record`] what workers are to obey, [`seal`] how secrets are kept. All of it
//! decides without I/O.

pub mod configs;
pub mod filters;
pub mod keys;
pub mod operations;
pub mod reach;
pub mod record;
pub mod seal;

pub use configs::{Change, Configs, ConnectionMode, Invalid, LinkMode, Shown};
pub use seal::{Key, KeyError, Sealed};
