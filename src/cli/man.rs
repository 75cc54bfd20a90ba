//! `kmirror man`: manual pages, made of what `--help` shows.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::{Cli, CliError, ENVIRONMENT, EXIT_CODES, ErrorKind, ExitCode, Ui};

/// Print the manual page, or write one for each command
///
/// For example: kmirror man | man -l -; kmirror man --out /usr/local/share/man/man1
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write kmirror.1 and a page for each command into this folder, which is created if needed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints the main page, or writes all pages.
///
/// # Errors
/// The folder's, or stdout's.
pub fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut command = Cli::command();
    command.build();
    let Some(folder) = &args.out else {
        ui.document(&page(&command)?)?;
        return Ok(ExitCode::Ok);
    };
    let cannot_write = |path: &Path, error: &io::Error| {
        let path = crate::report::clean(&path.display().to_string());
        CliError::new(ErrorKind::Io, format!("{path} cannot be written: {error}"))
    };
    fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
    let mut pages = vec![&command];
    let mut count = 0;
    while let Some(command) = pages.pop() {
        pages.extend(command.get_subcommands());
        let path = folder.join(Man::new(command.clone()).get_filename());
        fs::write(&path, page(command)?).map_err(|error| cannot_write(&path, &error))?;
        count += 1;
    }
    let folder = crate::report::clean(&folder.display().to_string());
    ui.say(&format!("{count} pages written to {folder}"));
    Ok(ExitCode::Ok)
}

/// What each section is given as its first lines; a page needs it once.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

fn page(command: &Command) -> io::Result<String> {
    let version = env!("CARGO_PKG_VERSION");
    let man = Man::new(command.clone())
        // An empty one would be left out, and the next argument taken for the date.
        .date(" ")
        .source(format!("kmirror {version}"))
        .manual("kmirror manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let is_main = command.get_name() == "kmirror";
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::new();
    rest.control("SH", ["EXIT STATUS"]);
    terms(&mut rest, EXIT_CODES);
    if is_main {
        rest.control("SH", ["ENVIRONMENT"]);
        terms(&mut rest, ENVIRONMENT);
    } else {
        rest.control("SH", ["SEE ALSO"]);
        rest.text([roman("kmirror(1)")]);
    }
    rest.to_writer(&mut page)?;
    let page = String::from_utf8_lossy(&page).replace(PREAMBLE, "");
    Ok(format!("{PREAMBLE}{page}"))
}

fn terms(roff: &mut Roff, terms: &[(&str, &str)]) {
    for (term, meaning) in terms {
        roff.control("TP", []);
        roff.text([clap_mangen::roff::bold(*term)]);
        roff.text([roman(*meaning)]);
    }
}
