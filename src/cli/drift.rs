//! `kmirror drift`: what is not as it was declared, for pipelines.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::plan::{now_ms, style};
use super::{CliError, ExitCode, Ui};
use crate::observe::Clusters;
use crate::plan::drift::{Direction, drift};
use crate::report::diagnostics::Form;
use crate::report::text::TextOptions;
use crate::report::{self, findings, markdown};

/// Tell what somebody changed behind the file's back, for pipelines
///
/// Compares the live clusters with the file and with what was applied, and says of each difference on
/// which side it is. Nothing is written, and nothing is tried either. Exits with 0 if there is no
/// drift, with 2 if there is, and with 3 if an apply could not bring everything back.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Form of the drift on stdout; mistakes in the file are told in the same form
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Leave differences of this direction aside (may be given several times)
    #[arg(long, value_enum, value_name = "DIRECTION")]
    ignore: Vec<Ignored>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One document for programs
    Json,
    /// For a comment: at most 65,536 characters, details folded
    Markdown,
    /// Workflow commands of GitHub Actions: annotations at lines of the file
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit's XML: a case for everything that is declared, a failure for what drifted
    Junit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Ignored {
    /// The file asks for something that is not there
    DeclaredButMissing,
    /// Something has another value than the declared one
    ChangedLive,
    /// Something is there, in the reach of a link, that the file does not ask for
    LiveButUndeclared,
    /// The file says something else than what was last applied
    DeclaredButNotApplied,
}

impl From<Ignored> for Direction {
    fn from(ignored: Ignored) -> Self {
        match ignored {
            Ignored::DeclaredButMissing => Self::DeclaredButMissing,
            Ignored::ChangedLive => Self::ChangedLive,
            Ignored::LiveButUndeclared => Self::LiveButUndeclared,
            Ignored::DeclaredButNotApplied => Self::DeclaredButNotApplied,
        }
    }
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
            Self::Junit => Some(Form::Junit),
        }
    }
}

/// Compares and prints what drifted.
///
/// # Errors
/// Mistakes in the file, or clusters that can't be read.
pub async fn run(args: Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let topology = ui.load_topology_or_report(&args.file, args.format.form())?;
    let clusters = Clusters::connect(&topology).await?;
    let observed = clusters.observe(&topology).await?;
    let plan = crate::plan::plan(&topology, &observed);
    let ignored: BTreeSet<Direction> = args.ignore.into_iter().map(Direction::from).collect();
    let found = drift(&plan, &ignored);
    let document = match args.format {
        Format::Text => {
            let paint = |emphasis, text: &str| ui.paint_out(style(emphasis), text);
            let options = TextOptions {
                width: ui.width_out(),
                paint: &paint,
                now_ms: now_ms(),
            };
            report::drift::text(&found, options)
        }
        Format::Json => report::drift::json(&found),
        Format::Markdown => markdown::drift(&found, now_ms()),
        Format::Github => findings::drift(&found, findings::Form::Github, now_ms()),
        Format::Sarif => findings::drift(&found, findings::Form::Sarif, now_ms()),
        Format::Junit => findings::junit(&found, now_ms()),
    };
    ui.document(&document)?;
    Ok(if found.is_blocked() {
        ExitCode::Blocked
    } else if found.has_drifted() {
        ExitCode::Changes
    } else {
        ExitCode::Ok
    })
}
