//! `kmirror import`: a topology file of what moves the data today.
//!
//! Each source has a subcommand; what all of them do with a draft is here: write the file, tell
//! what could not be taken over, and check that the result is one that `validate` takes.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{CliError, ErrorKind, ExitCode, Style, Ui};
use crate::client::surroundings::Elsewhere;
use crate::import::input::{Input, spelled_from};
use crate::import::{self, Draft, Fate, Finding, ImportError};
use crate::report::{self, clean};
use crate::{files, topology};

mod cluster_link;
mod clusters;
mod mirrormaker2;
mod replicator;

/// Write a topology file from what moves the data today
///
/// The file goes to stdout or, with -o, to a file; what could not be taken over stands in it as
/// comments, and on stderr. No secret is copied: a properties file is named, and any other secret becomes
/// a reference to an environment variable. Exits with 3 if `kmirror validate` would refuse the result.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, clap::Subcommand)]
enum Source {
    Replicator(replicator::Args),
    #[command(name = "mirrormaker2")]
    MirrorMaker2(mirrormaker2::Args),
    ClusterLink(cluster_link::Args),
    Clusters(clusters::Args),
}

/// Where the result goes.
#[derive(Debug, clap::Args)]
struct Output {
    /// Write to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Overwrite the file that --output names
    #[arg(long, requires = "output")]
    force: bool,
}

/// Imports and writes.
///
/// # Errors
/// Inputs that cannot be understood, and a file that may not be written.
pub async fn run(args: Args, ui: &Ui) -> Result<ExitCode, CliError> {
    match args.source {
        Source::Replicator(args) => replicator::run(&args, ui),
        Source::MirrorMaker2(args) => mirrormaker2::run(&args, ui),
        Source::ClusterLink(args) => cluster_link::run(&args, ui).await,
        Source::Clusters(args) => clusters::run(args, ui).await,
    }
}

impl Output {
    /// How a path has to be spelled in the result.
    fn spell(&self) -> impl Fn(&Path) -> PathBuf {
        let folder = self.output.as_ref().and_then(|path| path.parent());
        let folder = folder.unwrap_or(Path::new("")).to_owned();
        // Without a current directory only what is given is known.
        let here = std::env::current_dir().unwrap_or_default();
        move |path| spelled_from(&folder, &here, path)
    }

    /// The path under which the result is cited, and from which its paths start.
    fn path(&self) -> &Path {
        self.output.as_deref().unwrap_or(Path::new("<stdout>"))
    }

    /// Writes the file and tells what is to be told.
    fn finish(&self, draft: &Draft, ui: &Ui) -> Result<ExitCode, CliError> {
        let text = import::write(draft).map_err(|error| {
            CliError::new(
                ErrorKind::Internal,
                format!("the result is no TOML: {error}"),
            )
        })?;
        match &self.output {
            None => ui.document(&text)?,
            Some(path) => self.save(path, &text)?,
        }
        tell(draft, ui);
        let path = self.path();
        let shown = clean(&path.display().to_string());
        if let Err(diagnostics) = topology::parse_in(path, &text, &Elsewhere) {
            ui.show_diagnostics(&diagnostics);
            return Err(CliError::new(
                ErrorKind::Blocked,
                format!("`kmirror validate` refuses {shown} as it is"),
            )
            .with_hint("see what is said above, and change the file"));
        }
        ui.say(&summary(draft, &shown));
        Ok(ExitCode::Ok)
    }

    fn save(&self, path: &Path, text: &str) -> Result<(), CliError> {
        let shown = clean(&path.display().to_string());
        let cannot = |error: std::io::Error| {
            CliError::new(ErrorKind::Io, format!("{shown} cannot be written: {error}"))
        };
        if self.force && path.exists() {
            return files::replace(path, text.as_bytes()).map_err(cannot);
        }
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path);
        match file {
            Ok(mut file) => file.write_all(text.as_bytes()).map_err(cannot),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let message = format!("{shown} is there already, and nothing was written");
                Err(CliError::new(ErrorKind::Usage, message)
                    .with_hint("name another file, or overwrite it with --force"))
            }
            Err(error) => Err(cannot(error)),
        }
    }
}

fn tell(draft: &Draft, ui: &Ui) {
    let of = |fate: Fate| draft.findings().filter(move |finding| finding.fate == fate);
    for (fate, title, style) in [
        (Fate::Lost, "not carried over:", Style::Yellow),
        (Fate::ToProvide, "to provide:", Style::Cyan),
    ] {
        for finding in of(fate) {
            ui.say(&format!("{} {}", ui.paint_err(style, title), line(finding)));
            if let Some(instead) = &finding.instead {
                ui.say(&format!("    instead: {}", clean(instead)));
            }
        }
    }
    // By reason: most settings of a worker have the same one.
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for finding in of(Fate::Unneeded) {
        let subject = clean(&finding.subject());
        match reasons.iter_mut().find(|(why, _)| *why == finding.why) {
            Some((_, subjects)) => subjects.push(subject),
            None => reasons.push((&finding.why, vec![subject])),
        }
    }
    for (why, subjects) in reasons {
        let title = ui.paint_err(Style::Dim, "not needed:");
        ui.say(&format!("{title} {}", clean(why)));
        ui.say(&format!("    {}", subjects.join(", ")));
    }
}

fn line(finding: &Finding) -> String {
    format!("{}: {}", clean(&finding.subject()), clean(&finding.why))
}

fn summary(draft: &Draft, path: &str) -> String {
    let counted = |count: usize, noun: &str| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{} {noun}{plural}", report::grouped(count as u64))
    };
    let of = |fate: Fate| {
        draft
            .findings()
            .filter(|finding| finding.fate == fate)
            .count()
    };
    format!(
        "{path}: {}, {}; {} not carried over, {} to provide, {} not needed",
        counted(draft.clusters.len(), "cluster"),
        counted(draft.links.len(), "link"),
        counted(of(Fate::Lost), "setting"),
        of(Fate::ToProvide),
        of(Fate::Unneeded),
    )
}

fn read(paths: &[PathBuf]) -> Result<Vec<Input>, CliError> {
    paths.iter().map(|path| Ok(Input::read(path)?)).collect()
}

impl From<ImportError> for CliError {
    fn from(error: ImportError) -> Self {
        let converted = Self::new(ErrorKind::Usage, clean(&error.to_string()));
        match error.hint {
            Some(hint) => converted.with_hint(clean(&hint)),
            None => converted,
        }
    }
}
