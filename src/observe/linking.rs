//! Links that brokers carry, as their REST API tells of them, and what brokers need to reach another cluster.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::Clusters;
use super::halves::Halves;
use super::model::{BrokerLinks, Linking, NoLinking, ObservedLink, Reach};
use crate::client::Secret;
use crate::kafka::Error;
use crate::kafka::security::rest::{Asker, RestClient, RestError};
use crate::plan::model::{Address, Entry, HalfStep, MirrorAction, Operation, Plan, Rehearsal};
use crate::rest::links::{Action, LinkApi, LinkError, Validation};
use crate::topology::engines::Engine;
use crate::topology::model::{Endpoint, Login, Topology};

/// Requests for configs that are under way at a time.
const AT_ONCE: usize = 8;

/// Configs whose values no server tells.
const SENSITIVE: &[&str] = &[
    "sasl.jaas.config",
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.truststore.certificates",
];

/// The clusters of a file whose brokers are asked for their links.
pub(super) fn asked(topology: &Topology) -> BTreeSet<&str> {
    let links = topology.links.values();
    let links = links.filter(|link| link.engine == Engine::ClusterLink);
    let mut asked = BTreeSet::new();
    for link in links {
        asked.insert(link.destination.as_str());
        if link.has_half_at_source() {
            asked.insert(&link.source);
        }
    }
    asked
}

/// The clusters that brokers are told how to reach.
pub(super) fn reached(topology: &Topology) -> BTreeSet<&str> {
    let links = topology.links.values();
    let links = links.filter(|link| link.engine == Engine::ClusterLink);
    links
        .flat_map(|link| [link.source.as_str(), link.destination.as_str()])
        .collect()
}

/// A client of the REST API at this address.
///
/// # Errors
/// Certificates or secrets that cannot be read.
pub fn rest_client(endpoint: &Endpoint) -> Result<RestClient, RestError> {
    let read = |text: &crate::client::Text| {
        text.current()
            .map_err(|error| RestError::Material(error.to_string()))
    };
    match &endpoint.login {
        None => RestClient::new(&endpoint.tls, None),
        Some(Login::Bearer(token)) => {
            let token = read(&token.value)?;
            RestClient::new(&endpoint.tls, Some(Asker::Bearer(&token)))
        }
        Some(Login::Basic(credentials)) => {
            let (user, password) = (
                read(&credentials.username.value)?,
                read(&credentials.password.value)?,
            );
            let asker = Asker::Basic {
                username: user.expose(),
                password: &password,
            };
            RestClient::new(&endpoint.tls, Some(asker))
        }
    }
}

/// Asks for all links of a cluster, their configs and mirrors.
pub async fn read(api: &LinkApi, cluster_id: &str) -> Linking {
    match read_all(api, cluster_id).await {
        Ok(links) => Linking::Known(links),
        Err((why, said)) => Linking::Unknown { why, said },
    }
}

async fn read_all(api: &LinkApi, cluster_id: &str) -> Result<BrokerLinks, (NoLinking, String)> {
    let clusters = api.clusters().await.map_err(|error| match &error {
        // Without the list of clusters this is no REST API of this kind, whatever it is.
        LinkError::Refused(refusal) if refusal.is_unknown_way() => {
            (NoLinking::NotThere, error.to_string())
        }
        _ => cause(&error),
    })?;
    if !clusters.iter().any(|id| id == cluster_id) {
        return Err((NoLinking::OtherCluster, clusters.join(", ")));
    }
    let links = api.links().await.map_err(|error| match &error {
        LinkError::Refused(refusal) if refusal.is_unknown_way() || refusal.says_disabled() => {
            (NoLinking::NotOffered, error.to_string())
        }
        _ => cause(&error),
    })?;
    let mut reading: Vec<BoxFuture<'_, Result<_, LinkError>>> = Vec::new();
    for link in links {
        let read = async move {
            // Tasks are only told of a link that is asked for by itself.
            let link = api.link(&link.link_name).await?.unwrap_or(link);
            let configs = api.configs(&link.link_name).await?;
            let mode = configs.iter().flatten().find(|it| it.name == "link.mode");
            let mode = mode.and_then(|it| it.value.as_deref());
            // The half at a source has no mirrors, and is not asked for any.
            let mirrors = match mode {
                Some(mode) if mode.eq_ignore_ascii_case("SOURCE") => Vec::new(),
                _ => api.mirrors(Some(&link.link_name)).await?,
            };
            Ok((link, configs, mirrors))
        };
        reading.push(read.boxed());
    }
    let read: Vec<_> = futures::stream::iter(reading)
        .buffered(AT_ONCE)
        .try_collect()
        .await
        .map_err(|error| cause(&error))?;
    let mut found = BrokerLinks::default();
    for (link, configs, mirrors) in read {
        let Some(configs) = configs else {
            // Deleted meanwhile.
            continue;
        };
        let configs = configs.into_iter().map(|it| (it.name.clone(), it));
        for mut mirror in mirrors {
            mirror.link_name.clone_from(&link.link_name);
            found
                .mirrors
                .insert(mirror.mirror_topic_name.clone(), mirror);
        }
        let observed = ObservedLink {
            configs: configs.collect(),
            link,
        };
        found
            .links
            .insert(observed.link.link_name.clone(), observed);
    }
    Ok(found)
}

fn cause(error: &LinkError) -> (NoLinking, String) {
    let why = match error {
        LinkError::Refused(refusal) if matches!(refusal.status.as_u16(), 401 | 403) => {
            NoLinking::NotAllowed
        }
        LinkError::Refused(_) | LinkError::Unreadable(_) => NoLinking::Refused,
        LinkError::Rest(_) => NoLinking::NoAnswer,
    };
    (why, error.to_string())
}

/// What the brokers of other clusters need to reach each of these.
pub(super) async fn reaches(
    clusters: &Clusters,
    names: BTreeSet<&str>,
) -> BTreeMap<String, Result<Reach, String>> {
    let reading = names
        .into_iter()
        .filter(|name| clusters.has(name))
        .map(|name| async move {
            let reach = reach(clusters, name).await;
            (name.to_owned(), reach.map_err(|error| error.to_string()))
        });
    join_all(reading).await.into_iter().collect()
}

async fn reach(clusters: &Clusters, name: &str) -> Result<Reach, Error> {
    let mut reach = Reach::default();
    for (key, value) in properties(clusters, name).await? {
        if is_sensitive(key) {
            reach.sensitive.insert(key.to_owned());
        } else {
            reach.open.insert(key.to_owned(), value.expose().to_owned());
        }
    }
    Ok(reach)
}

/// Whether servers keep the value of this config to themselves.
pub fn is_sensitive(key: &str) -> bool {
    SENSITIVE.contains(&key.strip_prefix("local.").unwrap_or(key))
}

/// The client properties by which brokers reach a cluster of the file.
///
/// # Errors
/// What cannot be read, and what brokers have no form of.
pub async fn properties(
    clusters: &Clusters,
    name: &str,
) -> Result<Vec<(&'static str, Secret)>, Error> {
    let security = clusters.client(name).security();
    security.java_properties().await
}

/// What a server said of one entry: whether it would do it, or why not.
pub(super) type Answer = (Address, Result<Rehearsal, (String, String)>);

/// Lets servers check what the plan asks of links and mirrors, where they can.
pub(super) async fn rehearse(plan: &Plan, clusters: &Clusters, topology: &Topology) -> Vec<Answer> {
    let pending = plan.entries.iter();
    let pending = pending.filter(|entry| entry.rehearsal == Rehearsal::Pending);
    let mut answers = Vec::new();
    for entry in pending {
        let checked = match &entry.operation {
            Operation::BrokerLink(link) => {
                let halves = Halves { clusters, topology };
                let mut checked = Ok(Rehearsal::Passed);
                for half in &link.halves {
                    // A half that needs another one cannot be tried before that is there.
                    let waits = half.cluster != entry.cluster || !entry.depends_on.is_empty();
                    if waits && matches!(half.step, HalfStep::Create { .. }) {
                        continue;
                    }
                    if let Err(error) = try_half(halves, half).await {
                        checked = judged(&error, entry);
                        break;
                    }
                }
                checked
            }
            Operation::BrokerMirror(mirror) => match mirror.action {
                Some(action) if mirror.create.is_none() => {
                    try_action(clusters, entry, &mirror.link, &mirror.topic, action).await
                }
                _ => continue,
            },
            _ => continue,
        };
        answers.push((entry.address.clone(), checked));
    }
    answers
}

/// Why a try said nothing, or no.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error(transparent)]
    Value(#[from] super::halves::Unreadable),
    #[error(transparent)]
    Link(#[from] LinkError),
}

async fn try_half(
    halves: Halves<'_>,
    half: &crate::plan::model::HalfOperation,
) -> Result<(), TryError> {
    let api = halves.clusters.link_api(&half.cluster)?;
    match &half.step {
        HalfStep::Create { role, configs } => {
            let link = halves.link(role, configs).await?;
            let validation = Validation {
                only: true,
                ..Validation::default()
            };
            api.create_link(&half.link, &link, validation).await?;
        }
        HalfStep::Alter(configs) => {
            let changes = halves.changes(configs).await?;
            api.rehearse_configs(&half.link, &changes).await?;
        }
        HalfStep::Delete => {}
    }
    Ok(())
}

async fn try_action(
    clusters: &Clusters,
    entry: &Entry,
    link: &str,
    topic: &str,
    action: MirrorAction,
) -> Result<Rehearsal, (String, String)> {
    let acted = match clusters.link_api(&entry.cluster) {
        Ok(api) => {
            let topics = [topic.to_owned()];
            api.act(link, Action::from(action), &topics, true).await
        }
        Err(error) => Err(error),
    };
    match acted {
        Ok(outcomes) => match outcomes.iter().find_map(|outcome| outcome.refusal()) {
            Some(said) => Err(("refused".to_owned(), said)),
            None => Ok(Rehearsal::Passed),
        },
        Err(error) => judged(&TryError::Link(error), entry),
    }
}

/// Whoever applies may have the right that was missing, and a server that cannot be asked may still do it.
fn judged(error: &TryError, entry: &Entry) -> Result<Rehearsal, (String, String)> {
    let TryError::Link(LinkError::Refused(refusal)) = error else {
        return Err(("no answer".to_owned(), error.to_string()));
    };
    match refusal.status.as_u16() {
        401 | 403 => Ok(Rehearsal::NotRehearsed {
            needs: format!("the right to change links of {}", entry.cluster),
        }),
        status => {
            let code = refusal.code.unwrap_or(i64::from(status));
            Err((format!("error code {code}"), refusal.to_string()))
        }
    }
}

impl From<MirrorAction> for Action {
    fn from(action: MirrorAction) -> Self {
        match action {
            MirrorAction::Pause => Self::Pause,
            MirrorAction::Resume => Self::Resume,
            MirrorAction::Promote => Self::Promote,
            MirrorAction::FailOver => Self::Failover,
            MirrorAction::ReverseAndStart => Self::ReverseAndStart,
            MirrorAction::ReverseAndPause => Self::ReverseAndPause,
        }
    }
}
