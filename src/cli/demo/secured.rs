//! Clusters of the demonstration that are reached by SASL_SSL: authority, users, and the files that clients come in with.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::super::{CliError, ErrorKind};
use crate::client::settings::ScramHash;
use crate::client::{Secret, SecurityProtocol};
use crate::kafka::security::sasl::server::{Accounts, Mechanism};
use crate::sandbox::SandboxConfig;
use crate::sandbox::access::{Access, Guest};
use crate::sandbox::authority::Authority;
use crate::sandbox::stage::StageError;

pub(super) const SOURCE: &str = "source";
pub(super) const DESTINATION: &str = "destination";
const USER: &str = "demo";
const MECHANISM: Mechanism = Mechanism::Scram(ScramHash::Sha512);

/// A cluster as its clients see it.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub name: &'static str,
    pub servers: String,
    pub guest: Guest,
}

/// Two clusters, and a folder that only this user can read, which goes with them.
#[derive(Debug)]
pub(super) struct Secured {
    authority: Authority,
    pub source: End,
    pub destination: End,
    folder: tempfile::TempDir,
}

impl Secured {
    /// Makes authority, users and folder.
    pub fn new() -> Result<Self, CliError> {
        let authority = Authority::new().map_err(StageError::from)?;
        let pem = authority.pem().map_err(StageError::from)?;
        let end = |name| End {
            name,
            servers: String::new(),
            guest: Guest {
                protocol: SecurityProtocol::SaslSsl,
                mechanism: MECHANISM,
                username: USER.to_owned(),
                password: Secret::new(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 18]>())),
                authority: pem.clone(),
            },
        };
        let folder = tempfile::Builder::new().prefix("kmirror-demo-").tempdir();
        let folder = folder.map_err(|error| {
            CliError::new(ErrorKind::Io, format!("no folder for files: {error}"))
        })?;
        Ok(Self {
            source: end(SOURCE),
            destination: end(DESTINATION),
            authority,
            folder,
        })
    }

    /// What the clusters are, before they listen.
    pub fn configs(&self) -> Result<Vec<SandboxConfig>, CliError> {
        let ends = [&self.source, &self.destination];
        ends.map(|end| self.config(end)).into_iter().collect()
    }

    fn config(&self, end: &End) -> Result<SandboxConfig, CliError> {
        let users = [(end.guest.username.as_str(), &end.guest.password)];
        let accounts = Accounts::new(&[MECHANISM], users).map_err(StageError::from)?;
        let hosts = ["127.0.0.1", "localhost"].map(str::to_owned);
        let access = Access::sasl_ssl(&self.authority, &hosts, accounts);
        Ok(SandboxConfig {
            access: access.map_err(StageError::from)?,
            ..SandboxConfig::new(end.name, 1)
        })
    }

    /// Learns where a cluster listens.
    pub fn is_at(&mut self, name: &str, servers: String) {
        for end in [&mut self.source, &mut self.destination] {
            if end.name == name {
                end.servers.clone_from(&servers);
            }
        }
    }

    /// Writes the topology file, beside it the property files that it names, and the authority that those trust; gives the
    /// path of the first.
    pub fn write(&self, topology: &str) -> Result<PathBuf, CliError> {
        let ca = self.file("ca.pem", &self.source.guest.authority)?;
        for end in [&self.source, &self.destination] {
            let mut text = String::new();
            for (key, value) in end.guest.properties(Some(&ca)) {
                text.push_str(&format!("{key}={}\n", value.expose()));
            }
            self.file(&format!("{}.properties", end.name), &text)?;
        }
        self.file("demo.toml", topology)
    }

    /// Writes what somebody goes on with by hand: the body that makes the link, and what kcat comes in with.
    pub fn write_commands(&self, link: &Value) -> Result<&Path, CliError> {
        self.file("link.json", &link.to_string())?;
        let ca = self.folder.path().join("ca.pem");
        for end in [&self.source, &self.destination] {
            let lines = [
                ("bootstrap.servers", end.servers.as_str()),
                ("security.protocol", "sasl_ssl"),
                ("sasl.mechanism", MECHANISM.name()),
                ("sasl.username", &end.guest.username),
                ("sasl.password", end.guest.password.expose()),
                ("ssl.ca.location", &ca.display().to_string()),
            ];
            let lines = lines.map(|(key, value)| format!("{key}={value}\n"));
            self.file(&format!("{}.kcat", end.name), &lines.concat())?;
        }
        Ok(self.folder.path())
    }

    /// A file that nobody else can read.
    fn file(&self, name: &str, text: &str) -> Result<PathBuf, CliError> {
        let path = self.folder.path().join(name);
        let mut options = OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o600);
        let written = opened
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| {
            CliError::new(ErrorKind::Io, format!("{}: {error}", path.display()))
        })?;
        Ok(path)
    }

    /// Removes the folder; gives what is to be said about it.
    pub fn remove(self) -> String {
        let path = self.folder.path().display().to_string();
        match self.folder.close() {
            Ok(()) => format!("removed {path}"),
            Err(error) => format!("{path} is left: {error}"),
        }
    }
}
