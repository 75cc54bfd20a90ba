//! Secured clusters, at both ends and by every mechanism that kmirror speaks.
//!
//! Most tests stand on a [`Pair`]: two clusters under one realm, with an authorizer each. kmirror comes as
//! `User:kmirror` and has exactly the rights that docs/security.md lists.

mod copies;
mod doctor;
mod doors;
mod holes;
mod refusals;
mod renewal;
pub mod rights;
mod secrets;
pub mod serving;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::support::client::{self, Offsets, Place};
use crate::support::cluster::Spec;
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::Test;
use crate::support::secured::{CLIENT_SECRET, Door, KMIRROR, Realm, STORE_PASSWORD, Secured};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    [
        copies::tests(),
        doctor::tests(),
        doors::tests(),
        holes::tests(),
        refusals::tests(),
        renewal::tests(),
        rights::tests(),
        secrets::tests(),
        serving::tests(),
    ]
    .concat()
}

/// Two guarded clusters with the same users.
pub struct Pair {
    pub realm: Realm,
    pub east: Secured,
    pub west: Secured,
}

impl Pair {
    /// Starts both, and makes `User:kmirror` known to SCRAM. It has no rights yet.
    pub fn start(lab: &Lab, version: Version, doors: &[Door]) -> Result<Self> {
        Self::of(Realm::new(lab)?, lab, version, doors)
    }

    /// The same with a realm that the test has prepared.
    pub fn of(realm: Realm, lab: &Lab, version: Version, doors: &[Door]) -> Result<Self> {
        let start = |name| realm.start(lab, Spec::new(name, version), doors);
        let (east, west) = std::thread::scope(|scope| {
            let east = scope.spawn(|| start("east"));
            let west = start("west");
            (east.join().expect("starting a broker does not panic"), west)
        });
        let (east, west) = (east?, west?);
        for side in [&east, &west] {
            side.scram_user(KMIRROR.name, KMIRROR.password)?;
        }
        Ok(Self { realm, east, west })
    }

    /// Topics at the source with records in them, and the rights to mirror them from `east` to `west.TOPIC`.
    pub fn topics(&self, names: &[&str], records: i32) -> Result<()> {
        client::create_topics(&self.east.bootstrap(), names, 2)?;
        for name in names {
            client::produce(&Place::new(self.east.bootstrap(), *name), name, records)?;
        }
        self.allow(KMIRROR.name, names)
    }

    /// Gives a user all the rights that mirroring these topics takes.
    pub fn allow(&self, user: &str, names: &[&str]) -> Result<()> {
        let mirrors: Vec<String> = names.iter().map(|name| mirror_of(name)).collect();
        let mirrors: Vec<&str> = mirrors.iter().map(String::as_str).collect();
        rights::grant(
            &self.east,
            &self.west,
            user,
            &rights::COMMANDS,
            names,
            &mirrors,
        )
    }

    /// One link from `east` to `west`, with these ways to reach them.
    pub fn file(&self, east: &Way, west: &Way, topics: &[&str]) -> String {
        self.link("copy", east, west, topics)
    }

    /// The same with a name for the link.
    pub fn link(&self, name: &str, east: &Way, west: &Way, topics: &[&str]) -> String {
        let topics: Vec<String> = topics.iter().map(|name| format!("{name:?}")).collect();
        format!(
            "kmirror = 1\n\n{}\n{}\n[links.{name}]\nsource = \"east\"\ndestination = \"west\"\n\
             topics = [{}]\nrename = \"west.${{topic}}\"\nreplication_factor = 1\n",
            east.cluster("east"),
            west.cluster("west"),
            topics.join(", ")
        )
    }

    /// The program with a topology file and every variable that the tests' files refer to.
    pub fn kmirror(&self, lab: &Lab, file: &str) -> Result<Kmirror> {
        Ok(Kmirror::new(lab, file)?
            .env("KMIRROR_USER", KMIRROR.name)
            .env("PASSWORD", KMIRROR.password)
            .env("WEST_PASSWORD", KMIRROR.password)
            .env("CLIENT_SECRET", CLIENT_SECRET)
            .env("KEY_PASSWORD", STORE_PASSWORD)
            .env("STORE_PASSWORD", STORE_PASSWORD))
    }

    /// Both sides of a mirror hold the same records.
    pub fn same(&self, topic: &str, records: u64) -> Result<()> {
        let found = client::assert_same(
            &Place::new(self.east.bootstrap(), topic),
            &Place::new(self.west.bootstrap(), mirror_of(topic)),
            Offsets::Equal,
        )?;
        ensure!(found == records, "{topic}: {found} records, not {records}");
        Ok(())
    }
}

/// What [`Pair::file`] makes of a topic.
pub fn mirror_of(topic: &str) -> String {
    format!("west.{topic}")
}

/// How a cluster is reached: everything in a topology file about it.
#[derive(Debug, Clone)]
pub struct Way {
    address: String,
    properties_file: Option<PathBuf>,
    client: Vec<(String, String)>,
}

impl Way {
    pub fn to(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            properties_file: None,
            client: Vec::new(),
        }
    }

    pub fn properties_file(mut self, file: PathBuf) -> Self {
        self.properties_file = Some(file);
        self
    }

    /// A client property whose value is text.
    pub fn set(self, key: &str, value: &str) -> Self {
        let value = toml::Value::from(value).to_string();
        self.refer(key, &value)
    }

    /// A client property with a value as TOML, such as `{ env = "NAME" }`; it replaces an earlier one.
    pub fn refer(mut self, key: &str, value: &str) -> Self {
        self.client.retain(|(known, _)| known != key);
        self.client.push((key.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.client.retain(|(known, _)| known != key);
        self
    }

    /// An example of docs/security.md: the block of this number under a heading, as it stands there.
    pub fn documented(address: impl Into<String>, heading: &str, number: usize) -> Result<Self> {
        let block = documented("toml", heading, number)?;
        let (_, lines) = block
            .split_once("[clusters.west.client]\n")
            .with_context(|| format!("no client table in {block}"))?;
        let mut way = Self::to(address);
        for line in lines.lines() {
            let (key, value) = line.split_once(" = ").with_context(|| line.to_owned())?;
            let value = value.split_once("  #").map_or(value, |(value, _)| value);
            way = way.refer(key, value.trim());
        }
        Ok(way)
    }

    /// Its tables in a topology file.
    pub fn cluster(&self, name: &str) -> String {
        let mut text = format!(
            "[clusters.{name}]\nbootstrap_servers = \"{}\"\n",
            self.address
        );
        if let Some(file) = &self.properties_file {
            text.push_str(&format!(
                "properties_file = {:?}\n",
                file.display().to_string()
            ));
        }
        if !self.client.is_empty() {
            text.push_str(&format!("\n[clusters.{name}.client]\n"));
        }
        for (key, value) in &self.client {
            text.push_str(&format!("{key} = {value}\n"));
        }
        text
    }
}

/// A block of docs/security.md in this language, by its heading and its number there.
fn documented(language: &str, heading: &str, number: usize) -> Result<String> {
    let text = include_str!("../../../docs/security.md");
    let (_, section) = text
        .split_once(&format!("\n## {heading}\n"))
        .with_context(|| format!("docs/security.md has no section {heading}"))?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let block = section
        .split(&format!("```{language}\n"))
        .nth(number)
        .with_context(|| format!("{heading} has no block {number}"))?;
    let (block, _) = block.split_once("```").context("a block has an end")?;
    Ok(block.to_owned())
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("test folders have plain names")
}
