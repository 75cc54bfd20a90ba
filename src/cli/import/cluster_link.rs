//! `kmirror import cluster-link`.

use std::path::{Path, PathBuf};

use super::Output;
use crate::cli::{CliError, ErrorKind, ExitCode, Ui};
use crate::client::Secret;
use crate::client::secret::read_secret;
use crate::client::settings::{Keyed, Pem, Place, TlsSettings, Trust};
use crate::client::url::HttpUrl;
use crate::import::cluster_link::{self, Document, Holder, live};
use crate::import::input::Input;
use crate::kafka::security::rest::{Asker, RestClient};
use crate::report::clean;

/// Where the password is looked for without --password-file.
const PASSWORD: &str = "KMIRROR_REST_PASSWORD";

/// From Confluent's cluster links: JSON that its tools print, or the REST API of a cluster
///
/// Name what `confluent kafka link list`, `link describe`, `link configuration list` and `mirror list`
/// print with -o json, and answers of the REST API v3 about links, configs and mirrors, in any order.
/// Or ask the REST API of the cluster that holds the mirror topics with --url; the password comes from
/// --password-file or from KMIRROR_REST_PASSWORD.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// JSON files; LINK=FILE for one that does not say which link it is about
    #[arg(value_name = "FILE", conflicts_with = "url")]
    files: Vec<String>,

    /// Address of the REST API, such as <https://broker:8090/kafka/v3>
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// The cluster that holds the links; without it the one that the API knows
    #[arg(long, value_name = "ID")]
    cluster_id: Option<String>,

    /// User name or API key for the REST API
    #[arg(
        long,
        value_name = "NAME",
        env = "KMIRROR_REST_USERNAME",
        hide_env_values = true
    )]
    username: Option<String>,

    /// File with the password or API secret for the REST API
    #[arg(long, value_name = "FILE", requires = "url")]
    password_file: Option<PathBuf>,

    /// PEM file with the authority of the API's certificate; without it the system's authorities
    #[arg(long, value_name = "FILE", requires = "url")]
    ca_location: Option<PathBuf>,

    /// Kafka addresses of the cluster that holds the links
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap_server: Option<String>,

    /// Client properties file for that cluster
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,

    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let properties = match &args.command_config {
        Some(path) => Some((Input::read(path)?, args.output.spell()(path))),
        None => None,
    };
    let mut holder = Holder {
        bootstrap: args.bootstrap_server.clone(),
        properties,
        cluster_id: args.cluster_id.clone(),
    };
    let documents = match &args.url {
        Some(url) => {
            let client = client(args)?;
            if args.username.is_some()
                && HttpUrl::of(url).is_ok_and(|url| !url.secure && !url.is_local())
            {
                ui.warn("user name and password travel UNENCRYPTED: use an https:// address");
            }
            let (id, documents) = live::fetch(&client, url, args.cluster_id.as_deref()).await?;
            holder.cluster_id = Some(id);
            documents
        }
        None if args.files.is_empty() => {
            return Err(
                CliError::new(ErrorKind::Usage, "there is nothing to import")
                    .with_hint("name JSON files, or a REST API with --url"),
            );
        }
        None => args
            .files
            .iter()
            .map(|file| document(file))
            .collect::<Result<_, _>>()?,
    };
    let draft = cluster_link::read(&documents, &holder)?;
    args.output.finish(&draft, ui)
}

/// `FILE` or `LINK=FILE`.
fn document(argument: &str) -> Result<Document, CliError> {
    let (link, path) = match argument.split_once('=') {
        Some((link, path)) if !Path::new(argument).exists() => (Some(link.to_owned()), path),
        _ => (None, argument),
    };
    let input = Input::read(Path::new(path))?;
    Ok(Document { link, input })
}

fn client(args: &Args) -> Result<RestClient, CliError> {
    let password = match &args.password_file {
        Some(path) => Some(read_secret(path).map_err(|error| {
            let path = clean(&path.display().to_string());
            CliError::new(ErrorKind::Io, format!("{path} cannot be read: {error}"))
        })?),
        None => std::env::var(PASSWORD).ok().map(Secret::new),
    };
    let asker = match (&args.username, &password) {
        (Some(username), Some(password)) => Some(Asker::Basic { username, password }),
        (Some(_), None) => {
            return Err(
                CliError::new(ErrorKind::Usage, "there is no password for --username").with_hint(
                    format!("name its file with --password-file, or set {PASSWORD}"),
                ),
            );
        }
        (None, Some(_)) if args.password_file.is_some() => {
            return Err(
                CliError::new(ErrorKind::Usage, "there is no user for --password-file")
                    .with_hint("name the user with --username"),
            );
        }
        (None, _) => None,
    };
    let trust = args.ca_location.as_ref().map(|path| Keyed {
        value: Trust::Pem(Pem::File(path.clone())),
        place: Place {
            key: "--ca-location".to_owned(),
            at: String::new(),
        },
    });
    let tls = TlsSettings {
        trust,
        ..TlsSettings::default()
    };
    RestClient::new(&tls, asker)
        .map_err(|error| CliError::new(ErrorKind::Usage, clean(&error.to_string())))
}
