//! The topics of a cluster: creating, growing, deleting, where their leaders are.

use std::collections::{BTreeMap, HashMap};

use kafka_protocol::ResponseError as E;
use uuid::Uuid;

use super::configs::{self, Change, TopicConfig};
use super::log::Log;
use super::validate::TopicRules;

/// Kafka's limit on the length of a topic's name.
const MAX_NAME: usize = 249;

/// One partition: who has it, who leads it, what it holds.
#[derive(Clone, Debug)]
pub struct Partition {
    pub replicas: Vec<i32>,
    /// `None` while no replica's broker is up.
    pub leader: Option<i32>,
    pub log: Log,
}

/// One topic.
#[derive(Clone, Debug)]
pub struct Topic {
    pub id: Uuid,
    pub partitions: Vec<Partition>,
    pub config: TopicConfig,
    pub rules: TopicRules,
}

impl Topic {
    #[must_use]
    pub fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    pub fn partition_mut(&mut self, index: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(index).ok()?)
    }

    #[must_use]
    pub fn replication_factor(&self) -> i16 {
        let replicas = self.partitions.first().map_or(0, |p| p.replicas.len());
        i16::try_from(replicas).unwrap_or(i16::MAX)
    }
}

/// What a request to create a topic asks for; -1 or none means the broker's default.
#[derive(Clone, Debug)]
pub struct NewTopic {
    pub name: String,
    pub partitions: i32,
    pub replication_factor: i16,
    /// Replicas by partition; empty: the broker chooses.
    pub assignment: BTreeMap<i32, Vec<i32>>,
    pub config: Vec<(String, Option<String>)>,
}

/// Broker defaults that topics are created with.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    pub partitions: i32,
    pub replication_factor: i16,
}

type Refused = (E, String);

/// All topics of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Topics {
    by_name: BTreeMap<String, Topic>,
    names: HashMap<Uuid, String>,
    /// Rotates the first replica of new topics over the brokers.
    rotation: usize,
}

impl Topics {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    #[must_use]
    pub fn name_of(&self, id: Uuid) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.by_name
            .iter()
            .map(|(name, topic)| (name.as_str(), topic))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Topic)> {
        self.by_name
            .iter_mut()
            .map(|(name, topic)| (name.as_str(), topic))
    }

    /// The topic as it would be created; nothing is changed.
    pub fn prepare(
        &self,
        new: &NewTopic,
        live: &[i32],
        defaults: Defaults,
    ) -> Result<Topic, Refused> {
        check_name(&new.name)?;
        if self.by_name.contains_key(&new.name) {
            return Err((
                E::TopicAlreadyExists,
                format!("Topic '{}' already exists.", new.name),
            ));
        }
        let key = new.name.replace('.', "_");
        if let Some(other) = self
            .by_name
            .keys()
            .find(|name| name.replace('.', "_") == key)
        {
            return Err((
                E::InvalidTopicException,
                format!("Topic '{}' collides with existing topic: {other}", new.name),
            ));
        }
        let config = initial_config(&new.config)?;
        let replicas = if new.assignment.is_empty() {
            self.spread(new, live, defaults)?
        } else {
            assigned(new, live)?
        };
        Ok(Topic {
            id: Uuid::new_v4(),
            partitions: replicas
                .into_iter()
                .map(|replicas| Partition {
                    leader: replicas.iter().copied().find(|id| live.contains(id)),
                    replicas,
                    log: Log::default(),
                })
                .collect(),
            rules: configs::rules(&config),
            config,
        })
    }

    fn spread(
        &self,
        new: &NewTopic,
        live: &[i32],
        defaults: Defaults,
    ) -> Result<Vec<Vec<i32>>, Refused> {
        let partitions = if new.partitions == -1 {
            defaults.partitions
        } else {
            new.partitions
        };
        if partitions <= 0 {
            return Err((
                E::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value.".to_owned(),
            ));
        }
        let factor = if new.replication_factor == -1 {
            defaults.replication_factor
        } else {
            new.replication_factor
        };
        if factor <= 0 {
            return Err((
                E::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value."
                    .to_owned(),
            ));
        }
        let factor = usize::try_from(factor).expect("checked to be positive");
        if factor > live.len() {
            return Err((
                E::InvalidReplicationFactor,
                format!(
                    "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be reached because only {} broker(s) are registered.",
                    live.len()
                ),
            ));
        }
        let count = usize::try_from(partitions).expect("checked to be positive");
        Ok(place(count, factor, live, self.rotation))
    }

    /// Takes in a topic from [`Topics::prepare`].
    pub fn insert(&mut self, name: &str, topic: Topic) {
        self.rotation += 1;
        self.names.insert(topic.id, name.to_owned());
        self.by_name.insert(name.to_owned(), topic);
    }

    pub fn delete(&mut self, name: &str) -> Option<Topic> {
        let topic = self.by_name.remove(name)?;
        self.names.remove(&topic.id);
        Some(topic)
    }

    /// Grows a topic to `count` partitions; with `validate_only` it just says whether that would do.
    pub fn grow(
        &mut self,
        name: &str,
        count: i32,
        live: &[i32],
        validate_only: bool,
    ) -> Result<(), Refused> {
        let rotation = self.rotation;
        let topic = self.by_name.get_mut(name).ok_or_else(|| unknown(name))?;
        let have = topic.partitions.len();
        let want = usize::try_from(count).unwrap_or(0);
        if want == have {
            return Err((
                E::InvalidPartitions,
                format!("Topic already has {have} partition(s)."),
            ));
        }
        if want < have {
            return Err((
                E::InvalidPartitions,
                format!(
                    "The topic {name} currently has {have} partition(s); {count} would not be an increase."
                ),
            ));
        }
        if validate_only {
            return Ok(());
        }
        let factor = usize::try_from(topic.replication_factor())
            .unwrap_or(1)
            .min(live.len());
        for replicas in place(want, factor, live, rotation).into_iter().skip(have) {
            topic.partitions.push(Partition {
                leader: replicas.first().copied(),
                replicas,
                log: Log::default(),
            });
        }
        Ok(())
    }

    /// Changes settings of a topic, all or none.
    pub fn alter(
        &mut self,
        name: &str,
        changes: Vec<(String, Change)>,
        validate_only: bool,
    ) -> Result<(), Refused> {
        let topic = self.by_name.get_mut(name).ok_or_else(|| unknown(name))?;
        let mut config = topic.config.clone();
        for (key, change) in changes {
            config = configs::changed(&config, &key, change).map_err(invalid_config)?;
        }
        configs::check_whole(&config).map_err(invalid_config)?;
        if !validate_only {
            topic.rules = configs::rules(&config);
            topic.config = config;
        }
        Ok(())
    }

    /// Replaces all settings of a topic (the older AlterConfigs).
    pub fn replace_config(
        &mut self,
        name: &str,
        entries: &[(String, Option<String>)],
        validate_only: bool,
    ) -> Result<(), Refused> {
        let topic = self.by_name.get_mut(name).ok_or_else(|| unknown(name))?;
        let config = initial_config(entries)?;
        if !validate_only {
            topic.rules = configs::rules(&config);
            topic.config = config;
        }
        Ok(())
    }
}

#[must_use]
pub fn unknown(_name: &str) -> Refused {
    (
        E::UnknownTopicOrPartition,
        "This server does not host this topic-partition.".to_owned(),
    )
}

fn invalid_config(message: String) -> Refused {
    (E::InvalidConfig, message)
}

fn initial_config(entries: &[(String, Option<String>)]) -> Result<TopicConfig, Refused> {
    let mut config = TopicConfig::new();
    for (key, value) in entries {
        let value = value.clone().ok_or_else(|| {
            invalid_config(format!("Null value not supported for topic configs: {key}"))
        })?;
        config = configs::changed(&config, key, Change::Set(value)).map_err(invalid_config)?;
    }
    configs::check_whole(&config).map_err(invalid_config)?;
    Ok(config)
}

fn assigned(new: &NewTopic, live: &[i32]) -> Result<Vec<Vec<i32>>, Refused> {
    let refuse = |message: String| Err((E::InvalidReplicaAssignment, message));
    if new.partitions != -1 || new.replication_factor != -1 {
        return Err((
            E::InvalidRequest,
            "A manual partition assignment was specified, but numPartitions or replicationFactor was not set to -1.".to_owned(),
        ));
    }
    let mut all = Vec::new();
    for (expected, (partition, replicas)) in (0..).zip(&new.assignment) {
        if *partition != expected {
            return refuse(
                "partitions should be a consecutive 0-based integer sequence".to_owned(),
            );
        }
        if replicas.is_empty() {
            return refuse(format!(
                "The manual partition assignment includes an empty replica list for partition {partition}."
            ));
        }
        if let Some(stranger) = replicas.iter().find(|id| !live.contains(id)) {
            return refuse(format!(
                "The manual partition assignment includes broker {stranger}, but no such broker is registered."
            ));
        }
        all.push(replicas.clone());
    }
    Ok(all)
}

/// Replicas for `count` partitions, leaders rotating over the brokers.
fn place(count: usize, factor: usize, live: &[i32], rotation: usize) -> Vec<Vec<i32>> {
    (0..count)
        .map(|partition| {
            (0..factor)
                .map(|replica| live[(rotation + partition + replica) % live.len()])
                .collect()
        })
        .collect()
}

/// Kafka's rule for topic names.
pub fn check_name(name: &str) -> Result<(), Refused> {
    let refuse = |why: &str| {
        Err((
            E::InvalidTopicException,
            format!("Topic name is invalid: {why}"),
        ))
    };
    if name.is_empty() {
        return refuse("the empty string is not allowed");
    }
    if name == "." || name == ".." {
        return refuse("'.' or '..' is not allowed");
    }
    if name.len() > MAX_NAME {
        return refuse(&format!(
            "the length of '{name}' is longer than the max allowed length {MAX_NAME}"
        ));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.chars().all(legal) {
        return refuse(&format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Defaults = Defaults {
        partitions: 1,
        replication_factor: 1,
    };

    fn new(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
        NewTopic {
            name: name.to_owned(),
            partitions,
            replication_factor,
            assignment: BTreeMap::new(),
            config: Vec::new(),
        }
    }

    fn create(topics: &mut Topics, new: &NewTopic, live: &[i32]) -> Result<(), i16> {
        let topic = topics
            .prepare(new, live, DEFAULTS)
            .map_err(|(error, _)| error.code())?;
        topics.insert(&new.name, topic);
        Ok(())
    }

    #[test]
    fn creation_is_refused_with_kafkas_codes() {
        let mut topics = Topics::default();
        create(&mut topics, &new("a.b", 2, 1), &[1]).expect("created");
        let bad_config = NewTopic {
            config: vec![("retention.ms".into(), Some("abc".into()))],
            ..new("c", 1, 1)
        };
        let cases = [
            (new("a.b", 1, 1), 36),
            (new("a_b", 1, 1), 17),
            (new("..", 1, 1), 17),
            (new("sp ace", 1, 1), 17),
            (new("c", 0, 1), 37),
            (new("c", 1, 2), 38),
            (new("c", 1, 0), 38),
            (bad_config, 40),
        ];
        for (new, expected) in cases {
            assert_eq!(
                create(&mut topics, &new, &[1]),
                Err(expected),
                "{}",
                new.name
            );
        }
    }

    #[test]
    fn leaders_are_spread_over_the_brokers() {
        let mut topics = Topics::default();
        create(&mut topics, &new("t", 6, 2), &[1, 2, 3]).expect("created");
        let leaders: Vec<_> = topics
            .get("t")
            .expect("there")
            .partitions
            .iter()
            .map(|p| p.leader)
            .collect();
        assert_eq!(leaders, [1, 2, 3, 1, 2, 3].map(Some));
    }

    #[test]
    fn a_topic_only_grows() {
        let mut topics = Topics::default();
        create(&mut topics, &new("t", 2, 1), &[1]).expect("created");
        assert_eq!(
            topics.grow("t", 2, &[1], false).map_err(|e| e.0.code()),
            Err(37)
        );
        assert_eq!(
            topics.grow("t", 1, &[1], false).map_err(|e| e.0.code()),
            Err(37)
        );
        assert_eq!(topics.grow("t", 4, &[1], true), Ok(()));
        assert_eq!(topics.get("t").expect("there").partitions.len(), 2);
        assert_eq!(topics.grow("t", 4, &[1], false), Ok(()));
        assert_eq!(topics.get("t").expect("there").partitions.len(), 4);
        assert_eq!(
            topics.grow("u", 4, &[1], false).map_err(|e| e.0.code()),
            Err(3)
        );
    }

    #[test]
    fn a_recreated_topic_has_another_id() {
        let mut topics = Topics::default();
        create(&mut topics, &new("t", 1, 1), &[1]).expect("created");
        let old = topics.delete("t").expect("there").id;
        create(&mut topics, &new("t", 1, 1), &[1]).expect("created");
        assert_eq!(topics.name_of(old), None);
        assert_ne!(topics.get("t").expect("there").id, old);
    }

    #[test]
    fn settings_change_all_or_none() {
        let mut topics = Topics::default();
        create(&mut topics, &new("t", 1, 1), &[1]).expect("created");
        let set = |value: &str| Change::Set(value.to_owned());
        let mixed = vec![
            ("retention.ms".to_owned(), set("5")),
            ("segment.bytes".to_owned(), set("x")),
        ];
        assert_eq!(
            topics.alter("t", mixed, false).map_err(|e| e.0.code()),
            Err(40)
        );
        assert!(topics.get("t").expect("there").config.is_empty());
        let good = vec![("cleanup.policy".to_owned(), set("compact"))];
        topics.alter("t", good.clone(), true).expect("valid");
        assert!(!topics.get("t").expect("there").rules.compacted);
        topics.alter("t", good, false).expect("valid");
        assert!(topics.get("t").expect("there").rules.compacted);
    }
}
