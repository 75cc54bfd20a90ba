//! Confluent Replicator: the executable with its three properties files and its flags, and the
//! connector on a Connect cluster.
//!
//! Both come down to one table of connector settings; the executable's clients have files of their
//! own, in which keys have no prefix. What becomes of each key is in [`keys`], and
//! docs/import.md has it as a table.

mod command_line;
mod keys;
mod link;

use std::path::{Path, PathBuf};

use super::client::{self, Clusters};
use super::input::Input;
use super::json::Node;
use super::model::{Draft, Place};
use super::settings::{Settings, is_plain_name};
use super::{ImportError, connect};

pub use command_line::CommandLine;

const CLASS: &str = "io.confluent.connect.replicator.ReplicatorSourceConnector";

/// What the executable is started with.
#[derive(Clone, Debug, Default)]
pub struct Executable {
    pub consumer: Option<Input>,
    pub producer: Option<Input>,
    pub replication: Option<Input>,
    pub command_line: CommandLine,
}

/// How a path is spelled in the result.
pub type Spell<'s> = &'s dyn Fn(&Path) -> PathBuf;

/// The topology of an executable.
///
/// # Errors
/// One of the files that it cannot do without is not there.
pub fn executable(given: &Executable, spell: Spell<'_>) -> Result<Draft, ImportError> {
    let missing = |file: &str| {
        ImportError::new(Place::CommandLine, format!("there is no {file} configuration"))
            .hint(format!("name the properties file with --{file}-config, or with --{file}.config in the command line behind --"))
    };
    let consumer = given.consumer.as_ref().ok_or_else(|| missing("consumer"))?;
    let producer = given.producer.as_ref().ok_or_else(|| missing("producer"))?;
    let mut settings = Settings::default();
    if let Some(replication) = &given.replication {
        settings.extend(Settings::of_properties(replication));
    }
    settings.extend(given.command_line.settings());

    let files: Vec<_> = [Some(consumer), Some(producer), given.replication.as_ref()]
        .into_iter()
        .flatten()
        .map(|input| input.path.display().to_string())
        .collect();
    let mut draft = new_draft(&files.join(", "));
    draft.findings.extend(given.command_line.findings());

    let mut source = draft.new_cluster("origin");
    client::of_file(&mut source, consumer, &spell(&consumer.path));
    client::inline(&mut source, link::source_client(&mut settings));
    if source.bootstrap.is_none() && source.properties_file.is_none() {
        client::need_bootstrap(&mut source, &consumer.place(0));
    }
    let source_name = source.name.clone();
    draft.clusters.push(source);

    let mut destination = draft.new_cluster("destination");
    client::of_file(&mut destination, producer, &spell(&producer.path));
    let client = link::destination_client(&mut settings, &mut destination.findings);
    client::inline(&mut destination, client);
    if destination.bootstrap.is_none() && destination.properties_file.is_none() {
        client::need_bootstrap(&mut destination, &producer.place(0));
    }
    let destination_name = destination.name.clone();
    draft.clusters.push(destination);

    // Without the flag the worker's group is what tells executables apart.
    let group = settings.take("group.id");
    let id = given
        .command_line
        .cluster_id()
        .or(group.as_ref().map(|group| group.value.as_str()));
    let name = id.filter(|id| is_plain_name(id)).unwrap_or("replicator");
    let place = given
        .replication
        .as_ref()
        .map_or(Place::CommandLine, |file| file.place(0));
    let link = link::read(name, &source_name, &destination_name, settings, &place);
    draft.add_link(link);
    Ok(draft)
}

/// The topology of connectors, as files hold them.
///
/// # Errors
/// A file is no JSON, or holds something else than Replicator's connectors.
pub fn connectors(inputs: &[Input]) -> Result<Draft, ImportError> {
    let files: Vec<_> = inputs
        .iter()
        .map(|input| input.path.display().to_string())
        .collect();
    let mut draft = new_draft(&files.join(", "));
    let mut clusters = Clusters::default();
    for input in inputs {
        let root = Node::read(input)?;
        for connector in connect::connectors(&root, input)? {
            let mut settings = connector.settings;
            connect::expect_class(&mut settings, &[CLASS], &connector.place, "replicator")?;
            let source = link::source_client(&mut settings);
            let source = clusters.add(&mut draft, "origin", source, &connector.place);
            let destination = link::destination_client(&mut settings, &mut draft.findings);
            let destination =
                clusters.add(&mut draft, "destination", destination, &connector.place);
            let name = settings.take("name").map(|name| name.value);
            let name = connector.name.or(name).filter(|name| is_plain_name(name));
            let name = name.unwrap_or_else(|| "replicator".to_owned());
            let mut link = link::read(&name, &source, &destination, settings, &connector.place);
            link.paused = connector.paused;
            draft.add_link(link);
        }
    }
    Ok(draft)
}

fn new_draft(files: &str) -> Draft {
    Draft {
        header: vec![
            format!("What Confluent Replicator does, made by `kmirror import` from {files}."),
            String::new(),
            "A mirror begins where its link's `start` says: positions of Replicator are not taken over. Stop Replicator \
             first; a topic at the destination that holds records already is blocked by `kmirror plan`, which says what to do."
                .to_owned(),
        ],
        ..Draft::default()
    }
}
