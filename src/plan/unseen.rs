//! Topics that a plan relies on and that their cluster did not list.
//!
//! A broker's list of topics leaves out those that a user has no right to describe, so a missing right looks like a missing
//! topic. For the topics named here the difference matters: calling one absent would plan its creation, or say that
//! it is gone.

use std::collections::{BTreeMap, BTreeSet};

use crate::observe::model::Observed;
use crate::topology::model::{Link, Topology};
use crate::topology::selector::TopicSelector;

/// By cluster: sources that the file names, and both ends of the mirrors that were applied.
pub fn unseen(topology: &Topology, observed: &Observed) -> BTreeMap<String, BTreeSet<String>> {
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for link in topology.links.values() {
        let sources = link.mirrors.keys().map(String::as_str);
        let literals = link.topics.iter().filter_map(|it| match &it.value {
            TopicSelector::Name(name) => Some(name.as_str()),
            TopicSelector::Glob { .. } | TopicSelector::Regex { .. } => None,
        });
        wanted
            .entry(link.source.clone())
            .or_default()
            .extend(sources.chain(literals).map(str::to_owned));
        for (source, destination) in applied(link, observed) {
            let mut add = |cluster: &str, topic| {
                wanted.entry(cluster.to_owned()).or_default().insert(topic);
            };
            add(&link.source, source);
            add(&link.destination, destination);
        }
    }
    for (cluster, topics) in &mut wanted {
        let owned = &topology.clusters[cluster].topics;
        if let Some(seen) = observed.clusters.get(cluster) {
            topics.retain(|topic| !seen.topics.contains_key(topic) && !owned.contains_key(topic));
        }
    }
    wanted.retain(|_, topics| !topics.is_empty());
    wanted
}

/// Source and destination topics of the mirrors that a link has had.
fn applied<'a>(
    link: &'a Link,
    observed: &'a Observed,
) -> impl Iterator<Item = (String, String)> + 'a {
    let control = observed
        .clusters
        .get(&link.destination)
        .and_then(|cluster| cluster.control.as_ref());
    let former = link.moved.as_ref().map(|moved| moved.value.as_str());
    control.into_iter().flat_map(move |control| {
        let record = control
            .links
            .iter()
            .find(|record| record.name == link.name || former == Some(record.name.as_str()));
        let id = record.map(|record| record.id);
        control
            .mirrors
            .iter()
            .filter(move |mirror| Some(mirror.id.link) == id)
            .map(|mirror| {
                (
                    mirror.source_topic.clone(),
                    mirror.destination_topic.clone(),
                )
            })
    })
}
