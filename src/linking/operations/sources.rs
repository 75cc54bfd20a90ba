//! Connections to the sources of links, kept between requests; and what they tell of a link's health.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::Mutex;
use uuid::Uuid;

use super::{Desk, Refusal, remote};
use crate::control::ControlState;
use crate::control::records::{LinkConfigsRecord, LinkRecord, Owner};
use crate::kafka::{Client, Error, Topics};
use crate::linking::configs::{Configs, ConnectionMode};

/// How long a source may take when only its health is asked for.
const LOOK: Duration = Duration::from_secs(5);

/// Connections by link, with the configs that they were made of.
#[derive(Debug, Default)]
pub(super) struct Sources(Mutex<HashMap<Uuid, (LinkConfigsRecord, Client)>>);

/// How a link is, as far as this server can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Active,
    Paused,
    /// Somebody has to change something.
    Failed(Trouble, String),
    /// The source does not answer.
    Unavailable(Trouble, String),
}

/// What is wrong with a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Authentication,
    NotReached,
    Timeout,
    Other,
}

impl Desk {
    /// The source cluster of a link, as its configs say.
    ///
    /// # Errors
    /// The configs cannot be opened here, or the cluster cannot be reached, or it is another one.
    pub async fn source_of(
        &self,
        state: &ControlState,
        link: &LinkRecord,
    ) -> Result<Client, Refusal> {
        let stored = state.configs.get(&link.id).ok_or_else(|| {
            Refusal::Invalid(format!("the configs of the link `{}` are gone", link.name))
        })?;
        let kept = self.sources.0.lock().await.get(&link.id).cloned();
        if let Some((_, client)) = kept.filter(|(configs, _)| configs == stored) {
            return Ok(client);
        }
        let configs = Configs::open(stored, link.id, self.key.as_deref())?;
        let client = remote::connect(&link.name, &configs).await?;
        let found = client.cluster_id();
        if found != link.source_cluster_id {
            return Err(Refusal::Remote(format!(
                "the cluster that the link `{}` reaches has the id {found}, and the link is for {}",
                link.name, link.source_cluster_id
            )));
        }
        let mut sources = self.sources.0.lock().await;
        // Links that are gone need no connections.
        sources.retain(|id, _| state.links.contains_key(id));
        sources.insert(link.id, (stored.clone(), client.clone()));
        Ok(client)
    }

    /// How a link is: its source is asked, if this server can be expected to reach it.
    pub async fn health(&self, state: &ControlState, link: &LinkRecord) -> Health {
        let configs = super::configs_of(state, link);
        if configs.is_paused() {
            return Health::Paused;
        }
        if link.owner == Owner::File || configs.connection_mode() == ConnectionMode::Inbound {
            return Health::Active;
        }
        let asked = tokio::time::timeout(LOOK, async {
            let source = self.source_of(state, link).await?;
            source.metadata(Topics::Named(&[])).await?;
            Ok::<(), Refusal>(())
        });
        match asked.await {
            Ok(Ok(())) => Health::Active,
            Ok(Err(refusal)) => unhealthy(&refusal),
            Err(_) => Health::Unavailable(
                Trouble::Timeout,
                format!(
                    "the source did not answer within {} seconds",
                    LOOK.as_secs()
                ),
            ),
        }
    }
}

fn unhealthy(refusal: &Refusal) -> Health {
    let words = refusal.to_string();
    match refusal {
        Refusal::Unreachable { error, .. } => of_error(error, words),
        Refusal::Kafka(error) => of_error(error, words),
        _ => Health::Failed(Trouble::Other, words),
    }
}

fn of_error(error: &Error, words: String) -> Health {
    match error {
        Error::Security(_) => Health::Failed(Trouble::Authentication, words),
        Error::Timeout { .. } => Health::Unavailable(Trouble::Timeout, words),
        _ => Health::Unavailable(Trouble::NotReached, words),
    }
}
