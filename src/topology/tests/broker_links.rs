//! Links that brokers carry, as files ask for them.

use super::*;

/// What is said about a link of that engine with more lines.
fn said(lines: &str) -> Vec<String> {
    let text = format!(
        "kmirror = 1\n\
         [clusters.east]\nbootstrap_servers = \"e:1\"\nrest = {{ url = \"https://e:8090/kafka\" }}\n\
         [clusters.west]\nbootstrap_servers = \"w:1\"\nrest = {{ url = \"https://w:8090/kafka\" }}\n\
         [links.dr]\nsource = \"east\"\ndestination = \"west\"\nengine = \"cluster-link\"\n{lines}\n"
    );
    let list = match parse(Path::new("t.toml"), &text) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    };
    list.iter().map(|one| one.message.clone()).collect()
}

/// All but what is said of an endpoint that is not used.
fn of(lines: &str) -> Vec<String> {
    let mut said = said(lines);
    said.retain(|one| !one.starts_with("`rest` of cluster"));
    said
}

fn link(lines: &str) -> crate::topology::model::Link {
    let text = format!(
        "kmirror = 1\n\
         [clusters.east]\nbootstrap_servers = \"e:1\"\nrest = {{ url = \"https://e:8090/kafka\" }}\n\
         [clusters.west]\nbootstrap_servers = \"w:1\"\nrest = {{ url = \"https://w:8090/kafka\" }}\n\
         [links.dr]\nsource = \"east\"\ndestination = \"west\"\nengine = \"cluster-link\"\n{lines}\n"
    );
    let loaded = parse(Path::new("t.toml"), &text);
    loaded.expect("it is valid").topology.links["dr"].clone()
}

#[test]
fn what_brokers_do_not_carry_out_is_told_where_it_stands() {
    for (line, message) in [
        (
            "topics = [\"a\"]\nlimit = { bytes_per_second = \"1MB\" }",
            "the engine `cluster-link` does not carry out `limit`",
        ),
        (
            "topics = [\"a\"]\noffsets = \"translate\"",
            "the engine `cluster-link` does not carry out `offsets = \"translate\"`",
        ),
        (
            "topics = [\"a\"]\nrename = \"${topic}.x\"",
            "the engine `cluster-link` does not carry out this `rename`",
        ),
        (
            "topics = [\"a\"]\ntimestamps = \"original\"",
            "the engine `cluster-link` does not carry out `timestamps = \"original\"`",
        ),
        (
            "topics = [\"*-eu\"]",
            "the engine `cluster-link` does not carry out `*-eu`",
        ),
        (
            "topics = [\"*\"]\nexclude = [\"*-tmp\"]",
            "the engine `cluster-link` does not carry out `*-tmp`",
        ),
        (
            "topics = [\"a\"]\ngroups = { include = [\"a*b\"] }",
            "no engine carries out the group pattern `a*b`",
        ),
    ] {
        assert_eq!(of(line), [message], "{line}");
    }
    // Resolved when it is planned, any glob will do.
    assert_eq!(of("topics = [\"*-eu\"]\nauto_create = false"), [""; 0]);
}

#[test]
fn what_brokers_would_take_and_then_fail_at_is_found_beforehand() {
    for (line, messages) in [
        (
            "topics = [\"a\"]\nacls = { sync = true }",
            &["`acl.filters` is missing"][..],
        ),
        (
            "topics = [\"a\"]\nconfig = { \"consumer.offset.sync.enable\" = true }",
            &["`consumer.offset.group.filters` is missing"],
        ),
        (
            "topics = [\"a\"]\nconfig = { \"auto.create.mirror.topics.enable\" = \"TRUE\" }",
            &["`auto.create.mirror.topics.filters` is missing"],
        ),
        (
            "topics = [\"a\"]\ngroups = {}\nconfig = { \"consumer.offset.sync.enable\" = true }",
            &["`consumer.offset.sync.enable` is set twice"],
        ),
        (
            "topics = [\"a\"]\nrename = { prefix = \"p.\" }\nacls = { sync = true }\nconfig = { \"acl.filters\" = { aclFilters = [] } }",
            &["ACLs are not synced over a link with a prefix"],
        ),
        (
            "topics = [\"a\"]\nconfig = { \"consumer.group.prefix.enable\" = true }",
            &["there is no prefix for groups"],
        ),
        (
            "topics = [\"a\"]\nrename = { prefix = \"a-very-long-prefix.\" }",
            &["the prefix `a-very-long-prefix.` has more than 12 characters"],
        ),
        (
            "topics = [\"a\"]\nconfig = { \"link.mode\" = \"SOURCE\" }",
            &["`link.mode` has a key of its own in the file"],
        ),
        (
            "topics = [\"a\"]\nconfig = { \"acl.filters\" = { groupFilters = [] } }",
            &["`acl.filters` is no filter"],
        ),
        (
            "topics = [\"a\"]\nconfig = { \"consumer.offset.group.filters\" = \"[\" }",
            &["`consumer.offset.group.filters` is no filter"],
        ),
        (
            "topics = [\"a\"]\nconfig = { \"consumer.offset.sync.mss\" = 1 }",
            &["links have no config `consumer.offset.sync.mss` as far as is known"],
        ),
        (
            "topics = [\"a\"]\nat_source = { config = { \"local.listener.name\" = \"X\" } }",
            &["link `dr` has no half at the source"],
        ),
        (
            "topics = [\"a\"]\nbidirectional = \"both\"",
            &["the other direction of `both` is missing"],
        ),
        (
            "topics = [\"a\"]\nconfig = { \"sasl.jaas.config\" = \"x\" }",
            &["`sasl.jaas.config` is a secret and stands in the topology file"],
        ),
    ] {
        assert_eq!(of(line), messages, "{line}");
    }
}

#[test]
fn configs_are_text_filters_json_and_lists_have_commas() {
    let link = link(
        "topics = [\"a\"]\n[links.dr.config]\nconsumer.offset.sync.ms = 10_000\n\
         \"topic.config.sync.include\" = [\"retention.ms\", \"cleanup.policy\"]\n\
         acl.filters = { aclFilters = [{ resourceFilter = { resourceType = \"topic\" }, accessFilter = {} }] }\n",
    );
    let text = |key: &str| link.brokers.configs[key].value.value.expose().to_owned();
    assert_eq!(text("consumer.offset.sync.ms"), "10000");
    assert_eq!(
        text("topic.config.sync.include"),
        "retention.ms,cleanup.policy"
    );
    assert_eq!(
        text("acl.filters"),
        r#"{"aclFilters":[{"resourceFilter":{"resourceType":"topic"},"accessFilter":{}}]}"#
    );
}

#[test]
fn two_links_that_are_one_to_brokers_or_share_a_prefix_are_found() {
    let two = |first: &str, second: &str| {
        of(&format!(
            "topics = [\"a\"]\n{first}\n[links.two]\nsource = \"east\"\ndestination = \"west\"\nengine = \"cluster-link\"\ntopics = [\"b\"]\n{second}"
        ))
    };
    let prefix = "rename = { prefix = \"p.\" }";
    assert_eq!(
        two(prefix, prefix),
        ["two links to cluster `west` have the prefix `p.`"]
    );
    let found = two("bidirectional = \"both\"", "bidirectional = \"both\"");
    assert_eq!(
        found,
        [
            "`dr` and `two` are not the two directions of one link",
            "`dr` and `two` are one link to the brokers of `west`",
            "`two` and `dr` are not the two directions of one link"
        ]
    );
}

#[test]
fn nobody_begins_a_link_whose_halves_both_wait() {
    let found = of(
        "topics = [\"a\"]\nbidirectional = \"both\"\ninitiated_by = \"source\"\n\
         [links.two]\nsource = \"west\"\ndestination = \"east\"\nengine = \"cluster-link\"\ntopics = [\"b\"]\n\
         bidirectional = \"both\"\ninitiated_by = \"source\"",
    );
    assert_eq!(found, ["nobody opens the connections of `both`"]);
}

#[test]
fn a_cluster_whose_brokers_are_asked_needs_an_address_for_it() {
    let text = "kmirror = 1\n[clusters.east]\nbootstrap_servers = \"e:1\"\n[clusters.west]\nbootstrap_servers = \"w:1\"\n\
                [links.dr]\nsource = \"east\"\ndestination = \"west\"\nengine = \"cluster-link\"\ntopics = [\"a\"]\ninitiated_by = \"source\"\n";
    let found = parse(Path::new("t.toml"), text).expect_err("there is no address");
    let messages: Vec<_> = found.iter().map(|one| one.message.clone()).collect();
    assert_eq!(
        messages,
        [
            "cluster `east` has no `rest`",
            "cluster `west` has no `rest`"
        ]
    );
}

#[test]
fn values_are_the_same_as_brokers_mean_them() {
    use crate::topology::broker_link::same_value;
    for (key, one, other, same) in [
        ("acl.sync.enable", "true", "TRUE", true),
        ("acl.sync.ms", "5000", "5000", true),
        ("acl.sync.ms", "5000", "500", false),
        ("acl.filters", "", "{}", false),
        (
            "acl.filters",
            "{\"aclFilters\":[{\"a\":1},{\"b\":2}]}",
            "{ \"aclFilters\": [ {\"b\":2}, {\"a\": 1} ] }",
            true,
        ),
        ("topic.config.sync.include", "a,b", "b, a", true),
        ("cluster.link.prefix", "A.", "a.", false),
        ("local.listener.name", "INTERNAL", "EXTERNAL", false),
    ] {
        assert_eq!(same_value(key, one, other), same, "{key}: {one} {other}");
    }
}
