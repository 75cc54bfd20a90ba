//! The internal topics on the destination: desired state, lock and progress.

pub mod records;
