//! `kmirror link`: the links that there are, of every engine.

use std::path::{Path, PathBuf};

use super::{CliError, ErrorKind, ExitCode, Ui};
use crate::inventory::{Inventory, LinkView, gather};
use crate::linking::operations::Desk;
use crate::observe::Clusters;
use crate::report::{clean, inventory};
use crate::rest::links::LinkError;
use crate::topology::Topology;
use crate::topology::engines::Engine;

/// List, describe and delete links
///
/// Those of the built-in engine, from files and from the REST API, and those that brokers carry, of all clusters of the file
/// that can be reached.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    List(List),
    Describe(Describe),
    Delete(Delete),
}

/// One line a link
#[derive(Debug, clap::Args)]
struct List {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Each link with its configs: value, source and default
#[derive(Debug, clap::Args)]
struct Describe {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Name of the link; all links without one
    #[arg(value_name = "LINK")]
    link: Option<String>,

    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Delete a link that belongs to no file
///
/// One that was made over REST, or one of the brokers'. It is refused while mirror topics are filled over it. A link of
/// the file is deleted by state = "absent" and an apply.
#[derive(Debug, clap::Args)]
struct Delete {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Name of the link
    #[arg(value_name = "LINK")]
    link: String,

    /// The cluster whose half of the link is meant, where several have one
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// How it is printed
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Lists, describes or deletes.
///
/// # Errors
/// Mistakes in the file, no cluster that can be asked, no such link, a refusal.
pub async fn run(args: Args, ui: &Ui) -> Result<ExitCode, CliError> {
    match args.action {
        Action::List(args) => {
            let found = look(&args.file, ui).await?.found;
            let text = match args.format {
                Format::Text => inventory::links(&found.links),
                Format::Json => document(&found.links)?,
            };
            ui.document(&text)?;
            Ok(ExitCode::Ok)
        }
        Action::Describe(args) => {
            let found = look(&args.file, ui).await?.found;
            let links = named(&found, args.link.as_deref())?;
            let text = match args.format {
                Format::Text => {
                    let shown: Vec<String> =
                        links.iter().map(|link| inventory::link(link)).collect();
                    match shown.is_empty() {
                        true => inventory::links(&[]),
                        false => shown.join("\n"),
                    }
                }
                Format::Json => document(&links)?,
            };
            ui.document(&text)?;
            Ok(ExitCode::Ok)
        }
        Action::Delete(args) => delete(args, ui).await,
    }
}

/// A file's clusters and what was found on them.
pub(super) struct Seen {
    pub topology: Topology,
    pub clusters: Clusters,
    pub found: Inventory,
}

/// Looks at all clusters of a file, and says of which nothing is known.
pub(super) async fn look(file: &Path, ui: &Ui) -> Result<Seen, CliError> {
    let topology = ui.load_topology_or_report(file, None)?;
    let clusters = Clusters::connect_to_plan(&topology).await?;
    let found = gather(&topology, &clusters).await;
    for (cluster, why) in &found.unknown {
        ui.say(&format!(
            "cluster {cluster}: not all is known: {}",
            clean(why)
        ));
    }
    if found.unknown.len() >= topology.clusters.len() && found.links.is_empty() {
        return Err(CliError::new(
            ErrorKind::Unreachable,
            "no cluster of the file could be asked",
        ));
    }
    Ok(Seen {
        topology,
        clusters,
        found,
    })
}

/// What programs read.
pub(super) fn document(value: &impl serde::Serialize) -> Result<String, CliError> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::new(ErrorKind::Internal, error.to_string()))?;
    text.push('\n');
    Ok(text)
}

fn named<'f>(found: &'f Inventory, name: Option<&str>) -> Result<Vec<&'f LinkView>, CliError> {
    let is_meant = |link: &&LinkView| name.is_none_or(|name| link.link_name == name);
    let links: Vec<&LinkView> = found.links.iter().filter(is_meant).collect();
    match (name, links.is_empty()) {
        (Some(name), true) => Err(no_link(found, name)),
        _ => Ok(links),
    }
}

fn no_link(found: &Inventory, name: &str) -> CliError {
    let error = CliError::new(
        ErrorKind::Usage,
        format!("there is no link `{}`", clean(name)),
    );
    let names = found.links.iter().map(|link| link.link_name.as_str());
    match crate::nearest::nearest(name, names) {
        Some(near) => error.with_hint(format!("did you mean `{}`?", clean(near))),
        None => error.with_hint("kmirror link list FILE shows those that there are"),
    }
}

async fn delete(args: Delete, ui: &Ui) -> Result<ExitCode, CliError> {
    let seen = look(&args.file, ui).await?;
    let mut links = named(&seen.found, Some(&args.link))?;
    if let Some(cluster) = &args.cluster {
        links.retain(|link| link.cluster == *cluster);
    }
    let link = match links.as_slice() {
        [] => return Err(no_link(&seen.found, &args.link)),
        [link] => *link,
        several => {
            let clusters: Vec<&str> = several.iter().map(|link| link.cluster.as_str()).collect();
            let error = CliError::new(
                ErrorKind::Usage,
                format!(
                    "several clusters have a link of this name: {}",
                    clusters.join(", ")
                ),
            );
            return Err(error.with_hint("say which one with --cluster"));
        }
    };
    let mut declared = seen.topology.links.values();
    let declares = |it: &crate::topology::model::Link| {
        // Through a REST API of kmirror's own, a link of the file is one of the built-in engine as well.
        it.broker_name() == link.link_name
            && (it.destination == link.cluster || it.source == link.cluster)
    };
    if link.owner == Some("file") || declared.any(declares) {
        let error = CliError::new(
            ErrorKind::Usage,
            format!("link `{}` belongs to a file", clean(&link.link_name)),
        );
        return Err(
            error.with_hint("write state = \"absent\" there, and apply it with --allow-delete")
        );
    }
    if !args.yes {
        confirm(ui, link).await?;
    }
    if link.engine == Engine::ClusterLink.name() {
        let api = seen.clusters.link_api(&link.cluster);
        let deleted = match api {
            Ok(api) => api.delete_link(&link.link_name, false).await,
            Err(error) => Err(error),
        };
        deleted.map_err(|error: LinkError| refused(link, &error.to_string()))?;
    } else {
        let holder = super::apply::holder();
        let desk = Desk::new(seen.clusters.client(&link.cluster).clone(), None, &holder);
        let deleted = desk.delete_link(&link.link_name, false, false).await;
        deleted.map_err(|refusal| refused(link, &refusal.to_string()))?;
    }
    ui.say(&format!(
        "link {} on {} is deleted",
        clean(&link.link_name),
        link.cluster
    ));
    Ok(ExitCode::Ok)
}

fn refused(link: &LinkView, words: &str) -> CliError {
    CliError::new(
        ErrorKind::Refused,
        format!(
            "link `{}` is not deleted: {}",
            clean(&link.link_name),
            clean(words)
        ),
    )
}

async fn confirm(ui: &Ui, link: &LinkView) -> Result<(), CliError> {
    let nobody = |problem: &str| {
        CliError::new(
            ErrorKind::Usage,
            format!("nothing was done: {problem}, so nobody can confirm it"),
        )
        .with_hint("to delete without a question, say --yes")
    };
    if !ui.is_interactive() {
        return Err(nobody("stdin is not a terminal"));
    }
    let name = clean(&link.link_name);
    let question = format!("To delete link {name} on {}, type its name:", link.cluster);
    if super::apply::ask(ui, question, nobody).await? == name {
        return Ok(());
    }
    Err(CliError::new(
        ErrorKind::Usage,
        format!("nothing was done: the answer was not `{name}`"),
    ))
}
