//! `kmirror plan`: what an apply would change.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{CliError, ErrorKind, ExitCode, Style, Ui, saved};
use crate::kafka;
use crate::nearest::nearest;
use crate::observe::{Clusters, Unreachable, UnreadableCluster, rehearse};
use crate::plan::model::Plan;
use crate::plan::target::{self, TargetError};
use crate::report::diagnostics::Form;
use crate::report::text::{Emphasis, TextOptions};
use crate::report::{clean, findings, json, markdown, text};
use crate::topology::Topology;
use crate::topology::engines::Engine;

/// Show what would change on the live clusters
///
/// Reads the clusters and changes nothing: writes are tried with `validate_only`, so that what a
/// broker would refuse is known now. Exits with 3 if something is blocked.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Form of the plan on stdout; mistakes in the file are told in the same form
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Plan the deletions that the file asks for; without it they are blocked
    #[arg(long)]
    allow_delete: bool,

    /// Take over links that were made over REST and have the names of the file's; without it they are blocked
    #[arg(long)]
    adopt: bool,

    /// Send the secrets of a link that brokers carry again: they cannot be read back, so a plan does not see that a password
    /// was changed. May be given several times
    #[arg(long, value_name = "LINK")]
    rewrite_secrets: Vec<String>,

    /// Save the plan, for `kmirror apply PLAN.json` to carry out exactly this
    #[arg(short, long = "out", value_name = "PLAN.json")]
    out: Option<PathBuf>,

    /// Only what has this address, and what that depends on: mirror.LINK/TOPIC, link.LINK with its mirrors, cluster.NAME
    /// with its topics, cluster.NAME/topic.TOPIC; topics may be globs. May be given several times
    #[arg(long = "target", value_name = "ADDRESS")]
    targets: Vec<String>,

    /// Exit with 2 if there are changes (0: none, 1: error, 3: something is blocked)
    #[arg(long)]
    detailed_exitcode: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// One document for programs
    Json,
    /// For a comment on a pull request: at most 65,536 characters, details folded
    Markdown,
    /// Workflow commands of GitHub Actions: annotations at the lines that ask for changes
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

impl Format {
    /// How mistakes in the file are told.
    fn form(self) -> Option<Form> {
        match self {
            Self::Text => None,
            Self::Json => Some(Form::Json),
            Self::Markdown => Some(Form::Markdown),
            Self::Github => Some(Form::Github),
            Self::Sarif => Some(Form::Sarif),
        }
    }
}

/// Plans and prints the plan.
///
/// # Errors
/// Mistakes in the file, or clusters that can't be read.
pub async fn run(args: Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut topology = ui.load_topology_or_report(&args.file, args.format.form())?;
    topology.adopts = args.adopt;
    topology.rewrites = rewrites(&topology, &args.rewrite_secrets)?;
    let clusters = Clusters::connect_to_plan(&topology).await?;
    let choices = Choices {
        allow_delete: args.allow_delete,
        targets: &args.targets,
    };
    let plan = make(&topology, &clusters, choices).await?;
    if let Some(path) = &args.out {
        saved::save(path, &plan)?;
    }
    ui.document(&document(&plan, args.format, ui))?;
    if let Some(path) = &args.out {
        ui.say(&saved::farewell(path, &plan));
    }
    Ok(if plan.is_blocked() {
        ExitCode::Blocked
    } else if args.detailed_exitcode && plan.has_changes() {
        ExitCode::Changes
    } else {
        ExitCode::Ok
    })
}

/// A plan in the form that was asked for.
pub(super) fn document(plan: &Plan, format: Format, ui: &Ui) -> String {
    match format {
        Format::Text => {
            let paint = |emphasis, text: &str| ui.paint_out(style(emphasis), text);
            let options = TextOptions {
                width: ui.width_out(),
                paint: &paint,
                now_ms: now_ms(),
            };
            text::plan(plan, options)
        }
        Format::Json => json::plan(plan),
        Format::Markdown => markdown::plan(plan, now_ms()),
        Format::Github => findings::plan(plan, findings::Form::Github, now_ms()),
        Format::Sarif => findings::plan(plan, findings::Form::Sarif, now_ms()),
    }
}

/// What the user lets a plan hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choices<'a> {
    pub allow_delete: bool,
    /// Empty for all that the file asks for.
    pub targets: &'a [String],
}

/// The plan as it stands, rehearsed.
pub(super) async fn make(
    topology: &Topology,
    clusters: &Clusters,
    choices: Choices<'_>,
) -> Result<Plan, CliError> {
    let observed = clusters.observe(topology).await?;
    let mut plan = crate::plan::plan(topology, &observed);
    crate::plan::guard(&mut plan, choices.allow_delete);
    target::narrow(&mut plan, choices.targets)?;
    rehearse(&mut plan, clusters, topology).await;
    Ok(plan)
}

/// The links whose secrets are sent anew, by name or address.
///
/// # Errors
/// A name that no link of the file has, or one of a link that stores no secrets anywhere.
pub(super) fn rewrites(
    topology: &Topology,
    asked: &[String],
) -> Result<BTreeSet<String>, CliError> {
    let links = asked.iter().map(|asked| {
        let name = asked.strip_prefix("link.");
        let name = name.filter(|name| topology.links.contains_key(*name));
        let name = name.unwrap_or(asked);
        let Some(link) = topology.links.get(name) else {
            return Err(no_link("--rewrite-secrets", name, topology));
        };
        if link.engine != Engine::ClusterLink {
            let message = format!(
                "--rewrite-secrets: the link `{}` is not carried by brokers, and its secrets are stored nowhere",
                clean(name)
            );
            return Err(CliError::new(ErrorKind::Usage, message)
                .with_hint("workers read them from the file and what it names; nothing has to be sent"));
        }
        Ok(name.to_owned())
    });
    links.collect()
}

/// A name that no link of the file has, and what was probably meant.
pub(super) fn no_link(of: &str, name: &str, topology: &Topology) -> CliError {
    let known: Vec<&str> = topology.links.keys().map(String::as_str).collect();
    let hint = match (nearest(name, known.iter().copied()), known.is_empty()) {
        (Some(meant), _) => format!("did you mean `{}`?", clean(meant)),
        (None, true) => "it declares none".to_owned(),
        (None, false) => format!("its links are {}", clean(&known.join(", "))),
    };
    let message = format!("{of}: the file declares no link `{}`", clean(name));
    CliError::new(ErrorKind::Usage, message).with_hint(hint)
}

pub(super) fn style(emphasis: Emphasis) -> Style {
    match emphasis {
        Emphasis::Strong => Style::Bold,
        Emphasis::Dim => Style::Dim,
        Emphasis::Create => Style::Green,
        Emphasis::Change => Style::Yellow,
        Emphasis::Delete | Emphasis::Blocked => Style::Red,
    }
}

pub(super) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl From<TargetError> for CliError {
    fn from(error: TargetError) -> Self {
        let message = crate::report::clean(&error.to_string());
        let hint = match error {
            TargetError::Unknown {
                nearest: Some(nearest),
                ..
            } => format!("did you mean `{}`?", crate::report::clean(&nearest)),
            TargetError::Unknown { nearest: None, .. } => {
                "`kmirror plan` without --target shows the addresses of what changes; --format json those of everything"
                    .to_owned()
            }
            TargetError::NoAddress { .. } | TargetError::BadGlob { .. } => {
                "addresses are cluster.NAME, cluster.NAME/topic.TOPIC, link.LINK and mirror.LINK/TOPIC; a topic may be a glob such as eu-*".to_owned()
            }
        };
        Self::new(ErrorKind::Usage, message).with_hint(hint)
    }
}

impl From<Unreachable> for CliError {
    fn from(Unreachable(clusters): Unreachable) -> Self {
        let count = clusters.len();
        let message = match clusters.as_slice() {
            [(name, _)] => format!("cluster `{name}` can't be read"),
            _ => format!("{count} clusters can't be read"),
        };
        let mut error = Self::new(ErrorKind::Unreachable, message);
        let mut unreachable = false;
        for (name, cause) in clusters {
            let nobody = matches!(
                cause,
                UnreadableCluster::Kafka(kafka::Error::Unreachable { .. })
            );
            unreachable |= nobody;
            let distrusted = matches!(cause, UnreadableCluster::Kafka(kafka::Error::Security(_)));
            // These name the cluster themselves.
            let detail = if nobody || distrusted {
                cause.to_string()
            } else {
                format!("{name}: {cause}")
            };
            error = error.with_detail(crate::report::clean(&detail));
        }
        if unreachable {
            error = error.with_hint(
                "check bootstrap_servers, and that the brokers are up and reachable from here",
            );
        }
        error
    }
}
