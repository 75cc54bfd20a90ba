//! `kmirror user`: entries of the file of users that the HTTP server lets in.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{CliError, ErrorKind, ExitCode, Ui};
use crate::files;
use crate::server::users;

/// Add a user of the HTTP server, or give one another password
///
/// Asks for the password on a terminal, else reads it from the first line of stdin. The file holds it as a bcrypt hash only; a new
/// file can be read by its owner alone. A running server takes the change up by itself.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File of users, as given to --http-users; made if there is none
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Name of the user
    #[arg(value_name = "NAME")]
    name: String,

    /// Remove the user instead
    #[arg(long)]
    delete: bool,
}

/// Changes the file.
///
/// # Errors
/// A name or password that cannot be one, or a file that cannot be changed.
pub fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let usage = |problem: &str| CliError::new(ErrorKind::Usage, problem);
    users::check_name(&args.name).map_err(usage)?;
    let shown = args.file.display();
    let unusable = |error: &io::Error| {
        CliError::new(ErrorKind::Io, format!("{shown} cannot be changed: {error}"))
    };
    let text = match fs::read_to_string(&args.file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !args.delete => String::new(),
        Err(error) => return Err(unusable(&error)),
    };
    let name = &args.name;
    let (text, done) = if args.delete {
        let (text, found) = users::edited(&text, name, None);
        if !found {
            return Err(usage(&format!("{shown} has no user {name}")));
        }
        (text, format!("removed user {name} from {shown}"))
    } else {
        let password = password(ui)?;
        let hash = users::hash(&password).map_err(usage)?;
        let (text, found) = users::edited(&text, name, Some(&hash));
        let did = if found {
            "changed the password of"
        } else {
            "added"
        };
        (text, format!("{did} user {name} in {shown}"))
    };
    files::write_private(&args.file, text.as_bytes()).map_err(|error| unusable(&error))?;
    ui.say(&done);
    Ok(ExitCode::Ok)
}

/// Typed twice where somebody types, else one line.
fn password(ui: &Ui) -> Result<Zeroizing<String>, CliError> {
    if !ui.is_interactive() {
        let mut text = Zeroizing::new(String::new());
        // A line that is much too long is refused for its length.
        io::stdin().lock().take(4096).read_to_string(&mut text)?;
        let line = text.lines().next().unwrap_or_default();
        return Ok(Zeroizing::new(line.to_owned()));
    }
    let first = ui.ask_secret("Password:")?;
    if *first != *ui.ask_secret("Once more:")? {
        return Err(CliError::new(ErrorKind::Usage, "the two passwords differ"));
    }
    Ok(first)
}
