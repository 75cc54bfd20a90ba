//! How clients come in: with TLS, with SASL, with both or with neither.
//!
//! [`Access`] is the brokers' side. [`Guest`] is a client's: the same thing as settings of our own clients, of
//! librdkafka's, and as the properties that Kafka's Java clients read.

use std::path::Path;
use std::sync::Arc;

use super::authority::{Authority, AuthorityError};
use crate::client::jaas;
use crate::client::settings::{Credentials, Keyed, Pem, SaslSettings, TlsSettings, Trust};
use crate::client::{ClientSettings, Place, Secret, SecurityProtocol, Text};
use crate::kafka::security::acceptor::InMemory;
use crate::kafka::security::sasl::server::{Accounts, Mechanism};

/// What brokers ask of clients. The default is nothing: PLAINTEXT.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// With TLS, and this certificate.
    pub tls: Option<InMemory>,
    /// With SASL, for these users.
    pub accounts: Option<Arc<Accounts>>,
}

impl Access {
    /// TLS with a certificate of `authority` for brokers on these hosts, and SASL for these users.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn sasl_ssl(
        authority: &Authority,
        hosts: &[String],
        accounts: Accounts,
    ) -> Result<Self, AuthorityError> {
        Ok(Self {
            tls: Some(authority.server(hosts)?),
            accounts: Some(Arc::new(accounts)),
        })
    }

    /// As brokers call it.
    #[must_use]
    pub fn protocol(&self) -> SecurityProtocol {
        match (&self.tls, &self.accounts) {
            (None, None) => SecurityProtocol::Plaintext,
            (Some(_), None) => SecurityProtocol::Ssl,
            (None, Some(_)) => SecurityProtocol::SaslPlaintext,
            (Some(_), Some(_)) => SecurityProtocol::SaslSsl,
        }
    }
}

/// How one client comes in.
#[derive(Clone, Debug)]
pub struct Guest {
    pub protocol: SecurityProtocol,
    pub mechanism: Mechanism,
    pub username: String,
    pub password: Secret,
    /// What to trust, as PEM text.
    pub authority: String,
}

impl Guest {
    /// For kmirror's own clients, and through them for librdkafka.
    #[must_use]
    pub fn settings(&self) -> ClientSettings {
        let credentials = Credentials {
            username: keyed("sasl.username", Text::inline(self.username.clone())),
            password: keyed("sasl.password", Text::inline(self.password.expose())),
        };
        let sasl = match self.mechanism {
            Mechanism::Plain => SaslSettings::Plain(credentials),
            Mechanism::Scram(hash) => SaslSettings::Scram {
                hash,
                credentials,
                token_auth: false,
            },
        };
        let trust = Trust::Pem(Pem::Text(Text::inline(self.authority.clone())));
        ClientSettings {
            protocol: keyed("security.protocol", self.protocol),
            tls: TlsSettings {
                trust: Some(keyed("ssl.truststore.certificates", trust)),
                ..TlsSettings::default()
            },
            sasl: self
                .protocol
                .has_sasl()
                .then(|| keyed("sasl.mechanism", sasl)),
            ..ClientSettings::default()
        }
    }

    /// For Kafka's Java clients and brokers; the login is a secret. `authority` is a file with what to trust, for
    /// clients that can read it; without one the text itself is given.
    #[must_use]
    pub fn properties(&self, authority: Option<&Path>) -> Vec<(&'static str, Secret)> {
        let mut properties = vec![("security.protocol", Secret::new(self.protocol.name()))];
        if self.protocol.has_sasl() {
            let module = match self.mechanism {
                Mechanism::Plain => "org.apache.kafka.common.security.plain.PlainLoginModule",
                Mechanism::Scram(_) => "org.apache.kafka.common.security.scram.ScramLoginModule",
            };
            let login = [
                ("username", self.username.as_str()),
                ("password", self.password.expose()),
            ];
            properties.extend([
                ("sasl.mechanism", Secret::new(self.mechanism.name())),
                (
                    "sasl.jaas.config",
                    Secret::new(jaas::written(module, &login)),
                ),
            ]);
        }
        if self.protocol.has_tls() {
            properties.push(("ssl.truststore.type", Secret::new("PEM")));
            properties.push(match authority {
                Some(path) => {
                    let path = path.display().to_string();
                    ("ssl.truststore.location", Secret::new(path))
                }
                None => {
                    let text = self.authority.clone();
                    ("ssl.truststore.certificates", Secret::new(text))
                }
            });
        }
        properties
    }
}

fn keyed<T>(key: &str, value: T) -> Keyed<T> {
    Keyed {
        value,
        place: Place {
            key: key.to_owned(),
            at: String::new(),
        },
    }
}
