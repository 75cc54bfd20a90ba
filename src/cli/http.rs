//! The flags of the HTTP server, shared by the commands that have one.

use std::path::PathBuf;

use super::{CliError, ErrorKind, Ui};
use crate::nearest::nearest;
use crate::report::clean;
use crate::server::listener::{Asked, Listener, StartError};
use crate::server::users::UsersError;
use crate::server::{Access, Prepared, Server};
use crate::topology::Topology;

/// Where Kafka's REST API is served, and to whom.
#[derive(Debug, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "HTTP server")]
pub struct Args {
    /// Serve Kafka's REST API v3 for a cluster of the file at this address, such as west=127.0.0.1:8090; without the name where the file has one destination (may be given several times)
    #[arg(long = "http", value_name = "[CLUSTER=]HOST:PORT")]
    pub listeners: Vec<Asked>,

    /// Users and their hashed passwords, as `kmirror user` and `htpasswd -B` write them; needed beyond loopback
    #[arg(long = "http-users", value_name = "FILE")]
    users: Option<PathBuf>,

    /// Certificate of the server, PEM, with what stands between it and an authority; needed beyond loopback
    #[arg(long = "http-certificate", value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,

    /// Key of the certificate, PEM, unencrypted
    #[arg(long = "http-key", value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,

    /// Name that a proxy in front of the server is reached by (may be given several times)
    #[arg(long = "http-host", value_name = "NAME")]
    hosts: Vec<String>,

    /// Let passwords cross the network UNENCRYPTED: listen beyond loopback without a certificate
    #[arg(long = "http-allow-plaintext")]
    allow_plaintext: bool,
}

impl Args {
    /// Takes the addresses that were asked for.
    ///
    /// # Errors
    /// A cluster that is not in the file, and what the server says.
    pub async fn prepare(&self, topology: &Topology) -> Result<Prepared, CliError> {
        let listeners = self.listeners.iter();
        let listeners = listeners.map(|asked| listener(asked, topology));
        let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
        let access = Access {
            users: self.users.clone(),
            tls: self.certificate.clone().zip(self.key.clone()),
            plaintext: self.allow_plaintext,
            hosts: self.hosts.clone(),
        };
        Ok(crate::server::prepare(listeners, &access).await?)
    }

    /// What is to be known before anybody connects.
    pub fn warn(&self, ui: &Ui) {
        if self.allow_plaintext && self.certificate.is_none() {
            ui.warn("--http-allow-plaintext: passwords and what is read with them cross the network UNENCRYPTED");
        }
        if self.users.is_none() {
            ui.say("Nobody is asked for a password: every user of this machine may change the cluster (--http-users asks for one).");
        }
    }
}

/// Tells where clusters are served.
pub fn tell(server: &Server, ui: &Ui) {
    for served in server.served() {
        ui.say(&format!(
            "serving cluster {} at {}/kafka/v3",
            served.cluster, served.url
        ));
    }
}

fn listener(asked: &Asked, topology: &Topology) -> Result<Listener, CliError> {
    let cluster = match &asked.cluster {
        Some(name) if topology.clusters.contains_key(name) => name.clone(),
        Some(name) => return Err(unknown(name, topology)),
        None => only_destination(asked, topology)?,
    };
    Ok(Listener {
        cluster,
        address: asked.address.clone(),
    })
}

fn unknown(name: &str, topology: &Topology) -> CliError {
    let known: Vec<&str> = topology.clusters.keys().map(String::as_str).collect();
    let hint = match nearest(name, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("its clusters are {}", known.join(", ")),
    };
    let message = format!("--http: the file names no cluster `{}`", clean(name));
    CliError::new(ErrorKind::Usage, message).with_hint(hint)
}

/// What is meant where no cluster is named: the destination of all links, or the only cluster of a file without links.
fn only_destination(asked: &Asked, topology: &Topology) -> Result<String, CliError> {
    let mut names: Vec<&String> = match topology.links.is_empty() {
        true => topology.clusters.keys().collect(),
        false => topology
            .links
            .values()
            .map(|link| &link.destination)
            .collect(),
    };
    names.sort();
    names.dedup();
    if let [name] = names[..] {
        return Ok(name.clone());
    }
    let address = &asked.address;
    let message = format!("--http {address} does not say which cluster is served there");
    let first = topology.clusters.keys().next();
    Err(CliError::new(ErrorKind::Usage, message).with_hint(format!(
        "name one: --http {}={address}",
        first.map_or("CLUSTER", String::as_str)
    )))
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        let message = error.to_string();
        match error {
            StartError::Exposed {
                has_users: false, ..
            } => Self::new(ErrorKind::Usage, message).with_hint(
                "give it users and a certificate (--http-users, --http-certificate, --http-key), or listen on 127.0.0.1; `kmirror user` makes a file of users",
            ),
            StartError::Exposed { .. } => Self::new(ErrorKind::Usage, message).with_hint(
                "give it a certificate (--http-certificate, --http-key), or listen on 127.0.0.1 behind a proxy that has one; --http-allow-plaintext does without",
            ),
            StartError::Twice { .. } => Self::new(ErrorKind::Usage, message)
                .with_hint("give each cluster its own port"),
            StartError::Unresolved { .. } => Self::new(ErrorKind::Usage, message),
            StartError::Listen { address, cause, .. } => {
                let error = Self::new(ErrorKind::Io, message);
                match cause.kind() {
                    std::io::ErrorKind::AddrInUse => error.with_hint(format!(
                        "something listens on {address} already; `ss -ltnp` shows what, or take another port"
                    )),
                    std::io::ErrorKind::PermissionDenied => error.with_hint(
                        "ports below 1024 are for root; take a higher one",
                    ),
                    std::io::ErrorKind::AddrNotAvailable => error.with_hint(
                        "this machine has no such address; `ip address` shows those it has",
                    ),
                    _ => error,
                }
            }
            StartError::Users(UsersError::Unreadable { cause, .. })
                if cause.kind() == std::io::ErrorKind::NotFound =>
            {
                Self::new(ErrorKind::Io, message).with_hint("make one: kmirror user FILE NAME")
            }
            StartError::Users(_) | StartError::Certificate(_) => {
                Self::new(ErrorKind::Io, message)
            }
        }
    }
}
