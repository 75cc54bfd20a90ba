//! Live clusters as one plain value: all that `plan` ever sees of them.

pub mod model;
