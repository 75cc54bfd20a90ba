//! Where a cluster is served, and whether it may be served there.
//!
//! Who can reach a listener can change the cluster with the rights that the topology file gives kmirror. So beyond loopback there are
//! users with passwords, and TLS, which keeps those passwords and what is read with them from the network.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use tokio::net::TcpListener;

use super::Access;
use super::users::UsersError;
use crate::kafka::security::problem::MaterialProblem;

/// A listener as it was asked for: `west=127.0.0.1:8090`, or without the name where only one cluster can be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The cluster's name in the topology file.
    pub cluster: Option<String>,
    /// `host:port`
    pub address: String,
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (cluster, address) = match text.split_once('=') {
            Some((name, address)) => (Some(name.trim().to_owned()), address.trim()),
            None => (None, text.trim()),
        };
        if cluster.as_deref() == Some("") {
            return Err("no cluster is named before the `=`".to_owned());
        }
        let (host, port) = address
            .rsplit_once(':')
            .ok_or("no port; write an address like 127.0.0.1:8090")?;
        if port.parse::<u16>().is_err() {
            return Err(format!(
                "`{port}` is no port; write an address like 127.0.0.1:8090"
            ));
        }
        let is_v6 = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || (host.contains(':') && !is_v6) {
            return Err(format!(
                "`{host}` is no host; write an address like 127.0.0.1:8090, [::1]:8090 or 0.0.0.0:8090"
            ));
        }
        Ok(Self {
            cluster,
            address: address.to_owned(),
        })
    }
}

/// A listener whose cluster is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The cluster's name in the topology file.
    pub cluster: String,
    /// `host:port`; port 0 takes a free one.
    pub address: String,
}

/// One whose address was looked up.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    listener: Listener,
    addresses: Vec<SocketAddr>,
}

/// One that holds its address.
#[derive(Debug)]
pub(super) struct Bound {
    pub cluster: String,
    pub address: SocketAddr,
    pub loopback: bool,
    pub sockets: Vec<TcpListener>,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the address {address} cannot be looked up: {cause}")]
    Unresolved { address: String, cause: io::Error },
    /// Two listeners on one address.
    #[error("{address} is given to two listeners")]
    Twice { address: SocketAddr },
    /// Without users, or without TLS, beyond loopback.
    #[error("{address} can be reached from other machines, and {lacks}")]
    Exposed {
        address: String,
        lacks: &'static str,
        /// Whether passwords are asked for, and only TLS is missing.
        has_users: bool,
    },
    #[error("cannot listen on {address} for cluster {cluster}: {cause}")]
    Listen {
        cluster: String,
        address: SocketAddr,
        cause: io::Error,
    },
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error("the server's certificate cannot be used: {0}")]
    Certificate(#[from] MaterialProblem),
}

/// Looks up all addresses.
pub(super) async fn resolve(listeners: Vec<Listener>) -> Result<Vec<Resolved>, StartError> {
    let mut resolved = Vec::with_capacity(listeners.len());
    let mut seen = HashSet::new();
    for listener in listeners {
        let unresolved = |cause| StartError::Unresolved {
            address: listener.address.clone(),
            cause,
        };
        let found = tokio::net::lookup_host(&listener.address).await;
        let mut addresses: Vec<SocketAddr> = found.map_err(unresolved)?.collect();
        addresses.sort();
        addresses.dedup();
        // A free port is another one for each address.
        if addresses.first().is_some_and(|address| address.port() == 0) {
            addresses.truncate(1);
        }
        if addresses.is_empty() {
            return Err(unresolved(io::Error::other("no address has that name")));
        }
        for address in &addresses {
            if address.port() != 0 && !seen.insert(*address) {
                return Err(StartError::Twice { address: *address });
            }
        }
        resolved.push(Resolved {
            listener,
            addresses,
        });
    }
    Ok(resolved)
}

impl Resolved {
    fn is_loopback(&self) -> bool {
        let mut addresses = self.addresses.iter();
        addresses.all(|address| is_loopback(address.ip()))
    }

    /// Whether a listener may be there, protected as it is.
    pub(super) fn check(&self, access: &Access) -> Result<(), StartError> {
        let lacks = match (access.users.is_some(), access.tls.is_some()) {
            _ if self.is_loopback() => return Ok(()),
            (true, true) => return Ok(()),
            (true, false) if access.plaintext => return Ok(()),
            (true, false) => "passwords would cross the network unencrypted",
            (false, _) => "everybody there could change the cluster without a password",
        };
        Err(StartError::Exposed {
            address: self.listener.address.clone(),
            lacks,
            has_users: access.users.is_some(),
        })
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Takes the addresses.
pub(super) async fn bind(listeners: Vec<Resolved>) -> Result<Vec<Bound>, StartError> {
    let mut bound = Vec::with_capacity(listeners.len());
    for resolved in listeners {
        let loopback = resolved.is_loopback();
        let Resolved {
            listener,
            addresses,
        } = resolved;
        let mut sockets = Vec::with_capacity(addresses.len());
        for address in addresses {
            match TcpListener::bind(address).await {
                Ok(socket) => sockets.push(socket),
                // `localhost` on a machine without IPv6.
                Err(cause)
                    if cause.kind() == io::ErrorKind::AddrNotAvailable && !sockets.is_empty() => {}
                Err(cause) => {
                    return Err(StartError::Listen {
                        cluster: listener.cluster,
                        address,
                        cause,
                    });
                }
            }
        }
        let first = sockets.first().map(TcpListener::local_addr);
        let address = first.transpose().ok().flatten();
        bound.push(Bound {
            cluster: listener.cluster,
            address: address.expect("each listener has an address, and its socket knows it"),
            loopback,
            sockets,
        });
    }
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn listeners_are_read_as_they_are_written() {
        let asked = |text: &str| text.parse::<Asked>();
        let of = |cluster: Option<&str>, address: &str| {
            Ok(Asked {
                cluster: cluster.map(str::to_owned),
                address: address.to_owned(),
            })
        };
        assert_eq!(
            asked("west=127.0.0.1:8090"),
            of(Some("west"), "127.0.0.1:8090")
        );
        assert_eq!(asked("localhost:0"), of(None, "localhost:0"));
        assert_eq!(asked("west=[::1]:8090"), of(Some("west"), "[::1]:8090"));
        for wrong in [
            "west",
            "west=8090",
            "west=:8090",
            "=h:1",
            "h:x",
            "h:65536",
            "::1:80",
        ] {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_an_address_or_a_mistake(text in "\\PC{0,40}") {
            if let Ok(asked) = text.parse::<Asked>() {
                prop_assert!(asked.address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()));
            }
        }
    }

    fn check(address: &str, users: bool, tls: bool, plaintext: bool) -> Result<(), String> {
        let access = Access {
            users: users.then(|| "users".into()),
            tls: tls.then(|| ("cert.pem".into(), "key.pem".into())),
            plaintext,
            hosts: vec![],
        };
        let resolved = Resolved {
            listener: Listener {
                cluster: "west".to_owned(),
                address: address.to_owned(),
            },
            addresses: vec![address.parse().unwrap()],
        };
        resolved.check(&access).map_err(|error| error.to_string())
    }

    #[test]
    fn nobody_beyond_this_machine_is_served_without_a_password_or_tls() {
        for address in ["127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert_eq!(check(address, false, false, false), Ok(()), "{address}");
        }
        for address in ["0.0.0.0:80", "[::]:80", "192.0.2.7:80"] {
            assert_eq!(check(address, true, true, false), Ok(()), "{address}");
            assert_eq!(check(address, true, false, true), Ok(()), "{address}");
            for (users, tls, plaintext) in [
                (false, false, false),
                (false, true, false),
                (false, false, true),
                (false, true, true),
                (true, false, false),
            ] {
                assert!(check(address, users, tls, plaintext).is_err(), "{address}");
            }
        }
        assert_eq!(
            check("0.0.0.0:80", true, false, false).unwrap_err(),
            "0.0.0.0:80 can be reached from other machines, and passwords would cross the network unencrypted"
        );
    }

    #[tokio::test]
    async fn one_address_is_given_to_one_listener() {
        let listener = |cluster: &str| Listener {
            cluster: cluster.to_owned(),
            address: "127.0.0.1:8090".to_owned(),
        };
        let error = resolve(vec![listener("east"), listener("west")]).await;
        assert!(matches!(error, Err(StartError::Twice { .. })));
    }
}
