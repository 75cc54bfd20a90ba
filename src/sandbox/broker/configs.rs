//! The settings of topics: Kafka's list with its defaults, and what values it takes.
//!
//! The list is that of Kafka 4.x. Most settings change nothing here, because nothing is ever
//! cleaned or replicated; they are kept and answered so that tools see what they set.

use std::collections::BTreeMap;

use super::validate::TopicRules;

/// A setting's type, by its number in DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// What values a setting takes besides its type.
#[derive(Clone, Copy, Debug)]
enum Allowed {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// Between 0 and 1.
    Ratio,
    OneOf(&'static [&'static str]),
}

/// One topic setting.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    /// The broker setting that Kafka names as the default's origin.
    pub broker_name: &'static str,
    allowed: Allowed,
}

const LONG_MAX: &str = "9223372036854775807";
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

const fn define(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    broker_name: &'static str,
    allowed: Allowed,
) -> Definition {
    Definition {
        name,
        kind,
        default,
        broker_name,
        allowed,
    }
}

/// All topic settings, in the order of their names.
pub const TOPIC_CONFIGS: &[Definition] = {
    use Allowed::{Any, AtLeast, Between, OneOf, Ratio};
    use Kind::{Boolean, Double, Int, List, Long, String};
    &[
        define(
            "cleanup.policy",
            List,
            "delete",
            "log.cleanup.policy",
            OneOf(&["compact", "delete"]),
        ),
        define(
            "compression.gzip.level",
            Int,
            "-1",
            "compression.gzip.level",
            Between(-1, 9),
        ),
        define(
            "compression.lz4.level",
            Int,
            "9",
            "compression.lz4.level",
            Between(1, 17),
        ),
        define(
            "compression.type",
            String,
            "producer",
            "compression.type",
            OneOf(CODECS),
        ),
        define(
            "compression.zstd.level",
            Int,
            "3",
            "compression.zstd.level",
            Between(-131_072, 22),
        ),
        define(
            "delete.retention.ms",
            Long,
            "86400000",
            "log.cleaner.delete.retention.ms",
            AtLeast(0),
        ),
        define(
            "file.delete.delay.ms",
            Long,
            "60000",
            "log.segment.delete.delay.ms",
            AtLeast(0),
        ),
        define(
            "flush.messages",
            Long,
            LONG_MAX,
            "log.flush.interval.messages",
            AtLeast(1),
        ),
        define(
            "flush.ms",
            Long,
            LONG_MAX,
            "log.flush.interval.ms",
            AtLeast(0),
        ),
        define("follower.replication.throttled.replicas", List, "", "", Any),
        define(
            "index.interval.bytes",
            Int,
            "4096",
            "log.index.interval.bytes",
            AtLeast(0),
        ),
        define("leader.replication.throttled.replicas", List, "", "", Any),
        define(
            "local.retention.bytes",
            Long,
            "-2",
            "log.local.retention.bytes",
            AtLeast(-2),
        ),
        define(
            "local.retention.ms",
            Long,
            "-2",
            "log.local.retention.ms",
            AtLeast(-2),
        ),
        define(
            "max.compaction.lag.ms",
            Long,
            LONG_MAX,
            "log.cleaner.max.compaction.lag.ms",
            AtLeast(1),
        ),
        define(
            "max.message.bytes",
            Int,
            "1048588",
            "message.max.bytes",
            AtLeast(0),
        ),
        define(
            "message.timestamp.after.max.ms",
            Long,
            "3600000",
            "log.message.timestamp.after.max.ms",
            AtLeast(0),
        ),
        define(
            "message.timestamp.before.max.ms",
            Long,
            LONG_MAX,
            "log.message.timestamp.before.max.ms",
            AtLeast(0),
        ),
        define(
            "message.timestamp.type",
            String,
            "CreateTime",
            "log.message.timestamp.type",
            OneOf(&["CreateTime", "LogAppendTime"]),
        ),
        define(
            "min.cleanable.dirty.ratio",
            Double,
            "0.5",
            "log.cleaner.min.cleanable.ratio",
            Ratio,
        ),
        define(
            "min.compaction.lag.ms",
            Long,
            "0",
            "log.cleaner.min.compaction.lag.ms",
            AtLeast(0),
        ),
        define(
            "min.insync.replicas",
            Int,
            "1",
            "min.insync.replicas",
            AtLeast(1),
        ),
        define("preallocate", Boolean, "false", "log.preallocate", Any),
        define("remote.log.copy.disable", Boolean, "false", "", Any),
        define("remote.log.delete.on.disable", Boolean, "false", "", Any),
        define("remote.storage.enable", Boolean, "false", "", Any),
        define("retention.bytes", Long, "-1", "log.retention.bytes", Any),
        define(
            "retention.ms",
            Long,
            "604800000",
            "log.retention.ms",
            AtLeast(-1),
        ),
        define(
            "segment.bytes",
            Int,
            "1073741824",
            "log.segment.bytes",
            AtLeast(14),
        ),
        define(
            "segment.index.bytes",
            Int,
            "10485760",
            "log.index.size.max.bytes",
            AtLeast(4),
        ),
        define(
            "segment.jitter.ms",
            Long,
            "0",
            "log.roll.jitter.ms",
            AtLeast(0),
        ),
        define("segment.ms", Long, "604800000", "log.roll.ms", AtLeast(1)),
        define(
            "unclean.leader.election.enable",
            Boolean,
            "false",
            "unclean.leader.election.enable",
            Any,
        ),
    ]
};

#[must_use]
pub fn definition(name: &str) -> Option<&'static Definition> {
    TOPIC_CONFIGS.iter().find(|config| config.name == name)
}

/// A change of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Set(String),
    Delete,
    Append(String),
    Subtract(String),
}

/// What a topic's own settings say; everything else has its default.
pub type TopicConfig = BTreeMap<String, String>;

/// The settings after a change; the message is Kafka's own wording.
pub fn changed(config: &TopicConfig, name: &str, change: Change) -> Result<TopicConfig, String> {
    let known = definition(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
    let mut next = config.clone();
    let listed = |of: &TopicConfig| -> Vec<String> {
        let now = of.get(name).map_or(known.default, String::as_str);
        split_list(now).map(str::to_owned).collect()
    };
    let value = match change {
        Change::Delete => {
            next.remove(name);
            return Ok(next);
        }
        Change::Set(value) => value,
        Change::Append(_) | Change::Subtract(_) if known.kind != Kind::List => {
            return Err(format!(
                "Can't APPEND to config key {name} because its type is not LIST."
            ));
        }
        Change::Append(value) => {
            let mut items = listed(config);
            for item in split_list(&value) {
                if !items.iter().any(|known| known == item) {
                    items.push(item.to_owned());
                }
            }
            items.join(",")
        }
        Change::Subtract(value) => {
            let gone: Vec<&str> = split_list(&value).collect();
            let mut items = listed(config);
            items.retain(|item| !gone.contains(&item.as_str()));
            items.join(",")
        }
    };
    next.insert(name.to_owned(), known.parsed(&value)?);
    Ok(next)
}

/// Rules that span settings.
pub fn check_whole(config: &TopicConfig) -> Result<(), String> {
    let (min, max) = (
        number(config, "min.compaction.lag.ms"),
        number(config, "max.compaction.lag.ms"),
    );
    if min > max {
        return Err(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        ));
    }
    if config
        .get("remote.storage.enable")
        .is_some_and(|on| on == "true")
    {
        return Err("Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.".to_owned());
    }
    Ok(())
}

fn split_list(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

impl Definition {
    /// The value as Kafka stores it, or its complaint.
    fn parsed(&self, value: &str) -> Result<String, String> {
        let value = value.trim();
        let invalid = |why: String| {
            format!(
                "Invalid value {value} for configuration {}: {why}",
                self.name
            )
        };
        match self.kind {
            Kind::Boolean if value.eq_ignore_ascii_case("true") => return Ok("true".to_owned()),
            Kind::Boolean if value.eq_ignore_ascii_case("false") => return Ok("false".to_owned()),
            Kind::Boolean => {
                return Err(invalid(
                    "Expected value to be either true or false".to_owned(),
                ));
            }
            Kind::Int => {
                let number: i32 = value
                    .parse()
                    .map_err(|_| invalid("Not a number of type INT".to_owned()))?;
                self.in_range(i64::from(number)).map_err(invalid)?;
            }
            Kind::Long => {
                let number: i64 = value
                    .parse()
                    .map_err(|_| invalid("Not a number of type LONG".to_owned()))?;
                self.in_range(number).map_err(invalid)?;
            }
            Kind::Double => {
                let number: f64 = value
                    .parse()
                    .map_err(|_| invalid("Not a number of type DOUBLE".to_owned()))?;
                if number < 0.0 {
                    return Err(invalid("Value must be at least 0".to_owned()));
                }
                if number > 1.0 {
                    return Err(invalid("Value must be no more than 1".to_owned()));
                }
            }
            Kind::String | Kind::List => {
                if let Allowed::OneOf(names) = self.allowed {
                    let items: Vec<&str> = if self.kind == Kind::List {
                        split_list(value).collect()
                    } else {
                        vec![value]
                    };
                    if items.iter().any(|item| !names.contains(item)) {
                        return Err(invalid(format!(
                            "String must be one of: {}",
                            names.join(", ")
                        )));
                    }
                }
            }
        }
        Ok(value.to_owned())
    }

    fn in_range(&self, number: i64) -> Result<(), String> {
        match self.allowed {
            Allowed::AtLeast(least) | Allowed::Between(least, _) if number < least => {
                Err(format!("Value must be at least {least}"))
            }
            Allowed::Between(_, most) if number > most => {
                Err(format!("Value must be no more than {most}"))
            }
            _ => Ok(()),
        }
    }
}

/// A setting's value in force.
#[must_use]
pub fn value<'a>(config: &'a TopicConfig, name: &str) -> &'a str {
    match config.get(name) {
        Some(value) => value,
        None => definition(name).map_or("", |known| known.default),
    }
}

fn number(config: &TopicConfig, name: &str) -> i64 {
    value(config, name)
        .parse()
        .expect("numbers are parsed before they are stored")
}

/// The part of the settings that produced batches are judged by.
#[must_use]
pub fn rules(config: &TopicConfig) -> TopicRules {
    let size = |name| usize::try_from(number(config, name)).unwrap_or(0);
    TopicRules {
        compacted: split_list(value(config, "cleanup.policy")).any(|policy| policy == "compact"),
        log_append_time: value(config, "message.timestamp.type") == "LogAppendTime",
        max_message_bytes: size("max.message.bytes"),
        segment_bytes: size("segment.bytes"),
        timestamp_before_max_ms: number(config, "message.timestamp.before.max.ms"),
        timestamp_after_max_ms: number(config, "message.timestamp.after.max.ms"),
        codec: match value(config, "compression.type") {
            "uncompressed" => Some(0),
            "gzip" => Some(1),
            "snappy" => Some(2),
            "lz4" => Some(3),
            "zstd" => Some(4),
            _ => None,
        },
        min_insync_replicas: size("min.insync.replicas"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Result<TopicConfig, String> {
        changed(&TopicConfig::new(), name, Change::Set(value.to_owned()))
    }

    #[test]
    fn every_default_is_a_value_that_its_own_check_takes() {
        for known in TOPIC_CONFIGS {
            assert!(known.parsed(known.default).is_ok(), "{}", known.name);
        }
        assert!(TOPIC_CONFIGS.is_sorted_by_key(|known| known.name));
        assert_eq!(rules(&TopicConfig::new()).max_message_bytes, 1_048_588);
    }

    #[test]
    fn refusals_are_in_kafkas_words() {
        let cases = [
            (
                "retention.ms",
                "abc",
                "Invalid value abc for configuration retention.ms: Not a number of type LONG",
            ),
            (
                "retention.ms",
                "-2",
                "Invalid value -2 for configuration retention.ms: Value must be at least -1",
            ),
            (
                "cleanup.policy",
                "purge",
                "Invalid value purge for configuration cleanup.policy: String must be one of: compact, delete",
            ),
            (
                "preallocate",
                "yes",
                "Invalid value yes for configuration preallocate: Expected value to be either true or false",
            ),
            (
                "min.cleanable.dirty.ratio",
                "2",
                "Invalid value 2 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
            ),
            ("no.such", "1", "Unknown topic config name: no.such"),
        ];
        for (name, value, expected) in cases {
            assert_eq!(set(name, value), Err(expected.to_owned()));
        }
    }

    #[test]
    fn lists_grow_and_shrink_by_item() {
        let both = changed(
            &TopicConfig::new(),
            "cleanup.policy",
            Change::Append("compact".into()),
        )
        .expect("a list");
        assert_eq!(value(&both, "cleanup.policy"), "delete,compact");
        assert!(rules(&both).compacted);
        let one =
            changed(&both, "cleanup.policy", Change::Subtract("delete".into())).expect("a list");
        assert_eq!(value(&one, "cleanup.policy"), "compact");
        assert!(changed(&one, "retention.ms", Change::Append("1".into())).is_err());
    }

    #[test]
    fn lag_bounds_must_not_cross() {
        let mut config = set("min.compaction.lag.ms", "100").expect("valid");
        config.insert("max.compaction.lag.ms".into(), "50".into());
        assert!(check_whole(&config).is_err());
    }
}
