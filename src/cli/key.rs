//! `kmirror key`: what secrets of links that are made over REST are encrypted with.

use std::path::{Path, PathBuf};

use super::{CliError, ErrorKind, ExitCode, Ui};
use crate::client::surroundings::Machine;
use crate::linking::operations::{self, Refusal};
use crate::linking::seal::{KEY_FILE_VARIABLE, KEY_VARIABLE, Key, KeyError};
use crate::observe::Clusters;

/// Where the former key is looked up.
pub const OLD_KEY_VARIABLE: &str = "KMIRROR_OLD_KEY";

/// Make the key that secrets of links made over REST are encrypted with, or change it
///
/// Servers and workers take the key from KMIRROR_KEY, or from a file that KMIRROR_KEY_FILE or --key-file names.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Print a fresh key: 32 random bytes in base64
    New,
    /// Encrypt the secrets of all links anew, on every cluster of the file
    ///
    /// The new key is taken as everywhere: from KMIRROR_KEY, KMIRROR_KEY_FILE or --key-file. What is encrypted
    /// with it already is left as it is, so this can be repeated.
    Rotate(RotateArgs),
}

#[derive(Debug, clap::Args)]
struct RotateArgs {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// File with the new key
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,

    /// File with the key that secrets are encrypted with so far; KMIRROR_OLD_KEY without it
    #[arg(long, value_name = "PATH")]
    old_key_file: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// No key, a cluster that cannot be reached, or a secret that neither key opens.
pub async fn run(args: Args, ui: &Ui) -> Result<ExitCode, CliError> {
    match args.command {
        KeyCommand::New => new(ui),
        KeyCommand::Rotate(args) => rotate(&args, ui).await,
    }
}

fn new(ui: &Ui) -> Result<ExitCode, CliError> {
    let key = Key::generate();
    ui.document(&key.text())?;
    ui.document("\n")?;
    ui.say(&format!(
        "key {}: keep it where servers and workers find it ({KEY_VARIABLE}, {KEY_FILE_VARIABLE}), and nowhere else",
        key.id()
    ));
    Ok(ExitCode::Ok)
}

async fn rotate(args: &RotateArgs, ui: &Ui) -> Result<ExitCode, CliError> {
    let new = look(args.key_file.as_deref())?.ok_or_else(|| {
        CliError::new(ErrorKind::Usage, "there is no new key")
            .with_hint(format!("set {KEY_VARIABLE} or {KEY_FILE_VARIABLE}, or name a file with --key-file; `kmirror key new` makes one"))
    })?;
    let old_file = args.old_key_file.as_deref();
    let old = Key::look_for(old_file, OLD_KEY_VARIABLE, None, &Machine)?;
    let topology = ui.load_topology(&args.file)?;
    let clusters = Clusters::connect(&topology).await?;
    let clients: Vec<_> = topology
        .clusters
        .keys()
        .map(|name| clusters.client(name).clone())
        .collect();
    let holder = super::apply::holder();
    let rotated = operations::rotate(&clients, old.as_ref(), &new, &holder).await;
    let rotated = rotated.map_err(|refusal| {
        let hint = match &refusal {
            Refusal::Sealed(_) => Some(format!(
                "the key that secrets are encrypted with so far goes into {OLD_KEY_VARIABLE}, or into a file that --old-key-file names"
            )),
            _ => None,
        };
        let error = CliError::from(refusal);
        hint.into_iter().fold(error, CliError::with_hint)
    })?;
    for done in rotated {
        let mut line = format!(
            "{}: {} links encrypted anew with the key {}",
            done.cluster,
            done.links,
            new.id()
        );
        if done.done_before > 0 {
            line.push_str(&format!(", {} had it already", done.done_before));
        }
        ui.say(&line);
    }
    Ok(ExitCode::Ok)
}

/// The key that this process is to have, if it is to have one.
///
/// # Errors
/// What is there is none.
pub fn look(file: Option<&Path>) -> Result<Option<Key>, CliError> {
    Ok(Key::look(file, &Machine)?)
}

impl From<KeyError> for CliError {
    fn from(error: KeyError) -> Self {
        Self::new(ErrorKind::Usage, error.to_string())
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        let kind = match &refusal {
            Refusal::Busy(_) => ErrorKind::LockHeld,
            _ => ErrorKind::Refused,
        };
        Self::new(kind, refusal.to_string())
    }
}
