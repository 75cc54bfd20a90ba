//! Why something asked for over REST is not done.

use crate::control::ControlError;
use crate::kafka::Error;
use crate::linking::configs::Invalid;
use crate::linking::seal::Unreadable;
use crate::observe;

/// A refusal, by what its asker can do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such link or mirror.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done as it was asked for.
    #[error("{0}")]
    Invalid(String),
    /// This engine does not offer it.
    #[error("{0}")]
    Unsupported(String),
    /// Another one has the name.
    #[error("{0}")]
    Exists(String),
    /// Something else has to be done first.
    #[error("{0}")]
    First(String),
    #[error(
        "the link `{link}` belongs to a topology file: change the file and apply it (only links that were made over REST are changed \
         over REST)"
    )]
    OwnedByFile { link: String },
    /// Somebody else is at work on the same cluster.
    #[error("{0}")]
    Busy(String),
    /// The other cluster of the link is not what it should be.
    #[error("{0}")]
    Remote(String),
    /// Nobody answers at the other end as the link's configs say.
    #[error("the other cluster of the link `{link}` cannot be reached as its configs say: {error}")]
    Unreachable { link: String, error: Box<Error> },
    /// The link's secrets cannot be read here.
    #[error("{0}")]
    Sealed(String),
    /// This cluster does not do it.
    #[error("{0}")]
    Kafka(Box<Error>),
    #[error("{0}")]
    Control(ControlError),
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid.0)
    }
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Self {
        Self::Sealed(unreadable.to_string())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Kafka(Box::new(error))
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Kafka(error) => error.into(),
            fenced @ ControlError::Fenced { .. } => Self::Busy(fenced.to_string()),
            other => Self::Control(other),
        }
    }
}

impl From<observe::Unreachable> for Refusal {
    fn from(error: observe::Unreachable) -> Self {
        Self::Remote(format!("the clusters cannot be compared: {error}"))
    }
}
