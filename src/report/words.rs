//! Sentences for reasons, blockers and notes. What comes from clusters or files is cleaned here.

use super::{broker_words, clean, grouped};
use crate::plan::model::{Action, Change, Hidden, Origin, Route, Value};
use crate::plan::reason::{Blocker, End, NotSynced, Note, Reason, Unread};

/// Where a value comes from.
pub fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Default => "Kafka's default",
        Origin::ClusterDefault => "cluster-wide default",
        Origin::Broker => "set on the broker",
        Origin::StaticBroker => "the broker's properties",
        Origin::Inherited => "inherited",
        Origin::Source => "from the source",
        Origin::Required => "every mirror needs it",
        Origin::File => "in the file",
        Origin::Topic => "set on the topic",
        Origin::Live => "as it is",
        Origin::Applied => "as applied",
        Origin::Builtin => "kmirror's default",
    }
}

/// What becomes of an entry.
pub fn outcome(action: Action) -> &'static str {
    match action {
        Action::Create => "will be created",
        Action::Update => "will be updated",
        Action::Pause => "will be paused",
        Action::Resume => "will be resumed",
        Action::Promote => "will be promoted",
        Action::FailOver => "will be failed over",
        Action::Delete => "will be deleted",
        Action::Unchanged => "stays as it is",
        Action::Blocked => "is blocked",
    }
}

/// From where to where.
pub fn route(route: &Route) -> String {
    format!(
        "{}/{} -> {}/{}",
        route.source_cluster,
        clean(&route.source_topic),
        route.destination_cluster,
        clean(&route.destination_topic)
    )
}

/// A value, with a humane form of durations and sizes beside the raw one.
pub fn value(attribute: &str, value: &Value) -> String {
    match value {
        Value::Int(number) => grouped(*number),
        Value::Bool(truth) => truth.to_string(),
        Value::Text(text) if text.is_empty() => "\"\"".to_owned(),
        Value::Text(text) => match humane(attribute, text) {
            Some(humane) => format!("{} ({humane})", clean(text)),
            None => clean(text),
        },
        Value::List(items) => items
            .iter()
            .map(|item| clean(item))
            .collect::<Vec<_>>()
            .join(", "),
        Value::Hidden(Hidden::ByBroker) => "(hidden by the broker)".to_owned(),
        Value::Hidden(Hidden::Sensitive) => "(sensitive)".to_owned(),
        Value::Hidden(Hidden::SentAnew) => "(sensitive value, sent anew)".to_owned(),
    }
}

fn humane(attribute: &str, text: &str) -> Option<String> {
    let number: i64 = text.parse().ok()?;
    if attribute.ends_with(".ms") {
        super::duration(number)
    } else if attribute.ends_with(".bytes") {
        super::bytes(number)
    } else {
        None
    }
}

/// What a changed attribute means beyond its value.
pub fn remark(change: &Change) -> Option<&'static str> {
    match (change.attribute.as_str(), &change.new.as_ref()?.value) {
        ("auto_create", Value::Bool(true)) => {
            Some("running workers may create topics that match later")
        }
        ("auto_create", Value::Bool(false)) => Some("topics that match later wait for an apply"),
        _ => None,
    }
}

pub fn reason(reason: &Reason) -> String {
    match reason {
        Reason::AdoptsEmptyTopic => {
            "the topic exists, was never written, and is taken over as it is".to_owned()
        }
        Reason::AdoptsSharedTopic { offsets } => format!(
            "the topic exists and holds {} records of others; copies are appended to them",
            grouped(*offsets)
        ),
        Reason::InRing => {
            "the source takes records from this topic, too: those that came from it are left out, and both topics keep configs of their own"
                .to_owned()
        }
        Reason::DestinationGone { recorded_id } => format!(
            "the topic of the mirror as it was applied (id {recorded_id}) is gone; a new one is filled from the start"
        ),
        Reason::SourceGrew { from, to } => {
            format!("the source has {to} partitions, the mirror {from}")
        }
        Reason::NoLongerSelected => {
            "the file does not select this topic any more; the mirror keeps its data and its place"
                .to_owned()
        }
        Reason::NotSynced { key, value, why } => {
            let why = match why {
                NotSynced::MoreThanReplicas => "asks for more in-sync replicas than the mirror has",
                NotSynced::Throttle => "belongs to a reassignment at the source",
                NotSynced::TieredStorage => "belongs to the source's storage tiers",
                NotSynced::Vendor => "is a setting of the source's distribution",
                NotSynced::RecordFormat => {
                    "is an old record format setting that newer brokers refuse"
                }
                NotSynced::TimestampBounds => {
                    "is meant for the moment of the first append, and the mirror's comes later"
                }
                NotSynced::Hidden => "is hidden by the source's broker",
            };
            format!("not synced: {} = {} {why}", clean(key), clean(value))
        }
        Reason::SmallerMessages { source, mirror } => format!(
            "max.message.bytes = {} is less than the source's {}: a larger batch would stop the mirror",
            grouped(*mirror),
            grouped(*source)
        ),
        Reason::StartOnlyForNew => {
            "`start` applies to mirrors that have not begun; the others go on where they are"
                .to_owned()
        }
        Reason::OffsetsOnlyForNew => {
            "`offsets = \"preserve\"` applies to mirrors that have not begun; the offsets of the others stay translated"
                .to_owned()
        }
        Reason::FillsStart {
            offsets,
            bytes,
            seconds,
        } => format!(
            "{} before the source's first record are taken up and deleted first: some {}, {}",
            match offsets {
                1 => "1 offset".to_owned(),
                _ => format!("{} offsets", grouped(*offsets)),
            },
            super::bytes(i64::try_from(*bytes).unwrap_or(i64::MAX))
                .unwrap_or_else(|| format!("{bytes} bytes")),
            match seconds {
                1 => "1 second".to_owned(),
                _ => format!("{} seconds", grouped(*seconds)),
            },
        ),
        Reason::HolesByMarkers => {
            "offsets that have no record at the source are taken up by control markers".to_owned()
        }
        Reason::HolesByTransactions { user } => format!(
            "{user} may not write control markers (Alter on the cluster): offsets that have no record at the source are taken up by empty transactions, which is slower and takes Write on the transactional ids that begin with kmirror."
        ),
        Reason::LinkPaused => {
            "the link is paused: nothing is copied until it is resumed".to_owned()
        }
        Reason::DeletesTopic {
            cluster,
            topic,
            partitions,
            offsets,
        } => {
            let holds = match offsets {
                Some(0) => "which holds nothing".to_owned(),
                Some(1) => "which holds 1 offset".to_owned(),
                Some(offsets) => format!("which holds {} offsets", grouped(*offsets)),
                None => "whatever it holds".to_owned(),
            };
            let partitions = match partitions {
                1 => "1 partition".to_owned(),
                _ => format!("{partitions} partitions"),
            };
            format!(
                "deletes topic {cluster}/{} ({partitions}), {holds}: this cannot be undone",
                clean(topic)
            )
        }
        Reason::Promotes => {
            "what the source has is copied, then the topic is handed over to whoever writes to it: this cannot be undone".to_owned()
        }
        Reason::FailsOver => {
            "the topic is handed over as it is to whoever writes to it, without what the source still has: this cannot be undone".to_owned()
        }
        Reason::TopicGoneAlready { cluster, topic } => format!(
            "topic {cluster}/{} is gone already: what is recorded of the mirror goes",
            clean(topic)
        ),
        other => broker_words::reason(other).expect("every other reason is about brokers' links"),
    }
}

/// So many of a list are named.
const LISTED: usize = 10;

/// What stands in the way, and what can be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    pub cause: String,
    pub remedy: String,
}

pub(super) fn obstacle(cause: impl Into<String>, remedy: impl Into<String>) -> Obstacle {
    Obstacle {
        cause: cause.into(),
        remedy: remedy.into(),
    }
}

pub fn blocker(blocker: &Blocker) -> Obstacle {
    match blocker {
        Blocker::ClusterIdMismatch {
            cluster,
            pinned,
            found,
        } => obstacle(
            format!(
                "The brokers of `{cluster}` belong to cluster {}, the file pins {}.",
                clean(found),
                clean(pinned)
            ),
            "Check bootstrap_servers; if the cluster was replaced on purpose, change cluster_id.",
        ),
        Blocker::DestinationUnreachable { cluster, cause } => obstacle(
            format!(
                "The destination `{cluster}` can't be read: {}.",
                clean(cause)
            ),
            "Nothing is planned on it until it answers. Leave this link aside: name the others with --target.",
        ),
        Blocker::SourceUnreachable { cluster, cause } => obstacle(
            format!("The source `{cluster}` can't be read: {}.", clean(cause)),
            "Bring it back. While it is away, all that can be planned for the link is `state = \"paused\"`, on it or on its mirrors.",
        ),
        Blocker::ClusterBlocked { cluster } => obstacle(
            format!("Nothing is planned on `{cluster}`, see cluster.{cluster}."),
            "Solve that first.",
        ),
        Blocker::SourceTopicAbsent {
            cluster,
            topic,
            may_be_owned,
        } => obstacle(
            format!("`{cluster}` has no topic `{}`.", clean(topic)),
            if *may_be_owned {
                format!(
                    "Create it there, let this file create it (`[clusters.{cluster}.topics.\"{}\"]`), or take the name out of the link.",
                    clean(topic)
                )
            } else {
                "Create it on one of the clusters that it is mirrored between, or take the name out of the link.".to_owned()
            },
        ),
        Blocker::TopicHidden {
            cluster,
            topic,
            user,
        } => obstacle(
            format!(
                "`{cluster}` does not show topic `{}` to {}, if there is one.",
                clean(topic),
                clean(user)
            ),
            format!(
                "Grant that user Describe on the topic, and the other rights that docs/security.md lists, or create the topic on `{cluster}`.",
            ),
        ),
        Blocker::PartitionsUnknown { cluster, topic } => obstacle(
            format!(
                "`{}` is going to be created on `{cluster}` with the broker's default number of partitions, which the broker did not tell.",
                clean(topic)
            ),
            "Give `partitions` in the file.",
        ),
        Blocker::DestinationHoldsData { .. }
        | Blocker::NotReadable { .. }
        | Blocker::MorePartitionsThanSource { .. }
        | Blocker::PartitionsShrink { .. }
        | Blocker::ReplicationFactorFixed { .. }
        | Blocker::TooFewBrokers { .. }
        | Blocker::RequiredConfig { .. } => topic_blocker(blocker),
        Blocker::SourceRecreated { .. }
        | Blocker::DestinationRecreated { .. }
        | Blocker::MirrorRenamed { .. }
        | Blocker::DestinationTaken { .. }
        | Blocker::DestinationOwned { .. } => identity_blocker(blocker),
        Blocker::DeletionNotAllowed => obstacle(
            "Deletions are not allowed.",
            "Say --allow-delete if this is meant, or take `state = \"absent\"` out of the file.",
        ),
        Blocker::StillMirrored { cluster, topic, by } => obstacle(
            format!(
                "{cluster}/{} is where {} is filled from.",
                clean(topic),
                by.iter().map(|it| clean(it)).collect::<Vec<_>>().join(", ")
            ),
            "Give the mirror `state = \"absent\"` too, or leave the topic.",
        ),
        Blocker::HandedOver {
            cluster,
            topic,
            link,
            source_topic,
            state,
        } => {
            let ended = match state.as_str() {
                "promoted" => "promoted",
                _ => "failed over",
            };
            obstacle(
                format!(
                    "The mirror was {ended}: {cluster}/{} belongs to whoever writes to it, and nothing is copied into it again.",
                    clean(topic)
                ),
                format!(
                    "Write state = \"{state}\" in [links.{0}.mirrors.{1}] to keep it so. To copy the source anew, let state = \"absent\" and \
                     `kmirror apply --allow-delete` delete the topic with all that it holds first, or mirror {1} under another name.",
                    clean(link),
                    clean(source_topic)
                ),
            )
        }
        Blocker::NothingToEnd {
            link,
            source_topic,
            kind,
        } => obstacle(
            format!(
                "There is no mirror of {} that could be {}.",
                clean(source_topic),
                match kind.as_str() {
                    "promoted" => "promoted",
                    _ => "failed over",
                }
            ),
            format!(
                "Write state = \"active\" in [links.{}.mirrors.{}] and apply, so that there is one; or leave it out.",
                clean(link),
                clean(source_topic)
            ),
        ),
        Blocker::EndingUnderWay { cluster, topic } => obstacle(
            format!(
                "The mirror {cluster}/{} is being handed over, which is not finished.",
                clean(topic)
            ),
            "Let `kmirror run` finish it, then apply again.",
        ),
        Blocker::LinkHasMirrors { link, topics } => {
            let shown = topics.iter().take(LISTED).map(|topic| clean(topic));
            let shown = shown.collect::<Vec<_>>().join(", ");
            let more = topics.len().saturating_sub(LISTED);
            let more = match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            obstacle(
                format!("The link has mirrors left: {shown}{more}."),
                format!(
                    "Write state = \"absent\" for each of them, as [links.{0}.mirrors.TOPIC], which deletes its topic; or \
                     keep the link and write state = \"paused\".",
                    clean(link)
                ),
            )
        }
        Blocker::TwoIntoOne {
            cluster,
            topic,
            sources,
        } => obstacle(
            format!(
                "{} would all be written to {cluster}/{}.",
                sources
                    .iter()
                    .map(|source| clean(source))
                    .collect::<Vec<_>>()
                    .join(" and "),
                clean(topic)
            ),
            "Give one of them another name with `as` or `rename`, or exclude it.",
        ),
        Blocker::RenameFails { topic, problem } => obstacle(
            format!(
                "`{}` can't be named at the destination: {}.",
                clean(topic),
                clean(problem)
            ),
            "Change `rename`, or give the mirror a name with `as`.",
        ),
        Blocker::SameTopic { cluster_id, topic } => obstacle(
            format!(
                "Source and destination are the same topic `{}` of the same cluster {}.",
                clean(topic),
                clean(cluster_id)
            ),
            "Check the bootstrap_servers of both clusters, or rename the mirror.",
        ),
        Blocker::ProvenanceFixed {
            cluster,
            topic,
            marks,
        } => obstacle(
            format!(
                "The mirror {cluster}/{} was made {} headers that say where records came from, and a mirror has them on all of its records or on none.",
                clean(topic),
                if *marks { "with" } else { "without" }
            ),
            format!(
                "Write provenance_header = {marks}; or delete the mirror with its topic (state = \"absent\"), and have it made anew."
            ),
        ),
        Blocker::Loop { path } => obstacle(
            format!(
                "The data would come back to the cluster that it came from: {}.",
                path.iter()
                    .map(|step| clean(step))
                    .collect::<Vec<_>>()
                    .join(" -> ")
            ),
            "Exclude the topic from one of the links; or let each of them have provenance_header = true, offsets = \"translate\" and on_foreign_write = \"translate\", and no mirror on the way that was made without.",
        ),
        Blocker::LinkBoundElsewhere {
            end,
            cluster,
            recorded,
            found,
        } => obstacle(
            format!(
                "The link was applied with cluster {} as its {}; `{cluster}` is cluster {}.",
                clean(recorded),
                match end {
                    End::Source => "source",
                    End::Destination => "destination",
                },
                clean(found)
            ),
            "Check bootstrap_servers. For another cluster, make a link with another name.",
        ),
        Blocker::LinkOwnedByRest => obstacle(
            "The link was made through the REST interface and belongs to it.",
            "Give the link in the file another name, or take it over with `--adopt`: it is then what the file says, and reached as the file says.",
        ),
        Blocker::MovedLinkExists { from, to } => obstacle(
            format!(
                "There are links `{}` and `{}`, so neither can be the other's new name.",
                clean(from),
                clean(to)
            ),
            "Remove `moved`.",
        ),
        Blocker::Refused {
            cluster,
            error,
            broker_says,
        } => obstacle(
            format!(
                "The broker of `{cluster}` refuses it ({error}): {}",
                clean(broker_says)
            ),
            "Change what it objects to, in the file or on the cluster.",
        ),
        other => broker_words::blocker(other).expect("every other blocker is about brokers' links"),
    }
}

fn topic_blocker(blocker: &Blocker) -> Obstacle {
    match blocker {
        Blocker::DestinationHoldsData {
            cluster,
            topic,
            offsets,
            written,
        } => {
            let topic = clean(topic);
            let cause = if *offsets > 0 {
                format!(
                    "{cluster}/{topic} holds {} records that this link did not write.",
                    grouped(*offsets)
                )
            } else {
                format!(
                    "{cluster}/{topic} is empty now, but {} records were written to it that were not this link's.",
                    grouped(*written)
                )
            };
            obstacle(
                cause,
                "Give the mirror another name with `as`; if others are to write to the topic as well, give the link `on_foreign_write = \"translate\"`; or, if nobody needs the topic, delete it with Kafka's tools and plan again.",
            )
        }
        Blocker::NotReadable {
            cluster,
            topic,
            what,
            broker_says,
        } => {
            let (what, right) = match what {
                Unread::Configs => ("The configs", "DescribeConfigs"),
                Unread::Contents => ("The log ends", "Describe"),
            };
            obstacle(
                format!(
                    "{what} of {cluster}/{} can't be read: {}",
                    clean(topic),
                    clean(broker_says)
                ),
                format!("Allow {right} on the topic."),
            )
        }
        Blocker::MorePartitionsThanSource {
            cluster,
            topic,
            source,
            destination,
        } => obstacle(
            format!(
                "{cluster}/{} has {destination} partitions, its source only {source}; partitions can't be taken away.",
                clean(topic)
            ),
            "Grow the source, or mirror into a topic of another name (`as`).",
        ),
        Blocker::PartitionsShrink {
            cluster,
            topic,
            has,
            wanted,
        } => obstacle(
            format!(
                "{cluster}/{} has {has} partitions, the file asks for {wanted}; partitions can't be taken away.",
                clean(topic)
            ),
            format!("Set partitions = {has} or more."),
        ),
        Blocker::ReplicationFactorFixed {
            cluster,
            topic,
            has,
            wanted,
        } => obstacle(
            format!(
                "{cluster}/{} has replication factor {has}, the file asks for {wanted}; kmirror moves no replicas.",
                clean(topic)
            ),
            format!(
                "Set replication_factor = {has}, or change the replicas with kafka-reassign-partitions first."
            ),
        ),
        Blocker::TooFewBrokers {
            cluster,
            wanted,
            live,
            from_source,
        } => obstacle(
            format!(
                "Replication factor {wanted}{} needs {wanted} brokers; `{cluster}` has {live}.",
                if *from_source {
                    ", the source topic's,"
                } else {
                    ""
                }
            ),
            format!("Set replication_factor = {live}."),
        ),
        Blocker::RequiredConfig {
            key,
            wanted,
            required,
        } => obstacle(
            format!(
                "A mirror can't work with {} = {}; it needs {required}.",
                clean(key),
                clean(wanted)
            ),
            "Take the key out of the mirror's config.",
        ),
        other => unreachable!("told elsewhere: {other:?}"),
    }
}

fn identity_blocker(blocker: &Blocker) -> Obstacle {
    match blocker {
        Blocker::SourceRecreated {
            cluster,
            topic,
            recorded,
            found,
            destination_cluster,
            destination_topic,
        } => obstacle(
            if found.is_nil() {
                format!(
                    "{cluster}/{} (id {recorded}), which this mirror copied, is gone, and the file would make a new topic of that name.",
                    clean(topic)
                )
            } else {
                format!(
                    "{cluster}/{} was recreated: the mirror copied the topic with id {recorded}, now it has id {found}.",
                    clean(topic)
                )
            },
            format!(
                "To copy the new topic, delete {destination_cluster}/{} with Kafka's tools and plan again, or mirror it under another name (`as`) to keep the old copy.",
                clean(destination_topic)
            ),
        ),
        Blocker::DestinationRecreated {
            cluster,
            topic,
            recorded,
            found,
        } => obstacle(
            format!(
                "{cluster}/{} was recreated: the mirror wrote to the topic with id {recorded}, now it has id {found}.",
                clean(topic)
            ),
            "Delete it with Kafka's tools and plan again: the mirror is then made anew and filled from the start.",
        ),
        Blocker::MirrorRenamed { cluster, from, to } => obstacle(
            format!(
                "The mirror is {cluster}/{}; a topic can't be renamed to {}.",
                clean(from),
                clean(to)
            ),
            format!(
                "Keep the name (as = \"{}\"); or delete {cluster}/{} with Kafka's tools, then the new one is filled from the start.",
                clean(from),
                clean(from)
            ),
        ),
        Blocker::DestinationTaken { cluster, topic, by } => obstacle(
            format!("{cluster}/{} is written by {}.", clean(topic), clean(by)),
            "Give this mirror another name with `as` or `rename`.",
        ),
        Blocker::DestinationOwned { cluster, topic } => obstacle(
            format!("{cluster}/{} is a topic that this file owns.", clean(topic)),
            "Give the mirror another name, exclude the topic, or take it out of the cluster's topics.",
        ),
        other => unreachable!("told elsewhere: {other:?}"),
    }
}

/// Of more, the rest is counted.
const TOPICS_IN_A_NOTE: usize = 5;

pub fn note(note: &Note, now_ms: i64) -> String {
    match note {
        Note::SourceUnreachable {
            link,
            cluster,
            mirrors,
            cause,
        } => format!(
            "the source `{cluster}` of link `{link}` can't be read ({}), so its mirrors ({mirrors} as they were applied) are not compared with it",
            clean(cause)
        ),
        Note::TopicsUnread {
            cluster,
            topics,
            cause,
        } => format!(
            "`{cluster}` can't be read ({}), so the topics that this file has there ({topics}) are not looked at",
            clean(cause)
        ),
        Note::LinkNotInFile {
            cluster,
            link,
            rest,
        } => format!(
            "link `{}` on `{cluster}` is not in this file{} and is left alone",
            clean(link),
            if *rest {
                " (it belongs to the REST interface)"
            } else {
                ""
            }
        ),
        Note::SourceGone {
            link,
            cluster,
            source_topic,
            destination_topic,
        } => format!(
            "mirror.{link}/{}: the topic is gone from `{cluster}`; {} keeps what it has",
            clean(source_topic),
            clean(destination_topic)
        ),
        Note::SourceHidden {
            link,
            cluster,
            source_topic,
            destination_topic,
            user,
        } => format!(
            "mirror.{link}/{}: `{cluster}` does not show the topic to {}; {} keeps what it has",
            clean(source_topic),
            clean(user),
            clean(destination_topic)
        ),
        Note::NothingMatches { link, selectors } => format!(
            "link.{link}: no topic matches {} at present",
            selectors
                .iter()
                .map(|selector| format!("`{}`", clean(selector)))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        Note::UnownedTopic {
            link,
            cluster,
            topic,
        } => format!(
            "link.{link}: {cluster}/{} is called as its mirrors are, and no mirror owns it",
            clean(topic)
        ),
        Note::ConfigsNotInFile { cluster, topics } => {
            let list = topics.iter().take(TOPICS_IN_A_NOTE).map(|other| {
                let configs = other.configs.iter();
                let configs = configs.map(|(key, value)| format!("{key} = {}", clean(value)));
                let configs: Vec<String> = configs.collect();
                format!("{} ({})", clean(&other.topic), configs.join(", "))
            });
            let mut list: Vec<String> = list.collect();
            let more = topics.len().saturating_sub(TOPICS_IN_A_NOTE);
            if more > 0 {
                list.push(format!("{more} more topics"));
            }
            format!(
                "configs that are set on topics which the file owns, and that it does not name, stay as they are on `{cluster}` (other_configs = \"reset\" resets them): {}",
                list.join(", ")
            )
        }
        Note::EndingPending {
            link,
            cluster,
            destination_topic,
            kind,
            since_ms,
            ..
        } => {
            let what = match kind.as_str() {
                "promoted" => "promotion",
                _ => "failover",
            };
            let since = super::duration(now_ms - since_ms)
                .map_or_else(String::new, |age| format!(", for {age}"));
            format!(
                "the {what} of {cluster}/{} by link {} is under way{since}; workers carry it out",
                clean(destination_topic),
                clean(link)
            )
        }
        Note::Locked {
            cluster,
            holder,
            command,
            since_ms,
        } => format!(
            "`{cluster}` is locked by {} (`{}`){}",
            clean(holder),
            clean(command),
            match super::duration(now_ms.saturating_sub(*since_ms)) {
                Some(age) => format!(", for {age}"),
                None => String::new(),
            }
        ),
        other => broker_words::note(other).expect("every other note is about brokers' links"),
    }
}
