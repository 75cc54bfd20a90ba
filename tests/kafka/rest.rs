//! `kmirror serve` in front of real brokers: what it says of topics and groups is what Kafka's own tools say.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;
use serde_json::{Value, json};

use crate::support::client;
use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::process::Process;
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    let test = |name, tier, body| Test {
        name,
        tier,
        brokers: 1,
        seconds: 40,
        body,
    };
    vec![
        test("rest::topics_and_groups_4_3", Tier::Readme, |lab| {
            topics_and_groups(lab, Version::V4_3)
        }),
        test("rest::topics_and_groups_3_9", Tier::Long, |lab| {
            topics_and_groups(lab, Version::V3_9)
        }),
    ]
}

/// `kmirror serve`, asked as curl asks.
pub struct Serving {
    pub process: Process,
    pub address: String,
    cluster: String,
}

impl Serving {
    fn start(lab: &Lab, cluster: &Cluster) -> Result<Self> {
        let text = format!(
            "kmirror = 1\n[clusters.west]\nbootstrap_servers = \"{}\"\n",
            cluster.bootstrap()
        );
        let kmirror = Kmirror::new(lab, &text)?;
        let process = kmirror.start_command("serve", &["--http", "127.0.0.1:0"])?;
        Self::of(process)
    }

    /// Waits until the process serves its first cluster.
    pub fn of(process: Process) -> Result<Self> {
        let started = Instant::now();
        let address = loop {
            let log = process.log_text();
            let served = log.split_once("serving cluster ");
            let served = served.and_then(|(_, rest)| rest.split_once(" at http://"));
            if let Some((_, rest)) = served
                && let Some((address, _)) = rest.split_once("/kafka/v3")
            {
                break address.to_owned();
            }
            ensure!(
                started.elapsed() < Duration::from_secs(30),
                "it does not serve: {log}"
            );
            std::thread::yield_now();
        };
        let mut serving = Self {
            process,
            address,
            cluster: String::new(),
        };
        let clusters = serving.send("GET", "/kafka/v3/clusters", None)?.1;
        let id = clusters["data"][0]["cluster_id"].as_str();
        serving.cluster = id.context("a cluster id")?.to_owned();
        Ok(serving)
    }

    /// Status and document.
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        send(&self.address, method, path, body)
    }

    pub fn at(&self, path: &str) -> String {
        format!("/kafka/v3/clusters/{}{path}", self.cluster)
    }

    pub fn get(&self, path: &str) -> Result<Value> {
        match self.send("GET", &self.at(path), None)? {
            (200, document) => Ok(document),
            (status, document) => bail!("{path}: {status} {document}"),
        }
    }

    /// A change with the status that it ends in and, where it is refused, the error code.
    pub fn change(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let (status, mut document) = self.send(method, &self.at(path), body)?;
        Ok((status, document["error_code"].take()))
    }
}

/// Asks once, on a connection of its own.
pub fn send(address: &str, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    let body = match body {
        "" => Value::Null,
        body => serde_json::from_str(body)?,
    };
    Ok((status, body))
}

fn topics_and_groups(lab: &Lab, version: Version) -> Result<()> {
    let cluster = Spec::new("west", version).start(lab)?;
    let mut serving = Serving::start(lab, &cluster)?;
    topics(&serving, &cluster)?;
    let protocols = match version {
        Version::V4_3 => &["classic", "consumer"][..],
        _ => &["classic"],
    };
    for protocol in protocols {
        lab.note(format!("a group of the protocol {protocol}"));
        group(&serving, &cluster, protocol)?;
    }
    let deleted = serving.change("DELETE", "/topics/orders", None)?;
    ensure!(deleted == (204, Value::Null), "{deleted:?}");
    ensure!(!cluster.tools().topics(&["--list"])?.contains("orders"));
    serving.process.signal("TERM")?;
    let ended = serving.process.wait(Duration::from_secs(20))?;
    ensure!(ended.success(), "{ended}");
    let log = serving.process.log_text();
    ensure!(
        log.contains("topic orders, config retention.ms"),
        "no audit line: {log}"
    );
    ensure!(!log.contains("86400000"), "a value is in the log: {log}");
    Ok(())
}

fn topics(serving: &Serving, cluster: &Cluster) -> Result<()> {
    let new = json!({
        "topic_name": "orders", "partitions_count": 2, "replication_factor": 1,
        "configs": [{"name": "retention.ms", "value": "86400000"}],
    });
    let none = Value::Null;
    ensure!(serving.change("POST", "/topics", Some(&new))? == (201, none.clone()));
    let shown = cluster
        .tools()
        .topics(&["--describe", "--topic", "orders"])?;
    ensure!(
        shown.contains("PartitionCount: 2") && shown.contains("retention.ms=86400000"),
        "{shown}"
    );
    for (body, code) in [
        (json!({"topic_name": "orders"}), 40002),
        (
            json!({"topic_name": "other", "replication_factor": 3}),
            40002,
        ),
        (json!({"topic_name": "a/b"}), 40002),
        (
            json!({"topic_name": "a", "configs": [{"name": "no.such", "value": "1"}]}),
            40002,
        ),
    ] {
        let refused = serving.change("POST", "/topics", Some(&body))?;
        ensure!(refused == (400, json!(code)), "{body}: {refused:?}");
    }
    let config = "/topics/orders/configs/cleanup.policy";
    let value = |value: &str| json!({"value": value});
    ensure!(serving.change("PUT", config, Some(&value("compact")))? == (204, none));
    let refused = serving.change("PUT", config, Some(&value("nonsense")))?;
    ensure!(refused == (400, json!(40002)), "{refused:?}");
    let document = serving.get(config)?;
    ensure!(
        document["value"] == "compact" && document["source"] == "DYNAMIC_TOPIC_CONFIG",
        "{document}"
    );
    ensure!(
        document["synonyms"][1]["source"] == "DEFAULT_CONFIG",
        "{document}"
    );
    // Records without keys are refused by a topic that is compacted.
    let reset = serving.change("DELETE", config, None)?;
    ensure!(reset == (204, Value::Null), "{reset:?}");
    ensure!(serving.get(config)?["value"] == "delete");
    let all = serving.get("/topics")?;
    let internal = |name: &str| {
        let topics = all["data"].as_array()?;
        let topic = topics.iter().find(|topic| topic["topic_name"] == name)?;
        topic["is_internal"].as_bool()
    };
    ensure!(internal("orders") == Some(false), "{all}");
    cluster
        .tools()
        .console_producer("orders", "1\n2\n3\n4\n5\n")
}

/// A member that has read two records of all there are, next to what `kafka-consumer-groups` says.
fn group(serving: &Serving, cluster: &Cluster, protocol: &str) -> Result<()> {
    let name = format!("billing {protocol}");
    let path = format!("/consumer-groups/billing%20{protocol}");
    ensure!(serving.change("GET", &path, None)? == (404, json!(404)));
    let mut config = client::config(&cluster.bootstrap());
    config.set("group.id", &name).set("client.id", "till");
    config
        .set("group.protocol", protocol)
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&["orders"])?;
    let started = Instant::now();
    while consumer.assignment()?.count() < 2 {
        ensure!(started.elapsed() < Duration::from_secs(60), "no partitions");
        drop(consumer.poll(Duration::from_millis(50)).transpose()?);
    }
    let mut read = TopicPartitionList::new();
    read.add_partition_offset("orders", 0, Offset::Offset(0))?;
    read.add_partition_offset("orders", 1, Offset::Offset(0))?;
    consumer.commit(&read, CommitMode::Sync)?;

    let group = serving.get(&path)?;
    ensure!(
        group["state"] == "STABLE" && group["is_simple"] == false,
        "{group}"
    );
    let listed = serving.get("/consumer-groups")?;
    let groups = listed["data"].as_array().context("a list")?;
    ensure!(groups.contains(&group), "{listed}");
    let members = serving.get(&format!("{path}/consumers"))?;
    ensure!(members["data"][0]["client_id"] == "till", "{members}");
    let lags = serving.get(&format!("{path}/lags"))?;
    let shown = cluster.tools().groups(&["--describe", "--group", &name])?;
    for lag in lags["data"].as_array().context("a list")? {
        // GROUP has a space in it here: TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID
        let expected = format!(
            "orders {} {} {} {} {}",
            lag["partition_id"],
            lag["current_offset"],
            lag["log_end_offset"],
            lag["lag"],
            lag["consumer_id"].as_str().unwrap_or_default()
        );
        let mut lines = shown.lines().map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.join(" ")
        });
        ensure!(
            lines.any(|line| line.contains(&expected)),
            "no {expected} in:\n{shown}"
        );
    }
    let summary = serving.get(&format!("{path}/lag-summary"))?;
    ensure!(summary["total_lag"] == 5, "{summary}");
    Ok(())
}
