//! The same settings as Java client properties, for brokers that are to connect to a cluster themselves.
//!
//! A broker cannot read this machine's files: stores and keys become PEM in the properties (KIP-651), users and passwords a login
//! module. What only this program can do is refused: tokens from a file, AWS credentials, brokers that are not verified.

use openssl::error::ErrorStack;

use super::Security;
use super::files::Files;
use super::librdkafka::pem;
use super::pem::openssl_words;
use super::problem::{MaterialProblem, SecurityError};
use super::tls::Tls;
use crate::client::jaas;
use crate::client::secret::Secret;
use crate::client::settings::{Keyed, SaslSettings, TlsVersions, TokenSource, Verify};
use crate::client::{Place, Text};
use crate::kafka::error::Error;

const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";
const BEARER: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule";
const BEARER_LOGIN: &str =
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler";

/// A property and its value.
pub type Property = (&'static str, Secret);

impl Security {
    /// What another program needs to reach the cluster as this one does, besides its addresses. Values that are Kafka's defaults are
    /// left out, but for `security.protocol`.
    ///
    /// # Errors
    /// What cannot be read, and what has no such form.
    pub async fn java_properties(self: &std::sync::Arc<Self>) -> Result<Vec<Property>, Error> {
        let mut properties = vec![("security.protocol", Secret::new(self.protocol().name()))];
        if let Some(tls) = self.tls().await? {
            let made = self.java_tls(&tls, &mut properties);
            made.map_err(|error| {
                self.own(MaterialProblem::Settings(openssl_words(&error)), vec![])
            })?;
            if self.settings.tls.verify.value == Verify::Nothing {
                let place = &self.settings.tls.verify.place;
                return Err(self
                    .only_here("connections to brokers that are not verified", place)
                    .into());
            }
        }
        self.java_sasl(&mut properties)?;
        Ok(properties)
    }

    fn java_tls(&self, tls: &Tls, properties: &mut Vec<Property>) -> Result<(), ErrorStack> {
        let settings = &self.settings.tls;
        if settings.trust.is_some() {
            properties.push(("ssl.truststore.type", Secret::new("PEM")));
            properties.push((
                "ssl.truststore.certificates",
                Secret::new(pem(&tls.trusted)?),
            ));
        }
        if let Some(identity) = &tls.identity {
            let key = identity.key.private_key_to_pem_pkcs8()?;
            let key = String::from_utf8_lossy(&key).into_owned();
            properties.push(("ssl.keystore.type", Secret::new("PEM")));
            properties.push((
                "ssl.keystore.certificate.chain",
                Secret::new(pem(&identity.chain)?),
            ));
            properties.push(("ssl.keystore.key", Secret::new(key)));
        }
        if settings.verify.value == Verify::ChainOnly {
            properties.push(("ssl.endpoint.identification.algorithm", Secret::new("")));
        }
        let only = match settings.versions {
            TlsVersions {
                tls12: true,
                tls13: false,
            } => Some("TLSv1.2"),
            TlsVersions {
                tls12: false,
                tls13: true,
            } => Some("TLSv1.3"),
            _ => None,
        };
        properties.extend(only.map(|version| ("ssl.enabled.protocols", Secret::new(version))));
        Ok(())
    }

    fn java_sasl(&self, properties: &mut Vec<Property>) -> Result<(), Box<SecurityError>> {
        let Some(sasl) = &self.settings.sasl else {
            return Ok(());
        };
        let mut files = Files::default();
        let mut read = |text: &Keyed<Text>| {
            files
                .secret(&text.value)
                .map_err(|problem| self.own(problem, vec![text.place.clone()]))
        };
        let module = match &sasl.value {
            SaslSettings::Plain(credentials) => {
                let (user, password) = (read(&credentials.username)?, read(&credentials.password)?);
                let options = [("username", user.expose()), ("password", password.expose())];
                jaas::written(PLAIN, &options)
            }
            SaslSettings::Scram {
                credentials,
                token_auth,
                ..
            } => {
                let (user, password) = (read(&credentials.username)?, read(&credentials.password)?);
                let mut options =
                    vec![("username", user.expose()), ("password", password.expose())];
                if *token_auth {
                    options.push(("tokenauth", "true"));
                }
                jaas::written(SCRAM, &options)
            }
            SaslSettings::OAuthBearer(TokenSource::ClientCredentials {
                endpoint,
                client_id,
                client_secret,
                scope,
                extensions,
                trust,
            }) => {
                if let Some(trust) = trust {
                    return Err(
                        self.only_here("trust in a token endpoint of its own", &trust.place)
                    );
                }
                let (id, secret) = (read(client_id)?, read(client_secret)?);
                let mut options =
                    vec![("clientId", id.expose()), ("clientSecret", secret.expose())];
                options.extend(scope.as_deref().map(|scope| ("scope", scope)));
                let named: Vec<(String, &str)> = extensions
                    .iter()
                    .map(|(name, value)| (format!("extension_{name}"), value.as_str()))
                    .collect();
                options.extend(named.iter().map(|(name, value)| (name.as_str(), *value)));
                let endpoint = Secret::new(endpoint.value.as_str());
                properties.push(("sasl.oauthbearer.token.endpoint.url", endpoint));
                let handler = Secret::new(BEARER_LOGIN);
                properties.push(("sasl.login.callback.handler.class", handler));
                jaas::written(BEARER, &options)
            }
            SaslSettings::OAuthBearer(TokenSource::Static { token, .. }) => {
                return Err(self.only_here("a bearer token that others renew", &token.place));
            }
            SaslSettings::OAuthBearer(TokenSource::MskIam { .. }) => {
                return Err(self.only_here("AWS credentials of this machine", &sasl.place));
            }
        };
        properties.push(("sasl.mechanism", Secret::new(sasl.value.mechanism())));
        properties.push(("sasl.jaas.config", Secret::new(module)));
        Ok(())
    }

    fn only_here(&self, what: &'static str, place: &Place) -> Box<SecurityError> {
        self.own(MaterialProblem::OnlyHere(what), vec![place.clone()])
    }
}
