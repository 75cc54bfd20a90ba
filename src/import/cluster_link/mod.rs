//! Confluent Cluster Linking: what the REST API v3 and the `confluent` command line say about links,
//! their configs and their mirror topics.
//!
//! [`documents`] sorts the rows of all documents by link, whatever form they have; [`link`] makes a
//! link of each; [`live`] asks a REST endpoint for the documents.

mod documents;
mod keys;
mod link;
pub mod live;

use super::ImportError;
use super::client::{self, Clusters};
use super::input::Input;
use super::model::{Bootstrap, Draft, Finding, Place};

/// A document, with the link that its rows belong to where they do not say so.
#[derive(Clone, Debug)]
pub struct Document {
    pub link: Option<String>,
    pub input: Input,
}

/// The cluster that holds the links, as far as the user says something about it.
#[derive(Clone, Debug, Default)]
pub struct Holder {
    pub bootstrap: Option<String>,
    /// A client's properties file, and how its path is spelled in the result.
    pub properties: Option<(Input, std::path::PathBuf)>,
    pub cluster_id: Option<String>,
}

/// The topology of links.
///
/// # Errors
/// A document is no JSON or says nothing about links, or it is not clear which link it is about.
pub fn read(documents: &[Document], holder: &Holder) -> Result<Draft, ImportError> {
    let known = documents::read(documents)?;
    let mut draft = Draft {
        header: vec![
            format!(
                "What cluster links do, made by `kmirror import` from {}.",
                origin(documents)
            ),
            String::new(),
            "Links and mirror topics inside the brokers stay as they are. `kmirror plan` blocks a mirror whose topic is \
             there already, read-only as it is, and says what to do: give the mirrors other names, or stop the link's \
             mirrors and delete their topics first."
                .to_owned(),
        ],
        ..Draft::default()
    };
    let place = documents
        .first()
        .map_or(Place::CommandLine, |document| document.input.place(0));
    let (facts, halves): (Vec<_>, Vec<_>) = known
        .into_iter()
        .partition(|facts| !link::is_half_at_the_source(facts));
    for half in &halves {
        let why = "it is the half of a link that lies at the source; the one at the destination has the topics";
        draft
            .findings
            .push(Finding::unneeded("link.mode", half.place.clone(), why));
    }
    if facts.is_empty() {
        return Err(ImportError::new(
            place,
            "there is no link with this cluster as its destination",
        )
        .hint("ask the cluster that holds the mirror topics"));
    }
    let mut clusters = Clusters::default();
    let mut destination = draft.new_cluster("destination");
    describe(&mut destination, holder, &place);
    destination.cluster_id = holder
        .cluster_id
        .clone()
        .or_else(|| facts.iter().find_map(|facts| facts.local_id.clone()));
    let name = destination.name.clone();
    draft.clusters.push(destination);
    for facts in facts {
        let made = link::read(facts, &name, &mut draft, &mut clusters);
        draft.add_link(made);
    }
    Ok(draft)
}

/// What the documents are, for people.
fn origin(documents: &[Document]) -> String {
    let names: Vec<_> = documents
        .iter()
        .map(|document| document.input.name())
        .collect();
    match documents.first() {
        // All of them lie below the cluster.
        Some(first) if first.input.is_remote() => {
            let name = names[0].strip_suffix("/links").unwrap_or(&names[0]);
            format!("the REST API, {name}")
        }
        _ => names.join(", "),
    }
}

fn describe(cluster: &mut super::model::ClusterDraft, holder: &Holder, place: &Place) {
    if let Some((input, spelled)) = &holder.properties {
        client::of_file(cluster, input, spelled);
    }
    match &holder.bootstrap {
        Some(servers) => {
            let servers = super::settings::list(servers);
            cluster.bootstrap = Some(Bootstrap::Servers(servers));
            cluster
                .findings
                .retain(|finding| finding.near.as_deref() != Some("bootstrap_servers"));
        }
        None if cluster.bootstrap.is_none() && cluster.properties_file.is_none() => {
            client::need_bootstrap(cluster, place);
        }
        None => {}
    }
}
