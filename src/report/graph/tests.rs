//! A topology in both languages, and what must not depend on chance.

use std::path::Path;

use super::{Graph, Language, graph};
use crate::topology::Topology;

const FILE: &str = r#"kmirror = 1

[clusters.east]
bootstrap_servers = "east-1:9092"

[clusters.east.topics.audit]
partitions = 6

[clusters.west]
title = "West, \"production\""
bootstrap_servers = "west-1:9092"

[clusters.archive]
bootstrap_servers = "archive-1:9092"

[clusters.unused]
bootstrap_servers = "unused-1:9092"

[links.east-to-west]
source = "east"
destination = "west"
topics = ["audit", "orders", "payments-*", { regex = "eu\\.\"?[a-z]+" }]
exclude = ["*-tmp"]
rename = { prefix = "east." }

[links.east-to-west.mirrors.clicks]
as = "all-clicks"
state = "paused"

[links.west-to-archive]
source = "west"
destination = "archive"
topics = ["*"]
rename = [{ regex = "all-(.*)", to = "every-${1}" }]
state = "paused"
"#;

fn topology(text: &str) -> Topology {
    match crate::topology::parse(Path::new("t.toml"), text) {
        Ok(loaded) => loaded.topology,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

fn assert_shown(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn everything_the_file_knows_is_drawn() {
    let topology = topology(FILE);
    assert_shown("graph_mermaid", &graph(&topology, Language::Mermaid));
    assert_shown("graph_dot", &graph(&topology, Language::Dot));
}

#[test]
fn the_same_file_gives_the_same_graph() {
    let first = graph(&topology(FILE), Language::Dot);
    for _ in 0..20 {
        assert_eq!(graph(&topology(FILE), Language::Dot), first);
    }
}

#[test]
fn a_topic_is_followed_through_a_chain_of_links() {
    let graph = Graph::of(&topology(FILE));
    let names: Vec<_> = graph
        .clusters
        .iter()
        .map(|cluster| {
            let names = cluster.nodes.iter().map(|node| node.lines.join("|"));
            (cluster.name.as_str(), names.collect::<Vec<_>>())
        })
        .collect();
    let (archive, topics) = &names[2];
    assert_eq!(*archive, "archive");
    assert!(topics.contains(&"every-clicks".to_owned()), "{topics:?}");
    assert!(topics.contains(&"east.audit".to_owned()), "{topics:?}");
}
