//! What the records of two mirrors say of each other where one is reversed: the one that ends, and the one that begins in its place on the
//! other cluster.

use serde::{Deserialize, Serialize};

use super::records::DesiredState;

/// A mirror in the other direction, which begins where one was promoted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReversalRecord {
    /// Whether it copies at once.
    pub state: DesiredState,
    /// The other cluster is prepared, everything is copied and nothing more comes: the mirror may end. Until then it goes on copying.
    #[serde(default)]
    pub is_agreed: bool,
    /// What it waits for; once the mirror has stopped, why there is none in the other direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// The beginning of a mirror whose topic was the source of another one, in the other direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeOverRecord {
    /// That of the request to reverse the other one ([`super::records::EndingRecord::generation`]).
    pub generation: u64,
    pub stage: TakeOverStage,
}

/// How far that has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakeOverStage {
    /// The other one has not ended yet.
    Waiting,
    /// Both topics were the same, and it copies from there on.
    Begun,
    /// They were not.
    Parted { message: String },
}
