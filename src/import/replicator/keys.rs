//! What becomes of Replicator's settings that have no counterpart of their own.

use super::super::connect::{self, BYTES, LAYOUT, WORKER};
use super::super::settings::Rule;

const GROUPS: &str = "offsets of consumer groups are not translated or synced";
const GROUPS_INSTEAD: &str = "groups at the destination begin with what they commit there; kafka-consumer-groups --reset-offsets --to-datetime sets them by time, as Replicator does";
const POSITION: &str = "a mirror's position is kept with the copied data";
const REGISTRY: &str = "records are copied as bytes, and schemas stay where they are";
const REGISTRY_INSTEAD: &str =
    "mirror the topic of the registry by naming it (`_schemas`), or export the schemas";
const INTERVAL: &str = "workers see new topics, partitions and configs by themselves";

pub(super) const RULES: &[Rule] = &[
    Rule::unneeded("topic.poll.interval.ms", INTERVAL),
    Rule::unneeded("topic.config.sync.interval.ms", INTERVAL),
    Rule::unneeded("topic.create.backoff.ms", INTERVAL),
    Rule::unneeded("consumer.poll.timeout.interval.ms", INTERVAL),
    Rule::unneeded("cluster.threads", connect::TASKS),
    Rule::unneeded("offset.start", POSITION),
    Rule::unneeded("offset.topic.commit*", POSITION),
    Rule::lost("offset.timestamps.commit", GROUPS, GROUPS_INSTEAD),
    Rule::lost("offset.translator.*", GROUPS, GROUPS_INSTEAD),
    Rule::unneeded("src.kafka.timestamps.*", GROUPS),
    Rule::lost(
        "provenance.header.*",
        "records that came from the destination are left out whenever they were written",
        "nothing, where no record has to go back to where it came from",
    ),
    Rule::lost("schema.registry.*", REGISTRY, REGISTRY_INSTEAD),
    Rule::lost("schema.subject.translator.*", REGISTRY, REGISTRY_INSTEAD),
    Rule::unneeded("confluent.license", "kmirror needs no licence"),
    Rule::unneeded("confluent.topic", "kmirror needs no licence"),
    Rule::unneeded("confluent.topic.*", "kmirror needs no licence"),
    Rule::unneeded("confluent.license.*", "kmirror needs no licence"),
    Rule::unneeded("src.zookeeper.connect", "kmirror speaks to brokers only"),
    Rule::unneeded("dest.zookeeper.connect", "kmirror speaks to brokers only"),
    Rule::unneeded("replication.factor.storage*", WORKER),
    Rule::unneeded("src.key.converter*", BYTES),
    Rule::unneeded("src.value.converter*", BYTES),
    Rule::unneeded("src.header.converter*", BYTES),
    Rule::unneeded("src.*", LAYOUT),
    Rule::unneeded("dest.*", LAYOUT),
];
