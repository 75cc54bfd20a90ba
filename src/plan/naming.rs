//! Topics that are called as a link would call its mirrors, and that no mirror owns.
//!
//! They are left over from a mirror that was removed, or from another tool, or somebody took the name.
//! Only names that a link visibly gives are judged: where mirrors are called as their sources are,
//! every topic of the destination would look like one.

use std::collections::BTreeSet;

use super::reason::Note;
use super::routes::Route;
use super::world::World;
use crate::topology::model::Link;
use crate::topology::names;
use crate::topology::resolve::LinkRule;
use crate::topology::selector::RenameRule;

const PLACEHOLDER: &str = "${topic}";

/// Notes about the destination of one link.
pub(super) fn unowned(world: &World<'_>, link: &Link, routes: &[Route]) -> Vec<Note> {
    let Some((before, after)) = affixes(&link.rename) else {
        return Vec::new();
    };
    let cluster = &link.destination;
    let seen = world.cluster(cluster);
    let rule = LinkRule::from(link);
    let owned = &world.topology.clusters[cluster].topics;
    let written: BTreeSet<&str> = routes
        .iter()
        .filter(|route| {
            let destination = &world.topology.links[&route.link].destination;
            world.cluster(destination).cluster_id == seen.cluster_id
        })
        .map(|route| route.destination_topic.as_str())
        .collect();
    let is_recorded = |topic: &str| {
        world
            .records(cluster)
            .is_some_and(|records| !records.written_to(topic).is_empty())
    };
    let is_left_over = |topic: &str| {
        let source = topic
            .strip_prefix(before.as_str())
            .and_then(|rest| rest.strip_suffix(after.as_str()));
        source.is_some_and(|source| {
            !source.is_empty()
                && rule.takes(source).is_some()
                && world.topic(&link.source, source).is_none()
        })
    };
    seen.topics
        .keys()
        .filter(|topic| !written.contains(topic.as_str()) && !is_recorded(topic))
        .filter(|topic| !names::is_internal(topic) && !owned.contains_key(*topic))
        .filter(|topic| is_left_over(topic))
        .map(|topic| Note::UnownedTopic {
            link: link.name.clone(),
            cluster: cluster.clone(),
            topic: topic.clone(),
        })
        .collect()
}

/// What a rule puts before and after a name, if it is as simple as that and not nothing.
fn affixes(rename: &RenameRule) -> Option<(String, String)> {
    match rename {
        RenameRule::Keep | RenameRule::Rules(_) => None,
        RenameRule::Prefix(prefix) => Some((prefix.clone(), String::new())),
        RenameRule::Template(template) => {
            let (before, after) = template.split_once(PLACEHOLDER)?;
            (!after.contains(PLACEHOLDER)).then(|| (before.to_owned(), after.to_owned()))
        }
    }
    .filter(|(before, after)| !before.is_empty() || !after.is_empty())
}
