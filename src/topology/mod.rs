//! The topology file: text to spanned document to resolved [`model::Topology`].

pub mod model;
pub mod selector;
