//! Kafka's own tools and kcat against `kmirror sandbox`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::support::jars::{Distribution, Version};
use crate::support::lab::Lab;
use crate::support::ports::Port;
use crate::support::process::Process;
use crate::support::runner::{Test, Tier};
use crate::support::tools::Tools;
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    vec![
        Test {
            name: "sandbox::tools_4_3",
            tier: Tier::Readme,
            brokers: 0,
            seconds: 25,
            body: |lab| tools(lab, Version::V4_3),
        },
        Test {
            name: "sandbox::tools_3_9",
            tier: Tier::Readme,
            brokers: 0,
            seconds: 25,
            body: |lab| tools(lab, Version::V3_9),
        },
        Test {
            name: "sandbox::kcat",
            tier: Tier::Readme,
            brokers: 0,
            seconds: 10,
            body: kcat,
        },
        Test {
            name: "sandbox::secured_4_3",
            tier: Tier::Readme,
            brokers: 0,
            seconds: 25,
            body: |lab| {
                secured(
                    lab,
                    Version::V4_3,
                    "SCRAM-SHA-512",
                    "scram.ScramLoginModule",
                )
            },
        },
        Test {
            name: "sandbox::secured_3_9",
            tier: Tier::Readme,
            brokers: 0,
            seconds: 25,
            body: |lab| secured(lab, Version::V3_9, "PLAIN", "plain.PlainLoginModule"),
        },
    ]
}

/// `kmirror sandbox` with one cluster of two brokers.
struct Running {
    process: Process,
    bootstrap: String,
    _ports: [Port; 2],
}

impl Running {
    fn start(lab: &Lab) -> Result<Self> {
        Self::start_with(lab, "", &[])
    }

    /// The same for clients of this kind.
    fn start_with(lab: &Lab, client: &str, args: &[&str]) -> Result<Self> {
        let ports = [Port::free()?, Port::free()?];
        let [a, b] = ports.each_ref().map(Port::address);
        let file = format!(
            "kmirror = 1\n[clusters.one]\nbootstrap_servers = [\"{a}\", \"{b}\"]\n{client}"
        );
        let mut process = Kmirror::new(lab, &file)?.start_command("sandbox", args)?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while !process.log_text().contains("Ctrl-C") {
            if let Some(status) = process.exited()? {
                bail!(
                    "kmirror sandbox ended with {status}:\n{}",
                    process.log_text()
                );
            }
            ensure!(Instant::now() < deadline, "kmirror sandbox says nothing");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Running {
            process,
            bootstrap: format!("{a},{b}"),
            _ports: ports,
        })
    }

    fn stop(mut self) -> Result<()> {
        self.process.signal("INT")?;
        let status = self.process.wait(Duration::from_secs(10))?;
        ensure!(status.success(), "kmirror sandbox ended with {status}");
        Ok(())
    }
}

/// Kafka's tools and kcat come in as the file says, and with another password they do not.
fn secured(lab: &Lab, version: Version, mechanism: &str, module: &str) -> Result<()> {
    let folder = lab.subdir("clients")?;
    let ca = folder.join("ca.pem").display().to_string();
    let client = format!(
        "[clusters.one.client]\nsecurity.protocol = \"SASL_SSL\"\nsasl.mechanism = \"{mechanism}\"\nsasl.username = \"ada\"\nsasl.password = \"s3cret-s3cret\"\nssl.ca.location = \"{ca}\"\n"
    );
    let running = Running::start_with(lab, &client, &["--write-ca", &ca])?;
    let tools = |password: &str| -> Result<Tools> {
        let properties = format!(
            "security.protocol=SASL_SSL\nsasl.mechanism={mechanism}\nsasl.jaas.config=org.apache.kafka.common.security.{module} required username=\"ada\" password=\"{password}\";\nssl.truststore.type=PEM\nssl.truststore.location={ca}\n"
        );
        let file = folder.join(format!("{password}.properties"));
        std::fs::write(&file, properties)?;
        let tools = Tools::new(Distribution::get(version)?, running.bootstrap.clone());
        Ok(tools.with_config(file))
    };
    let known = tools("s3cret-s3cret")?;
    known.create_topic("t", 1, &[])?;
    let lines: String = (1..=100).map(|n| format!("{n}\n")).collect();
    known.console_producer("t", &lines)?;
    // Newer tools first say that a flag has another name.
    let read = known.console_consumer("t", 100)?;
    ensure!(read.ends_with(&lines), "{read}");
    let unknown = tools("another")?;
    let class = "org.apache.kafka.tools.TopicCommand";
    let refused = unknown.run_raw(class, &["--list"], None)?;
    let words = match mechanism {
        "PLAIN" => "Authentication failed: Invalid username or password",
        _ => "due to invalid credentials with SASL mechanism SCRAM-SHA-512",
    };
    ensure!(
        !refused.status.success() && refused.text().contains(words),
        "{}",
        refused.text()
    );

    let login = [
        "security.protocol=sasl_ssl".to_owned(),
        format!("sasl.mechanism={mechanism}"),
        "sasl.username=ada".to_owned(),
        "sasl.password=s3cret-s3cret".to_owned(),
        format!("ssl.ca.location={ca}"),
    ];
    let mut args: Vec<&str> = login.iter().flat_map(|pair| ["-X", pair]).collect();
    args.extend(["-C", "-t", "t", "-o", "beginning", "-e", "-q"]);
    let read = known.kcat(&args, None)?;
    ensure!(read == lines, "{read}");
    running.stop()
}

fn tools(lab: &Lab, version: Version) -> Result<()> {
    let running = Running::start(lab)?;
    let tools = Tools::new(Distribution::get(version)?, running.bootstrap.clone());
    let create = [
        "--create",
        "--topic",
        "t",
        "--partitions",
        "3",
        "--replication-factor",
        "2",
        "--config",
        "retention.ms=100000",
    ];
    tools.topics(&create)?;
    let listed = tools.topics(&["--list"])?;
    ensure!(listed.trim() == "t", "{listed}");
    let described = tools.topics(&["--describe", "--topic", "t"])?;
    for part in [
        "PartitionCount: 3",
        "ReplicationFactor: 2",
        "retention.ms=100000",
    ] {
        ensure!(described.contains(part), "{described}");
    }

    let lines: String = (1..=1000).map(|n| format!("{n}\n")).collect();
    tools.console_producer("t", &lines)?;
    let mut read: Vec<u32> = Vec::new();
    for line in tools.console_consumer("t", 1000)?.lines() {
        read.push(line.parse().with_context(|| line.to_owned())?);
    }
    read.sort_unstable();
    ensure!(
        read == (1..=1000).collect::<Vec<_>>(),
        "{} records came back",
        read.len()
    );
    let total: u64 = tools
        .get_offsets("t", -1)?
        .lines()
        .filter_map(|line| line.rsplit(':').next()?.parse::<u64>().ok())
        .sum();
    ensure!(total == 1000, "the end offsets add up to {total}");

    groups(&tools)?;
    configs(&tools)?;

    tools.topics(&["--alter", "--topic", "t", "--partitions", "5"])?;
    ensure!(
        tools
            .topics(&["--describe", "--topic", "t"])?
            .contains("PartitionCount: 5")
    );
    let class = "org.apache.kafka.tools.TopicCommand";
    let too_many = ["--create", "--topic", "u", "--replication-factor", "3"];
    let refused = tools.run_raw(class, &too_many, None)?;
    ensure!(
        refused.text().contains("only 2 broker(s) are registered"),
        "{}",
        refused.text()
    );
    tools.topics(&["--delete", "--topic", "t"])?;
    ensure!(tools.topics(&["--list"])?.trim().is_empty());
    running.stop()
}

/// A group that has read the topic is listed, described, set back and deleted.
fn groups(tools: &Tools) -> Result<()> {
    let class = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    let consume = [
        "--topic",
        "t",
        "--group",
        "g",
        "--from-beginning",
        "--max-messages",
        "1000",
        "--timeout-ms",
        "60000",
    ];
    tools.run(class, &consume, None)?;
    // The group of the console consumer before is still there, without members or offsets.
    let listed =
        || -> Result<bool> { Ok(tools.groups(&["--list"])?.lines().any(|name| name == "g")) };
    ensure!(listed()?);
    let lag = || -> Result<u64> {
        let described = tools.groups(&["--describe", "--group", "g"])?;
        let rows = described.lines().filter(|line| line.starts_with("g "));
        let lags = rows.filter_map(|line| line.split_whitespace().nth(5)?.parse::<u64>().ok());
        Ok(lags.sum())
    };
    ensure!(lag()? == 0);
    tools.groups(&[
        "--group",
        "g",
        "--topic",
        "t",
        "--reset-offsets",
        "--to-earliest",
        "--execute",
    ])?;
    ensure!(lag()? == 1000, "the lag is {}", lag()?);
    tools.groups(&["--delete", "--group", "g"])?;
    ensure!(!listed()?);
    Ok(())
}

fn configs(tools: &Tools) -> Result<()> {
    let of = ["--entity-type", "topics", "--entity-name", "t"];
    let alter = |setting: &str| {
        let args = [&["--alter"][..], &of, &["--add-config", setting]].concat();
        tools.run_raw("kafka.admin.ConfigCommand", &args, None)
    };
    let refused = alter("retention.ms=abc")?;
    let words = "Invalid value abc for configuration retention.ms: Not a number of type LONG";
    ensure!(refused.text().contains(words), "{}", refused.text());
    ensure!(alter("cleanup.policy=compact")?.status.success());
    let described = tools.configs(&[&["--describe"][..], &of].concat())?;
    ensure!(described.contains("cleanup.policy=compact"), "{described}");
    ensure!(described.contains("retention.ms=100000"), "{described}");
    Ok(())
}

fn kcat(lab: &Lab) -> Result<()> {
    let running = Running::start(lab)?;
    let tools = Tools::new(Distribution::get(Version::V4_3)?, running.bootstrap.clone());
    tools.create_topic("t", 2, &[])?;
    let listed = tools.kcat(&["-L"], None)?;
    for part in ["2 brokers", "topic \"t\" with 2 partitions"] {
        ensure!(listed.contains(part), "{listed}");
    }
    let lines: String = (1..=1000).map(|n| format!("{n}\n")).collect();
    for (partition, codec) in [("0", "none"), ("1", "lz4")] {
        tools.kcat(
            &["-P", "-t", "t", "-p", partition, "-z", codec],
            Some(lines.as_bytes()),
        )?;
        let read = tools.kcat(
            &[
                "-C",
                "-t",
                "t",
                "-p",
                partition,
                "-o",
                "beginning",
                "-e",
                "-q",
            ],
            None,
        )?;
        ensure!(
            read == lines,
            "partition {partition} gave {} lines",
            read.lines().count()
        );
    }
    let last = tools.kcat(
        &[
            "-C", "-t", "t", "-p", "0", "-o", "-1", "-e", "-q", "-f", "%o %s",
        ],
        None,
    )?;
    ensure!(last == "999 1000", "{last}");
    running.stop()
}
