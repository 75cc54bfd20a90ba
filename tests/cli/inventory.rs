//! `kmirror link`, `mirror` and `replica` on embedded clusters: what Cluster Linking's own tools show.

use serde_json::Value;

use crate::offsets::produce;
use crate::sandboxes::TwoClusters;

const LINK: &str = "[links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"orders\"]\n\
                    rename = \"${topic}.replica\"\nreplication_factor = 1\n";

fn applied() -> TwoClusters {
    let clusters = TwoClusters::start(1, LINK);
    clusters.create(&clusters.east, "orders", 2, &[]);
    let ran = clusters.run(&["apply", "mirror.toml", "--yes"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    produce(&clusters, 10);
    clusters
}

fn said(clusters: &TwoClusters, arguments: &[&str]) -> String {
    let ran = clusters.run(arguments);
    assert_eq!(ran.code, Some(0), "{ran}");
    ran.stdout
}

fn json(clusters: &TwoClusters, arguments: &[&str]) -> Value {
    let with_format: Vec<&str> = arguments
        .iter()
        .copied()
        .chain(["--format", "json"])
        .collect();
    serde_json::from_str(&said(clusters, &with_format)).expect("it is JSON")
}

#[test]
fn a_link_is_listed_and_described_with_value_source_and_default_of_each_config() {
    let clusters = applied();
    let list = said(&clusters, &["link", "list", "mirror.toml"]);
    let lines: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines,
        [
            vec![
                "LINK", "CLUSTER", "REMOTE", "MODE", "STATE", "ENGINE", "OWNER", "MIRRORS"
            ],
            vec![
                "copy",
                "west",
                "east",
                "DESTINATION",
                "ACTIVE",
                "kmirror",
                "file",
                "1"
            ],
        ]
    );
    let described = said(&clusters, &["link", "describe", "mirror.toml", "copy"]);
    for part in [
        "Link               copy\n",
        "Mirror topics      orders.replica\n",
        "Owner              file\n",
    ] {
        assert!(described.contains(part), "{described}");
    }
    let link = &json(&clusters, &["link", "describe", "mirror.toml", "copy"])[0];
    let mode = link["configs"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|config| config["name"] == "link.mode")
        .expect("it is told")
        .clone();
    assert_eq!(
        (&mode["value"], &mode["source"], &mode["is_default"]),
        (
            &Value::from("DESTINATION"),
            &Value::from("DEFAULT_CONFIG"),
            &Value::from(true)
        )
    );
}

#[test]
fn mirrors_are_shown_with_their_lag_before_and_after_they_are_filled() {
    let clusters = applied();
    let lag = |clusters: &TwoClusters| {
        let found = json(
            clusters,
            &["mirror", "describe", "mirror.toml", "orders.replica"],
        );
        let partitions = found[0]["partitions"].as_array().expect("a list").clone();
        // Unknown before the first record: where it begins is decided then.
        let lags = partitions.iter().map(|it| it["lag"].as_u64());
        lags.sum::<Option<u64>>()
    };
    assert_eq!(lag(&clusters), None);
    let ran = clusters.run(&["run", "mirror.toml", "--until-caught-up"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_eq!(lag(&clusters), Some(0));
    produce(&clusters, 7);
    assert_eq!(lag(&clusters), Some(7));
    let ran = clusters.run(&["run", "mirror.toml", "--until-caught-up"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let list = said(&clusters, &["mirror", "list", "mirror.toml"]);
    let row: Vec<&str> = list
        .lines()
        .nth(1)
        .expect("a row")
        .split_whitespace()
        .collect();
    assert_eq!(
        row,
        [
            "orders.replica",
            "west",
            "copy",
            "orders",
            "ACTIVE",
            "2",
            "0",
            "-"
        ]
    );
    let pending = [
        "mirror",
        "list",
        "mirror.toml",
        "--state",
        "pending-stopped",
    ];
    assert_eq!(said(&clusters, &pending), "No mirror topics.\n");
    let active = [
        "mirror",
        "list",
        "mirror.toml",
        "--state",
        "active",
        "--link",
        "copy",
    ];
    assert!(said(&clusters, &active).contains("orders.replica"));
    let described = said(&clusters, &["mirror", "describe", "mirror.toml"]);
    assert!(
        described.starts_with(
            "Topic: orders.replica  Cluster: west  Link: copy  Source topic: orders  State: ACTIVE"
        ),
        "{described}"
    );
}

#[test]
fn replicas_of_mirrors_are_shown_and_those_of_their_sources_if_asked() {
    let clusters = applied();
    let ran = clusters.run(&["run", "mirror.toml", "--until-caught-up"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let own = json(&clusters, &["replica", "status", "mirror.toml"]);
    let rows = own.as_array().expect("a list");
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(row["topic"], "orders.replica");
        assert_eq!(
            (&row["is_leader"], &row["is_in_isr"]),
            (&true.into(), &true.into())
        );
        assert_eq!(row["cluster_link"], Value::Null);
    }
    let ends = rows
        .iter()
        .map(|row| row["log_end_offset"].as_i64().expect("known"));
    assert_eq!(ends.sum::<i64>(), 10);
    let linked = json(
        &clusters,
        &[
            "replica",
            "status",
            "mirror.toml",
            "orders.replica",
            "--include-linked",
        ],
    );
    let of_source: Vec<&Value> = linked
        .as_array()
        .expect("a list")
        .iter()
        .filter(|row| row["cluster_link"] == "copy")
        .collect();
    assert_eq!(of_source.len(), 2);
    assert!(
        of_source
            .iter()
            .all(|row| row["topic"] == "orders" && row["cluster"] == "east")
    );
    let text = said(&clusters, &["replica", "status", "mirror.toml"]);
    assert!(
        text.starts_with("Topic           Partition  Replica  ClusterLink"),
        "{text}"
    );
}

#[test]
fn what_is_not_there_is_told_with_what_is_near() {
    let clusters = applied();
    for (arguments, message, hint) in [
        (
            &["link", "describe", "mirror.toml", "coppy"][..],
            "there is no link `coppy`",
            "did you mean `copy`?",
        ),
        (
            &["mirror", "describe", "mirror.toml", "order.replica"],
            "there is no mirror topic `order.replica`",
            "did you mean `orders.replica`?",
        ),
        (
            &["mirror", "list", "mirror.toml", "--link", "other"],
            "there is no link `other`",
            "kmirror link list FILE",
        ),
        (
            &["replica", "status", "mirror.toml", "nothing"],
            "there is no mirror topic `nothing`",
            "kmirror mirror list FILE",
        ),
        (
            &["link", "delete", "mirror.toml", "copy", "--yes"],
            "link `copy` belongs to a file",
            "state = \"absent\"",
        ),
    ] {
        let ran = clusters.run(arguments);
        assert_eq!(ran.code, Some(1), "{ran}");
        assert!(
            ran.stderr.contains(message) && ran.stderr.contains(hint),
            "{ran}"
        );
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn before_anything_is_applied_there_is_nothing_and_that_is_no_error() {
    let clusters = TwoClusters::start(1, LINK);
    assert_eq!(
        said(&clusters, &["link", "list", "mirror.toml"]),
        "No links.\n"
    );
    assert_eq!(
        said(&clusters, &["mirror", "list", "mirror.toml"]),
        "No mirror topics.\n"
    );
    assert_eq!(
        said(&clusters, &["replica", "status", "mirror.toml"]),
        "No mirror topics.\n"
    );
    assert_eq!(
        json(&clusters, &["link", "list", "mirror.toml"]),
        Value::Array(Vec::new())
    );
}
