//! `kmirror import`: what is printed for what people have, exit codes included.

use std::fs;

use crate::assert_shown;
use crate::sandboxes::TwoClusters;
use crate::support::{Ran, Scenario};

const CONSUMER: &str = "bootstrap.servers=origin-1:9082,origin-2:9082
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\
    username=\"mirror\" password=\"hunter2\";
ssl.truststore.location=/etc/kafka/trust.jks
ssl.truststore.password=hunter2
interceptor.classes=io.confluent.monitoring.clients.interceptor.MonitoringConsumerInterceptor
max.poll.records=500
";

const PRODUCER: &str = "bootstrap.servers = 127.0.0.1:9092\n";

const REPLICATION: &str = "# Replicator
topic.whitelist=orders,payments
topic.rename.format=${topic}.replica
topic.preserve.partitions=false
dest.topic.replication.factor=3
offset.translator.tasks.max=2
config.storage.replication.factor=1
offset.storage.replication.factor=1
confluent.license=hunter2
tasks.max=4
src.consumer.group.id=replicator
flux.capacitor=on
";

const CONNECTOR: &str = r#"{
  "name": "orders-to-cloud",
  "config": {
    "connector.class": "io.confluent.connect.replicator.ReplicatorSourceConnector",
    "key.converter": "io.confluent.connect.replicator.util.ByteArrayConverter",
    "value.converter": "io.confluent.connect.avro.AvroConverter",
    "value.converter.schema.registry.url": "https://registry:8081",
    "topic.whitelist": "orders",
    "topic.regex": "eu-(orders|payments)",
    "topic.blacklist": "eu-payments",
    "topic.rename.format": "${topic}",
    "src.kafka.bootstrap.servers": "broker-1:9092,broker-2:9092",
    "src.consumer.group.id": "replicator",
    "dest.kafka.bootstrap.servers": "pkc-1.eu-west-1.aws.confluent.cloud:9092",
    "dest.kafka.security.protocol": "SASL_SSL",
    "dest.kafka.sasl.mechanism": "PLAIN",
    "dest.kafka.sasl.jaas.config": "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"KEY\" password=\"hunter2\";",
    "dest.kafka.ssl.keystore.location": "/etc/connect/key.p12",
    "dest.kafka.ssl.keystore.type": "PKCS12",
    "dest.kafka.ssl.keystore.password": "${file:/etc/connect/secrets.properties:store}",
    "provenance.header.enable": true,
    "tasks.max": "4"
  }
}
"#;

/// Runs the import to stdout, and shows that the formatter and `validate` take what came out.
pub(crate) fn imported(scenario: &Scenario, arguments: &[&str]) -> Ran {
    let ran = scenario.run(&[&["import"], arguments].concat());
    assert!(
        !(ran.stdout.clone() + &ran.stderr).contains("hunter"),
        "{ran}"
    );
    assert_eq!(ran.code, Some(0), "{ran}");
    scenario.file("imported.toml", &ran.stdout);
    let check = scenario.run(&["fmt", "--check", "imported.toml"]);
    assert_eq!(check.code, Some(0), "{check}");
    let check = scenario.run(&["validate", "--skip-references", "imported.toml"]);
    assert_eq!(check.code, Some(0), "{check}");
    ran
}

fn replicator() -> Scenario {
    let scenario = Scenario::new();
    scenario
        .file("consumer.properties", CONSUMER)
        .file("producer.properties", PRODUCER)
        .file("replication.properties", REPLICATION)
        .file("connector.json", CONNECTOR);
    scenario
}

const FILES: [&str; 7] = [
    "replicator",
    "--consumer-config",
    "consumer.properties",
    "--producer-config",
    "producer.properties",
    "--replication-config",
    "replication.properties",
];

#[test]
fn the_three_files_of_replicator_become_a_topology_that_validates() {
    assert_shown("import_replicator_files", &imported(&replicator(), &FILES));
}

#[test]
fn flags_of_replicators_command_line_win_over_its_files() {
    let arguments = "replicator -- bin/replicator --cluster.id copy --consumer.config consumer.properties \
                     --producer.config=producer.properties --replication.config replication.properties \
                     --whitelist a,b --topic.regex shop-.* --blacklist shop-test --topic.rename.format dr.${topic} \
                     --topic.auto.create false --topic.config.sync --confluent.license hunter2 --warp 9";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let ran = imported(&replicator(), &arguments);
    assert_shown("import_replicator_command_line", &ran);
}

#[test]
fn a_connector_becomes_a_topology_in_either_form() {
    let scenario = replicator();
    let ran = imported(&scenario, &["replicator", "connector.json"]);
    assert_shown("import_replicator_connector", &ran);
    // The bare config, and what Connect answers about all of its connectors.
    let whole: serde_json::Value = serde_json::from_str(CONNECTOR).expect("valid JSON");
    let expanded = serde_json::json!({
        "orders-to-cloud": { "info": whole, "status": { "connector": { "state": "PAUSED" } } }
    });
    scenario
        .file("bare.json", whole["config"].to_string())
        .file("all.json", expanded.to_string());
    let bare = imported(&scenario, &["replicator", "bare.json"]);
    assert!(bare.stdout.contains("[links.replicator]"), "{bare}");
    let all = imported(&scenario, &["replicator", "all.json"]);
    assert!(all.stdout.contains("[links.orders-to-cloud]"), "{all}");
    assert!(all.stdout.contains("state = \"paused\""), "{all}");
}

#[test]
fn several_connectors_share_the_clusters_that_are_the_same() {
    let scenario = replicator();
    let other = CONNECTOR
        .replace("orders-to-cloud", "eu.to cloud")
        .replace(
            "\"topic.whitelist\": \"orders\"",
            "\"topic.whitelist\": \"carts\"",
        )
        .replace("\"topic.regex\": \"eu-(orders|payments)\",", "");
    let third = CONNECTOR
        .replace("broker-1:9092,broker-2:9092", "elsewhere:9092")
        .replace(
            "\"topic.rename.format\": \"${topic}\"",
            "\"topic.rename.format\": \"x.${topic}\"",
        );
    scenario.file("other.json", other).file("third.json", third);
    let arguments = ["replicator", "connector.json", "other.json", "third.json"];
    let ran = imported(&scenario, &arguments);
    let tables: Vec<&str> = ran
        .stdout
        .lines()
        .filter(|line| line.starts_with('['))
        .collect();
    assert_eq!(
        tables,
        [
            "[clusters.origin]",
            "[clusters.destination]",
            "[clusters.destination.client]",
            "[clusters.origin-2]",
            "[links.orders-to-cloud]",
            "[links.replicator]",
            "[links.orders-to-cloud-2]",
        ]
    );
}

#[test]
fn a_file_is_written_once_and_overwritten_only_by_force() {
    let scenario = replicator();
    fs::create_dir(scenario.path("out")).expect("a folder");
    let arguments = [&["import"], &FILES[..], &["-o", "out/mirror.toml"]].concat();
    let ran = scenario.run(&arguments);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran}");
    let written = fs::read_to_string(scenario.path("out/mirror.toml")).expect("is written");
    // Paths lead to the same files from the folder of the result.
    assert!(
        written.contains("properties_file = \"../consumer.properties\""),
        "{written}"
    );
    scenario.file("out/mirror.toml", "kmirror = 1\n");
    let ran = scenario.run(&arguments);
    assert_shown("import_exists", &ran);
    let ran = scenario.run(&[&arguments[..], &["--force"]].concat());
    assert_eq!(ran.code, Some(0), "{ran}");
    let again = fs::read_to_string(scenario.path("out/mirror.toml")).expect("is there");
    assert_eq!(again, written);
}

#[test]
fn what_cannot_be_imported_says_why_and_what_to_do() {
    let scenario = replicator();
    scenario
        .file("broken.json", "{\n  \"name\": \"hunter2\",\n")
        .file(
            "mm2.json",
            r#"{"connector.class":"org.apache.kafka.connect.mirror.MirrorSourceConnector"}"#,
        )
        .file("list.json", "[]");
    for (name, arguments) in [
        ("nothing", &["replicator"][..]),
        ("absent", &["replicator", "absent.json"]),
        ("broken", &["replicator", "broken.json"]),
        ("other_class", &["replicator", "mm2.json"]),
        ("no_connector", &["replicator", "list.json"]),
        (
            "no_producer",
            &["replicator", "--consumer.config", "consumer.properties"],
        ),
    ] {
        let ran = scenario.run(&[&["import"], arguments].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran}");
        assert!(!ran.to_string().contains("hunter2"), "{ran}");
        assert_shown(&format!("import_error_{name}"), &ran);
    }
}

#[test]
fn a_result_that_validate_refuses_says_so_and_exits_with_3() {
    let scenario = replicator();
    let kerberos = "bootstrap.servers=o:1\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanism=GSSAPI\nsasl.kerberos.service.name=kafka\n";
    scenario.file("consumer.properties", kerberos);
    let ran = scenario.run(&[&["import"], &FILES[..]].concat());
    assert_eq!(ran.code, Some(3), "{ran}");
    assert_shown("import_kerberos", &ran);
}

/// What a plan says, without the places in the file that ask for it.
fn without_places(plan: &str) -> String {
    let mut text = plan.to_owned();
    while let Some(at) = text.find(".toml:") {
        let start = text[..at].rfind([' ', '(']).map_or(0, |start| start + 1);
        let digits = text[at + 6..]
            .find(|char: char| !char.is_ascii_digit())
            .unwrap_or(0);
        text.replace_range(start..at + 6 + digits, "PLACE");
    }
    text
}

#[test]
fn the_tutorials_files_plan_what_the_tutorials_topology_plans() {
    let clusters = TwoClusters::start(1, "");
    clusters.create(
        &clusters.east,
        "test-topic",
        1,
        &[("segment.bytes", "1073741824")],
    );
    let (east, west) = (
        clusters.east.bootstrap_servers(),
        clusters.west.bootstrap_servers(),
    );
    let tutorial = include_str!("../../topologies/replicator-tutorial.toml")
        .replace("127.0.0.1:9082", &east)
        .replace("127.0.0.1:9092", &west);
    clusters
        .scenario
        .file("tutorial.toml", tutorial)
        .file("consumer.properties", format!("bootstrap.servers={east}\n"))
        .file("producer.properties", format!("bootstrap.servers={west}\n"))
        .file(
            "replication.properties",
            "topic.rename.format=${topic}.replica\nreplication.factor=1\nconfig.storage.replication.factor=1\n\
             offset.storage.replication.factor=1\nstatus.storage.replication.factor=1\n\
             confluent.topic.replication.factor=1\n",
        );
    let arguments = "import replicator -o imported.toml -- bin/replicator --cluster.id replicator \
                     --consumer.config consumer.properties --producer.config producer.properties \
                     --replication.config replication.properties --whitelist test-topic";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let ran = clusters.run(&arguments);
    assert_eq!(ran.code, Some(0), "{ran}");
    let plan = |file: &str| {
        let ran = clusters.run(&["plan", "--detailed-exitcode", file]);
        assert_eq!(ran.code, Some(2), "{ran}");
        without_places(&ran.stdout)
    };
    let [imported, tutorial] = ["imported.toml", "tutorial.toml"].map(plan);
    // The tutorial's file owns the source topic, too, which is as it should be.
    let rest = |plan: &str| {
        let is_owned = |line: &str| {
            line.is_empty()
                || line == "cluster origin"
                || line.contains("unchanged")
                || line.starts_with("Plan")
                || line.starts_with("Note: configs that are set on topics which the file owns")
        };
        let lines = plan.lines().filter(|line| !is_owned(line));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rest(&imported), rest(&tutorial), "{imported}\n{tutorial}");
    assert!(imported.contains("test-topic.replica"), "{imported}");
}

const MM2: &str = "# two sites and an archive
clusters = east, west, archive
east.bootstrap.servers = east-1:9092, east-2:9092
west.bootstrap.servers = west-1:9092
west.security.protocol = SASL_SSL
west.sasl.mechanism = PLAIN
west.sasl.jaas.config = org.apache.kafka.common.security.plain.PlainLoginModule required \\
    username=\"mirror\" password=\"hunter2\";
west.producer.batch.size = 524288
archive.bootstrap.servers = archive:9092

replication.factor = 3
sync.topic.acls.enabled = false
refresh.topics.interval.seconds = 30
tasks.max = 8
dedicated.mode.enable.internal.rest = true

east->west.enabled = true
east->west.topics = orders, payments-.*, logs\\\\..*
east->west.sync.group.offsets.enabled = true
west->east.enabled = true
west->east.topics.exclude = .*-tmp, (?!x).*
west->archive.enabled = true
west->archive.topics = orders,audit.v1
west->archive.replication.policy.class = org.apache.kafka.connect.mirror.IdentityReplicationPolicy
west->archive.consumer.auto.offset.reset = latest
west->archive.refresh.topics.enabled = false
east->archive.enabled = false
east->archive.topics = .*
";

const MM2_CONNECTORS: &str = r#"[
  {
    "name": "east-west-source",
    "config": {
      "connector.class": "org.apache.kafka.connect.mirror.MirrorSourceConnector",
      "source.cluster.alias": "east",
      "target.cluster.alias": "west",
      "source.cluster.bootstrap.servers": "east:9092",
      "source.cluster.security.protocol": "SSL",
      "source.cluster.ssl.truststore.certificates": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
      "target.cluster.bootstrap.servers": "west:9092",
      "topics": ".*",
      "replication.policy.separator": "_",
      "transforms": "upper",
      "transforms.upper.type": "org.example.Upper",
      "producer.override.compression.type": "zstd",
      "sync.topic.acls.enabled": "false",
      "offset-syncs.topic.replication.factor": "1"
    }
  },
  {
    "name": "shops",
    "config": {
      "connector.class": "MirrorSource",
      "source.cluster.alias": "east",
      "target.cluster.alias": "west",
      "source.cluster.bootstrap.servers": "east:9092",
      "source.cluster.security.protocol": "SSL",
      "source.cluster.ssl.truststore.certificates": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
      "target.cluster.bootstrap.servers": "west:9092",
      "topics": "shop-[0-9]+",
      "topics.exclude": "",
      "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
      "transforms": "dr",
      "transforms.dr.type": "org.apache.kafka.connect.transforms.RegexRouter",
      "transforms.dr.regex": "shop-([0-9]+)",
      "transforms.dr.replacement": "dr-shop-$1"
    }
  },
  {
    "name": "east-west-checkpoint",
    "config": {
      "connector.class": "org.apache.kafka.connect.mirror.MirrorCheckpointConnector",
      "source.cluster.alias": "east",
      "target.cluster.alias": "west",
      "source.cluster.bootstrap.servers": "east:9092",
      "target.cluster.bootstrap.servers": "west:9092",
      "groups": "shop.*",
      "sync.group.offsets.enabled": "true"
    }
  },
  { "connector.class": "org.apache.kafka.connect.mirror.MirrorHeartbeatConnector", "source.cluster.alias": "east" }
]
"#;

#[test]
fn flows_of_mirrormaker_become_links_with_their_own_rules() {
    let scenario = Scenario::new();
    scenario.file("mm2.properties", MM2);
    let ran = imported(&scenario, &["mirrormaker2", "mm2.properties"]);
    assert_shown("import_mm2_properties", &ran);
    // With the value where the comment says, nothing is missing.
    let module = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"m\" password=\"p\";";
    let output = scenario
        .command(&["validate", "imported.toml"])
        .env("WEST_SASL_JAAS_CONFIG", module)
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn connectors_of_mirrormaker_become_links() {
    let scenario = Scenario::new();
    scenario.file("connectors.json", MM2_CONNECTORS);
    let ran = imported(&scenario, &["mirrormaker2", "connectors.json"]);
    assert_shown("import_mm2_connectors", &ran);
}

#[test]
fn what_is_no_mirrormaker_says_why_and_what_to_do() {
    let scenario = replicator();
    scenario
        .file(
            "none.properties",
            "clusters=a,b\na.bootstrap.servers=a:1\na.sasl.password=hunter2\n",
        )
        .file(
            "checkpoint.json",
            r#"{"connector.class":"org.apache.kafka.connect.mirror.MirrorCheckpointConnector"}"#,
        );
    for (name, file) in [
        ("no_clusters", "consumer.properties"),
        ("no_flow", "none.properties"),
        ("replicator", "connector.json"),
        ("no_source", "checkpoint.json"),
    ] {
        let ran = scenario.run(&["import", "mirrormaker2", file]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran}");
        assert!(!ran.to_string().contains("hunter"), "{ran}");
        assert_shown(&format!("import_mm2_error_{name}"), &ran);
    }
}

#[test]
fn an_identity_policy_both_ways_is_a_loop_that_is_told() {
    let scenario = Scenario::new();
    let text = "clusters=a,b\na.bootstrap.servers=a:1\nb.bootstrap.servers=b:1\na->b.enabled=true\nb->a.enabled=true\n\
                replication.policy.class=org.apache.kafka.connect.mirror.IdentityReplicationPolicy\n";
    scenario.file("mm2.properties", text);
    let ran = scenario.run(&["import", "mirrormaker2", "mm2.properties", "-o", "out.toml"]);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(ran.stderr.contains("K0"), "{ran}");
    assert!(scenario.path("out.toml").exists());
}
