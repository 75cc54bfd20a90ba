//! A cluster as one thing to talk to: finds brokers, keeps one connection to each that is needed, and
//! routes a request to the leader, coordinator or controller it is meant for.
//!
//! [`Client::call`] sends a request once. What may be sent again, and for how long, depends on the
//! request, so that is decided by its callers ([`super::admin`]); they tell the client with the
//! `forget` methods what turned out to be stale.

mod gather;
mod known;
mod pool;
mod together;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use gather::Gather;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    FindCoordinatorRequest, MetadataRequest, TopicName, find_coordinator_response,
};
use kafka_protocol::protocol::{Request, StrBytes};
use known::Known;
use pool::Slot;
use together::Together;

use super::code::ErrorCode;
use super::connection::Connection;
use super::error::{Asked, Error, Operation};
use super::metadata::{Broker, ClusterMetadata, TopicMetadata};
use super::security::Security;
use crate::client::ClientSettings;

/// How a cluster is reached.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The cluster's name in the topology file, for messages.
    pub cluster_name: String,
    pub bootstrap_servers: Vec<String>,
    pub client_id: String,
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
    /// A larger answer is refused before memory is taken for it.
    pub max_response_bytes: usize,
    pub security: Arc<Security>,
}

impl ClientConfig {
    /// Without security, with the usual limits: 5 s to connect, 30 s for an answer, 256 MiB.
    pub fn new(cluster_name: impl Into<String>, bootstrap_servers: Vec<String>) -> Self {
        Self::with_settings(cluster_name, bootstrap_servers, ClientSettings::default())
    }

    /// As client properties ask for it.
    pub fn with_settings(
        cluster_name: impl Into<String>,
        bootstrap_servers: Vec<String>,
        settings: ClientSettings,
    ) -> Self {
        let cluster_name = cluster_name.into();
        Self {
            bootstrap_servers,
            client_id: settings
                .client_id
                .clone()
                .unwrap_or_else(|| "kmirror".to_owned()),
            connect_timeout: settings.connect_timeout.unwrap_or(Duration::from_secs(5)),
            request_timeout: settings.request_timeout.unwrap_or(Duration::from_secs(30)),
            max_response_bytes: LARGEST_ANSWER,
            security: Security::new(cluster_name.clone(), settings),
            cluster_name,
        }
    }
}

/// Bytes of the largest answer that is taken.
pub const LARGEST_ANSWER: usize = 256 * 1024 * 1024;

/// Topics that are asked for at the same time and described in one answer.
const TOPICS_A_REQUEST: usize = 100;

/// Which broker a request is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Any,
    Broker(i32),
    Controller,
    Leader { topic: String, partition: i32 },
    Coordinator { kind: CoordinatorKind, key: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CoordinatorKind {
    Group,
    Transaction,
}

/// Topics to ask metadata for.
#[derive(Clone, Copy, Debug)]
pub enum Topics<'a> {
    All,
    /// None is allowed: brokers only.
    Named(&'a [String]),
}

/// A cluster. Clones share connections and what is known of the cluster.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    known: Mutex<Known>,
    gather: Gather<String, Result<Arc<ClusterMetadata>, Error>>,
    together: Together,
    pool: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Slot>>>>,
}

impl Client {
    /// Connects to the first bootstrap server that answers and asks it for the cluster's brokers.
    ///
    /// # Errors
    /// [`Error::Security`] when files of ours cannot be used or one side does not trust the other,
    /// [`Error::Unreachable`] with every address tried, its cause, and the time it took.
    pub async fn connect(config: ClientConfig) -> Result<Self, Error> {
        config.security.prepare().await?;
        let client = Self {
            inner: Arc::new(Inner {
                config,
                known: Mutex::default(),
                gather: Gather::of(TOPICS_A_REQUEST),
                together: Together::default(),
                pool: Mutex::default(),
            }),
        };
        client
            .metadata(Topics::Named(&[]))
            .await
            .map_err(|error| client.perhaps_sasl(error))?;
        Ok(client)
    }

    /// A listener that asks for SASL hangs up at the first request that comes without it.
    fn perhaps_sasl(&self, error: Error) -> Error {
        let security = &self.inner.config.security;
        match error {
            Error::Disconnected {
                address,
                during,
                cause,
            } if !security.protocol().has_sasl() && during == "Metadata" => {
                let lead = cause.map_or(String::new(), |cause| format!("{cause}; "));
                let protocol = security.protocol_place();
                Error::Disconnected {
                    address,
                    during,
                    cause: Some(format!(
                        "{lead}does this listener ask for SASL? {protocol} is {}",
                        security.protocol().name()
                    )),
                }
            }
            other => other,
        }
    }

    /// How the cluster is reached.
    pub fn security(&self) -> &Arc<Security> {
        &self.inner.config.security
    }

    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// The cluster's name in the topology file.
    pub fn cluster_name(&self) -> &str {
        &self.inner.config.cluster_name
    }

    /// Who asks, and whom, for errors about rights.
    pub fn asked(&self) -> Asked {
        let config = self.config();
        Asked {
            cluster: config.cluster_name.clone(),
            addresses: config.bootstrap_servers.clone(),
            user: config.security.user(),
        }
    }

    /// The cluster's own id.
    pub fn cluster_id(&self) -> String {
        let known = self.known();
        known
            .cluster_id
            .clone()
            .expect("connect() has asked for the cluster's metadata")
    }

    /// Sends a request once to the broker it is meant for.
    ///
    /// # Errors
    /// No broker, a lost connection, no answer, or one that cannot be read. Error codes inside the
    /// answer are the caller's business.
    pub async fn call<R: Request>(&self, target: Target, request: R) -> Result<R::Response, Error> {
        let connection = self.route(&target).await?;
        connection.send(&request).await
    }

    /// The pooled connection to the broker that a target means.
    ///
    /// # Errors
    /// No broker, or none that is known for the target.
    pub async fn route(&self, target: &Target) -> Result<Connection, Error> {
        match target {
            Target::Any => self.any().await,
            Target::Broker(id) => self.broker(*id).await,
            Target::Controller => {
                let id = self.controller().await?;
                self.broker(id).await
            }
            Target::Leader { topic, partition } => {
                let id = self.leader(topic, *partition).await?;
                self.broker(id).await
            }
            Target::Coordinator { kind, key } => {
                let id = self.coordinator(*kind, key).await?;
                self.broker(id).await
            }
        }
    }

    /// Asks any broker for metadata and remembers it. Does not create topics.
    ///
    /// # Errors
    /// As [`call`](Self::call), or an answer without cluster id. A topic's own error stands in its entry.
    pub async fn metadata(&self, topics: Topics<'_>) -> Result<ClusterMetadata, Error> {
        let names = match topics {
            Topics::All => None,
            Topics::Named(names) => Some(
                names
                    .iter()
                    .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name)))),
            ),
        };
        let request = MetadataRequest::default()
            .with_topics(names.map(Iterator::collect))
            .with_allow_auto_topic_creation(false);
        let connection = self.any().await?;
        let response = connection.send(&request).await?;
        ErrorCode(response.error_code).ok().map_err(|code| {
            let cluster = format!("cluster {}", self.cluster_name());
            Error::broker(code, None, Operation::Describe, cluster)
        })?;
        let metadata = ClusterMetadata::from_response(response).ok_or_else(|| Error::Protocol {
            address: connection.address().to_owned(),
            during: "Metadata".to_owned(),
            problem: "it names no cluster id".to_owned(),
        })?;
        self.known().remember(&metadata);
        Ok(metadata)
    }

    /// What any broker says of a topic after this call. Those who ask at the same time share an answer, which describes other
    /// topics too.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata).
    pub async fn metadata_of(&self, topic: &str) -> Result<Arc<ClusterMetadata>, Error> {
        let ask = |topics: Vec<String>| async move {
            self.metadata(Topics::Named(&topics)).await.map(Arc::new)
        };
        self.inner.gather.ask(topic.to_owned(), ask).await
    }

    /// The leader of a partition, from memory or freshly asked.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`, `LEADER_NOT_AVAILABLE`, the topic's own error, or what [`metadata`](Self::metadata) gives.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<i32, Error> {
        if let Some(Ok(leader)) = self.known().leader(topic, partition) {
            return Ok(leader);
        }
        self.metadata_of(topic).await?;
        let looked_up = self.known().leader(topic, partition);
        looked_up
            .unwrap_or(Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))
            .map_err(|code| {
                let resource = format!("partition {partition} of topic {topic}");
                Error::broker(code, None, Operation::FindLeader, resource)
            })
    }

    /// What is remembered of a topic, or freshly asked.
    ///
    /// # Errors
    /// As [`leader`](Self::leader).
    pub async fn topic(&self, topic: &str) -> Result<TopicMetadata, Error> {
        let remembered = self.known().topics.get(topic).cloned();
        if let Some(topic) = remembered {
            return Ok(topic);
        }
        let metadata = self.metadata(Topics::Named(&[topic.to_owned()])).await?;
        let found = metadata.topic(topic).cloned();
        let code = found
            .as_ref()
            .map_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, |topic| topic.error);
        match found {
            Some(topic) if code.is_ok() => Ok(topic),
            _ => Err(Error::broker(
                code,
                None,
                Operation::Describe,
                format!("topic {topic}"),
            )),
        }
    }

    /// Where partitions are led; those it cannot say are left to the caller with their errors.
    pub(super) async fn leaders(&self, partitions: &[(String, i32)]) -> Vec<Result<i32, Error>> {
        let mut unknown: Vec<String> = {
            let known = self.known();
            partitions
                .iter()
                .filter(|(topic, partition)| {
                    !matches!(known.leader(topic, *partition), Some(Ok(_)))
                })
                .map(|(topic, _)| topic.clone())
                .collect()
        };
        unknown.sort();
        unknown.dedup();
        let asked = if unknown.is_empty() {
            Ok(())
        } else {
            self.metadata(Topics::Named(&unknown)).await.map(|_| ())
        };
        let known = self.known();
        partitions
            .iter()
            .map(|(topic, partition)| match known.leader(topic, *partition) {
                Some(Ok(leader)) => Ok(leader),
                other => {
                    asked.clone()?;
                    let code = match other {
                        Some(Err(code)) => code,
                        _ => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    };
                    let resource = format!("partition {partition} of topic {topic}");
                    Err(Error::broker(code, None, Operation::FindLeader, resource))
                }
            })
            .collect()
    }

    /// Forgets who leads a topic's partitions, so that the next request asks.
    pub fn forget_leaders(&self, topic: &str) {
        self.known().topics.remove(topic);
    }

    /// Forgets a coordinator that said it is none, or that is gone.
    pub fn forget_coordinator(&self, kind: CoordinatorKind, key: &str) {
        self.known().coordinators.remove(&(kind, key.to_owned()));
    }

    /// Forgets the controller.
    pub fn forget_controller(&self) {
        self.known().controller_id = None;
    }

    /// Forgets where a target is.
    pub(super) fn forget(&self, target: &Target) {
        match target {
            Target::Any => {}
            Target::Broker(id) => {
                self.known().brokers.remove(id);
            }
            Target::Controller => self.forget_controller(),
            Target::Leader { topic, .. } => self.forget_leaders(topic),
            Target::Coordinator { kind, key } => self.forget_coordinator(*kind, key),
        }
    }

    /// The coordinator of a group or a transactional id, from memory or freshly asked.
    ///
    /// # Errors
    /// The broker's own, with its text.
    pub async fn coordinator(&self, kind: CoordinatorKind, key: &str) -> Result<i32, Error> {
        let entry = (kind, key.to_owned());
        let remembered = self.known().coordinators.get(&entry).copied();
        if let Some(id) = remembered {
            return Ok(id);
        }
        let broker = self.find_coordinator(kind, key).await?;
        let id = broker.id;
        let mut known = self.known();
        known.brokers.entry(id).or_insert(broker);
        known.coordinators.insert(entry, id);
        Ok(id)
    }

    /// Asks any broker for a coordinator.
    ///
    /// # Errors
    /// The broker's own, with its text.
    pub async fn find_coordinator(
        &self,
        kind: CoordinatorKind,
        key: &str,
    ) -> Result<Broker, Error> {
        let connection = self.any().await?;
        let key_type = match kind {
            CoordinatorKind::Group => 0,
            CoordinatorKind::Transaction => 1,
        };
        let key_bytes = StrBytes::from_string(key.to_owned());
        let batched = connection.version::<FindCoordinatorRequest>()? >= 4;
        let request = FindCoordinatorRequest::default().with_key_type(key_type);
        let request = if batched {
            request.with_coordinator_keys(vec![key_bytes])
        } else {
            request.with_key(key_bytes)
        };
        let mut response = connection.send(&request).await?;
        let found = if batched {
            response.coordinators.pop()
        } else {
            Some(
                find_coordinator_response::Coordinator::default()
                    .with_node_id(response.node_id)
                    .with_host(response.host)
                    .with_port(response.port)
                    .with_error_code(response.error_code)
                    .with_error_message(response.error_message),
            )
        };
        let found = found.ok_or_else(|| Error::Protocol {
            address: connection.address().to_owned(),
            during: "FindCoordinator".to_owned(),
            problem: "it names no coordinator and no error".to_owned(),
        })?;
        ErrorCode(found.error_code).ok().map_err(|code| {
            let (operation, resource) = match kind {
                CoordinatorKind::Group => (Operation::FindGroupCoordinator, format!("group {key}")),
                CoordinatorKind::Transaction => (
                    Operation::FindTransactionCoordinator,
                    format!("transactional id {key}"),
                ),
            };
            let message = found.error_message.as_ref().map(ToString::to_string);
            Error::broker(code, message, operation, resource).asked_by(|| self.asked())
        })?;
        Ok(Broker {
            id: found.node_id.0,
            host: found.host.to_string(),
            port: found.port,
            rack: None,
        })
    }

    async fn controller(&self) -> Result<i32, Error> {
        let remembered = self.known().controller_id;
        if let Some(id) = remembered {
            return Ok(id);
        }
        let metadata = self.metadata(Topics::Named(&[])).await?;
        if metadata.controller_id >= 0 {
            return Ok(metadata.controller_id);
        }
        let cluster = format!("cluster {}", self.cluster_name());
        let message = Some("there is no controller at the moment".to_owned());
        Err(Error::broker(
            ErrorCode::NOT_CONTROLLER,
            message,
            Operation::FindController,
            cluster,
        ))
    }

    async fn address_of(&self, id: i32) -> Result<String, Error> {
        let remembered = self.known().brokers.get(&id).map(Broker::address);
        if let Some(address) = remembered {
            return Ok(address);
        }
        let metadata = self.metadata(Topics::Named(&[])).await?;
        metadata.broker(id).map(Broker::address).ok_or_else(|| {
            let message = Some(format!(
                "it is not among the live brokers of cluster {}",
                self.cluster_name()
            ));
            // BROKER_NOT_AVAILABLE: it may come back.
            Error::broker(8, message, Operation::FindBroker, format!("broker {id}"))
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.inner
            .known
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
