//! Kafka's own command line tools, and kcat.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::jars::{Distribution, Heap, Version};
use super::process::{self, Output};

/// The tools of one distribution, aimed at one cluster.
#[derive(Debug, Clone)]
pub struct Tools {
    distribution: Distribution,
    bootstrap: String,
    /// A `client.properties`.
    config: Option<PathBuf>,
    java: Vec<String>,
}

const PATIENCE: Duration = Duration::from_secs(120);

impl Tools {
    pub fn new(distribution: Distribution, bootstrap: String) -> Self {
        Self {
            distribution,
            bootstrap,
            config: None,
            java: Vec::new(),
        }
    }

    /// The same tools with a `client.properties` to connect with.
    pub fn with_config(mut self, file: PathBuf) -> Self {
        self.config = Some(file);
        self
    }

    /// The same tools with one more argument for `java`.
    pub fn with_java(mut self, argument: String) -> Self {
        self.java.push(argument);
        self
    }

    /// Runs a tool by class name with `--bootstrap-server`; an exit code other than 0 is an error.
    pub fn run(&self, class: &str, args: &[&str], input: Option<&[u8]>) -> Result<Output> {
        let output = self.run_raw(class, args, input)?;
        if !output.status.success() {
            bail!("{class} {args:?} failed:\n{}", output.text());
        }
        Ok(output)
    }

    /// Like [`Tools::run`], but the caller judges the exit code.
    pub fn run_raw(&self, class: &str, args: &[&str], input: Option<&[u8]>) -> Result<Output> {
        let tool = class.rsplit_once('.').map_or(class, |(_, name)| name);
        let servers = match tool {
            "TransactionalMessageCopier" => "--broker-list",
            _ => "--bootstrap-server",
        };
        let mut command = self.distribution.java(Heap::Small);
        command
            .args(&self.java)
            .args([class, servers, &self.bootstrap])
            .args(args);
        if let Some(file) = &self.config {
            let flag = match tool {
                "ConsoleProducer" => "--producer.config",
                "ConsoleConsumer" => "--consumer.config",
                _ => "--command-config",
            };
            command.arg(flag).arg(file);
        }
        process::run(&mut command, input, PATIENCE)
    }

    /// `kafka-topics`.
    pub fn topics(&self, args: &[&str]) -> Result<String> {
        Ok(self
            .run("org.apache.kafka.tools.TopicCommand", args, None)?
            .stdout)
    }

    pub fn create_topic(&self, topic: &str, partitions: u32, config: &[&str]) -> Result<()> {
        self.create_replicated(topic, partitions, 1, config)
    }

    /// A topic with so many replicas.
    pub fn create_replicated(
        &self,
        topic: &str,
        partitions: u32,
        replicas: u16,
        config: &[&str],
    ) -> Result<()> {
        let partitions = partitions.to_string();
        let replicas = replicas.to_string();
        let mut args = vec![
            "--create",
            "--topic",
            topic,
            "--partitions",
            &partitions,
            "--replication-factor",
            &replicas,
        ];
        for pair in config {
            args.extend(["--config", pair]);
        }
        self.topics(&args)?;
        Ok(())
    }

    /// `kafka-console-producer`: one record per line.
    pub fn console_producer(&self, topic: &str, lines: &str) -> Result<()> {
        let class = match self.distribution.version {
            Version::V3_9 => "kafka.tools.ConsoleProducer",
            Version::V4_3 => "org.apache.kafka.tools.ConsoleProducer",
        };
        self.run(class, &["--topic", topic], Some(lines.as_bytes()))?;
        Ok(())
    }

    /// `kafka-console-consumer --from-beginning` for so many records.
    pub fn console_consumer(&self, topic: &str, records: usize) -> Result<String> {
        let count = records.to_string();
        let args = [
            "--topic",
            topic,
            "--from-beginning",
            "--max-messages",
            &count,
            "--timeout-ms",
            "60000",
        ];
        Ok(self
            .run(
                "org.apache.kafka.tools.consumer.ConsoleConsumer",
                &args,
                None,
            )?
            .stdout)
    }

    /// The same as a member of a group, whose offsets it leaves alone.
    pub fn console_consumer_of(&self, topic: &str, records: usize, group: &str) -> Result<String> {
        let count = records.to_string();
        let args = [
            "--topic",
            topic,
            "--group",
            group,
            "--from-beginning",
            "--max-messages",
            &count,
            "--timeout-ms",
            "60000",
            "--consumer-property",
            "enable.auto.commit=false",
        ];
        Ok(self
            .run(
                "org.apache.kafka.tools.consumer.ConsoleConsumer",
                &args,
                None,
            )?
            .stdout)
    }

    /// Everything that `kafka-console-consumer` shows of a topic, sorted: partition, offset, time, headers, key and value.
    pub fn consume_all(&self, topic: &str, isolation: &str) -> Result<Vec<String>> {
        let mut args = vec![
            "--topic",
            topic,
            "--from-beginning",
            "--isolation-level",
            isolation,
            // It ends with an error once nothing came for so long, and has printed everything by then.
            "--timeout-ms",
            "4000",
        ];
        for what in ["partition", "offset", "timestamp", "headers", "key"] {
            args.extend([
                "--property",
                match what {
                    "partition" => "print.partition=true",
                    "offset" => "print.offset=true",
                    "timestamp" => "print.timestamp=true",
                    "headers" => "print.headers=true",
                    _ => "print.key=true",
                },
            ]);
        }
        let output = self.run_raw(
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            &args,
            None,
        )?;
        let mut lines: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        Ok(lines)
    }

    /// `kafka-configs`.
    pub fn configs(&self, args: &[&str]) -> Result<String> {
        Ok(self.run("kafka.admin.ConfigCommand", args, None)?.stdout)
    }

    /// `kafka-get-offsets`: `topic:partition:offset` per line; `time` is -1 for the end, -2 for the start.
    pub fn get_offsets(&self, topic: &str, time: i64) -> Result<String> {
        let args = ["--topic", topic, "--time", &time.to_string()];
        Ok(self
            .run("org.apache.kafka.tools.GetOffsetShell", &args, None)?
            .stdout)
    }

    /// `kafka-consumer-groups`.
    pub fn groups(&self, args: &[&str]) -> Result<String> {
        Ok(self
            .run(
                "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
                args,
                None,
            )?
            .stdout)
    }

    /// `kafka-reassign-partitions --execute`: gives every partition of a topic these replicas, the first of them
    /// preferred as leader, and makes it the leader once the rest follows.
    pub fn lead_from(
        &self,
        topic: &str,
        partitions: i32,
        replicas: &[usize],
        scratch: &std::path::Path,
    ) -> Result<()> {
        let file = scratch.join("reassignment.json");
        let parts: Vec<String> = (0..partitions)
            .map(|partition| {
                format!(r#"{{"topic":"{topic}","partition":{partition},"replicas":{replicas:?}}}"#)
            })
            .collect();
        let text = format!(r#"{{"version":1,"partitions":[{}]}}"#, parts.join(","));
        std::fs::write(&file, text)?;
        let name = file.to_string_lossy();
        let class = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
        let args = ["--reassignment-json-file", &name];
        self.run(class, &[&args[..], &["--execute"]].concat(), None)?;
        let start = std::time::Instant::now();
        loop {
            let state = self.run_raw(
                class,
                &[&args[..], &["--verify", "--preserve-throttles"]].concat(),
                None,
            )?;
            if state.status.success() && !state.stdout.contains("in progress") {
                break;
            }
            if start.elapsed() > PATIENCE {
                bail!("the reassignment does not end:\n{}", state.text());
            }
        }
        // Where the first replica leads already, there is nothing to elect, which the tool calls an error.
        let elected = self.run_raw(
            "org.apache.kafka.tools.LeaderElectionCommand",
            &["--election-type", "preferred", "--all-topic-partitions"],
            None,
        )?;
        if !elected.status.success() && !elected.text().contains("ElectionNotNeeded") {
            bail!("no election:\n{}", elected.text());
        }
        Ok(())
    }

    /// `kafka-dump-log` on one segment file.
    pub fn dump_log(&self, file: &std::path::Path) -> Result<String> {
        let class = match self.distribution.version {
            Version::V3_9 => "kafka.tools.DumpLogSegments",
            Version::V4_3 => "org.apache.kafka.tools.DumpLogSegments",
        };
        let mut command = self.distribution.java(Heap::Small);
        command.arg(class).arg("--files").arg(file);
        let output = process::run(&mut command, None, PATIENCE)?;
        if !output.status.success() {
            bail!("dump log failed:\n{}", output.text());
        }
        Ok(output.stdout)
    }

    /// `kafka-delete-records` up to an offset.
    pub fn delete_records(
        &self,
        topic: &str,
        partition: i32,
        before: i64,
        scratch: &std::path::Path,
    ) -> Result<()> {
        let file = scratch.join("delete-records.json");
        let text = format!(
            r#"{{"version":1,"partitions":[{{"topic":"{topic}","partition":{partition},"offset":{before}}}]}}"#
        );
        std::fs::write(&file, text)?;
        self.run(
            "org.apache.kafka.tools.DeleteRecordsCommand",
            &["--offset-json-file", &file.to_string_lossy()],
            None,
        )?;
        Ok(())
    }

    /// kcat with `-b`; an exit code other than 0 is an error.
    pub fn kcat(&self, args: &[&str], input: Option<&[u8]>) -> Result<String> {
        let mut command = Command::new("kcat");
        // Cargo's points at the librdkafka that was built for kmirror; kcat is to use the system's, as its users do.
        command.env_remove("LD_LIBRARY_PATH");
        command.args(["-b", &self.bootstrap]).args(args);
        let output = process::run(&mut command, input, PATIENCE)?;
        if !output.status.success() {
            bail!("kcat {args:?} failed:\n{}", output.text());
        }
        Ok(output.stdout)
    }
}
