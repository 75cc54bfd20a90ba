//! Topic names: which ones brokers accept, which ones belong to the machinery, which ones collide.

/// The longest name brokers accept.
pub const MAX_TOPIC_NAME: usize = 249;

/// The prefix of kmirror's own topics on a destination.
pub const OWN_PREFIX: &str = "_kmirror.";

/// Whether the topic belongs to Kafka, Connect, MirrorMaker 2, Replicator, Confluent's services or
/// kmirror. Such a topic matches no pattern and is mirrored only when it is named literally.
pub fn is_internal(topic: &str) -> bool {
    topic.starts_with("__")
        || topic.starts_with("_confluent")
        || topic == "_schemas"
        || topic.starts_with("_kmirror")
        || is_connect_internal(topic)
        || is_mirrormaker_internal(topic)
}

/// The three storage topics of a Connect cluster under the names that its quick starts, Strimzi
/// and Replicator's images give them.
fn is_connect_internal(topic: &str) -> bool {
    let name = topic.strip_prefix('_').unwrap_or(topic);
    ["connect", "replicator", "mirrormaker2"]
        .iter()
        .filter_map(|owner| name.strip_prefix(owner))
        .filter(|rest| rest.starts_with('-'))
        .any(|rest| {
            ["-configs", "-offsets", "-status"]
                .iter()
                .any(|kind| rest.ends_with(kind))
        })
}

fn is_mirrormaker_internal(topic: &str) -> bool {
    topic == "heartbeats"
        || topic.ends_with(".heartbeats")
        || topic.ends_with(".checkpoints.internal")
        || topic.ends_with("-checkpoints-internal")
        || (topic.starts_with("mm2-") && topic.ends_with("internal"))
}

/// Whether the topic is one that only its own broker can make sense of: not even a literal name
/// mirrors it, and nothing is written to it.
pub fn is_never_mirrored(topic: &str) -> bool {
    matches!(topic, "__consumer_offsets" | "__transaction_state")
}

/// Whether no mirror may write to a topic of this name: brokers' state, and kmirror's own.
pub fn is_reserved_at_destination(topic: &str) -> bool {
    is_never_mirrored(topic) || topic.starts_with(OWN_PREFIX)
}

/// What brokers demand of a name (Kafka's `Topic.validate`).
///
/// # Errors
/// Why they would refuse it, to follow "is no legal topic name: ".
pub fn validate_topic_name(topic: &str) -> Result<(), String> {
    if topic.is_empty() {
        return Err("it is empty".to_owned());
    }
    if topic == "." || topic == ".." {
        return Err("brokers refuse `.` and `..`".to_owned());
    }
    if let Some(illegal) = topic.chars().find(|char| !is_legal(*char)) {
        return Err(format!(
            "it contains `{}`; only letters, digits, `.`, `_` and `-` are allowed",
            illegal.escape_debug()
        ));
    }
    // All characters are ASCII by now.
    if topic.len() > MAX_TOPIC_NAME {
        return Err(format!(
            "it has {} characters; {MAX_TOPIC_NAME} are allowed",
            topic.len()
        ));
    }
    Ok(())
}

/// Whether brokers accept the character in a topic name.
pub fn is_legal(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-')
}

/// Two topics with one key cannot exist on one cluster: in the names of metrics `.` becomes `_`,
/// so brokers refuse to create the second.
pub fn collision_key(topic: &str) -> String {
    topic.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machinery_is_internal_and_look_alikes_are_not() {
        for topic in [
            "__consumer_offsets",
            "__transaction_state",
            "__consumer_timestamps",
            "_confluent-command",
            "_confluent-metrics",
            "_schemas",
            "_kmirror.links",
            "connect-configs",
            "connect-offsets",
            "connect-status",
            "connect-cluster-offsets",
            "_connect-status",
            "replicator-offsets",
            "mirrormaker2-cluster-configs",
            "mm2-offset-syncs.west.internal",
            "mm2-status.west.internal",
            "east.checkpoints.internal",
            "heartbeats",
            "east.heartbeats",
        ] {
            assert!(is_internal(topic), "{topic}");
        }
        for topic in [
            "orders",
            "_orders",
            "my_schemas",
            "connect-orders",
            "connections-offsets",
            "connect-status-page",
            "mm2-orders",
            "heartbeats-eu",
            "internal",
            "orders.internal",
        ] {
            assert!(!is_internal(topic), "{topic}");
        }
    }

    #[test]
    fn names_are_judged_as_brokers_do() {
        for topic in ["a", "A-z_0.9", "...", &"x".repeat(249)] {
            assert_eq!(validate_topic_name(topic), Ok(()), "{topic}");
        }
        for topic in ["", ".", "..", "a b", "a/b", "grün", &"x".repeat(250)] {
            assert!(validate_topic_name(topic).is_err(), "{topic}");
        }
        assert_eq!(collision_key("a.b_c"), collision_key("a_b.c"));
    }
}
