//! `kmirror doctor`: whether destinations behave as mirrors rely on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use futures::future::join_all;

use super::apply::ask;
use super::plan::{now_ms, style};
use super::{CliError, ErrorKind, ExitCode, Ui};
use crate::doctor::probe::{examine, scratch_name};
use crate::doctor::{Examined, SCRATCH_PREFIX};
use crate::kafka::{Client, ClientConfig};
use crate::observe::Unreachable;
use crate::report::diagnostics::Form;
use crate::report::text::TextOptions;
use crate::report::{clean, doctor};
use crate::topology::Topology;

/// Try whether destinations behave as mirrors rely on
///
/// Creates a scratch topic on each destination of the file, tries there what exact copies rest on, looks at settings and
/// clocks, and removes the topic. Wants the rights to create, write, read, alter and delete topics named
/// `_kmirror.doctor-…`. Exits with 3 if something failed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Only this cluster of the file, whether or not it is a destination (may be given several times)
    #[arg(long = "cluster", value_name = "NAME")]
    clusters: Vec<String>,

    /// Do not ask before topics are created
    #[arg(short, long)]
    yes: bool,

    /// Form of what was found, on stdout; mistakes in the file are told in the same form
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One document for programs
    Json,
}

/// Examines and prints what was found.
///
/// # Errors
/// Mistakes in the file, clusters that can't be reached or don't let the topic be created.
pub async fn run(args: Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let form = (args.format == Format::Json).then_some(Form::Json);
    let topology = ui.load_topology_or_report(&args.file, form)?;
    let names = chosen(&topology, &args)?;
    let clients = connect(&topology, &names).await?;
    let scratches: Vec<String> = clients.iter().map(|_| scratch_name()).collect();
    if !args.yes {
        confirm(ui, &clients, &scratches).await?;
    }
    let examining = clients.iter().zip(&scratches);
    let outcomes = join_all(examining.map(|(client, scratch)| examine(client, scratch))).await;
    let mut found: Vec<Examined> = Vec::new();
    let mut failures = Vec::new();
    for (client, outcome) in clients.iter().zip(outcomes) {
        match outcome {
            Ok(examined) => found.push(examined),
            Err(error) => {
                let error = clean(&error.to_string());
                failures.push(format!("{}: {error}", client.cluster_name()));
            }
        }
    }
    if !found.is_empty() || failures.is_empty() {
        ui.document(&document(&found, args.format, ui))?;
    }
    if !failures.is_empty() {
        let mut error = CliError::new(ErrorKind::Refused, "not everything could be tried");
        error.details = failures;
        return Err(error.with_hint(format!(
            "doctor wants to create and delete topics whose names begin with {SCRATCH_PREFIX}"
        )));
    }
    Ok(if found.iter().any(Examined::has_failed) {
        ExitCode::Blocked
    } else {
        ExitCode::Ok
    })
}

fn document(found: &[Examined], format: Format, ui: &Ui) -> String {
    match format {
        Format::Json => doctor::json(found),
        Format::Text => {
            let paint = |emphasis, text: &str| ui.paint_out(style(emphasis), text);
            let options = TextOptions {
                width: ui.width_out(),
                paint: &paint,
                now_ms: now_ms(),
            };
            doctor::text(found, options)
        }
    }
}

/// The clusters that were asked for, else all destinations.
fn chosen(topology: &Topology, args: &Args) -> Result<BTreeSet<String>, CliError> {
    for name in &args.clusters {
        if !topology.clusters.contains_key(name) {
            let known: Vec<&str> = topology.clusters.keys().map(String::as_str).collect();
            let error = CliError::new(
                ErrorKind::Usage,
                format!("the file names no cluster `{}`", clean(name)),
            );
            return Err(error.with_hint(format!("its clusters are {}", known.join(", "))));
        }
    }
    let mut names: BTreeSet<String> = args.clusters.iter().cloned().collect();
    if names.is_empty() {
        let links = topology.links.values();
        names.extend(links.map(|link| link.destination.clone()));
    }
    if names.is_empty() {
        let error = CliError::new(
            ErrorKind::Usage,
            "the file has no link, and so no destination",
        );
        return Err(error.with_hint("name a cluster with --cluster NAME"));
    }
    Ok(names)
}

/// Connects to clusters of the file.
pub(super) async fn connect(
    topology: &Topology,
    names: &BTreeSet<String>,
) -> Result<Vec<Client>, CliError> {
    let clusters = topology
        .clusters
        .values()
        .filter(|cluster| names.contains(&cluster.name));
    let connecting = clusters.map(|cluster| async move {
        let config = ClientConfig::with_settings(
            &cluster.name,
            cluster.bootstrap_servers.clone(),
            cluster.client.clone(),
        );
        let connected = Client::connect(config).await;
        connected.map_err(|error| (cluster.name.clone(), error.into()))
    });
    let mut clients = Vec::new();
    let mut unreachable = Vec::new();
    for outcome in join_all(connecting).await {
        match outcome {
            Ok(client) => clients.push(client),
            Err(error) => unreachable.push(error),
        }
    }
    if unreachable.is_empty() {
        Ok(clients)
    } else {
        Err(Unreachable(unreachable).into())
    }
}

/// Goes on only for a `yes`.
async fn confirm(ui: &Ui, clients: &[Client], scratches: &[String]) -> Result<(), CliError> {
    let nobody = |problem: &str| {
        CliError::new(
            ErrorKind::Usage,
            format!("nothing was done: {problem}, so nobody can agree to the scratch topics"),
        )
        .with_hint("to create and remove them without a question, say --yes")
    };
    if !ui.is_interactive() {
        return Err(nobody("stdin is not a terminal"));
    }
    let topics: Vec<String> = clients
        .iter()
        .zip(scratches)
        .map(|(client, scratch)| format!("  {scratch} on cluster {}", client.cluster_name()))
        .collect();
    let question = format!(
        "These topics are created, written to and removed again:\n{}\nGo on? Only `yes` is taken for an answer:",
        topics.join("\n")
    );
    if ask(ui, question, nobody).await? == "yes" {
        Ok(())
    } else {
        Err(CliError::new(
            ErrorKind::Usage,
            "nothing was done: the answer was not `yes`",
        ))
    }
}
