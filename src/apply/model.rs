//! Clusters in memory, as far as planning and applying look at them: for tests.
//!
//! What is applied here is observed by the next plan, so that "a second plan finds nothing to do" can
//! be tried over thousands of files.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use uuid::Uuid;

use super::effects::{ConfigAlteration, Effects, Failure, LinkEffects, ProducerId};
use crate::control::Write;
use crate::control::records::{IncarnationId, LINKS_TOPIC, OFFSETS_TOPIC, WORK_TOPIC};
use crate::observe::model::{
    ConfigSource, ConfigValue, Configs, Contents, Control, Described, InheritedValue, Observed,
    ObservedCluster, ObservedTopic,
};
use crate::plan::model::{DoomedTopic, TopicSpec};

/// Clusters by name; every write is counted, and topics can be told to fail.
#[derive(Debug, Default)]
pub(crate) struct Model {
    state: Mutex<Observed>,
    writes: Mutex<Vec<String>>,
    /// Topics for which every write fails.
    pub refuses: Vec<String>,
    next_id: Mutex<u128>,
}

impl Model {
    pub fn new(clusters: &[&str]) -> Self {
        let model = Self::default();
        for name in clusters {
            model.change(|observed| {
                observed.clusters.insert(
                    (*name).to_owned(),
                    ObservedCluster {
                        cluster_id: format!("{name}-id"),
                        live_brokers: [1, 2, 3].into(),
                        topic_defaults: defaults(),
                        default_partitions: Some(1),
                        default_replication_factor: Some(1),
                        ..ObservedCluster::default()
                    },
                );
            });
        }
        model
    }

    pub fn observed(&self) -> Observed {
        self.state.lock().expect("no panic under the lock").clone()
    }

    pub fn change<R>(&self, change: impl FnOnce(&mut Observed) -> R) -> R {
        change(&mut self.state.lock().expect("no panic under the lock"))
    }

    pub fn take_writes(&self) -> Vec<String> {
        std::mem::take(&mut self.writes.lock().expect("no panic under the lock"))
    }

    /// A topic as somebody else would make it.
    pub fn add_topic(
        &self,
        cluster: &str,
        name: &str,
        partitions: i32,
        factor: i16,
        configs: &[(&str, &str)],
    ) {
        let spec = TopicSpec {
            name: name.to_owned(),
            partitions: Some(partitions),
            replication_factor: Some(factor),
            configs: configs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let id = self.fresh_id();
        self.change(|observed| {
            let cluster = observed.clusters.get_mut(cluster).expect("known cluster");
            let topic = topic_of(&spec, cluster, id);
            cluster.topics.insert(name.to_owned(), topic);
        });
    }

    pub fn with_topic<R>(
        &self,
        cluster: &str,
        name: &str,
        change: impl FnOnce(&mut ObservedTopic) -> R,
    ) -> R {
        self.change(|observed| {
            let cluster = observed.clusters.get_mut(cluster).expect("known cluster");
            change(cluster.topics.get_mut(name).expect("known topic"))
        })
    }

    pub fn set_config(&self, cluster: &str, topic: &str, key: &str, value: Option<&str>) {
        self.with_topic(cluster, topic, |topic| {
            alter(topic, key, value);
        });
    }

    /// What `apply` does before it executes a plan: the internal topics.
    pub fn ensure_control(&self, cluster: &str) {
        for topic in [LINKS_TOPIC, OFFSETS_TOPIC, WORK_TOPIC] {
            self.add_topic(cluster, topic, 1, 1, &[]);
        }
        self.change(|observed| {
            let cluster = observed.clusters.get_mut(cluster).expect("known cluster");
            cluster.control.get_or_insert_with(Control::default);
        });
    }

    pub fn fresh_id(&self) -> Uuid {
        let mut next = self.next_id.lock().expect("no panic under the lock");
        *next += 1;
        Uuid::from_u128(*next)
    }

    pub(super) fn note(&self, what: String) {
        self.writes
            .lock()
            .expect("no panic under the lock")
            .push(what);
    }

    pub(super) fn check(&self, topic: &str) -> Result<(), Failure> {
        if self.refuses.iter().any(|refused| refused == topic) {
            return Err(Failure {
                error: "POLICY_VIOLATION".to_owned(),
                message: format!("{topic} is not to my taste"),
            });
        }
        Ok(())
    }
}

/// What topics inherit in the model.
fn defaults() -> Configs {
    [
        ("cleanup.policy", "delete"),
        ("compression.type", "producer"),
        ("max.message.bytes", "1048588"),
        ("message.timestamp.type", "CreateTime"),
        ("min.insync.replicas", "1"),
        ("retention.ms", "604800000"),
        ("segment.bytes", "1073741824"),
    ]
    .into_iter()
    .map(|(key, value)| {
        (
            key.to_owned(),
            ConfigValue {
                value: Some(value.to_owned()),
                source: ConfigSource::Default,
                read_only: false,
                sensitive: false,
                inherited: None,
            },
        )
    })
    .collect()
}

fn topic_of(spec: &TopicSpec, cluster: &ObservedCluster, id: Uuid) -> ObservedTopic {
    let mut topic = ObservedTopic {
        id,
        internal: false,
        partitions: spec
            .partitions
            .or(cluster.default_partitions)
            .expect("the model has defaults"),
        replication_factor: spec
            .replication_factor
            .or(cluster.default_replication_factor)
            .expect("the model has defaults"),
        configs: Described::Known(cluster.topic_defaults.clone()),
        contents: Described::Known(Contents::default()),
    };
    for (key, value) in &spec.configs {
        alter(&mut topic, key, Some(value));
    }
    topic
}

fn alter(topic: &mut ObservedTopic, key: &str, value: Option<&str>) {
    let Described::Known(configs) = &mut topic.configs else {
        panic!("the model describes all topics");
    };
    let before = configs.remove(key);
    let inherited = before.and_then(|before| match before.source {
        ConfigSource::Topic => before.inherited,
        source => Some(InheritedValue {
            value: before.value,
            source,
        }),
    });
    let (value, source, inherited) = match (value, inherited) {
        (Some(value), inherited) => (Some(value.to_owned()), ConfigSource::Topic, inherited),
        (None, Some(inherited)) => (inherited.value, inherited.source, None),
        (None, None) => return,
    };
    configs.insert(
        key.to_owned(),
        ConfigValue {
            value,
            source,
            read_only: false,
            sensitive: false,
            inherited,
        },
    );
}

#[async_trait]
impl Effects for Model {
    fn links(&self) -> &dyn LinkEffects {
        self
    }

    async fn create_topics(&self, cluster: &str, topics: &[TopicSpec]) -> Vec<Result<(), Failure>> {
        topics
            .iter()
            .map(|spec| {
                self.note(format!("create {cluster}/{}", spec.name));
                self.check(&spec.name)?;
                let id = self.fresh_id();
                self.change(|observed| {
                    let cluster = observed.clusters.get_mut(cluster).expect("known cluster");
                    let topic = topic_of(spec, cluster, id);
                    let before = cluster.topics.insert(spec.name.clone(), topic);
                    assert!(before.is_none(), "{} is created twice", spec.name);
                });
                Ok(())
            })
            .collect()
    }

    async fn create_partitions(
        &self,
        cluster: &str,
        totals: &[(String, i32)],
    ) -> Vec<Result<(), Failure>> {
        totals
            .iter()
            .map(|(topic, total)| {
                self.note(format!("grow {cluster}/{topic} to {total}"));
                self.check(topic)?;
                self.with_topic(cluster, topic, |topic| {
                    assert!(*total > topic.partitions);
                    topic.partitions = *total;
                });
                Ok(())
            })
            .collect()
    }

    async fn alter_configs(
        &self,
        cluster: &str,
        alterations: &[ConfigAlteration],
    ) -> Vec<Result<(), Failure>> {
        alterations
            .iter()
            .map(|alteration| {
                self.note(format!("alter {cluster}/{}", alteration.topic));
                self.check(&alteration.topic)?;
                for (key, value) in &alteration.configs {
                    self.set_config(cluster, &alteration.topic, key, value.as_deref());
                }
                Ok(())
            })
            .collect()
    }

    async fn delete_topics(
        &self,
        cluster: &str,
        topics: &[DoomedTopic],
    ) -> Vec<Result<(), Failure>> {
        topics
            .iter()
            .map(|topic| {
                self.note(format!("delete {cluster}/{}", topic.name));
                self.check(&topic.name)?;
                self.change(|observed| {
                    let cluster = observed.clusters.get_mut(cluster).expect("known cluster");
                    let live = cluster.topics.get(&topic.name);
                    assert_eq!(live.map(|live| live.id), Some(topic.id), "{}", topic.name);
                    cluster.topics.remove(&topic.name);
                });
                Ok(())
            })
            .collect()
    }

    async fn forget_progress(&self, cluster: &str, ids: &[IncarnationId]) -> Result<(), Failure> {
        self.note(format!("forget {} mirrors on {cluster}", ids.len()));
        Ok(())
    }

    async fn has_failed(&self, _: &str, _: IncarnationId) -> bool {
        false
    }

    async fn topic_ids(&self, cluster: &str, topics: &[String]) -> Vec<Result<Uuid, Failure>> {
        let observed = self.observed();
        let known = &observed.clusters[cluster].topics;
        topics
            .iter()
            .map(|topic| {
                known
                    .get(topic)
                    .map(|topic| topic.id)
                    .ok_or_else(|| Failure {
                        error: "UNKNOWN_TOPIC_OR_PARTITION".to_owned(),
                        message: topic.clone(),
                    })
            })
            .collect()
    }

    async fn producer_ids(&self, cluster: &str, count: usize) -> Vec<Result<ProducerId, Failure>> {
        self.note(format!("{count} producer ids of {cluster}"));
        (0..count)
            .map(|_| {
                let id = i64::try_from(self.fresh_id().as_u128()).expect("small");
                Ok(ProducerId { id, epoch: 0 })
            })
            .collect()
    }

    async fn commit(&self, cluster: &str, writes: Vec<Write>) -> Result<(), Failure> {
        self.note(format!("commit {} records on {cluster}", writes.len()));
        self.change(|observed| {
            let cluster = observed.clusters.get_mut(cluster).expect("known cluster");
            let control = cluster.control.as_mut().expect("the lock is held");
            // Compaction keeps the last record of each key.
            let mut links: BTreeMap<_, _> = std::mem::take(&mut control.links)
                .into_iter()
                .map(|link| (link.id, link))
                .collect();
            let mut mirrors: BTreeMap<_, _> = std::mem::take(&mut control.mirrors)
                .into_iter()
                .map(|mirror| (mirror.id, mirror))
                .collect();
            for write in writes {
                match write {
                    Write::Link(link) => {
                        links.insert(link.id, link);
                    }
                    Write::Mirror(mirror) => {
                        mirrors.insert(mirror.id, mirror);
                    }
                    Write::DropLink(id) => {
                        links.remove(&id);
                    }
                    Write::DropMirror(id) => {
                        mirrors.remove(&id);
                    }
                    // Only workers write these.
                    Write::Slots(_)
                    | Write::LinkConfigs(..)
                    | Write::DropLinkConfigs(_)
                    | Write::SourceLink(_)
                    | Write::DropSourceLink(_) => {}
                }
            }
            control.links = links.into_values().collect();
            control.mirrors = mirrors.into_values().collect();
        });
        Ok(())
    }
}
