//! Which topic configs a mirror takes over from its source, and the topic that follows from it.
//!
//! The same rule serves `plan`, for topics that it sees, and workers, for topics that match later.
//!
//! Taken over is what the source topic has set itself (its *dynamic topic configs*); what it merely
//! inherits stays inherited at the destination too. Above that a mirror needs three things: the
//! batches as they are (`compression.type = producer`), the source's timestamps
//! (`message.timestamp.type = CreateTime`), and room for what the source holds: its largest batch, its
//! timestamps. Single keys stay behind, each for a reason that the plan tells ([`NotSynced`]).

use std::collections::BTreeMap;

use super::model::{Origin, TopicSpec};
use super::reason::{Blocker, NotSynced, Reason};
use crate::observe::model::{ConfigSource, Configs};

const COMPRESSION_TYPE: &str = "compression.type";
const TIMESTAMP_TYPE: &str = "message.timestamp.type";
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
const TIMESTAMP_AFTER: &str = "message.timestamp.after.max.ms";
const TIMESTAMP_BEFORE: &str = "message.timestamp.before.max.ms";

/// What every mirror has, whatever its source has.
const REQUIRED: [(&str, &str); 2] = [
    (COMPRESSION_TYPE, "producer"),
    (TIMESTAMP_TYPE, "CreateTime"),
];

/// The source topic as far as the rule looks at it.
#[derive(Clone, Copy, Debug)]
pub struct SourceTopic<'a> {
    pub partitions: i32,
    /// `None` where it will be the broker's default and that is not known.
    pub replication_factor: Option<i16>,
    pub configs: &'a Configs,
    /// Whether the mirror takes over what the source topic has set itself.
    pub is_followed: bool,
}

/// The destination as far as the rule looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The cluster's name in the file.
    pub cluster: &'a str,
    pub live_brokers: usize,
    /// What a topic has there without a word from the file, by topic config key.
    pub topic_defaults: &'a Configs,
}

/// What the file says about one mirror.
#[derive(Clone, Debug, Default)]
pub struct MirrorWishes {
    pub destination_topic: String,
    /// The mirror's own, else its link's.
    pub replication_factor: Option<i16>,
    /// Overrides of what is synced.
    pub config: BTreeMap<String, String>,
}

/// The mirror topic as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredTopic {
    pub name: String,
    pub partitions: i32,
    /// `None`: the broker's default.
    pub replication_factor: Option<i16>,
    pub factor_origin: Origin,
    pub configs: BTreeMap<String, DesiredConfig>,
    /// What stays behind, and why.
    pub reasons: Vec<Reason>,
    /// Why there can't be such a topic.
    pub blocked: Vec<Blocker>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredConfig {
    pub value: String,
    pub origin: Origin,
}

impl DesiredTopic {
    /// What to ask the broker for.
    pub fn spec(&self) -> TopicSpec {
        TopicSpec {
            name: self.name.clone(),
            partitions: Some(self.partitions),
            replication_factor: self.replication_factor,
            configs: self
                .configs
                .iter()
                .map(|(key, config)| (key.clone(), config.value.clone()))
                .collect(),
        }
    }
}

/// The mirror topic that follows from its source, the destination and the file.
pub fn desired_topic(
    source: SourceTopic<'_>,
    destination: Destination<'_>,
    wishes: &MirrorWishes,
) -> DesiredTopic {
    let (replication_factor, factor_origin) = match wishes.replication_factor {
        Some(factor) => (Some(factor), Origin::File),
        None if source.replication_factor.is_some() => (source.replication_factor, Origin::Source),
        None => (None, Origin::Default),
    };
    let mut desired = DesiredTopic {
        name: wishes.destination_topic.clone(),
        partitions: source.partitions,
        replication_factor,
        factor_origin,
        configs: BTreeMap::new(),
        reasons: Vec::new(),
        blocked: Vec::new(),
    };
    if let Some(blocker) = too_few_brokers(
        destination.cluster,
        replication_factor,
        destination.live_brokers,
        factor_origin == Origin::Source,
    ) {
        desired.blocked.push(blocker);
    }
    if source.is_followed {
        take_over(&mut desired, source.configs);
    }
    for (key, value) in REQUIRED {
        desired.set(key, value, Origin::Required);
    }
    make_room(&mut desired, source.configs, destination.topic_defaults);
    for (key, value) in &wishes.config {
        desired.set(key, value, Origin::File);
    }
    check_overrides(&mut desired, wishes, source.configs);
    desired
}

/// The factor can't be had with the brokers that are up.
pub fn too_few_brokers(
    cluster: &str,
    factor: Option<i16>,
    live: usize,
    from_source: bool,
) -> Option<Blocker> {
    let wanted = factor?;
    (usize::try_from(wanted).unwrap_or(0) > live).then(|| Blocker::TooFewBrokers {
        cluster: cluster.to_owned(),
        wanted,
        live,
        from_source,
    })
}

impl DesiredTopic {
    fn set(&mut self, key: &str, value: &str, origin: Origin) {
        // What the source has set to the very value that is required reads better as synced.
        if origin == Origin::Required
            && self
                .configs
                .get(key)
                .is_some_and(|config| config.value == value)
        {
            return;
        }
        self.configs.insert(
            key.to_owned(),
            DesiredConfig {
                value: value.to_owned(),
                origin,
            },
        );
    }
}

fn take_over(desired: &mut DesiredTopic, source: &Configs) {
    for (key, config) in source {
        if config.source != ConfigSource::Topic || config.read_only {
            continue;
        }
        let required = REQUIRED.iter().any(|(name, _)| name == key);
        let value = config.value.as_deref();
        let why = never_synced(key).or_else(|| match value {
            None => Some(NotSynced::Hidden),
            Some(_) if config.sensitive => Some(NotSynced::Hidden),
            Some(value) if key == MIN_INSYNC_REPLICAS => {
                let more = number(Some(value)) > desired.replication_factor.map(i64::from);
                (desired.replication_factor.is_some() && more)
                    .then_some(NotSynced::MoreThanReplicas)
            }
            Some(_) => None,
        });
        match (why, value) {
            (Some(why), _) => desired.reasons.push(Reason::NotSynced {
                key: key.clone(),
                value: value.unwrap_or_default().to_owned(),
                why,
            }),
            // A mirror's own value is set below; the source's says nothing about it.
            (None, Some(value)) if !required => desired.set(key, value, Origin::Source),
            (None, Some(value)) if REQUIRED.contains(&(key.as_str(), value)) => {
                desired.set(key, value, Origin::Source);
            }
            (None, _) => {}
        }
    }
}

/// What the destination's topics inherit may refuse what the source holds; then the mirror says better.
fn make_room(desired: &mut DesiredTopic, source: &Configs, defaults: &Configs) {
    if let Some(needed) = limit(source)
        && !desired.configs.contains_key(MAX_MESSAGE_BYTES)
        // Where the broker does not say what a topic inherits, it is not relied upon.
        && limit(defaults).is_none_or(|inherited| inherited < needed)
    {
        desired.set(MAX_MESSAGE_BYTES, &needed.to_string(), Origin::Required);
    }
    // A record is never further ahead of the clock than it was at the source; but it may be of any age.
    // Brokers that know no such bounds tell none, and source brokers before them had none.
    let ahead = number_of(source, TIMESTAMP_AFTER).unwrap_or(i64::MAX);
    for (key, needed) in [(TIMESTAMP_AFTER, ahead), (TIMESTAMP_BEFORE, i64::MAX)] {
        if number_of(defaults, key).is_some_and(|inherited| inherited < needed) {
            desired.set(key, &needed.to_string(), Origin::Required);
        }
    }
    // With more in-sync replicas asked for than there are replicas, nothing could ever be written.
    if let (Some(inherited), Some(factor)) = (
        number_of(defaults, MIN_INSYNC_REPLICAS),
        desired.replication_factor,
    ) && inherited > i64::from(factor)
        && !desired.configs.contains_key(MIN_INSYNC_REPLICAS)
    {
        desired.set(MIN_INSYNC_REPLICAS, &factor.to_string(), Origin::Required);
    }
}

fn check_overrides(desired: &mut DesiredTopic, wishes: &MirrorWishes, source: &Configs) {
    for (key, required) in REQUIRED {
        if let Some(wanted) = wishes.config.get(key)
            && wanted != required
        {
            desired.blocked.push(Blocker::RequiredConfig {
                key: key.to_owned(),
                wanted: wanted.clone(),
                required: required.to_owned(),
            });
        }
    }
    let mirror = number(wishes.config.get(MAX_MESSAGE_BYTES).map(String::as_str));
    if let (Some(mirror), Some(source)) = (mirror, limit(source))
        && mirror < source
    {
        desired
            .reasons
            .push(Reason::SmallerMessages { source, mirror });
    }
}

fn limit(configs: &Configs) -> Option<i64> {
    number_of(configs, MAX_MESSAGE_BYTES)
}

fn number_of(configs: &Configs, key: &str) -> Option<i64> {
    number(configs.get(key)?.value.as_deref())
}

fn number(text: Option<&str>) -> Option<i64> {
    text?.trim().parse().ok()
}

/// Keys that belong to one cluster's operation and say nothing about its copy elsewhere.
///
/// On the mirror they belong to whoever set them there, and are not touched either.
pub fn never_synced(key: &str) -> Option<NotSynced> {
    match key {
        "leader.replication.throttled.replicas" | "follower.replication.throttled.replicas" => {
            Some(NotSynced::Throttle)
        }
        "message.format.version" | "message.downconversion.enable" => Some(NotSynced::RecordFormat),
        "message.timestamp.difference.max.ms"
        | "message.timestamp.before.max.ms"
        | "message.timestamp.after.max.ms" => Some(NotSynced::TimestampBounds),
        _ if key.starts_with("remote.") || key.starts_with("local.retention.") => {
            Some(NotSynced::TieredStorage)
        }
        _ if key.starts_with("confluent.") => Some(NotSynced::Vendor),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::model::ConfigValue;

    fn configs(entries: &[(&str, &str, ConfigSource)]) -> Configs {
        entries
            .iter()
            .map(|(key, value, source)| {
                (
                    (*key).to_owned(),
                    ConfigValue {
                        value: Some((*value).to_owned()),
                        source: *source,
                        read_only: false,
                        sensitive: false,
                        inherited: None,
                    },
                )
            })
            .collect()
    }

    fn desired(source: &Configs, defaults: &Configs, wishes: &MirrorWishes) -> DesiredTopic {
        desired_topic(
            SourceTopic {
                partitions: 3,
                replication_factor: Some(2),
                configs: source,
                is_followed: true,
            },
            Destination {
                cluster: "west",
                live_brokers: 3,
                topic_defaults: defaults,
            },
            wishes,
        )
    }

    fn plain(desired: &DesiredTopic) -> Vec<String> {
        desired
            .configs
            .iter()
            .map(|(key, config)| format!("{key}={} {:?}", config.value, config.origin))
            .collect()
    }

    fn roomy() -> Configs {
        configs(&[("max.message.bytes", "1048588", ConfigSource::Default)])
    }

    #[test]
    fn only_what_the_source_topic_has_set_itself_is_taken_over() {
        use ConfigSource::{Default, DynamicDefaultBroker, StaticBroker, Topic};
        let source = configs(&[
            ("cleanup.policy", "compact", Topic),
            ("retention.ms", "1000", DynamicDefaultBroker),
            ("segment.ms", "1000", StaticBroker),
            ("max.message.bytes", "1048588", Default),
        ]);
        assert_eq!(
            plain(&desired(&source, &roomy(), &MirrorWishes::default())),
            [
                "cleanup.policy=compact Source",
                "compression.type=producer Required",
                "message.timestamp.type=CreateTime Required",
            ]
        );
    }

    #[test]
    fn what_a_mirror_needs_wins_over_the_source() {
        use ConfigSource::Topic;
        let source = configs(&[
            ("compression.type", "zstd", Topic),
            ("message.timestamp.type", "LogAppendTime", Topic),
        ]);
        assert_eq!(
            plain(&desired(&source, &roomy(), &MirrorWishes::default())),
            [
                "compression.type=producer Required",
                "message.timestamp.type=CreateTime Required",
            ]
        );
    }

    #[test]
    fn keys_of_one_clusters_operation_stay_behind_with_their_reason() {
        use ConfigSource::Topic;
        let source = configs(&[
            ("confluent.tier.enable", "true", Topic),
            ("leader.replication.throttled.replicas", "*", Topic),
            ("message.format.version", "2.8", Topic),
            ("message.timestamp.before.max.ms", "1000", Topic),
            ("min.insync.replicas", "3", Topic),
            ("remote.storage.enable", "true", Topic),
        ]);
        let desired = desired(&source, &roomy(), &MirrorWishes::default());
        let why: Vec<_> = desired
            .reasons
            .iter()
            .map(|reason| match reason {
                Reason::NotSynced { why, .. } => *why,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            why,
            [
                NotSynced::Vendor,
                NotSynced::Throttle,
                NotSynced::RecordFormat,
                NotSynced::TimestampBounds,
                NotSynced::MoreThanReplicas,
                NotSynced::TieredStorage,
            ]
        );
        assert_eq!(desired.configs.len(), REQUIRED.len());
    }

    #[test]
    fn the_mirror_has_room_for_the_sources_largest_batch() {
        use ConfigSource::{StaticBroker, Topic};
        let large = configs(&[("max.message.bytes", "2000000", StaticBroker)]);
        let explicit = configs(&[("max.message.bytes", "2000000", Topic)]);
        let small = configs(&[("max.message.bytes", "1000000", StaticBroker)]);
        let cases = [
            // source, what the destination's topics inherit, what the mirror gets
            (&large, &roomy(), Some("2000000 Required")),
            (&large, &large, None),
            (&large, &Configs::new(), Some("2000000 Required")),
            (&small, &large, None),
            (&explicit, &large, Some("2000000 Source")),
        ];
        for (source, defaults, expected) in cases {
            let desired = desired(source, defaults, &MirrorWishes::default());
            let got = desired
                .configs
                .get("max.message.bytes")
                .map(|config| format!("{} {:?}", config.value, config.origin));
            assert_eq!(got.as_deref(), expected, "{source:?} {defaults:?}");
        }
    }

    #[test]
    fn the_mirror_takes_the_sources_timestamps_whatever_its_brokers_allow() {
        use ConfigSource::{Default, StaticBroker};
        let newer = configs(&[
            ("message.timestamp.after.max.ms", "3600000", Default),
            (
                "message.timestamp.before.max.ms",
                "9223372036854775807",
                Default,
            ),
            ("max.message.bytes", "1048588", Default),
        ]);
        let strict = configs(&[
            ("message.timestamp.after.max.ms", "1000", StaticBroker),
            ("message.timestamp.before.max.ms", "1000", StaticBroker),
            ("max.message.bytes", "1048588", Default),
        ]);
        let own = |source: &Configs, defaults: &Configs| -> Vec<String> {
            plain(&desired(source, defaults, &MirrorWishes::default()))
                .into_iter()
                .filter(|line| line.contains(".max.ms"))
                .collect()
        };
        // A source that knows no bound, on brokers that have one.
        assert_eq!(
            own(&roomy(), &newer),
            ["message.timestamp.after.max.ms=9223372036854775807 Required"]
        );
        assert_eq!(own(&newer, &newer), [""; 0]);
        assert_eq!(own(&newer, &roomy()), [""; 0]);
        assert_eq!(
            own(&newer, &strict),
            [
                "message.timestamp.after.max.ms=3600000 Required",
                "message.timestamp.before.max.ms=9223372036854775807 Required",
            ]
        );
    }

    #[test]
    fn a_mirror_never_asks_for_more_in_sync_replicas_than_it_has() {
        let strict = configs(&[
            ("min.insync.replicas", "3", ConfigSource::StaticBroker),
            ("max.message.bytes", "1048588", ConfigSource::Default),
        ]);
        let mirror = desired(&roomy(), &strict, &MirrorWishes::default());
        assert_eq!(mirror.configs["min.insync.replicas"].value, "2");
        let explicit = configs(&[("min.insync.replicas", "1", ConfigSource::Topic)]);
        let mirror = desired(&explicit, &strict, &MirrorWishes::default());
        assert_eq!(mirror.configs["min.insync.replicas"].value, "1");
    }

    #[test]
    fn overrides_win_and_those_that_break_the_mirror_are_blocked() {
        let source = configs(&[
            ("retention.ms", "1000", ConfigSource::Topic),
            ("max.message.bytes", "2000000", ConfigSource::Topic),
        ]);
        let wishes = MirrorWishes {
            config: [
                ("retention.ms", "5000"),
                ("compression.type", "zstd"),
                ("max.message.bytes", "1000"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
            ..MirrorWishes::default()
        };
        let desired = desired(&source, &roomy(), &wishes);
        assert_eq!(desired.configs["retention.ms"].value, "5000");
        assert_eq!(desired.configs["retention.ms"].origin, Origin::File);
        assert_eq!(
            desired.blocked,
            [Blocker::RequiredConfig {
                key: "compression.type".to_owned(),
                wanted: "zstd".to_owned(),
                required: "producer".to_owned(),
            }]
        );
        assert_eq!(
            desired.reasons,
            [Reason::SmallerMessages {
                source: 2_000_000,
                mirror: 1000
            }]
        );
    }

    #[test]
    fn the_factor_is_the_files_else_the_sources_and_needs_as_many_brokers() {
        let none = Configs::new();
        let source = SourceTopic {
            partitions: 1,
            replication_factor: Some(3),
            configs: &none,
            is_followed: true,
        };
        let destination = Destination {
            cluster: "west",
            live_brokers: 1,
            topic_defaults: &none,
        };
        let from_source = desired_topic(source, destination, &MirrorWishes::default());
        assert_eq!(from_source.replication_factor, Some(3));
        assert_eq!(
            from_source.blocked,
            [Blocker::TooFewBrokers {
                cluster: "west".to_owned(),
                wanted: 3,
                live: 1,
                from_source: true
            }]
        );
        let explicit = desired_topic(
            source,
            destination,
            &MirrorWishes {
                replication_factor: Some(1),
                ..MirrorWishes::default()
            },
        );
        assert_eq!(explicit.replication_factor, Some(1));
        assert!(explicit.blocked.is_empty());
    }
}
