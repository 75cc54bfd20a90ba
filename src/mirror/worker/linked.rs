//! Links that were made over REST: found on the clusters of the file, and carried over connections of their own.
//!
//! A link stands on its destination, with how its source is reached. Where the source opens the connections, its half stands on the
//! source, with how the destination is reached: then a worker beside the source goes there and works as one of
//! the destination's. Each link has a job of its own with a worker group of its own ([`Scope::Link`]), which is joined
//! once both clusters are reached. So the trouble of one link is no other's, and a worker that lacks the key or the way leaves a
//! link to those that have them. A failover is for the case that nobody can reach the source any more: it is carried
//! out by any worker of the destination.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use super::destination::{DestinationWorker, RunError};
use super::figures::Figures;
use super::scope::Scope;
use super::{ConnectedCluster, Options};
use crate::control::records::{EndingKind, LinkConfigsRecord, Owner};
use crate::control::{self, ControlState, Watch};
use crate::kafka::{Backoff, Client, ClientConfig};
use crate::linking::configs::{Configs, ConnectionMode, LinkMode};
use crate::linking::operations::{self, Refusal};
use crate::linking::reach::{Reach, Side};
use crate::mirror::io::reader::Reader;

/// How often a cluster on which nothing was ever applied is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// Where it cannot be read: it may be none of this worker's business.
const LOOK_LATER: Duration = Duration::from_secs(30);
const TIDY: Duration = Duration::from_millis(500);
/// How long those that carry a link have for a failover before others stand in.
const STAND_IN_AFTER: Duration = Duration::from_secs(5);

/// Which of a link's halves a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Role {
    /// The link stands here, at its destination.
    Destination,
    /// Its half stands here, at the source; or a link of both ways does, whose other half cannot open connections.
    Source,
    /// Mirrors of the link are failed over, which takes nobody's source: whoever is there does it.
    StandIn,
}

/// What a job needs to know; one that changes is begun anew.
#[derive(Clone, Debug, PartialEq)]
struct Task {
    role: Role,
    id: Uuid,
    name: String,
    source_cluster_id: String,
    destination_cluster_id: String,
    remote: Option<Reach>,
    local: Option<Reach>,
    /// The half that is carried is that of a link of both ways.
    is_both_ways: bool,
}

#[derive(Debug)]
struct Job {
    task: Task,
    stop: watch::Sender<bool>,
    handle: JoinHandle<()>,
}

/// Carries the links that stand on one cluster, until told to stop, or until everything is copied where that is asked for.
pub(super) async fn run(
    cluster: ConnectedCluster,
    options: Options,
    figures: Figures,
    mut stop: watch::Receiver<bool>,
) {
    if !wait_for_records(&cluster, &options, &mut stop).await {
        return;
    }
    let mut carrier = Carrier {
        cluster,
        options,
        figures,
        jobs: BTreeMap::new(),
        told: HashMap::new(),
        is_known: false,
    };
    carrier.serve(stop).await;
}

/// `false`: there is nothing to wait for any more.
async fn wait_for_records(
    cluster: &ConnectedCluster,
    options: &Options,
    stop: &mut watch::Receiver<bool>,
) -> bool {
    loop {
        let pause = match control::read(&cluster.client).await {
            Ok(Some(_)) => return true,
            Ok(None) => LOOK_AGAIN,
            Err(error) => {
                tracing::debug!(cluster = cluster.name, %error, "whether links stand on the cluster cannot be seen");
                LOOK_LATER
            }
        };
        if options.until_caught_up || *stop.borrow() {
            return false;
        }
        tokio::select! {
            _ = stop.changed() => return false,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct Carrier {
    cluster: ConnectedCluster,
    options: Options,
    figures: Figures,
    jobs: BTreeMap<(Uuid, Role), Job>,
    /// Why links are not carried here, as it was told.
    told: HashMap<(Uuid, Role), String>,
    /// Whether the records were read.
    is_known: bool,
}

impl Carrier {
    async fn serve(&mut self, mut stop: watch::Receiver<bool>) {
        let mut watching = Watch::start(self.cluster.client.clone());
        let mut tidy = interval(TIDY);
        tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !*stop.borrow() {
            tokio::select! {
                _ = stop.changed() => {}
                state = watching.changed() => match state {
                    Ok(state) => self.obey(&state).await,
                    Err(error) => tracing::debug!(cluster = self.cluster.name, %error, "links cannot be followed just now"),
                },
                _ = tidy.tick() => {
                    if self.options.until_caught_up
                        && self.is_known
                        && self.jobs.values().all(|job| job.handle.is_finished())
                    {
                        break;
                    }
                }
            }
        }
        let all: Vec<(Uuid, Role)> = self.jobs.keys().copied().collect();
        self.end(&all).await;
    }

    async fn obey(&mut self, state: &ControlState) {
        self.is_known = true;
        let wanted = self.wanted(state);
        let gone: Vec<(Uuid, Role)> = self
            .jobs
            .iter()
            .filter(|(key, job)| match wanted.get(key) {
                None => true,
                Some(Some(task)) => *task != job.task,
                // What was opened before is as good: the key is another one since, not the link.
                Some(None) => false,
            })
            .map(|(key, _)| *key)
            .collect();
        self.end(&gone).await;
        for (key, task) in wanted {
            if let (Some(task), false) = (task, self.jobs.contains_key(&key)) {
                self.begin(key, task);
            }
        }
    }

    /// The links that are to be carried here; without a task where that cannot be done.
    fn wanted(&mut self, state: &ControlState) -> BTreeMap<(Uuid, Role), Option<Task>> {
        let own_id = self.cluster.cluster_id.clone();
        let rest = state
            .links
            .values()
            .filter(|link| link.owner == Owner::Rest && link.destination_cluster_id == own_id);
        let mut wanted = BTreeMap::new();
        for link in rest {
            if is_failing_over(state, link.id) {
                let task = Task {
                    role: Role::StandIn,
                    id: link.id,
                    name: link.name.clone(),
                    source_cluster_id: link.source_cluster_id.clone(),
                    destination_cluster_id: own_id.clone(),
                    remote: None,
                    local: None,
                    is_both_ways: false,
                };
                wanted.insert((link.id, Role::StandIn), Some(task));
            }
            let Some(record) = state.configs.get(&link.id) else {
                continue;
            };
            if Configs::sealed(record).connection_mode() == ConnectionMode::Inbound {
                continue;
            }
            let task = self.task(Role::Destination, link.id, &link.name, record);
            let task = task.map(|task| Task {
                source_cluster_id: link.source_cluster_id.clone(),
                destination_cluster_id: own_id.clone(),
                ..task
            });
            wanted.insert((link.id, Role::Destination), task);
            if Configs::sealed(record).carries_other_half() {
                let task = self.task(Role::Source, link.id, &link.name, record);
                let task = task.map(|task| Task {
                    source_cluster_id: own_id.clone(),
                    destination_cluster_id: link.source_cluster_id.clone(),
                    ..task
                });
                wanted.insert((link.id, Role::Source), task);
            }
        }
        for half in state.source_links.values() {
            let Some(record) = state.configs.get(&half.id) else {
                continue;
            };
            let task = self.task(Role::Source, half.id, &half.name, record);
            let task = task.map(|task| Task {
                source_cluster_id: own_id.clone(),
                destination_cluster_id: half.destination_cluster_id.clone(),
                ..task
            });
            wanted.insert((half.id, Role::Source), task);
        }
        wanted
    }

    fn task(
        &mut self,
        role: Role,
        id: Uuid,
        name: &str,
        record: &LinkConfigsRecord,
    ) -> Option<Task> {
        let made = Configs::open(record, id, self.options.key.as_deref())
            .map_err(|unreadable| unreadable.to_string())
            .and_then(|configs| {
                let remote = configs.reach(Side::Remote).map_err(|invalid| invalid.0)?;
                let local = match role {
                    Role::Destination | Role::StandIn => None,
                    Role::Source => Some(configs.reach(Side::Local).map_err(|invalid| invalid.0)?),
                };
                let is_both_ways = configs.link_mode() == LinkMode::Bidirectional;
                Ok((remote, local, is_both_ways))
            });
        match made {
            Ok((remote, local, is_both_ways)) => {
                self.told.remove(&(id, role));
                Some(Task {
                    role,
                    id,
                    name: name.to_owned(),
                    source_cluster_id: String::new(),
                    destination_cluster_id: String::new(),
                    remote: Some(remote),
                    local,
                    is_both_ways,
                })
            }
            Err(cause) => {
                if self.told.get(&(id, role)) != Some(&cause) {
                    tracing::warn!(link = name, cause, "this worker leaves the link to others");
                    self.told.insert((id, role), cause);
                }
                None
            }
        }
    }

    fn begin(&mut self, key: (Uuid, Role), task: Task) {
        let (stop, stopped) = watch::channel(false);
        let carrying = carry(
            task.clone(),
            self.cluster.clone(),
            self.options.clone(),
            self.figures.clone(),
            stopped,
        );
        let handle = tokio::spawn(carrying);
        self.jobs.insert(key, Job { task, stop, handle });
    }

    /// Ends jobs side by side, each in good order.
    async fn end(&mut self, keys: &[(Uuid, Role)]) {
        let ending: Vec<Job> = keys
            .iter()
            .filter_map(|key| self.jobs.remove(key))
            .collect();
        for job in &ending {
            job.stop.send_replace(true);
        }
        for job in ending {
            if let Err(error) = job.handle.await {
                tracing::error!(link = job.task.name, %error, "what carried the link broke down");
            }
        }
    }
}

fn is_failing_over(state: &ControlState, link: Uuid) -> bool {
    let mut mirrors = state.mirrors.values();
    mirrors.any(|mirror| {
        let pending = mirror.pending();
        mirror.id.link == link && pending.is_some_and(|it| it.kind == EndingKind::FailOver)
    })
}

/// Carries one link until told to stop.
async fn carry(
    task: Task,
    cluster: ConnectedCluster,
    options: Options,
    figures: Figures,
    mut stop: watch::Receiver<bool>,
) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    let mut told: HashSet<String> = HashSet::new();
    if task.role == Role::StandIn {
        tokio::select! {
            () = tokio::time::sleep(STAND_IN_AFTER) => {}
            _ = stop.changed() => return,
        }
    }
    while !*stop.borrow() {
        let reached = tokio::select! {
            reached = reach(&task, &cluster) => reached,
            _ = stop.changed() => return,
        };
        let trouble = match reached {
            // It opens its connections itself, and other workers carry it; that may change.
            Ok(None) => None,
            Ok(Some((destination, source, id))) => {
                backoff.reset();
                let clusters = source.iter().chain([&destination]);
                let clusters = clusters.map(|one| (one.cluster_id.clone(), one.clone()));
                let clusters: HashMap<String, ConnectedCluster> = clusters.collect();
                let worker = DestinationWorker::new(
                    Scope::Link(id),
                    destination,
                    clusters,
                    options.clone(),
                    figures.clone(),
                );
                match worker.run(stop.clone()).await {
                    Ok(_) if options.until_caught_up => return,
                    Ok(_) => None,
                    Err(error) => Some(words(&error)),
                }
            }
            Err(refusal) => Some(refusal.to_string()),
        };
        if let Some(cause) = trouble
            && told.insert(cause.clone())
        {
            tracing::warn!(
                link = task.name,
                cause,
                "the link cannot be carried just now"
            );
        }
        if options.until_caught_up {
            return;
        }
        tokio::select! {
            () = backoff.sleep() => {}
            _ = stop.changed() => {}
        }
    }
}

fn words(error: &RunError) -> String {
    error.to_string()
}

/// Destination and source of a link, connected, and the link's id at its destination. A stand-in needs no source.
type Reached = (ConnectedCluster, Option<ConnectedCluster>, Uuid);

/// Connects to a task's clusters; `None`: the link is not to be carried from here after all.
async fn reach(task: &Task, cluster: &ConnectedCluster) -> Result<Option<Reached>, Refusal> {
    let Some(remote) = &task.remote else {
        return Ok(Some((cluster.clone(), None, task.id)));
    };
    match task.role {
        Role::Destination | Role::StandIn => {
            let name = format!("{} (source)", task.name);
            let source = connect(task, &name, remote, cluster).await?;
            check(task, &source, &task.source_cluster_id)?;
            Ok(Some((cluster.clone(), Some(source), task.id)))
        }
        Role::Source => {
            let name = format!("{} (destination)", task.name);
            let destination = connect(task, &name, remote, cluster).await?;
            check(task, &destination, &task.destination_cluster_id)?;
            let state = control::read(&destination.client)
                .await?
                .unwrap_or_default();
            let (name, own_id) = (&task.name, &task.source_cluster_id);
            let half = match task.is_both_ways {
                true => operations::waiting_half(&state, name, own_id)?,
                false => Some(operations::inbound_half(&state, name, own_id)?),
            };
            let Some(half) = half else {
                return Ok(None);
            };
            let source = local(task, cluster).await?;
            Ok(Some((destination, Some(source), half.id)))
        }
    }
}

/// The source of which this is the half: as its configs say, else as the file does.
async fn local(task: &Task, cluster: &ConnectedCluster) -> Result<ConnectedCluster, Refusal> {
    let Some(local) = &task.local else {
        return Ok(cluster.clone());
    };
    if local.settings.is_none() && local.bootstrap_servers.is_empty() {
        return Ok(cluster.clone());
    }
    let mut reach = local.clone();
    if reach.bootstrap_servers.is_empty() {
        reach
            .bootstrap_servers
            .clone_from(&cluster.bootstrap_servers);
    }
    let name = format!("{} (source)", task.name);
    let source = connect(task, &name, &reach, cluster).await?;
    check(task, &source, &task.source_cluster_id)?;
    Ok(source)
}

/// Connects, with the memory that all clusters of this worker share.
async fn connect(
    task: &Task,
    name: &str,
    reach: &Reach,
    cluster: &ConnectedCluster,
) -> Result<ConnectedCluster, Refusal> {
    let settings = reach.settings.clone().unwrap_or_default();
    let config = ClientConfig::with_settings(name, reach.bootstrap_servers.clone(), settings);
    let client = Client::connect(config)
        .await
        .map_err(|error| operations::unreachable(&task.name, &error))?;
    Ok(ConnectedCluster {
        name: name.to_owned(),
        cluster_id: client.cluster_id(),
        reader: Reader::new(client.clone(), Arc::clone(cluster.reader.buffers())),
        client,
        bootstrap_servers: reach.bootstrap_servers.clone(),
    })
}

fn check(task: &Task, found: &ConnectedCluster, wanted: &str) -> Result<(), Refusal> {
    if found.cluster_id == wanted {
        return Ok(());
    }
    Err(Refusal::Remote(format!(
        "the cluster that the link `{}` reaches has the id {}, and the link is for {wanted}",
        task.name, found.cluster_id
    )))
}
