//! Topologies made of what people have today.
//!
//! Each source has a reader of its own ([`replicator`], [`mirrormaker2`], [`cluster_link`], [`clusters`]), a function of the texts it is given, which says what it
//! understood and what it could not take over in one neutral form ([`model`]). [`write`] makes the
//! topology file of that, with a comment where something is missing. Whatever is a secret in an
//! input stays there: a reader hands on the name of a reference and never the value.
//!
//! What a file can say is [`crate::topology`]'s. A result is laid out by its formatter and meant to pass
//! its checks; what does not pass is the caller's to tell.

mod client;
pub mod cluster_link;
pub mod clusters;
mod connect;
pub mod input;
mod json;
pub mod mirrormaker2;
pub mod model;
mod patterns;
pub mod replicator;
mod settings;
#[cfg(test)]
mod tests;
mod write;

pub use model::{Draft, Fate, Finding, Place};
pub use write::write;

/// A cluster that is reached at these addresses, with a client's properties file and how its path is
/// spelled in the result.
pub fn reached(
    name: &str,
    servers: &str,
    properties: Option<&(input::Input, std::path::PathBuf)>,
) -> model::ClusterDraft {
    let mut cluster = Draft::default().new_cluster(name);
    if let Some((input, spelled)) = properties {
        client::of_file(&mut cluster, input, spelled);
    }
    cluster.bootstrap = Some(model::Bootstrap::Servers(settings::list(servers)));
    cluster
        .findings
        .retain(|finding| finding.near.as_deref() != Some("bootstrap_servers"));
    cluster
}

/// Why nothing can be made of an input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ImportError {
    pub place: Place,
    /// Repeats nothing that may be secret.
    pub problem: String,
    pub hint: Option<String>,
}

impl ImportError {
    pub fn new(place: Place, problem: impl Into<String>) -> Self {
        Self {
            place,
            problem: problem.into(),
            hint: None,
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
