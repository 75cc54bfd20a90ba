//! The configs that a link's halves are to have, by what the file says of it.

use std::collections::BTreeMap;

use crate::observe::linking::is_sensitive;
use crate::observe::model::Reach;
use crate::plan::model::{HalfValue, Place};
use crate::plan::world::World;
use crate::topology::broker_link::LinkConfigs;
use crate::topology::model::{Link, LinkState, Span, Start};

/// Which object of a link it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// The one that mirrors belong to.
    Destination,
    /// The one that opens the connections of a link that is begun at the source.
    Source,
}

/// A config with where the file asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub value: HalfValue,
    pub asked_by: Option<Place>,
}

/// Configs by key.
pub(super) type Configs = BTreeMap<String, Wanted>;

/// Configs that the file has its own keys for: what it does not say is the default, whatever a link has live.
pub(super) const MANAGED: &[&str] = &[
    "acl.filters",
    "acl.sync.enable",
    "auto.create.mirror.topics.enable",
    "auto.create.mirror.topics.filters",
    "cluster.link.paused",
    "cluster.link.prefix",
    "connection.mode",
    "consumer.offset.group.filters",
    "consumer.offset.sync.enable",
    "consumer.offset.sync.ms",
    "link.mode",
    "mirror.start.offset.spec",
];

/// What a link has that nobody set.
pub(super) fn default_of(key: &str) -> Option<&'static str> {
    Some(match key {
        "acl.filters" | "auto.create.mirror.topics.filters" | "consumer.offset.group.filters" => "",
        "acl.sync.enable"
        | "auto.create.mirror.topics.enable"
        | "cluster.link.paused"
        | "consumer.offset.sync.enable" => "false",
        "cluster.link.prefix" => "",
        "connection.mode" => "OUTBOUND",
        "consumer.offset.sync.ms" => "30000",
        "link.mode" => "DESTINATION",
        "mirror.start.offset.spec" => "earliest",
        _ => return None,
    })
}

struct Wish<'w> {
    world: &'w World<'w>,
    link: &'w Link,
    configs: Configs,
}

impl Wish<'_> {
    fn set(&mut self, key: &str, value: impl Into<String>, span: Span) {
        let wanted = Wanted {
            value: HalfValue::Open(value.into()),
            asked_by: self.world.place(span),
        };
        self.configs.insert(key.to_owned(), wanted);
    }

    /// How the brokers of one cluster reach another one, or, with `local.`, their own.
    fn reach(&mut self, cluster: &str, reach: &Reach, prefix: &str) {
        let declared = &self.world.topology.clusters[cluster];
        let asked_by = self.world.place(declared.span);
        if prefix.is_empty() {
            let servers = declared.bootstrap_servers.join(",");
            self.set("bootstrap.servers", servers, declared.span);
        }
        for (key, value) in &reach.open {
            let wanted = Wanted {
                value: HalfValue::Open(value.clone()),
                asked_by: asked_by.clone(),
            };
            self.configs.insert(format!("{prefix}{key}"), wanted);
        }
        for key in &reach.sensitive {
            let wanted = Wanted {
                value: HalfValue::OfCluster {
                    cluster: cluster.to_owned(),
                    property: key.clone(),
                },
                asked_by: asked_by.clone(),
            };
            self.configs.insert(format!("{prefix}{key}"), wanted);
        }
    }

    /// What the file says itself wins.
    fn written(&mut self, configs: &LinkConfigs, at_source: bool) {
        for (key, config) in configs {
            let value = if config.is_secret || is_sensitive(key) {
                HalfValue::OfFile {
                    link: self.link.name.clone(),
                    at_source,
                }
            } else {
                HalfValue::Open(config.value.value.expose().to_owned())
            };
            let wanted = Wanted {
                value,
                asked_by: self.world.place(config.span),
            };
            self.configs.insert(key.clone(), wanted);
        }
    }
}

/// The configs of one half; the cluster that its brokers cannot be told how to reach, and why.
pub(super) fn configs(
    world: &World<'_>,
    link: &Link,
    half: Half,
) -> Result<Configs, (String, String)> {
    let reach = |cluster: &str| match world.observed.reach.get(cluster) {
        Some(Ok(reach)) => Ok(reach.clone()),
        Some(Err(problem)) => Err((cluster.to_owned(), problem.clone())),
        None => Ok(Reach::default()),
    };
    let mut wish = Wish {
        world,
        link,
        configs: Configs::new(),
    };
    match half {
        Half::Source => {
            let begun = link.brokers.source_initiated.unwrap_or(link.span);
            wish.set("link.mode", "SOURCE", begun);
            wish.set("connection.mode", "OUTBOUND", begun);
            wish.reach(&link.destination, &reach(&link.destination)?, "");
            wish.reach(&link.source, &reach(&link.source)?, "local.");
            wish.written(&link.brokers.at_source, true);
        }
        Half::Destination => {
            roles(&mut wish);
            if link.brokers.source_initiated.is_none() {
                wish.reach(&link.source, &reach(&link.source)?, "");
                if other_is_inbound(world, link) {
                    wish.reach(&link.destination, &reach(&link.destination)?, "local.");
                }
            }
            features(&mut wish);
            wish.written(&link.brokers.configs, false);
        }
    }
    Ok(wish.configs)
}

/// Who connects to whom.
fn roles(wish: &mut Wish<'_>) {
    let link = wish.link;
    if let Some(shared) = &link.brokers.bidirectional {
        wish.set("link.mode", "BIDIRECTIONAL", shared.span);
        if other_is_inbound(wish.world, link) {
            wish.set("remote.link.connection.mode", "INBOUND", shared.span);
        }
    }
    if let Some(span) = link.brokers.source_initiated {
        if link.brokers.bidirectional.is_none() {
            wish.set("link.mode", "DESTINATION", span);
        }
        wish.set("connection.mode", "INBOUND", span);
    }
}

/// Whether the other direction of a bidirectional link leaves it to this one to connect.
fn other_is_inbound(world: &World<'_>, link: &Link) -> bool {
    other_direction(world, link).is_some_and(|other| other.brokers.source_initiated.is_some())
}

/// The other direction of a bidirectional link.
pub(super) fn other_direction<'w>(world: &World<'w>, link: &Link) -> Option<&'w Link> {
    let shared = link.brokers.bidirectional.as_ref()?;
    world.topology.links.values().find(|other| {
        let name = other.brokers.bidirectional.as_ref();
        other.name != link.name && name.is_some_and(|name| name.value == shared.value)
    })
}

fn features(wish: &mut Wish<'_>) {
    let link = wish.link;
    if let Some(prefix) = link.prefix() {
        wish.set("cluster.link.prefix", prefix, link.span);
    }
    if link.state == LinkState::Paused {
        wish.set("cluster.link.paused", "true", link.span);
    }
    if let Some(groups) = &link.brokers.groups {
        wish.set("consumer.offset.sync.enable", "true", groups.span);
        wish.set(
            "consumer.offset.group.filters",
            groups.filters(),
            groups.span,
        );
        if let Some(interval) = groups.interval {
            let millis = interval.as_millis().to_string();
            wish.set("consumer.offset.sync.ms", millis, groups.span);
        }
    }
    if let Some(span) = link.brokers.acls {
        wish.set("acl.sync.enable", "true", span);
    }
    if let Some(filters) = link.auto_create_filters() {
        let span = link.topics.first().map_or(link.span, |it| it.span);
        wish.set("auto.create.mirror.topics.enable", "true", span);
        wish.set("auto.create.mirror.topics.filters", filters, span);
    }
    let start = match link.start {
        Start::Earliest => return,
        Start::Latest => "latest".to_owned(),
        Start::Timestamp(ms) => jiff::Timestamp::from_millisecond(ms)
            .map_or_else(|_| ms.to_string(), |time| time.to_string()),
    };
    wish.set("mirror.start.offset.spec", start, link.span);
}
