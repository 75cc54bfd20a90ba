//! Which links a destination's worker is for.
//!
//! Links of topology files share one group of workers, each of which reaches every source by its file. A link that was made over
//! REST brings its own connection, which some workers can make and others cannot, for want of the key or of a way to the
//! source. So it has a group of its own, which only those join that can carry it.

use uuid::Uuid;

use crate::control::ControlState;
use crate::control::records::{Owner, WORKER_GROUP, link_worker_group};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All links of topology files.
    Files,
    /// One link that was made over REST.
    Link(Uuid),
}

impl Scope {
    /// The group whose members share the work.
    pub fn group(self) -> String {
        match self {
            Self::Files => WORKER_GROUP.to_owned(),
            Self::Link(id) => link_worker_group(id),
        }
    }

    /// Leaves out what others are for.
    pub fn narrow(self, state: &mut ControlState) {
        state.links.retain(|id, link| match self {
            Self::Files => link.owner == Owner::File,
            Self::Link(own) => *id == own && link.owner == Owner::Rest,
        });
        let links = &state.links;
        state.mirrors.retain(|id, _| links.contains_key(&id.link));
    }
}
