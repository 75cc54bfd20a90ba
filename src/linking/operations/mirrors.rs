//! Mirrors: made, acted upon, and their topics deleted.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Desk, Refusal, configs_of, other_half, own_link, release};
use crate::apply::{Event, Follow, Outcome, Progress};
use crate::control::actions::{self, ActionRefusal, Asked, MirrorAction};
use crate::control::records::{
    DesiredState, IncarnationId, LinkRecord, MirrorRecord, MirrorSettings, WantedState,
};
use crate::control::{self, ControlState, ControlWriter, Write, progress};
use crate::kafka::{Client, ErrorCode, Topics};
use crate::linking::configs::{ConnectionMode, LinkMode};
use crate::topology::names;
use crate::topology::resolve::LinkRule;

/// How long a creation waits for the worker beside the source to make the mirror.
const MADE_ELSEWHERE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A mirror topic that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewMirror {
    pub source_topic: String,
    /// `None`: as the link calls it.
    pub mirror_topic: Option<String>,
    /// `None`: as many replicas as the source topic has.
    pub replication_factor: Option<i16>,
    /// What differs from the source topic's configs.
    pub configs: Vec<(String, String)>,
}

/// What became of an action on one mirror topic.
pub type ActedOn = (String, Result<Asked, ActionRefusal>);

/// What there is of a mirror that is asked for.
enum Found {
    /// The very same.
    Made,
    /// It is to be made: what the link says of it now, and before.
    Wanted(Box<LinkRecord>, Option<MirrorSettings>),
}

impl Desk {
    /// Makes a mirror topic. Asked for again as it is there already, it is left as it is; what a call that was cut off had
    /// begun is finished.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn create_mirror(&self, link: &str, new: &NewMirror) -> Result<(), Refusal> {
        let state = self.state().await?;
        let record = own_link(&state, link)?;
        let wanted = wanted(record, new)?;
        let source = match configs_of(&state, record).connection_mode() {
            ConnectionMode::Outbound => Some(self.source_of(&state, record).await?),
            ConnectionMode::Inbound => None,
        };
        if let Some(source) = &source {
            check_source(source, link, &new.source_topic).await?;
        }
        let exists = has_topic(&self.client, &wanted.name).await?;
        match source {
            Some(source) => self.make(link, new, &source, exists).await,
            None => {
                let found = self
                    .change(|state| {
                        let found = find(state, link, new, exists)?;
                        let writes = match &found {
                            Found::Made => Vec::new(),
                            Found::Wanted(link, _) => vec![Write::Link((**link).clone())],
                        };
                        Ok((writes, found))
                    })
                    .await?;
                match found {
                    Found::Made => Ok(()),
                    Found::Wanted(..) => self.wait_for_mirror(&wanted.name).await,
                }
            }
        }
    }

    /// Writes down what is wanted, and makes it as a worker would, under one lock.
    async fn make(
        &self,
        link: &str,
        new: &NewMirror,
        source: &Client,
        exists: bool,
    ) -> Result<(), Refusal> {
        let _turn = self.turn.lock().await;
        let mut writer = self.lock().await?;
        let made = self.make_with(&mut writer, link, new, source, exists).await;
        let (record, former) = match made {
            Ok(Some(wanted)) => wanted,
            other => {
                release(writer).await;
                return other.map(drop);
            }
        };
        let follow = match Follow::look(source, &self.client, &record).await {
            Ok(mut follow) => {
                follow.narrow(&new.source_topic);
                Ok(follow)
            }
            Err(error) => Err(Refusal::from(error)),
        };
        let follow = match follow {
            Ok(follow) => follow,
            Err(refusal) => {
                take_back(&mut writer, &record, new, former).await;
                release(writer).await;
                return Err(refusal);
            }
        };
        if let Some((_, cause)) = follow.refused().into_iter().next() {
            take_back(&mut writer, &record, new, former).await;
            release(writer).await;
            return Err(Refusal::Invalid(format!(
                "`{}` cannot be mirrored as it was asked for: {cause}",
                new.source_topic
            )));
        }
        let (outcome, mut writer) = follow
            .carry_out(writer, &Silent, &CancellationToken::new())
            .await;
        let refusal = refusal_of(&outcome);
        if refusal.is_some() {
            take_back(&mut writer, &record, new, former).await;
        }
        release(writer).await;
        refusal.map_or(Ok(()), Err)
    }

    /// `None`: it is there already.
    async fn make_with(
        &self,
        writer: &mut ControlWriter,
        link: &str,
        new: &NewMirror,
        source: &Client,
        exists: bool,
    ) -> Result<Option<(LinkRecord, Option<MirrorSettings>)>, Refusal> {
        let (record, former) = match find(writer.state(), link, new, exists)? {
            Found::Made => return Ok(None),
            Found::Wanted(record, former) => (*record, former),
        };
        if record.source_cluster_id != source.cluster_id() {
            return Err(Refusal::Busy(format!(
                "the link `{link}` was made anew in between: try again"
            )));
        }
        writer.commit(vec![Write::Link(record.clone())]).await?;
        Ok(Some((record, former)))
    }

    /// Until the worker beside the source has made it, or for a while: it goes on by itself.
    async fn wait_for_mirror(&self, topic: &str) -> Result<(), Refusal> {
        let deadline = Instant::now() + MADE_ELSEWHERE;
        loop {
            let state = self.state().await?;
            let mut mirrors = state.mirrors.values();
            if mirrors.any(|mirror| mirror.destination_topic == topic) || Instant::now() > deadline
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Asks something of mirror topics of a link. What is refused for one of them does not keep the others.
    ///
    /// # Errors
    /// What keeps all of them: see [`Refusal`].
    pub async fn act(
        &self,
        link: &str,
        topics: &[String],
        action: MirrorAction,
        validate_only: bool,
    ) -> Result<Vec<ActedOn>, Refusal> {
        let state = self.state().await?;
        let id = own_link(&state, link)?.id;
        if action.reversal().is_some() {
            self.check_reversal(&state, link).await?;
        }
        let failed = match action.copies_all() {
            true => {
                let ids = state.mirrors.keys().copied();
                let ids: HashSet<IncarnationId> = ids.filter(|it| it.link == id).collect();
                actions::failed(&self.client, &ids).await?
            }
            false => HashSet::new(),
        };
        let now = jiff::Timestamp::now().as_millisecond();
        let decide = |state: &ControlState| {
            let link = own_link(state, link)?.id;
            let has_failed = |id: IncarnationId| failed.contains(&id);
            let decision = actions::act(state, link, topics, action, has_failed, now);
            Ok((decision.writes, decision.outcomes))
        };
        if validate_only {
            return decide(&state).map(|(_, outcomes)| outcomes);
        }
        self.change(decide).await
    }

    /// Whether mirrors of a link can be reversed at all.
    ///
    /// # Errors
    /// Why not.
    async fn check_reversal(&self, state: &ControlState, name: &str) -> Result<(), Refusal> {
        let link = own_link(state, name)?;
        let configs = configs_of(state, link);
        if configs.link_mode() != LinkMode::Bidirectional {
            return Err(Refusal::Unsupported(format!(
                "Mirrors can be reversed on links with link.mode BIDIRECTIONAL only, and the link `{name}` copies one way."
            )));
        }
        if configs.prefix().is_some() {
            return Err(Refusal::Unsupported(format!(
                "Mirrors of links with cluster.link.prefix cannot be reversed, and the link `{name}` has one."
            )));
        }
        if configs.connection_mode() == ConnectionMode::Inbound {
            // Workers beside the other cluster see to it.
            return Ok(());
        }
        let source = self.source_of(state, link).await?;
        let remote = control::read(&source).await?.unwrap_or_default();
        match other_half(&remote, name, &link.destination_cluster_id)? {
            Some(_) => Ok(()),
            None => Err(Refusal::Invalid(format!(
                "the other cluster has no link `{name}` with link.mode BIDIRECTIONAL: create it first"
            ))),
        }
    }

    /// Deletes the topic of a mirror with everything that is known of the mirror. `false`: the topic is none that a link which
    /// was made over REST writes to, so it is deleted as any other.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn delete_mirror_topic(&self, topic: &str) -> Result<bool, Refusal> {
        let state = self.state().await?;
        let Some(doomed) = doomed(&state, topic)? else {
            return Ok(false);
        };
        // Workers stop writing to what is about to go.
        self.change(|state| {
            let mirrors = doomed.iter().filter_map(|id| state.mirrors.get(id));
            let active = mirrors
                .filter(|mirror| mirror.state == DesiredState::Active && mirror.ending.is_none());
            let writes = active.map(|mirror| {
                Write::Mirror(MirrorRecord {
                    state: DesiredState::Paused,
                    generation: mirror.generation + 1,
                    ..mirror.clone()
                })
            });
            Ok((writes.collect(), ()))
        })
        .await?;
        let topics = doomed
            .iter()
            .map(|id| (topic.to_owned(), id.destination_topic));
        for (_, deleted) in self.client.admin().delete_exactly(topics.collect()).await {
            match deleted {
                Err(error)
                    if ![
                        Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                        Some(ErrorCode::UNKNOWN_TOPIC_ID),
                    ]
                    .contains(&error.code()) =>
                {
                    return Err(error.into());
                }
                // Gone already: by a call that was cut off, perhaps.
                _ => {}
            }
        }
        if !doomed.is_empty() {
            progress::forget(&self.client, &doomed).await?;
        }
        self.change(|state| Ok((forgotten(state, topic, &doomed), ())))
            .await?;
        Ok(true)
    }
}

/// The mirror that is asked for, as far as it follows from the link.
struct Wanted {
    name: String,
    settings: MirrorSettings,
}

fn wanted(link: &LinkRecord, new: &NewMirror) -> Result<Wanted, Refusal> {
    let invalid = |text: String| Err(Refusal::Invalid(text));
    if let Err(problem) = names::validate_topic_name(&new.source_topic) {
        return invalid(format!(
            "`source_topic_name` is no legal topic name: {problem}"
        ));
    }
    if names::is_never_mirrored(&new.source_topic) {
        return invalid(format!(
            "`{}` is never mirrored: only its own brokers can make sense of it",
            new.source_topic
        ));
    }
    let by_rule = link.rename.apply(&new.source_topic);
    let name = match &new.mirror_topic {
        Some(name) => crate::topology::rename::check(name.clone()),
        None => by_rule.clone(),
    };
    let name = match name {
        Ok(name) => name,
        Err(error) => return invalid(format!("the mirror topic cannot have this name: {error}")),
    };
    if new.replication_factor.is_some_and(|factor| factor < 1) {
        return invalid("`replication_factor` has to be at least 1".to_owned());
    }
    let mut config = new.configs.clone();
    config.sort();
    Ok(Wanted {
        settings: MirrorSettings {
            rename_to: (by_rule.as_deref() != Ok(name.as_str())).then(|| name.clone()),
            state: None,
            replication_factor: new.replication_factor,
            config: config.into_iter().collect(),
        },
        name,
    })
}

/// What there is of it. `exists`: the destination has a topic of the name.
fn find(state: &ControlState, link: &str, new: &NewMirror, exists: bool) -> Result<Found, Refusal> {
    let record = own_link(state, link)?;
    let wanted = wanted(record, new)?;
    let former = record.mirrors.get(&new.source_topic).cloned();
    let is_same = former.as_ref().is_some_and(|former| {
        let without_state = MirrorSettings {
            state: None,
            ..former.clone()
        };
        without_state == wanted.settings && former.state != Some(WantedState::Absent)
    });
    let taken = || {
        Err(Refusal::Invalid(format!(
            "Topic '{}' already exists.",
            wanted.name
        )))
    };
    let mut mirrors = state.mirrors.values();
    let recorded = mirrors.find(|mirror| {
        mirror.destination_topic == wanted.name
            || mirror.id.link == record.id && mirror.source_topic == new.source_topic
    });
    if let Some(mirror) = recorded {
        let is_ours = mirror.id.link == record.id
            && mirror.source_topic == new.source_topic
            && mirror.destination_topic == wanted.name;
        // One that was made by itself has no settings.
        let made_by_rule = former.is_none() && wanted.settings == MirrorSettings::default();
        if is_ours && (is_same || made_by_rule) && mirror.ending.is_none() {
            return Ok(Found::Made);
        }
        if mirror.destination_topic == wanted.name {
            return taken();
        }
        return Err(Refusal::Invalid(format!(
            "the link `{link}` mirrors `{}` to `{}` already: a link has one mirror of a topic",
            new.source_topic, mirror.destination_topic
        )));
    }
    // A call that was cut off may have made the topic; whether that is usable is seen when it is planned.
    if exists && !is_same {
        return taken();
    }
    let mut changed = record.clone();
    changed
        .mirrors
        .insert(new.source_topic.clone(), wanted.settings);
    changed.generation += 1;
    Ok(Found::Wanted(Box::new(changed), former))
}

/// What could not be made is not wanted any more, or workers would try for ever.
async fn take_back(
    writer: &mut ControlWriter,
    record: &LinkRecord,
    new: &NewMirror,
    former: Option<MirrorSettings>,
) {
    let mut record = record.clone();
    record.generation += 1;
    match former {
        Some(former) => drop(record.mirrors.insert(new.source_topic.clone(), former)),
        None => drop(record.mirrors.shift_remove(&new.source_topic)),
    }
    if let Err(error) = writer.commit(vec![Write::Link(record)]).await {
        tracing::warn!(%error, "what was not made could not be taken back: workers go on trying");
    }
}

fn refusal_of(outcome: &Outcome) -> Option<Refusal> {
    if outcome.is_complete() {
        return None;
    }
    let failed = outcome.failed.first();
    Some(Refusal::Invalid(failed.map_or_else(
        || "the mirror topic was not made".to_owned(),
        |(_, failure)| failure.to_string(),
    )))
}

/// Nobody watches: the answer says it.
struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}

async fn has_topic(client: &Client, name: &str) -> Result<bool, Refusal> {
    let metadata = client
        .admin()
        .metadata(Topics::Named(&[name.to_owned()]))
        .await?;
    let code = metadata.topic(name).map(|topic| topic.error);
    Ok(code.is_some_and(|code| code != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))
}

async fn check_source(source: &Client, link: &str, topic: &str) -> Result<(), Refusal> {
    let metadata = source
        .admin()
        .metadata(Topics::Named(&[topic.to_owned()]))
        .await?;
    match metadata.topic(topic).map(|topic| topic.error) {
        Some(code) if code.is_ok() => Ok(()),
        None | Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => Err(Refusal::Invalid(format!(
            "the source cluster of the link `{link}` has no topic `{topic}`"
        ))),
        Some(code) => Err(Refusal::Remote(format!(
            "the source cluster of the link `{link}` does not show the topic `{topic}`: {}",
            code.description()
        ))),
    }
}

/// Mirrors that go with a topic; `None`: it has none that are anybody's business over REST.
///
/// # Errors
/// A topology file wants the mirror.
fn doomed(state: &ControlState, topic: &str) -> Result<Option<Vec<IncarnationId>>, Refusal> {
    let mut doomed = Vec::new();
    let mut mirrors = state.mirrors.values();
    for mirror in mirrors.by_ref().filter(|it| it.destination_topic == topic) {
        let Some(link) = state.links.get(&mirror.id.link) else {
            continue;
        };
        match own_link(state, &link.name) {
            Ok(_) => doomed.push(mirror.id),
            // An ordinary topic by now.
            Err(_) if mirror.is_stopped() => {}
            Err(refusal) => return Err(refusal),
        }
    }
    let is_asked_for = !asked_for(state, topic).is_empty();
    Ok((is_asked_for || !doomed.is_empty()).then_some(doomed))
}

/// Links that want to write to a topic of this name, and from which source topic.
fn asked_for(state: &ControlState, topic: &str) -> Vec<(LinkRecord, String)> {
    let links = state.links.values();
    let own = links.filter(|link| own_link(state, &link.name).is_ok());
    own.flat_map(|link| {
        let rule = LinkRule::from(link);
        let named = link.mirrors.iter();
        let named = named.filter(|(_, settings)| settings.state != Some(WantedState::Absent));
        let meant: Vec<String> = named
            .filter(|(source, _)| rule.destination(source).as_deref() == Ok(topic))
            .map(|(source, _)| source.clone())
            .collect();
        meant.into_iter().map(|source| (link.clone(), source))
    })
    .collect()
}

/// What is written once a mirror's topic is gone.
fn forgotten(state: &ControlState, topic: &str, doomed: &[IncarnationId]) -> Vec<Write> {
    let known = doomed.iter().filter(|id| state.mirrors.contains_key(*id));
    let mut writes: Vec<Write> = known.clone().map(|id| Write::DropMirror(*id)).collect();
    let recorded = known.filter_map(|id| {
        let link = state.links.get(&id.link)?;
        Some((link.clone(), state.mirrors[id].source_topic.clone()))
    });
    let mut sources: Vec<(LinkRecord, String)> = recorded.collect();
    sources.extend(asked_for(state, topic));
    let mut changed: indexmap::IndexMap<uuid::Uuid, LinkRecord> = indexmap::IndexMap::new();
    for (link, source) in sources {
        let link = changed.entry(link.id).or_insert(link);
        link.mirrors.shift_remove(&source);
        // Deleted by somebody, it is not to come back by itself.
        if link.auto_create && LinkRule::from(&*link).takes(&source).is_some() {
            let absent = MirrorSettings {
                state: Some(WantedState::Absent),
                ..MirrorSettings::default()
            };
            link.mirrors.insert(source, absent);
        }
    }
    writes.extend(changed.into_values().map(|mut link| {
        link.generation += 1;
        Write::Link(link)
    }));
    writes
}
