//! What becomes of link configs that have no counterpart of their own.

use super::super::connect::LAYOUT;
use super::super::settings::Rule;

const BROKERS: &str = "workers copy, and not brokers";
const GROUPS: &str = "it belongs to offsets of consumer groups, which are not synced";
const ACLS: &str = "it belongs to ACLs, which are not synced";
const INTERVAL: &str = "workers see new topics, partitions and configs by themselves";

pub(super) const RULES: &[Rule] = &[
    Rule::unneeded("consumer.offset.*", GROUPS),
    Rule::unneeded("consumer.group.prefix.enable", GROUPS),
    Rule::unneeded("acl.*", ACLS),
    Rule::unneeded(
        "auto.create.mirror.topics.filters",
        "the link takes only the topics that it has",
    ),
    Rule::unneeded("topic.config.sync.ms", INTERVAL),
    Rule::unneeded("metadata.max.age.ms", INTERVAL),
    Rule::lost(
        "topic.config.sync.include",
        "a mirror follows every config that its source topic has set itself, but for those of docs/plan.md",
        "set what has to differ in [links.NAME.mirrors.TOPIC]",
    ),
    Rule::unneeded("link.mode", LAYOUT),
    Rule::unneeded("connection.mode", LAYOUT),
    Rule::unneeded("remote.link.connection.mode", LAYOUT),
    Rule::unneeded("link.prefix", "it only repeats cluster.link.prefix"),
    Rule::unneeded("local.*", "the destination's table says how it is reached"),
    Rule::unneeded("num.cluster.link.fetchers", BROKERS),
    Rule::unneeded("cluster.link.*", BROKERS),
    Rule::unneeded("availability.check.*", BROKERS),
    Rule::unneeded("replica.*", BROKERS),
    Rule::unneeded("connections.*", BROKERS),
    Rule::unneeded("reconnect.*", BROKERS),
    Rule::unneeded("retry.*", BROKERS),
    Rule::unneeded("client.dns.lookup", BROKERS),
    Rule::unneeded("request.timeout.ms", BROKERS),
    Rule::unneeded("default.api.timeout.ms", BROKERS),
    Rule::unneeded("socket.*", BROKERS),
];
