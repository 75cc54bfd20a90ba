//! `kmirror replica`: the replicas of mirror topics and of their sources.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::link::{Format, document, look};
use super::{CliError, ErrorKind, ExitCode, Ui};
use crate::inventory::{Asked, Inventory, ReplicaView, replicas};
use crate::observe::Clusters;
use crate::report::{clean, inventory};

/// Show the replicas of mirror topics
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Status(Status),
}

/// One line a replica: who leads, who is in sync, and what each holds
///
/// How far a follower is behind its brokers tell whoever may describe the cluster.
#[derive(Debug, clap::Args)]
struct Status {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Names of mirror topics; all without one
    #[arg(value_name = "TOPIC")]
    topics: Vec<String>,

    /// The replicas of their source topics, too
    #[arg(long)]
    include_linked: bool,

    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Shows them.
///
/// # Errors
/// Mistakes in the file, a cluster that cannot be asked, no such mirror.
pub async fn run(args: Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let Action::Status(args) = args.action;
    let seen = look(&args.file, ui).await?;
    for topic in &args.topics {
        let mirrors = &seen.found.mirrors;
        if !mirrors.iter().any(|it| it.mirror_topic_name == *topic) {
            let error = CliError::new(
                ErrorKind::Usage,
                format!("there is no mirror topic `{}`", clean(topic)),
            );
            return Err(error.with_hint("kmirror mirror list FILE shows those that there are"));
        }
    }
    let rows = rows(
        &seen.found,
        &seen.clusters,
        &args.topics,
        args.include_linked,
    );
    let rows = rows.await?;
    let text = match args.format {
        Format::Text => inventory::replicas(&rows),
        Format::Json => document(&rows)?,
    };
    ui.document(&text)?;
    Ok(ExitCode::Ok)
}

/// The replicas of these mirror topics, or of all where none is named.
pub(super) async fn rows(
    found: &Inventory,
    clusters: &Clusters,
    topics: &[String],
    include_linked: bool,
) -> Result<Vec<ReplicaView>, CliError> {
    let links = found.links.iter();
    let sources: BTreeMap<(String, String), String> = links
        .filter_map(|link| {
            let key = (link.cluster.clone(), link.link_name.clone());
            Some((key, link.remote_cluster.clone()?))
        })
        .collect();
    let asked = Asked {
        topics,
        include_linked,
        sources: &sources,
    };
    let rows = replicas(clusters, &found.mirrors, asked).await;
    rows.map_err(|(cluster, error)| {
        CliError::new(
            ErrorKind::Refused,
            format!("cluster {cluster} does not tell of its replicas: {error}"),
        )
    })
}
