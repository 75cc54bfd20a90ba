//! Sentences about links that brokers carry.

use std::collections::BTreeMap;

use super::words::{Obstacle, obstacle};
use super::{clean, grouped};
use crate::observe::model::NoLinking;
use crate::plan::reason::{Blocker, Note, Reason};

fn listed(items: &[String]) -> String {
    const MOST: usize = 10;
    let mut shown: Vec<String> = items.iter().take(MOST).map(|item| clean(item)).collect();
    let more = items.len().saturating_sub(MOST);
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    shown.join(", ")
}

fn pairs(configs: &BTreeMap<String, String>) -> String {
    let pairs = configs.iter();
    let pairs = pairs.map(|(key, value)| match value.as_str() {
        "" => format!("{} = \"\"", clean(key)),
        value => format!("{} = {}", clean(key), clean(value)),
    });
    pairs.collect::<Vec<_>>().join(", ")
}

/// An error with its message, as far as there is one.
fn said(error: Option<&str>, message: Option<&str>) -> String {
    match (error, message) {
        (Some(error), Some(message)) => format!(": {}: {}", clean(error), clean(message)),
        (Some(word), None) | (None, Some(word)) => format!(": {}", clean(word)),
        (None, None) => String::new(),
    }
}

/// What a reason means that is about such links.
pub(super) fn reason(reason: &Reason) -> Option<String> {
    Some(match reason {
        Reason::SecretsNotCompared { keys } => format!(
            "set there, and told to nobody, so not compared: {}",
            listed(keys)
        ),
        Reason::LinkConfigsOfServer { configs } => {
            format!("set by the server itself: {}", pairs(configs))
        }
        Reason::LinkConfigsNotInFile { configs } => format!(
            "also set there, not named by the file, and left as it is: {}",
            pairs(configs)
        ),
        Reason::LinkUnwell {
            state,
            error,
            message,
        } => format!(
            "the brokers say {}{}",
            clean(state),
            said(error.as_deref(), message.as_deref())
        ),
        Reason::LinkTaskFails {
            task,
            error,
            message,
        } => format!(
            "its task {} fails{}",
            clean(task),
            said(error.as_deref(), message.as_deref())
        ),
        Reason::MirrorInState { state, error } => format!(
            "the brokers say {}{}",
            clean(state),
            said(error.as_deref(), None)
        ),
        Reason::LagAtEnd { lag: Some(0) } => {
            "when last looked at, the mirror had everything; this cannot be undone".to_owned()
        }
        Reason::LagAtEnd { lag: Some(lag) } => format!(
            "when last looked at, the mirror lacked {} of the source's records; this cannot be undone",
            grouped(*lag)
        ),
        Reason::LagAtEnd { lag: None } => {
            "what the mirror lacks is not known; this cannot be undone".to_owned()
        }
        _ => return None,
    })
}

/// What stands in the way of such a link.
pub(super) fn blocker(blocker: &Blocker) -> Option<Obstacle> {
    Some(match blocker {
        Blocker::NoClusterLinking { cluster, why, said } => no_linking(cluster, *why, said),
        Blocker::LinkingTooOld {
            cluster,
            feature,
            since,
            platform,
        } => obstacle(
            format!("`{cluster}` is of {platform}, and {feature} came with {since}."),
            "Upgrade its brokers, or do without; with engine = \"kmirror\" links need nothing of the brokers.",
        ),
        Blocker::LinkToItself { cluster_id } => obstacle(
            format!("Both ends are the cluster {}.", clean(cluster_id)),
            "Check bootstrap_servers of the two clusters: brokers link no cluster to itself.",
        ),
        Blocker::NotForBrokers { cluster, problem } => obstacle(
            format!(
                "Brokers cannot reach `{cluster}` as this program does: {}.",
                clean(problem)
            ),
            "Set what they are to use in the link's `config` or `properties_file`, and in the cluster's `client` something that brokers have a form of.",
        ),
        Blocker::LinkConfigFixed {
            cluster,
            link,
            key,
            has,
            wanted,
        } => obstacle(
            format!(
                "{} of link {} on `{cluster}` is {} for life; the file asks for {}.",
                clean(key),
                clean(link),
                quoted(has),
                quoted(wanted)
            ),
            "Put the former value into the file; or promote the mirrors, delete the link (state = \"absent\"), and make it anew: mirror topics cannot go over to another link.",
        ),
        Blocker::PrefixTaken {
            cluster,
            prefix,
            by,
        } => obstacle(
            format!(
                "Link {} on `{cluster}` has the prefix {} already.",
                clean(by),
                clean(prefix)
            ),
            "Choose another prefix: it belongs to one link of a cluster.",
        ),
        Blocker::LinkHasPendingMirrors { link, topics } => obstacle(
            format!(
                "Mirror topics of {} are being stopped or set up: {}.",
                clean(link),
                listed(topics)
            ),
            "Wait until they are STOPPED, and plan again: deleting the link meanwhile leaves errors that nobody can mend.",
        ),
        Blocker::BrokerLinkHasMirrors { link, topics } => obstacle(
            format!(
                "Brokers still fill mirror topics over {}: {}.",
                clean(link),
                listed(topics)
            ),
            "Promote them (state = \"promoted\" or \"failed-over\"), or delete them (state = \"absent\"), first.",
        ),
        Blocker::MirrorNameTaken { cluster, topic } => obstacle(
            format!(
                "{cluster}/{} exists and is no mirror topic of the brokers.",
                clean(topic)
            ),
            "Brokers mirror only into topics that they make: delete it with Kafka's tools, exclude the topic, or give the link a prefix.",
        ),
        Blocker::NothingToPromote { cluster, topic } => obstacle(
            format!("There is no mirror {cluster}/{} to promote.", clean(topic)),
            "Leave `state` out to have it mirrored first, or take the mirror out of the file.",
        ),
        Blocker::MirrorEnded { cluster, topic } => obstacle(
            format!(
                "The mirror {cluster}/{} has ended: it was promoted or failed over.",
                clean(topic)
            ),
            "Write state = \"promoted\" or \"failed-over\"; or delete the topic with Kafka's tools and plan again, then it is mirrored anew from the start.",
        ),
        Blocker::CannotPromote {
            cluster,
            topic,
            state,
        } => obstacle(
            format!(
                "The mirror {cluster}/{} is {}: a promotion waits for what the source still has.",
                clean(topic),
                clean(state)
            ),
            "Bring the source or the link back; or write state = \"failed-over\", which goes without what is not copied yet.",
        ),
        Blocker::FactorOnCloud { cluster, wanted } => obstacle(
            format!(
                "`{cluster}` is on Confluent Cloud, where topics have three replicas, not {wanted}."
            ),
            "Leave `replication_factor` out.",
        ),
        Blocker::ConfigSyncedByBrokers {
            key,
            is_always: true,
        } => obstacle(
            format!("Brokers always keep {} as it is at the source.", clean(key)),
            "Take the key out of the mirror's config.",
        ),
        Blocker::ConfigSyncedByBrokers {
            key,
            is_always: false,
        } => obstacle(
            format!(
                "Brokers keep {} as it is at the source: it is in the link's topic.config.sync.include.",
                clean(key)
            ),
            "Take the key out of the mirror's config, or out of that list.",
        ),
        _ => return None,
    })
}

fn quoted(value: &str) -> String {
    match value {
        "" => "\"\"".to_owned(),
        value => clean(value),
    }
}

fn no_linking(cluster: &str, why: NoLinking, said: &str) -> Obstacle {
    let said = clean(said);
    match why {
        NoLinking::NotThere => obstacle(
            format!("There is no REST API of Kafka's at the `rest` of `{cluster}`: {said}."),
            "Check its url: brokers of Confluent Server have it at https://HOST:8090/kafka, Confluent Cloud at https://HOST:443/kafka, a REST Proxy at http://HOST:8082/v3.",
        ),
        NoLinking::OtherCluster => obstacle(
            format!(
                "The REST API at the `rest` of `{cluster}` is that of another cluster ({said})."
            ),
            "Check the url of `rest` against bootstrap_servers.",
        ),
        NoLinking::NotOffered => obstacle(
            format!("The brokers of `{cluster}` offer no Cluster Linking: {said}."),
            "It takes Confluent Server 7.0 or later, or a Confluent Cloud cluster of a type that has it. On any Kafka, leave `engine` out: kmirror's own engine copies there.",
        ),
        NoLinking::NotAllowed => obstacle(
            format!("The REST API of `{cluster}` lets nobody in: {said}."),
            "Check username and password, or token, of its `rest`, and that the user may describe the cluster and its links.",
        ),
        NoLinking::Refused => obstacle(
            format!("The REST API of `{cluster}` does not tell its links: {said}."),
            "See the server's log; nothing can be planned without them.",
        ),
        NoLinking::NoAnswer => obstacle(
            format!("The REST API of `{cluster}` does not answer: {said}."),
            "Check the url of its `rest`, and whether it can be reached from here.",
        ),
    }
}

/// What a note says of such links.
pub(super) fn note(note: &Note) -> Option<String> {
    Some(match note {
        Note::BrokerLinkNotInFile { cluster, link } => format!(
            "link {} of the brokers of `{cluster}` is not in this file and is left alone",
            clean(link)
        ),
        Note::BrokerMirrorsNotInFile {
            link,
            cluster,
            topics,
        } => format!(
            "link.{link}: mirror topics on `{cluster}` that this file does not select are left alone: {}",
            listed(topics)
        ),
        _ => return None,
    })
}
