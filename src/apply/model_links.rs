//! Links that brokers carry, as far as planning and applying look at them: for tests.

use async_trait::async_trait;

use super::effects::{Failure, LinkEffects};
use super::model::Model;
use crate::observe::linking::is_sensitive;
use crate::observe::model::{BrokerLinks, Linking, Observed, ObservedLink};
use crate::plan::model::{HalfChange, HalfRole, HalfValue, MirrorAction, NewBrokerMirror};
use crate::rest::documents::{Link, LinkConfig, LinkState, Mirror, MirrorLag, MirrorState};

fn config(key: &str, value: Option<&HalfValue>) -> LinkConfig {
    LinkConfig {
        name: key.to_owned(),
        value: match value {
            Some(HalfValue::Open(text)) => Some(text.clone()),
            _ => None,
        },
        is_default: Some(false),
        is_read_only: false,
        is_sensitive: is_sensitive(key),
        source: Some("DYNAMIC_CLUSTER_LINK_CONFIG".to_owned()),
    }
}

fn refused(message: &str) -> Failure {
    Failure {
        error: "error code 40002".to_owned(),
        message: message.to_owned(),
    }
}

impl Model {
    /// The cluster offers links, and has none yet.
    pub fn offer_links(&self, cluster: &str) {
        self.with_links(cluster, |_| {});
    }

    pub fn with_links<R>(&self, cluster: &str, change: impl FnOnce(&mut BrokerLinks) -> R) -> R {
        self.change(|observed: &mut Observed| {
            let cluster = observed.clusters.get_mut(cluster).expect("known cluster");
            if cluster.linking.known().is_none() {
                cluster.linking = Linking::Known(BrokerLinks::default());
            }
            match &mut cluster.linking {
                Linking::Known(links) => change(links),
                _ => unreachable!("it was made known"),
            }
        })
    }
}

#[async_trait]
impl LinkEffects for Model {
    async fn create_link(
        &self,
        cluster: &str,
        link: &str,
        role: &HalfRole,
        configs: &[HalfChange],
    ) -> Result<(), Failure> {
        self.note(format!("link {cluster}/{link}"));
        self.check(link)?;
        let id = self.fresh_id().to_string();
        self.with_links(cluster, |links| {
            let mut made = Link {
                link_name: link.to_owned(),
                cluster_link_id: Some(id),
                link_state: Some(LinkState::Active),
                ..Link::default()
            };
            match role {
                HalfRole::DestinationOf(id) => made.source_cluster_id = Some(id.clone()),
                HalfRole::SourceOf(id) => made.destination_cluster_id = Some(id.clone()),
                HalfRole::BothWays(id) => made.remote_cluster_id = Some(id.clone()),
            }
            let configs = configs.iter();
            let configs = configs.map(|it| (it.key.clone(), config(&it.key, it.value.as_ref())));
            let observed = ObservedLink {
                link: made,
                configs: configs.collect(),
            };
            let before = links.links.insert(link.to_owned(), observed);
            assert!(before.is_none(), "{link} is made twice");
        });
        Ok(())
    }

    async fn alter_link(
        &self,
        cluster: &str,
        link: &str,
        configs: &[HalfChange],
    ) -> Result<(), Failure> {
        self.note(format!("alter link {cluster}/{link}"));
        self.check(link)?;
        self.with_links(cluster, |links| {
            let link = links.links.get_mut(link).expect("known link");
            for change in configs {
                match &change.value {
                    Some(value) => {
                        let config = config(&change.key, Some(value));
                        link.configs.insert(change.key.clone(), config);
                    }
                    None => {
                        link.configs.remove(&change.key);
                    }
                }
            }
        });
        Ok(())
    }

    async fn delete_link(&self, cluster: &str, link: &str) -> Result<(), Failure> {
        self.note(format!("unlink {cluster}/{link}"));
        self.check(link)?;
        self.with_links(cluster, |links| {
            let own =
                |it: &Mirror| it.link_name == link && it.mirror_status != MirrorState::Stopped;
            if links.mirrors.values().any(own) {
                return Err(refused("it has mirrors"));
            }
            links.mirrors.retain(|_, mirror| mirror.link_name != link);
            links.links.remove(link);
            Ok(())
        })
    }

    async fn create_mirror(
        &self,
        cluster: &str,
        link: &str,
        mirror: &NewBrokerMirror,
    ) -> Result<(), Failure> {
        let topic = mirror.mirror_topic.as_ref().unwrap_or(&mirror.source_topic);
        self.note(format!("mirror {cluster}/{topic} over {link}"));
        self.check(topic)?;
        let factor = mirror.replication_factor.unwrap_or(1);
        self.add_topic(cluster, topic, 1, factor, &[]);
        for (key, value) in &mirror.configs {
            self.set_config(cluster, topic, key, Some(value));
        }
        self.with_links(cluster, |links| {
            let made = Mirror {
                link_name: link.to_owned(),
                mirror_topic_name: topic.clone(),
                source_topic_name: mirror.source_topic.clone(),
                num_partitions: 1,
                mirror_lags: vec![MirrorLag {
                    partition: 0,
                    lag: 0,
                    last_source_fetch_offset: 0,
                }],
                mirror_status: MirrorState::Active,
                mirror_topic_error: None,
                state_time_ms: 0,
                mirror_state_transition_errors: Vec::new(),
            };
            assert!(
                links.links.contains_key(link),
                "{link} is there before {topic}"
            );
            links.mirrors.insert(topic.clone(), made);
        });
        Ok(())
    }

    async fn act_on_mirrors(
        &self,
        cluster: &str,
        link: &str,
        action: MirrorAction,
        topics: &[String],
    ) -> Vec<Result<(), Failure>> {
        self.note(format!(
            "{action:?} {} on {cluster}/{link}",
            topics.join(" ")
        ));
        let state = match action {
            MirrorAction::Pause => MirrorState::Paused,
            MirrorAction::Resume => MirrorState::Active,
            MirrorAction::Promote
            | MirrorAction::FailOver
            | MirrorAction::ReverseAndStart
            | MirrorAction::ReverseAndPause => MirrorState::Stopped,
        };
        topics
            .iter()
            .map(|topic| {
                self.check(topic)?;
                self.with_links(cluster, |links| {
                    let mirror = links.mirrors.get_mut(topic).expect("known mirror");
                    if mirror.mirror_status == MirrorState::Stopped {
                        return Err(refused("it has stopped"));
                    }
                    mirror.mirror_status = state.clone();
                    Ok(())
                })
            })
            .collect()
    }

    async fn delete_mirrors(
        &self,
        cluster: &str,
        _link: &str,
        topics: &[String],
    ) -> Vec<Result<(), Failure>> {
        topics
            .iter()
            .map(|topic| {
                self.note(format!("delete {cluster}/{topic}"));
                self.check(topic)?;
                self.with_links(cluster, |links| links.mirrors.remove(topic));
                self.change(|observed| {
                    let cluster = observed.clusters.get_mut(cluster).expect("known cluster");
                    cluster.topics.remove(topic);
                });
                Ok(())
            })
            .collect()
    }
}
