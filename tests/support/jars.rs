//! Kafka itself, from Maven Central, once per machine.
//!
//! A distribution is a folder `kafka-<version>` in the cache: the jars, a class data sharing archive that halves the
//! start of a JVM, and a formatted `bootstrap.checkpoint`, so that a new node needs no run of Kafka's storage tool.
//! Everything is prepared under a file lock and marked ready last; an interrupted preparation starts again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::process::{self, Process};

/// The Kafka versions that tests run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// The last line with ZooKeeper.
    V3_9,
    /// The newest one of which Maven Central has the complete set.
    V4_3,
}

impl Version {
    pub fn number(self) -> &'static str {
        match self {
            Self::V3_9 => "3.9.1",
            Self::V4_3 => "4.3.1",
        }
    }
}

/// A prepared distribution.
#[derive(Debug, Clone)]
pub struct Distribution {
    pub version: Version,
    dir: PathBuf,
}

/// Changes when the preparation below does, so that old caches are prepared anew.
const RECIPE: &str = "1";

impl Distribution {
    /// The distribution of this version, downloaded and prepared if that has not been done yet.
    pub fn get(version: Version) -> Result<Self> {
        let dir = cache_dir()?.join(format!("kafka-{}", version.number()));
        let this = Self { version, dir };
        fs::create_dir_all(&this.dir)?;
        let lock = File::create(this.dir.join("lock"))?;
        lock.lock().context("cannot lock the Kafka cache")?;
        if fs::read_to_string(this.dir.join("ready")).is_ok_and(|r| r == RECIPE) {
            return Ok(this);
        }
        eprintln!(
            "preparing Kafka {} in {} (once)",
            version.number(),
            this.dir.display()
        );
        this.download()?;
        this.prepare_checkpoint()?;
        this.prepare_archive()?;
        fs::write(this.dir.join("ready"), RECIPE)?;
        Ok(this)
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.dir.join("bootstrap.checkpoint")
    }

    /// `java` with this distribution's classes and small-machine settings; the caller adds the main class.
    pub fn java(&self, heap: Heap) -> Command {
        let mut command = self.plain_java(heap);
        command.arg(format!(
            "-XX:SharedArchiveFile={}",
            self.archive().display()
        ));
        command
    }

    /// `java` for a measurement: with the optimising compiler and the default collector.
    pub fn java_with_heap(&self, mib: u32) -> Command {
        let mut command = Command::new("java");
        command.arg(format!("-Xmx{mib}m"));
        command.args([
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Djava.awt.headless=true",
            "-cp",
        ]);
        command.arg(format!("{}/*", self.dir.join("libs").display()));
        // Neither the user's Kafka settings nor a debugger of theirs belong into tests.
        for name in [
            "KAFKA_OPTS",
            "KAFKA_HEAP_OPTS",
            "JAVA_TOOL_OPTIONS",
            "_JAVA_OPTIONS",
            "JDK_JAVA_OPTIONS",
        ] {
            command.env_remove(name);
        }
        command
    }

    fn plain_java(&self, heap: Heap) -> Command {
        let mut command = self.java_with_heap(heap.mib());
        if heap != Heap::Fast {
            // Tests start hundreds of short-lived JVMs; the optimising compiler costs more than it brings.
            command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
        }
        command
    }

    fn archive(&self) -> PathBuf {
        self.dir.join("broker.jsa")
    }

    fn download(&self) -> Result<()> {
        let pom = self.dir.join("pom.xml");
        fs::write(&pom, pom_text(self.version.number()))?;
        let libs = self.dir.join("libs");
        if libs.exists() {
            fs::remove_dir_all(&libs)?;
        }
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(&pom).args([
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            &format!("-DoutputDirectory={}", libs.display()),
        ]);
        let output = process::run(&mut maven, None, Duration::from_secs(600))?;
        if !output.status.success() {
            bail!(
                "Maven could not fetch Kafka {}:\n{}",
                self.version.number(),
                output.text()
            );
        }
        Ok(())
    }

    /// Formats a scratch folder with Kafka's tool and keeps what it wrote apart from identities.
    fn prepare_checkpoint(&self) -> Result<()> {
        let scratch = fresh(&self.dir.join("scratch"))?;
        let file = scratch.join("server.properties");
        fs::write(&file, scratch_properties(&scratch, 9092, 9093))?;
        let mut format = self.plain_java(Heap::Small);
        format
            .args([
                "kafka.tools.StorageTool",
                "format",
                "-t",
                "AAAAAAAAAAAAAAAAAAAAAQ",
                "-c",
            ])
            .arg(&file);
        let output = process::run(&mut format, None, Duration::from_secs(60))?;
        if !output.status.success() {
            bail!("formatting failed:\n{}", output.text());
        }
        fs::copy(scratch.join("data/bootstrap.checkpoint"), self.checkpoint())?;
        fs::remove_dir_all(&scratch)?;
        Ok(())
    }

    /// Lets a broker and a tool load their classes once, and dumps them for all later starts.
    fn prepare_archive(&self) -> Result<()> {
        let scratch = fresh(&self.dir.join("scratch"))?;
        let (client, controller) = (super::ports::Port::free()?, super::ports::Port::free()?);
        fs::write(
            scratch.join("server.properties"),
            scratch_properties(&scratch, client.number(), controller.number()),
        )?;
        let data = scratch.join("data");
        fs::create_dir_all(&data)?;
        fs::copy(self.checkpoint(), data.join("bootstrap.checkpoint"))?;
        fs::write(
            data.join("meta.properties"),
            "version=1\nnode.id=1\ncluster.id=AAAAAAAAAAAAAAAAAAAAAQ\ndirectory.id=BBBBBBBBBBBBBBBBBBBBBQ\n",
        )?;
        let mut broker = self.plain_java(Heap::Small);
        broker
            .arg(format!(
                "-XX:ArchiveClassesAtExit={}",
                self.archive().display()
            ))
            .arg("kafka.Kafka")
            .arg(scratch.join("server.properties"));
        let mut broker = Process::spawn(
            "the archive's broker",
            &mut broker,
            &scratch.join("broker.log"),
        )?;
        let start = Instant::now();
        loop {
            let mut tool = self.plain_java(Heap::Small);
            tool.args([
                "org.apache.kafka.tools.TopicCommand",
                "--bootstrap-server",
                &client.address(),
            ]);
            tool.args(["--create", "--topic", "warm"]);
            if super::client::metadata_brokers(&client.address()) == Some(1)
                && process::run(&mut tool, None, Duration::from_secs(60))?
                    .status
                    .success()
            {
                break;
            }
            if broker.exited()?.is_some() || start.elapsed() > Duration::from_secs(60) {
                bail!(
                    "the broker for the class archive did not start:\n{}",
                    broker.log_text()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        broker.stop(Duration::from_secs(60))?;
        drop(broker);
        fs::remove_dir_all(&scratch)?;
        // Without the archive everything works, only slower, so its absence is not an error.
        Ok(())
    }
}

/// How much memory a JVM may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heap {
    /// A broker with little data, or a tool.
    Small,
    /// A broker that carries the reference data set.
    Medium,
    /// For measurements: with the optimising compiler.
    Fast,
}

impl Heap {
    pub fn mib(self) -> u32 {
        match self {
            Self::Small => 160,
            Self::Medium => 384,
            Self::Fast => 1024,
        }
    }
}

/// Where distributions and runs live: `$KMIRROR_TEST_CACHE`, else `~/.cache/kmirror-tests`.
pub fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("KMIRROR_TEST_CACHE") {
        return Ok(PathBuf::from(dir));
    }
    let home = std::env::var_os("HOME").context("neither KMIRROR_TEST_CACHE nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/kmirror-tests"))
}

fn fresh(dir: &Path) -> Result<PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    Ok(dir.to_owned())
}

fn scratch_properties(dir: &Path, client: u16, controller: u16) -> String {
    format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\nlog.dirs={}\nlog.cleaner.dedupe.buffer.size=4194304\n",
        dir.join("data").display()
    )
}

fn pom_text(version: &str) -> String {
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<groupId>kmirror.tests</groupId><artifactId>kafka-{version}</artifactId><version>1</version>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{version}</version>
<exclusions><exclusion><groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId></exclusion></exclusions></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>connect-mirror</artifactId><version>{version}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"#
    )
}
