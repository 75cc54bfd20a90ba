//! The internal topics on the destination: desired state, lock and progress.
//!
//! [`store`] reads what is desired and creates the topics; [`writer`] changes it, one holder at a
//! time; [`actions`] says what may be asked of mirrors; [`store::Watch`] follows it for workers; [`progress`] keeps what workers have copied.

pub mod actions;
mod error;
mod log;
pub mod progress;
pub mod records;
mod reversal;
pub mod store;
mod transaction;
mod watch;
pub mod writer;

pub use error::ControlError;
pub use store::{ControlState, Watch, ensure_topics, missing_topics, read};
pub use writer::{ControlWriter, LockError, Write};
