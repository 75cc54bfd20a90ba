//! `kmirror explain`: what a code means.

use std::fmt::Write as _;

use super::{CliError, ErrorKind, ExitCode, Style, Ui};
use crate::topology::explain;

/// Tell what an error code means, with an example and the remedy
///
/// Codes stand in front of every mistake that is found in a topology file. Without a code all of
/// them are listed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The code: K0031, k31 or 31
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

/// Prints the section of a code, or the list of codes.
///
/// # Errors
/// No such code.
pub fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    match &args.code {
        Some(written) => ui.document(&page(written, ui)?)?,
        None => ui.document(&list())?,
    }
    Ok(ExitCode::Ok)
}

fn page(written: &str, ui: &Ui) -> Result<String, CliError> {
    let code = explain::parse(written).ok_or_else(|| unknown(written))?;
    let section = explain::section(code);
    let heading = format!("{code}: {}", section.title);
    Ok(format!(
        "{}\n\n{}",
        ui.paint_out(Style::Bold, &heading),
        section.text()
    ))
}

fn list() -> String {
    let mut list = String::new();
    for section in explain::sections() {
        writeln!(list, "{}  {}", section.code, section.summary())
            .expect("writing to a string cannot fail");
    }
    list
}

fn unknown(written: &str) -> CliError {
    let meant: Vec<_> = explain::suggest(written)
        .into_iter()
        .map(|code| format!("{code} ({})", explain::section(code).title))
        .collect();
    let list = "`kmirror explain` lists all codes";
    CliError::new(
        ErrorKind::Usage,
        format!("there is no code `{}`", crate::report::clean(written)),
    )
    .with_hint(if meant.is_empty() {
        list.to_owned()
    } else {
        format!("did you mean {}? {list}", meant.join(", "))
    })
}
