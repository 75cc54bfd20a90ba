//! Links: created, altered and deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::{Desk, Refusal, configs_of, no_link, own_link, remote};
use crate::control::actions::MirrorAction;
use crate::control::records::{
    IncarnationId, LinkRecord, MirrorRecord, Owner, RECORD_VERSION, SourceLinkRecord,
};
use crate::control::{self, ControlState, Write, progress};
use crate::linking::configs::{Change, Configs, ConnectionMode, LinkMode};
use crate::linking::keys;
use crate::linking::record::{self, Identity};
use crate::topology::names;

/// How long workers have to end the mirrors of a link that is deleted by force.
const FORCED: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A link that is asked for.
#[derive(Clone, Debug)]
pub struct NewLink {
    pub name: String,
    pub other: Option<OtherEnd>,
    /// Of a link of both ways: the id that its other half has.
    pub id: Option<Uuid>,
    pub configs: Vec<Change>,
}

/// The id of the other cluster, and which end of the link it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtherEnd {
    Source(String),
    Destination(String),
    /// Both ends, in turn.
    Remote(String),
}

/// How far a creation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Everything is looked at and nothing is changed.
    pub validate_only: bool,
    /// The other cluster is connected to first.
    pub validate_link: bool,
}

/// A link that this cluster holds.
#[expect(
    clippy::large_enum_variant,
    reason = "there are few of them, for one request each"
)]
#[derive(Clone, Debug)]
pub enum Held {
    Destination {
        link: LinkRecord,
        configs: Configs,
    },
    Source {
        link: SourceLinkRecord,
        configs: Configs,
    },
}

impl Held {
    /// All links that a cluster holds, by name.
    pub fn all(state: &ControlState) -> Vec<Self> {
        let destinations = state.links.values().map(|link| Self::Destination {
            link: link.clone(),
            configs: configs_of(state, link),
        });
        let sources = state.source_links.values().map(|link| Self::Source {
            link: link.clone(),
            configs: source_configs(state, link),
        });
        let mut all: Vec<Self> = destinations.chain(sources).collect();
        all.sort_by(|one, other| one.name().cmp(other.name()));
        all
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn find(state: &ControlState, name: &str) -> Result<Self, Refusal> {
        let mut all = Self::all(state).into_iter();
        all.find(|held| held.name() == name)
            .ok_or_else(|| no_link(name))
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Destination { link, .. } => &link.name,
            Self::Source { link, .. } => &link.name,
        }
    }

    pub fn id(&self) -> Uuid {
        match self {
            Self::Destination { link, .. } => link.id,
            Self::Source { link, .. } => link.id,
        }
    }

    pub fn configs(&self) -> &Configs {
        match self {
            Self::Destination { configs, .. } | Self::Source { configs, .. } => configs,
        }
    }

    /// Whether a topology file owns it.
    pub fn is_files(&self) -> bool {
        matches!(self, Self::Destination { link, .. } if link.owner == Owner::File)
    }
}

fn source_configs(state: &ControlState, link: &SourceLinkRecord) -> Configs {
    let record = state.configs.get(&link.id);
    record.map(Configs::sealed).unwrap_or_default()
}

impl Desk {
    /// Creates a link. Asked for again as it is there already, it is left as it is.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn create_link(&self, new: NewLink, checks: Checks) -> Result<(), Refusal> {
        check_name(&new.name)?;
        let configs = Configs::new(new.configs.clone())?;
        let own_id = self.client.cluster_id();
        let other = other_end(&new, &configs)?;
        if other.as_deref() == Some(own_id.as_str()) {
            return Err(Refusal::Invalid(format!(
                "the source cluster's id and this cluster's id are both {own_id}: a link from a cluster to itself copies nothing"
            )));
        }
        // Whatever the remote end says: what cannot be stored need not be tried.
        configs.store(Uuid::nil(), self.key.as_deref())?;
        let mode = configs.link_mode();
        let found = if checks.validate_link && configs.connection_mode() == ConnectionMode::Outbound
        {
            Some(look(&new.name, mode, &configs, &own_id, other.as_deref()).await?)
        } else {
            None
        };
        let other = other.or_else(|| found.as_ref().map(|found| found.cluster_id.clone()));
        let other = other.ok_or_else(|| missing_id(mode))?;
        let id = link_id(
            new.id.filter(|_| mode == LinkMode::Bidirectional),
            found.and_then(|found| found.link),
        )?;
        let decide = |state: &ControlState| {
            if self.is_there(state, &new.name, mode, &other, &configs)? {
                return Ok((Vec::new(), ()));
            }
            check_prefix(state, &new.name, &configs)?;
            check_id(state, id)?;
            let stored = configs.store(id, self.key.as_deref())?;
            let link = match mode {
                LinkMode::Destination | LinkMode::Bidirectional => Write::Link(record::of(
                    Identity {
                        id,
                        name: new.name.clone(),
                        source_cluster_id: other.clone(),
                        destination_cluster_id: own_id.clone(),
                    },
                    &configs,
                )),
                LinkMode::Source => Write::SourceLink(SourceLinkRecord {
                    version: RECORD_VERSION,
                    id,
                    name: new.name.clone(),
                    source_cluster_id: own_id.clone(),
                    destination_cluster_id: other.clone(),
                    generation: 1,
                }),
            };
            Ok((vec![link, Write::LinkConfigs(id, stored)], ()))
        };
        if checks.validate_only {
            let state = self.state().await?;
            return decide(&state).map(drop);
        }
        self.change(decide).await
    }

    /// Whether the very same link is there already.
    fn is_there(
        &self,
        state: &ControlState,
        name: &str,
        mode: LinkMode,
        other: &str,
        configs: &Configs,
    ) -> Result<bool, Refusal> {
        let Ok(held) = Held::find(state, name) else {
            return Ok(false);
        };
        let exists = || Refusal::Exists(format!("there is a cluster link `{name}` already"));
        let same_ends = match (&held, mode) {
            (Held::Destination { link, .. }, LinkMode::Destination | LinkMode::Bidirectional) => {
                link.owner == Owner::Rest && link.source_cluster_id == other
            }
            (Held::Source { link, .. }, LinkMode::Source) => link.destination_cluster_id == other,
            _ => false,
        };
        let record = state.configs.get(&held.id()).filter(|_| same_ends);
        let record = record.ok_or_else(exists)?;
        let opened = Configs::open(record, held.id(), self.key.as_deref());
        match opened {
            Ok(opened) if opened == *configs => Ok(true),
            _ => Err(exists()),
        }
    }

    /// Changes configs of a link, all or none.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn alter_link(
        &self,
        name: &str,
        changes: &[Change],
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let decide = |state: &ControlState| {
            let held = Held::find(state, name)?;
            if held.is_files() {
                own_link(state, name)?;
            }
            let altered = held.configs().altered(changes)?;
            let stored = altered.store(held.id(), self.key.as_deref())?;
            if altered == *held.configs() {
                return Ok((Vec::new(), ()));
            }
            let link = match &held {
                Held::Destination { link, .. } => {
                    Write::Link(record::altered(link, &altered, state.mirrors.values()))
                }
                Held::Source { link, .. } => Write::SourceLink(SourceLinkRecord {
                    generation: link.generation + 1,
                    ..link.clone()
                }),
            };
            Ok((vec![link, Write::LinkConfigs(held.id(), stored)], ()))
        };
        if validate_only {
            let state = self.state().await?;
            return decide(&state).map(drop);
        }
        self.change(decide).await
    }

    /// Deletes a link. Its mirrors have to have ended, unless `force` says to end them with it: their topics stay, as
    /// ordinary ones.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn delete_link(
        &self,
        name: &str,
        force: bool,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let mut state = self.state().await?;
        self.doomed_mirrors(&state, name, force)?;
        if validate_only {
            return Ok(());
        }
        if force {
            state = self.end_mirrors(state, name).await?;
        }
        let gone = self.doomed_mirrors(&state, name, force)?;
        if !gone.is_empty() {
            progress::forget(&self.client, &gone).await?;
        }
        self.change(|state| {
            let writes = match Held::find(state, name)? {
                Held::Destination { link, .. } => {
                    let mirrors = self.doomed_mirrors(state, name, force)?;
                    let mut writes: Vec<Write> =
                        mirrors.into_iter().map(Write::DropMirror).collect();
                    writes.push(Write::DropLink(link.id));
                    writes.push(Write::DropLinkConfigs(link.id));
                    writes
                }
                Held::Source { link, .. } => vec![
                    Write::DropSourceLink(link.id),
                    Write::DropLinkConfigs(link.id),
                ],
            };
            Ok((writes, ()))
        })
        .await
    }

    /// Fails over what is still mirrored by a link that goes, so that nothing of it is written afterwards. Where no worker does it
    /// in time, the link goes all the same: a worker that wakes up later has long lost the right to write.
    async fn end_mirrors(&self, state: ControlState, name: &str) -> Result<ControlState, Refusal> {
        let Held::Destination { link, .. } = Held::find(&state, name)? else {
            return Ok(state);
        };
        let is_live = |mirror: &&MirrorRecord| mirror.id.link == link.id && !mirror.is_stopped();
        let live = state.mirrors.values().filter(is_live);
        let topics: Vec<String> = live.map(|it| it.destination_topic.clone()).collect();
        if topics.is_empty() {
            return Ok(state);
        }
        self.act(name, &topics, MirrorAction::FailOver, false)
            .await?;
        let deadline = Instant::now() + FORCED;
        loop {
            let state = self.state().await?;
            let left = state.mirrors.values().filter(is_live).count();
            if left == 0 {
                return Ok(state);
            }
            if Instant::now() > deadline {
                tracing::warn!(
                    link = name,
                    mirrors = left,
                    "no worker ended the mirrors of the link: it is deleted without"
                );
                return Ok(state);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The mirrors that go with a link.
    ///
    /// # Errors
    /// The link cannot go.
    fn doomed_mirrors(
        &self,
        state: &ControlState,
        name: &str,
        force: bool,
    ) -> Result<Vec<IncarnationId>, Refusal> {
        let link = match Held::find(state, name)? {
            Held::Destination { .. } => own_link(state, name)?,
            Held::Source { .. } => return Ok(Vec::new()),
        };
        let mirrors = || {
            let mirrors = state.mirrors.values();
            mirrors.filter(|mirror| mirror.id.link == link.id)
        };
        let topics = |which: &dyn Fn(&MirrorRecord) -> bool| -> BTreeSet<&str> {
            let found = mirrors().filter(|mirror| which(mirror));
            found
                .map(|mirror| mirror.destination_topic.as_str())
                .collect()
        };
        let pending = topics(&|mirror| mirror.pending().is_some());
        if !pending.is_empty() && !force {
            return Err(Refusal::First(format!(
                "the link `{name}` cannot be deleted while mirror topics are being stopped: {}; wait until they are STOPPED",
                some_of(&pending)
            )));
        }
        let live = topics(&|mirror| !mirror.is_stopped());
        if !live.is_empty() && !force {
            return Err(Refusal::First(format!(
                "the link `{name}` has mirror topics: {}; promote, fail over or delete them first",
                some_of(&live)
            )));
        }
        Ok(mirrors().map(|mirror| mirror.id).collect())
    }
}

/// The first few names.
fn some_of(names: &BTreeSet<&str>) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().copied().take(SHOWN).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    names::validate_topic_name(name).map_err(|problem| {
        let problem = problem.replace("brokers refuse `.` and `..`", "`.` and `..` are refused");
        Refusal::Invalid(format!(
            "this is no legal name of a cluster link: {problem}"
        ))
    })
}

/// The other cluster's id as the request says it.
fn other_end(new: &NewLink, configs: &Configs) -> Result<Option<String>, Refusal> {
    match (&new.other, configs.link_mode()) {
        (Some(OtherEnd::Source(id)), LinkMode::Destination)
        | (Some(OtherEnd::Destination(id)), LinkMode::Source)
        | (Some(OtherEnd::Remote(id)), LinkMode::Bidirectional) => Ok(Some(id.clone())),
        (None, _) => Ok(None),
        (Some(_), mode) => Err(missing_id(mode)),
    }
}

fn missing_id(mode: LinkMode) -> Refusal {
    Refusal::Invalid(match mode {
        LinkMode::Destination => "`source_cluster_id` is missing: a link with link.mode DESTINATION is created at its destination"
            .to_owned(),
        LinkMode::Source => {
            "`destination_cluster_id` is missing: a link with link.mode SOURCE is created at its source".to_owned()
        }
        LinkMode::Bidirectional => {
            "`remote_cluster_id` is missing: a link with link.mode BIDIRECTIONAL is created on each of its two clusters".to_owned()
        }
    })
}

/// What was found at the other end.
struct Found {
    cluster_id: String,
    /// The other half of the link.
    link: Option<Uuid>,
}

/// Connects to the other end and looks whether it is what it should be.
async fn look(
    name: &str,
    mode: LinkMode,
    configs: &Configs,
    own_id: &str,
    other: Option<&str>,
) -> Result<Found, Refusal> {
    let client = remote::connect(name, configs).await?;
    let cluster_id = client.cluster_id();
    if let Some(other) = other.filter(|other| *other != cluster_id) {
        return Err(Refusal::Invalid(format!(
            "the cluster at `{}` has the id {cluster_id}, not {other}",
            keys::BOOTSTRAP_SERVERS
        )));
    }
    if cluster_id == own_id {
        return Err(Refusal::Invalid(format!(
            "the cluster at `{}` is this one: a link from a cluster to itself copies nothing",
            keys::BOOTSTRAP_SERVERS
        )));
    }
    let link = match mode {
        LinkMode::Destination => None,
        LinkMode::Source => {
            let state = control::read(&client).await?.unwrap_or_default();
            Some(inbound_half(&state, name, own_id)?.id)
        }
        LinkMode::Bidirectional => {
            let state = control::read(&client).await?.unwrap_or_default();
            other_half(&state, name, own_id)?.map(|half| half.id)
        }
    };
    Ok(Found { cluster_id, link })
}

/// The other half of a link of both ways, as it stands on the other cluster; `None`: it is still to be made.
///
/// # Errors
/// Something else has the name there.
pub(crate) fn other_half<'s>(
    state: &'s ControlState,
    name: &str,
    own_cluster_id: &str,
) -> Result<Option<&'s LinkRecord>, Refusal> {
    if state.source_links.values().any(|link| link.name == name) {
        return Err(Refusal::Invalid(format!(
            "the link `{name}` on the other cluster is the half of another link, with link.mode SOURCE"
        )));
    }
    let Some(found) = state.links.values().find(|link| link.name == name) else {
        return Ok(None);
    };
    if found.owner != Owner::Rest || configs_of(state, found).link_mode() != LinkMode::Bidirectional
    {
        return Err(Refusal::Invalid(format!(
            "the link `{name}` on the other cluster has another link.mode than BIDIRECTIONAL: both halves need it"
        )));
    }
    if found.source_cluster_id != own_cluster_id {
        return Err(Refusal::Invalid(format!(
            "the link `{name}` on the other cluster is for the cluster {}, and this one is {own_cluster_id}",
            found.source_cluster_id
        )));
    }
    Ok(Some(found))
}

/// The other half of a link of both ways, where workers beside this cluster have to carry it; `None`: it opens connections itself.
///
/// # Errors
/// There is none yet, or something else has the name.
pub(crate) fn waiting_half<'s>(
    state: &'s ControlState,
    name: &str,
    own_cluster_id: &str,
) -> Result<Option<&'s LinkRecord>, Refusal> {
    let found = other_half(state, name, own_cluster_id)?.ok_or_else(|| {
        Refusal::Invalid(format!(
            "the other cluster has no link `{name}` yet: create that half with link.mode BIDIRECTIONAL, too"
        ))
    })?;
    let is_waiting = configs_of(state, found).connection_mode() == ConnectionMode::Inbound;
    Ok(Some(found).filter(|_| is_waiting))
}

/// The id of a new link: the one that its other half has.
fn link_id(asked: Option<Uuid>, found: Option<Uuid>) -> Result<Uuid, Refusal> {
    match (asked, found) {
        (Some(asked), Some(found)) if asked != found => Err(Refusal::Invalid(
            "`cluster_link_id` is not the id of the link of this name on the other cluster"
                .to_owned(),
        )),
        (asked, found) => Ok(found.or(asked).unwrap_or_else(Uuid::new_v4)),
    }
}

/// An id that was asked for may be another link's.
fn check_id(state: &ControlState, id: Uuid) -> Result<(), Refusal> {
    if state.links.contains_key(&id) || state.source_links.contains_key(&id) {
        return Err(Refusal::Invalid(
            "`cluster_link_id` is the id of another link on this cluster".to_owned(),
        ));
    }
    Ok(())
}

/// The half of a link at its destination that waits for connections from this source.
///
/// # Errors
/// There is none.
pub(crate) fn inbound_half<'s>(
    state: &'s ControlState,
    name: &str,
    source_cluster_id: &str,
) -> Result<&'s LinkRecord, Refusal> {
    let found = state.links.values().find(|link| link.name == name);
    let found = found.filter(|link| link.owner == Owner::Rest).ok_or_else(|| {
        Refusal::Invalid(format!(
            "the destination cluster has no link `{name}` yet: create that half first, with connection.mode INBOUND"
        ))
    })?;
    let configs = configs_of(state, found);
    if configs.link_mode() != LinkMode::Destination {
        return Err(Refusal::Invalid(format!(
            "the link `{name}` at the destination has link.mode BIDIRECTIONAL: this half needs the same"
        )));
    }
    if configs.connection_mode() != ConnectionMode::Inbound {
        return Err(Refusal::Invalid(format!(
            "the link `{name}` at the destination has connection.mode OUTBOUND: it opens the connections itself"
        )));
    }
    if found.source_cluster_id != source_cluster_id {
        return Err(Refusal::Invalid(format!(
            "the link `{name}` at the destination is for the source cluster {}, and this one is {source_cluster_id}",
            found.source_cluster_id
        )));
    }
    Ok(found)
}

/// Two links that put the same before the names of topics would write over each other.
fn check_prefix(state: &ControlState, name: &str, configs: &Configs) -> Result<(), Refusal> {
    let Some(prefix) = configs.prefix() else {
        return Ok(());
    };
    let taken = state
        .links
        .values()
        .find(|link| link.name != name && configs_of(state, link).prefix() == Some(prefix));
    match taken {
        None => Ok(()),
        Some(link) => Err(Refusal::Invalid(format!(
            "the prefix `{prefix}` exists already: the link `{}` has it",
            link.name
        ))),
    }
}
