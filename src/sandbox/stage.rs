//! Sandboxes for a topology file: one cluster per cluster of the file, on the file's own addresses, for clients that come as
//! the file says.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::access::Access;
use super::authority::{Authority, AuthorityError};
use super::{Listen, Sandbox, SandboxConfig, StartError};
use crate::client::settings::{Credentials, Keyed, Pem, SaslSettings, Trust, Verify};
use crate::client::{Place, Secret, Text};
use crate::kafka::security::sasl::server::{Accounts, Mechanism, NoRandom};
use crate::topology::model::{Cluster, Topology};

/// Why a file's clusters cannot be had on this machine.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("cluster {cluster}: {address} is not an address of the form host:port")]
    Malformed { cluster: String, address: String },
    #[error("cluster {cluster}: {address} is not a loopback address")]
    NotLoopback { cluster: String, address: String },
    #[error("cluster {cluster}: {address} cannot be resolved: {cause}")]
    Unresolved {
        cluster: String,
        address: String,
        cause: std::io::Error,
    },
    #[error("clusters {first} and {second} both have the address {address}")]
    Shared {
        first: String,
        second: String,
        address: String,
    },
    /// A way to come in that only real brokers have.
    #[error("cluster {cluster}: the sandbox has no {what}; look at {place}")]
    Unsupported {
        cluster: String,
        what: &'static str,
        place: Place,
    },
    /// What the file's clients trust is not what the sandbox can show.
    #[error(
        "cluster {cluster}: its clients would not trust the sandbox's certificate; look at {place}"
    )]
    Distrusted { cluster: String, place: Place },
    #[error("cluster {cluster}: {place} cannot be read: {cause}")]
    Secret {
        cluster: String,
        place: Place,
        cause: std::io::Error,
    },
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Who signs the brokers' certificates.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    pub authority: &'a Authority,
    /// The file that its own certificate was written to, if it was.
    pub file: Option<&'a Path>,
}

/// What each cluster of the file would be, in the file's order. Opens nothing.
pub fn configs(topology: &Topology, signer: Signer<'_>) -> Result<Vec<SandboxConfig>, StageError> {
    let mut taken: IndexMap<SocketAddr, &str> = IndexMap::new();
    let mut configs = Vec::new();
    for cluster in topology.clusters.values() {
        let mut brokers = Vec::new();
        for address in &cluster.bootstrap_servers {
            let listen = listen(cluster, address)?;
            for socket in &listen.addresses {
                if let Some(first) = taken.insert(*socket, &cluster.name) {
                    return Err(StageError::Shared {
                        first: first.to_owned(),
                        second: cluster.name.clone(),
                        address: address.clone(),
                    });
                }
            }
            brokers.push(listen);
        }
        configs.push(SandboxConfig {
            cluster_id: cluster.cluster_id.as_ref().map(|id| id.value.clone()),
            access: access(cluster, &brokers, signer)?,
            brokers,
            ..SandboxConfig::new(&cluster.name, 0)
        });
    }
    Ok(configs)
}

fn listen(cluster: &Cluster, address: &str) -> Result<Listen, StageError> {
    let malformed = || StageError::Malformed {
        cluster: cluster.name.clone(),
        address: address.to_owned(),
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let port: u16 = port.parse().map_err(|_| malformed())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|cause| StageError::Unresolved {
            cluster: cluster.name.clone(),
            address: address.to_owned(),
            cause,
        })?
        .collect();
    if addresses.is_empty() || !addresses.iter().all(|address| address.ip().is_loopback()) {
        return Err(StageError::NotLoopback {
            cluster: cluster.name.clone(),
            address: address.to_owned(),
        });
    }
    Ok(Listen {
        host: host.to_owned(),
        addresses,
    })
}

/// What the brokers ask of clients: just what those of the file have to show.
fn access(cluster: &Cluster, brokers: &[Listen], signer: Signer<'_>) -> Result<Access, StageError> {
    let settings = &cluster.client;
    let mut access = Access::default();
    if let Some(sasl) = &settings.sasl {
        access.accounts = Some(Arc::new(accounts(cluster, sasl)?));
    }
    if settings.protocol.value.has_tls() {
        check_trust(cluster, signer.file)?;
        let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
        hosts.extend(brokers.iter().map(|broker| broker.host.clone()));
        access.tls = Some(signer.authority.server(&hosts)?);
    }
    Ok(access)
}

/// The one user that the file has there, by the mechanism that the file has.
fn accounts(cluster: &Cluster, sasl: &Keyed<SaslSettings>) -> Result<Accounts, StageError> {
    let unsupported = |what| StageError::Unsupported {
        cluster: cluster.name.clone(),
        what,
        place: sasl.place.clone(),
    };
    let (mechanism, Credentials { username, password }) = match &sasl.value {
        SaslSettings::Plain(credentials) => (Mechanism::Plain, credentials),
        SaslSettings::Scram {
            token_auth: true, ..
        } => return Err(unsupported("delegation tokens")),
        SaslSettings::Scram {
            hash, credentials, ..
        } => (Mechanism::Scram(*hash), credentials),
        SaslSettings::OAuthBearer(_) => return Err(unsupported("OAUTHBEARER")),
    };
    let read = |text: &Keyed<Text>| -> Result<Secret, StageError> {
        text.value.current().map_err(|cause| StageError::Secret {
            cluster: cluster.name.clone(),
            place: text.place.clone(),
            cause,
        })
    };
    let (username, password) = (read(username)?, read(password)?);
    let users = [(username.expose(), &password)];
    Ok(Accounts::new(&[mechanism], users)?)
}

/// Whether the file's clients will accept a certificate of the sandbox.
fn check_trust(cluster: &Cluster, written: Option<&Path>) -> Result<(), StageError> {
    let tls = &cluster.client.tls;
    let (place, is_ours) = match &tls.trust {
        Some(Keyed {
            value: Trust::Pem(Pem::File(path)),
            place,
        }) => (
            place.clone(),
            written.is_some_and(|written| is_same(path, written)),
        ),
        Some(other) => (other.place.clone(), false),
        None => (cluster.client.protocol.place.clone(), false),
    };
    if is_ours || tls.verify.value == Verify::Nothing {
        return Ok(());
    }
    Err(StageError::Distrusted {
        cluster: cluster.name.clone(),
        place,
    })
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Starts them in order; when one cannot start, those before it are stopped again.
pub async fn start(configs: Vec<SandboxConfig>) -> Result<Vec<Sandbox>, StageError> {
    let mut running = Vec::new();
    for config in configs {
        match Sandbox::start(config).await {
            Ok(sandbox) => running.push(sandbox),
            Err(error) => {
                while let Some(sandbox) = running.pop() {
                    sandbox.shutdown().await;
                }
                return Err(error.into());
            }
        }
    }
    Ok(running)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::SecurityProtocol;
    use crate::topology;

    fn of(text: &str) -> Result<Vec<SandboxConfig>, StageError> {
        let loaded = topology::parse("t.toml".as_ref(), text).expect("a valid file");
        let authority = Authority::new().expect("can be made");
        let signer = Signer {
            authority: &authority,
            file: None,
        };
        configs(&loaded.topology, signer)
    }

    #[test]
    fn every_bootstrap_server_is_a_broker() {
        let configs = of(
            "kmirror = 1\n[clusters.a]\nbootstrap_servers = [\"127.0.0.1:19082\", \"127.0.0.1:19083\"]\ncluster_id = \"MkU3OEVBNTcwNTJENDM2Qg\"\n[clusters.b]\nbootstrap_servers = \"localhost:19092\"\n",
        )
        .expect("loopback");
        assert_eq!(configs.len(), 2);
        assert_eq!(configs[0].brokers.len(), 2);
        assert_eq!(
            configs[0].cluster_id.as_deref(),
            Some("MkU3OEVBNTcwNTJENDM2Qg")
        );
        assert_eq!(configs[1].brokers[0].host, "localhost");
    }

    #[test]
    fn addresses_elsewhere_are_refused() {
        let error = of("kmirror = 1\n[clusters.a]\nbootstrap_servers = \"192.0.2.1:9092\"\n")
            .expect_err("not here");
        assert_eq!(
            error.to_string(),
            "cluster a: 192.0.2.1:9092 is not a loopback address"
        );
    }

    #[test]
    fn two_clusters_cannot_share_an_address() {
        let result = of(
            "kmirror = 1\n[clusters.a]\nbootstrap_servers = \"127.0.0.1:19092\"\n[clusters.b]\nbootstrap_servers = \"127.0.0.1:19092\"\n",
        );
        assert!(
            matches!(result, Err(StageError::Shared { .. })),
            "{result:?}"
        );
    }

    fn secured(client: &str) -> Result<SecurityProtocol, String> {
        let text = format!(
            "kmirror = 1\n[clusters.a]\nbootstrap_servers = \"127.0.0.1:19082\"\n[clusters.a.client]\n{client}"
        );
        let configs = of(&text).map_err(|error| error.to_string())?;
        Ok(configs[0].access.protocol())
    }

    const USER: &str = "sasl.username = \"ada\"\nsasl.password = \"s3cret\"\n";

    #[test]
    fn clients_come_as_the_file_says() {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let client = format!(
                "security.protocol = \"SASL_PLAINTEXT\"\nsasl.mechanism = \"{mechanism}\"\n{USER}"
            );
            assert_eq!(secured(&client), Ok(SecurityProtocol::SaslPlaintext));
        }
        let unverified =
            "security.protocol = \"SSL\"\nenable.ssl.certificate.verification = false\n";
        assert_eq!(secured(unverified), Ok(SecurityProtocol::Ssl));
        assert_eq!(secured(""), Ok(SecurityProtocol::Plaintext));
    }

    #[test]
    fn what_the_sandbox_cannot_be_is_refused_by_name() {
        let token = "security.protocol = \"SASL_PLAINTEXT\"\nsasl.mechanism = \"OAUTHBEARER\"\nsasl.oauthbearer.method = \"oidc\"\nsasl.oauthbearer.token.endpoint.url = \"https://127.0.0.1:1/t\"\nsasl.oauthbearer.client.id = \"c\"\nsasl.oauthbearer.client.secret = \"s3cret\"\n";
        let refused = secured(token).expect_err("has no tokens");
        assert!(
            refused.starts_with("cluster a: the sandbox has no OAUTHBEARER; look at `sasl."),
            "{refused}"
        );
        let refused = secured("security.protocol = \"SSL\"\n").expect_err("nobody trusts it");
        assert_eq!(
            refused,
            "cluster a: its clients would not trust the sandbox's certificate; look at `security.protocol` (t.toml:5)"
        );
    }
}
