//! Mirrors as the API shows them: what [`crate::status`] says, with what this server knows of their links.

use std::collections::HashMap;

use super::{Desk, Health, Refusal};
use crate::control::ControlState;
use crate::control::records::{LinkRecord, Owner};
use crate::linking::configs::ConnectionMode;
use crate::status::{self, MirrorState, MirrorStatus, Source};

/// A mirror as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorView {
    pub status: MirrorStatus,
    /// Whether its link is of no use to it: somebody has to change something there.
    pub link_failed: bool,
}

impl MirrorView {
    pub fn mirror_topic(&self) -> &str {
        &self.status.mirror_topic
    }

    /// `mirror_status`
    pub fn state(&self) -> &'static str {
        if self.link_failed {
            "LINK_FAILED"
        } else {
            self.status.state.name()
        }
    }
}

impl Desk {
    /// The mirrors of a link, or of all links of the cluster, sorted by link and topic.
    ///
    /// # Errors
    /// What workers stored, or the cluster's topics, cannot be read.
    pub async fn mirrors(
        &self,
        state: &ControlState,
        of: Option<&LinkRecord>,
    ) -> Result<Vec<MirrorView>, Refusal> {
        let links = state.links.values();
        let links = links.filter(|link| of.is_none_or(|of| of.id == link.id));
        let looking = links.map(|link| self.look(state, link));
        let mut views = Vec::new();
        for seen in futures::future::join_all(looking).await {
            views.extend(seen?);
        }
        views.sort_by(|one: &MirrorView, other| {
            let key = |view: &MirrorView| {
                let status = &view.status;
                (status.link_name.clone(), status.mirror_topic.clone())
            };
            key(one).cmp(&key(other))
        });
        Ok(views)
    }

    async fn look(
        &self,
        state: &ControlState,
        link: &LinkRecord,
    ) -> Result<Vec<MirrorView>, Refusal> {
        let mut part = state.clone();
        part.links.retain(|id, _| *id == link.id);
        part.mirrors.retain(|id, _| id.link == link.id);
        let health = self.health(state, link).await;
        let mut sources = HashMap::new();
        if let Some(source) = self.source_seen(state, link, &health).await {
            sources.insert(link.source_cluster_id.clone(), source);
        }
        let found = status::look_at(&self.client, &sources, &part).await?;
        let is_failed = matches!(health, Health::Failed(..));
        let is_asked_for = |status: &MirrorStatus| {
            status.id.is_some() || link.mirrors.contains_key(&status.source_topic)
        };
        let found = found.into_iter().filter(is_asked_for);
        let suffers = |state| matches!(state, MirrorState::Active | MirrorState::SourceUnavailable);
        Ok(found
            .map(|status| MirrorView {
                link_failed: is_failed && suffers(status.state),
                status,
            })
            .collect())
    }

    /// The source, where this server can be expected to reach it.
    async fn source_seen(
        &self,
        state: &ControlState,
        link: &LinkRecord,
        health: &Health,
    ) -> Option<Source> {
        if link.owner == Owner::File {
            return self.neighbours.source_of(link).await;
        }
        let configs = super::configs_of(state, link);
        if configs.connection_mode() == ConnectionMode::Inbound {
            return None;
        }
        match health {
            Health::Failed(_, cause) | Health::Unavailable(_, cause) => {
                Some(Source::Unreachable(cause.clone()))
            }
            Health::Active | Health::Paused => match self.source_of(state, link).await {
                Ok(client) => Some(Source::Connected(client)),
                Err(refusal) => Some(Source::Unreachable(refusal.to_string())),
            },
        }
    }
}
