//! What any broker has to do for kmirror, whoever it is.

pub mod control;
pub mod traces;
pub mod wire;
