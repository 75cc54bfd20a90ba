//! What becomes of MirrorMaker 2's settings that have no counterpart of their own.

use super::super::connect::{BYTES, WORKER};
use super::super::settings::Rule;

const CHECKPOINTS: &str = "it belongs to offsets of consumer groups, which are not synced";
const SYNCS: &str = "an exact map of offsets is kept for every mirror";
const INTERVAL: &str = "workers see new topics, partitions and configs by themselves";
const HEARTBEATS: &str = "whether a link copies is seen without heartbeats";

pub(super) const RULES: &[Rule] = &[
    Rule::unneeded("groups*", CHECKPOINTS),
    Rule::unneeded("group.filter.class", CHECKPOINTS),
    Rule::unneeded("refresh.groups.*", CHECKPOINTS),
    Rule::unneeded("sync.group.offsets.*", CHECKPOINTS),
    Rule::unneeded("emit.checkpoints.*", CHECKPOINTS),
    Rule::unneeded("checkpoints.topic.*", CHECKPOINTS),
    Rule::unneeded("offset-syncs.*", SYNCS),
    Rule::unneeded("emit.offset-syncs.*", SYNCS),
    Rule::unneeded("offset.lag.max", SYNCS),
    Rule::unneeded("refresh.topics.interval.seconds", INTERVAL),
    Rule::unneeded("sync.topic.configs.interval.seconds", INTERVAL),
    Rule::unneeded("sync.topic.acls.interval.seconds", INTERVAL),
    Rule::unneeded("consumer.poll.timeout.ms", INTERVAL),
    Rule::unneeded("emit.heartbeats.*", HEARTBEATS),
    Rule::unneeded("heartbeats.*", HEARTBEATS),
    Rule::unneeded("admin.timeout.ms", WORKER),
    Rule::unneeded(
        "use.incremental.alter.configs",
        "configs are altered one by one where brokers can",
    ),
    Rule::unneeded("add.source.alias.to.metrics", "kmirror has no Java metrics"),
    Rule::unneeded("replication.policy.internal.topic.separator.enabled", SYNCS),
    Rule::lost(
        "config.properties.exclude",
        "a mirror follows every config that its source topic has set itself, but for those of docs/plan.md",
        "set what has to differ in [links.NAME.mirrors.TOPIC]",
    ),
    Rule::lost(
        "config.properties.blacklist",
        "a mirror follows every config that its source topic has set itself, but for those of docs/plan.md",
        "set what has to differ in [links.NAME.mirrors.TOPIC]",
    ),
    Rule::lost(
        "config.property.filter.class",
        "kmirror runs no Java classes",
        "set what has to differ in [links.NAME.mirrors.TOPIC]",
    ),
    Rule::lost(
        "use.defaults.from",
        "what the source topic inherits is inherited at the destination, too",
        "set what has to differ in [links.NAME.mirrors.TOPIC]",
    ),
    Rule::lost(
        "forwarding.admin.class",
        "topics and configs are changed at the brokers themselves",
        "create the mirrors' topics elsewhere before `kmirror apply` where brokers may not be asked",
    ),
    Rule::unneeded("key.converter*", BYTES),
    Rule::unneeded("value.converter*", BYTES),
    Rule::unneeded("header.converter*", BYTES),
    Rule::unneeded("source.consumer.*", "batches are copied as they are"),
    Rule::unneeded("source.producer.*", "batches are copied as they are"),
    Rule::unneeded("target.producer.*", "batches are copied as they are"),
    Rule::unneeded("source.admin.*", WORKER),
    Rule::unneeded("target.admin.*", WORKER),
];
