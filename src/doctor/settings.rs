//! Settings of destination topics that hurt mirrors: what they would do, and what to set instead.

use super::{Check, Outcome, Subject};

/// A topic's effective settings.
#[derive(Clone, Debug)]
pub struct TopicSettings {
    /// As it is called in what is said.
    pub name: String,
    pub replicas: usize,
    /// Key and value.
    pub values: Vec<(String, String)>,
}

/// What hurts, or one check that says that nothing does.
pub fn judge(topics: &[TopicSettings]) -> Vec<Check> {
    let mut found: Vec<Check> = topics.iter().flat_map(judge_one).collect();
    if found.is_empty() {
        let names = match topics {
            [] => "no topic was looked at".to_owned(),
            [one] => format!("{} has none that hurts", one.name),
            _ => format!("none of {} topics has one that hurts", topics.len()),
        };
        found.push(Check::passed(Subject::TopicSettings, names));
    }
    found
}

fn judge_one(topic: &TopicSettings) -> Vec<Check> {
    let value = |key: &str| {
        let found = topic.values.iter().find(|(name, _)| name == key);
        found.map_or("", |(_, value)| value.as_str())
    };
    let number = |key: &str| value(key).parse::<i64>().ok();
    let mut found = Vec::new();
    let mut say = |outcome, detail: String| {
        let detail = format!("{}: {detail}", topic.name);
        found.push(Check::new(Subject::TopicSettings, outcome, detail));
    };
    if !["producer", ""].contains(&value("compression.type")) {
        say(
            Outcome::Warning,
            format!(
                "compression.type={} makes brokers compress each batch anew; set producer",
                value("compression.type")
            ),
        );
    }
    if value("message.timestamp.type") == "LogAppendTime" {
        say(
            Outcome::Failed,
            "message.timestamp.type=LogAppendTime replaces the times of all records; set CreateTime"
                .to_owned(),
        );
    }
    for (key, which) in [
        ("message.timestamp.before.max.ms", "older"),
        ("message.timestamp.difference.max.ms", "older or newer"),
    ] {
        if let Some(limit) = number(key).filter(|limit| *limit < i64::MAX) {
            let days = limit / 86_400_000;
            say(
                Outcome::Warning,
                format!(
                    "{key}={limit} refuses records that are {which} by {days} days; remove the limit"
                ),
            );
        }
    }
    if let (Some(segment), Some(largest)) = (number("segment.bytes"), number("max.message.bytes"))
        && segment < largest
    {
        say(
            Outcome::Warning,
            format!(
                "segment.bytes={segment} is less than max.message.bytes={largest}: a large batch would be refused"
            ),
        );
    }
    if let Some(least) = number("min.insync.replicas") {
        let replicas = i64::try_from(topic.replicas).unwrap_or(i64::MAX);
        if least > replicas {
            say(
                Outcome::Warning,
                format!(
                    "min.insync.replicas={least} is more than its {replicas} replicas: writes may be refused"
                ),
            );
        } else if least == 1 && replicas > 1 {
            say(
                Outcome::Warning,
                format!(
                    "min.insync.replicas=1 with {replicas} replicas: what is acknowledged may stand on one broker alone; set 2"
                ),
            );
        }
    }
    if value("unclean.leader.election.enable") == "true" {
        say(
            Outcome::Warning,
            "unclean.leader.election.enable=true: an election may take acknowledged records back"
                .to_owned(),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(replicas: usize, values: &[(&str, &str)]) -> TopicSettings {
        TopicSettings {
            name: "topic orders".to_owned(),
            replicas,
            values: values
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    const GOOD: [(&str, &str); 7] = [
        ("compression.type", "producer"),
        ("message.timestamp.type", "CreateTime"),
        ("message.timestamp.before.max.ms", "9223372036854775807"),
        ("segment.bytes", "1073741824"),
        ("max.message.bytes", "1048588"),
        ("min.insync.replicas", "2"),
        ("unclean.leader.election.enable", "false"),
    ];

    #[test]
    fn kafkas_defaults_with_two_replicas_in_sync_do_not_hurt() {
        let checks = judge(&[topic(3, &GOOD)]);
        assert_eq!(
            checks,
            [Check::passed(
                Subject::TopicSettings,
                "topic orders has none that hurts"
            )]
        );
        assert_eq!(judge(&[])[0].outcome, Outcome::Passed);
    }

    #[test]
    fn each_setting_that_hurts_is_named_with_what_it_does() {
        for (key, value, outcome, says) in [
            ("compression.type", "zstd", Outcome::Warning, "anew"),
            (
                "message.timestamp.type",
                "LogAppendTime",
                Outcome::Failed,
                "CreateTime",
            ),
            (
                "message.timestamp.before.max.ms",
                "86400000",
                Outcome::Warning,
                "1 days",
            ),
            ("segment.bytes", "1000", Outcome::Warning, "large batch"),
            (
                "min.insync.replicas",
                "1",
                Outcome::Warning,
                "one broker alone",
            ),
            ("min.insync.replicas", "4", Outcome::Warning, "3 replicas"),
            (
                "unclean.leader.election.enable",
                "true",
                Outcome::Warning,
                "take acknowledged",
            ),
        ] {
            let mut values = GOOD.to_vec();
            for pair in &mut values {
                if pair.0 == key {
                    pair.1 = value;
                }
            }
            let checks = judge(&[topic(3, &values)]);
            let [check] = &checks[..] else {
                panic!("{key}: {checks:?}")
            };
            assert_eq!(check.outcome, outcome, "{key}");
            assert!(
                check.detail.contains(key) && check.detail.contains(says),
                "{check:?}"
            );
        }
        // With one replica there is nothing to wait for.
        let mut values = GOOD.to_vec();
        values[5].1 = "1";
        assert_eq!(judge(&[topic(1, &values)])[0].outcome, Outcome::Passed);
    }
}
