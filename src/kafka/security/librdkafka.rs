//! The same settings for librdkafka, which gives workers their group membership.
//!
//! Stores and keys become PEM in memory, bearer tokens come from the cluster's own source, and errors become the words that the
//! wire client has for them. Three things librdkafka, or its binding, cannot do: delegation tokens (refused here), SASL
//! extensions (left out, with a warning), and trust in a certificate that is no self-signed root (named when it fails).

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, SystemTime};

use openssl::error::ErrorStack;
use openssl::x509::{X509, X509VerifyResult};
use rdkafka::ClientConfig;
use rdkafka::client::OAuthToken;
use rdkafka::error::RDKafkaErrorCode;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::files::Files;
use super::problem::{MaterialProblem, Problem, SecurityError};
use super::sasl::oauth;
use super::tls::Tls;
use super::{Security, named};
use crate::client::settings::{Keyed, SaslSettings, ScramHash, TokenSource, Verify};
use crate::client::{SecurityProtocol, Text};
use crate::kafka::error::Error;

/// How long librdkafka's thread, which also keeps the membership alive, waits for a token.
const TOKEN_PATIENCE: Duration = Duration::from_secs(2);
/// What librdkafka is told of a token that does not say when it ends.
const ASSUMED_LIFE: Duration = Duration::from_secs(300);

/// Less would only keep it busy.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
/// How librdkafka repeats what [`Librdkafka::token`] said.
const NO_TOKEN: &str = "Failed to acquire SASL OAUTHBEARER token: ";

/// What one client of librdkafka is made with.
#[derive(Debug)]
pub struct Librdkafka {
    security: Arc<Security>,
    tls: Option<Arc<Tls>>,
    properties: Properties,
    files: Files,
    runtime: Handle,
    /// A broker, for tokens that depend on whom they are for.
    address: String,
}

/// Key and value; the values may be secrets.
struct Properties(Vec<(&'static str, Zeroizing<String>)>);

impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = self.0.iter().map(|(key, _)| key);
        f.debug_list().entries(keys).finish()
    }
}

impl Properties {
    fn set(&mut self, key: &'static str, value: impl Into<String>) {
        self.0.push((key, Zeroizing::new(value.into())));
    }
}

impl Security {
    /// The settings as librdkafka takes them, with files as they are now.
    ///
    /// # Errors
    /// What cannot be read, and what librdkafka cannot do.
    pub async fn librdkafka(self: &Arc<Self>, address: &str) -> Result<Librdkafka, Error> {
        let mut files = Files::default();
        // Of tokens it always gets the one of the moment.
        let of_tokens: Vec<&Path> = match &self.tokens {
            Some(_) => self
                .secrets()
                .into_iter()
                .filter_map(|secret| super::text_file(&secret.value))
                .collect(),
            None => vec![],
        };
        for path in self.files() {
            if !of_tokens.contains(&path) {
                files.note(path);
            }
        }
        let mut properties = Properties(vec![]);
        properties.set(
            "security.protocol",
            match self.protocol() {
                SecurityProtocol::Plaintext => "plaintext",
                SecurityProtocol::Ssl => "ssl",
                SecurityProtocol::SaslPlaintext => "sasl_plaintext",
                SecurityProtocol::SaslSsl => "sasl_ssl",
            },
        );
        let tls = self.tls().await?;
        if let Some(tls) = &tls {
            self.tls_properties(tls, &mut properties).map_err(|error| {
                let cause = super::pem::openssl_words(&error);
                self.own(MaterialProblem::Settings(cause), vec![])
            })?;
        }
        self.sasl_properties(&mut properties)?;
        if self.tokens.is_some() {
            // So that it is at hand when librdkafka asks for it.
            self.token(address).await?;
        }
        Ok(Librdkafka {
            security: Arc::clone(self),
            tls,
            properties,
            files,
            runtime: Handle::current(),
            address: address.to_owned(),
        })
    }

    fn tls_properties(&self, tls: &Tls, properties: &mut Properties) -> Result<(), ErrorStack> {
        properties.set("ssl.ca.pem", pem(&tls.trusted)?);
        let host_names = match self.settings.tls.verify.value {
            Verify::Full => "https",
            Verify::ChainOnly | Verify::Nothing => "none",
        };
        properties.set("ssl.endpoint.identification.algorithm", host_names);
        if self.settings.tls.verify.value == Verify::Nothing {
            properties.set("enable.ssl.certificate.verification", "false");
        }
        if let Some(identity) = &tls.identity {
            properties.set("ssl.certificate.pem", pem(&identity.chain)?);
            let key = identity.key.private_key_to_pem_pkcs8()?;
            properties.set("ssl.key.pem", String::from_utf8_lossy(&key));
        }
        Ok(())
    }

    fn sasl_properties(&self, properties: &mut Properties) -> Result<(), Box<SecurityError>> {
        let Some(sasl) = &self.settings.sasl else {
            return Ok(());
        };
        properties.set("sasl.mechanism", sasl.value.mechanism());
        let mut files = Files::default();
        let mut read = |text: &Keyed<Text>| {
            files
                .secret(&text.value)
                .map_err(|problem| self.own(problem, vec![text.place.clone()]))
        };
        match &sasl.value {
            SaslSettings::Scram {
                hash: ScramHash::Sha256 | ScramHash::Sha512,
                token_auth: true,
                ..
            } => {
                let mechanism = sasl.value.mechanism();
                let cause = "the worker group is joined by librdkafka, which does not know delegation tokens \
                             (`tokenauth`); give a user and a password"
                    .to_owned();
                return Err(self.of_cluster(Problem::Exchange { mechanism, cause }));
            }
            SaslSettings::Plain(credentials) | SaslSettings::Scram { credentials, .. } => {
                properties.set("sasl.username", read(&credentials.username)?.expose());
                properties.set("sasl.password", read(&credentials.password)?.expose());
            }
            SaslSettings::OAuthBearer(
                TokenSource::Static { extensions, .. }
                | TokenSource::ClientCredentials { extensions, .. },
            ) if !extensions.is_empty() => self.gates.tell(&format!(
                "cluster {}: the worker group is joined without the SASL extensions ({}): librdkafka's binding does not \
                 carry them",
                self.cluster, sasl.place
            )),
            SaslSettings::OAuthBearer(_) => {}
        }
        Ok(())
    }
}

pub(super) fn pem(certificates: &[X509]) -> Result<String, ErrorStack> {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str(&String::from_utf8_lossy(&certificate.to_pem()?));
    }
    Ok(text)
}

impl Librdkafka {
    /// Gives the settings to a client that is being made.
    pub fn apply(&self, config: &mut ClientConfig) {
        for (key, value) in &self.properties.0 {
            config.set(*key, value.as_str());
        }
    }

    /// Whether files have changed since, so that a new client would be made with something else.
    pub fn is_outdated(&self) -> bool {
        !self.files.are_unchanged()
    }

    /// A bearer token, asked for on librdkafka's thread.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn token(&self) -> Result<OAuthToken, String> {
        let (sender, receiver) = sync_channel(1);
        let (security, address) = (Arc::clone(&self.security), self.address.clone());
        self.runtime.spawn(async move {
            // When it comes late, the next who asks finds it.
            let _late = sender.send(security.token(&address).await);
        });
        let token = match receiver.recv_timeout(TOKEN_PATIENCE) {
            Ok(token) => token.map_err(|error| error.to_string())?,
            Err(_) => self
                .security
                .tokens
                .as_ref()
                .and_then(|tokens| tokens.at_hand())
                .ok_or("the token endpoint takes its time")?,
        };
        // librdkafka asks again after four fifths of what it is told. Told of half the life only, it has the next token before
        // a broker wants to see one.
        let now = SystemTime::now();
        let life = token.expires.map_or(ASSUMED_LIFE, |expires| {
            expires.duration_since(now).unwrap_or_default() / 2
        });
        let until = (now + life.max(SHORTEST_LIFE))
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(|error| error.to_string())?;
        Ok(OAuthToken {
            token: token.value.expose().to_owned(),
            // For its own messages only; the broker reads the token.
            principal_name: "kmirror".to_owned(),
            lifetime_ms: i64::try_from(until.as_millis()).unwrap_or(i64::MAX),
        })
    }

    /// Takes an error event: what security is about is told, once and in the wire client's words.
    /// Gives whether it was one of those.
    pub fn tell(&self, code: RDKafkaErrorCode, reason: &str) -> bool {
        let gates = &self.security.gates;
        if let (_, cause) = tidy(reason)
            && let Some(own) = cause.strip_prefix(NO_TOKEN)
        {
            gates.tell(own);
            return true;
        }
        let Some(error) = self.meaning(code, reason) else {
            return false;
        };
        gates.tell(&error.to_string());
        true
    }

    fn meaning(&self, code: RDKafkaErrorCode, reason: &str) -> Option<Box<SecurityError>> {
        let (address, cause) = tidy(reason);
        let security = &self.security;
        let at = |problem| {
            let mut error = security.of_cluster(problem);
            error.address = address.map(ToOwned::to_owned);
            error
        };
        let alert = cause.split_once("alert number ").map(|(_, rest)| {
            let digits = rest.find(|c: char| !c.is_ascii_digit());
            rest[..digits.unwrap_or(rest.len())].parse::<u8>()
        });
        let tls = self.tls.as_ref();
        match (code, alert) {
            (_, Some(Ok(number @ (42..=46 | 48 | 49 | 116)))) => {
                let alert = format!("alert {number}");
                Some(at(Problem::ClientCertificate(
                    tls?.client_certificate(alert),
                )))
            }
            (RDKafkaErrorCode::SSL, _) if cause.contains("certificate verify failed") => {
                let lead = "librdkafka, which joins the worker group, does not accept the broker's certificate";
                let rest = if tls?.trusted.iter().all(|trusted| !is_root(trusted)) {
                    "; it needs the self-signed root among the trusted ones, and there is none"
                } else {
                    ""
                };
                let mut error = at(Problem::Tls(format!("{lead}{rest}")));
                let settings = &security.settings.tls;
                let trust = settings.trust.as_ref().map(|trust| &trust.place);
                error.places = vec![named(trust, "ssl.truststore.location")];
                Some(error)
            }
            (RDKafkaErrorCode::SSL, _) => Some(at(Problem::Tls(cause.to_owned()))),
            (RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed, _) => {
                let sasl = security.settings.sasl.as_ref()?;
                authentication(cause, sasl.value.mechanism()).map(at)
            }
            _ => None,
        }
    }
}

/// What the wire client would have found, out of librdkafka's words for it.
fn authentication(cause: &str, mechanism: &'static str) -> Option<Problem> {
    if let Some((_, offered)) = cause
        .split_once("mechanism handshake failed")
        .and_then(|(_, rest)| rest.split_once("broker's supported mechanisms:"))
    {
        let offered: Vec<String> = offered
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        // None at all: a session was renewed too soon after the last time, which passes. A listener without SASL would have been
        // found by the wire client.
        return (!offered.is_empty()).then_some(Problem::MechanismNotOffered {
            wanted: mechanism,
            offered,
        });
    }
    let message = cause
        .strip_prefix("SASL authentication error: ")
        .unwrap_or(cause);
    let message = if message.starts_with('{') {
        oauth::words(message.as_bytes())
    } else {
        message.to_owned()
    };
    Some(Problem::Refused { mechanism, message })
}

fn is_root(certificate: &X509) -> bool {
    certificate.issued(certificate) == X509VerifyResult::OK
}

/// `sasl_ssl://b:9093/bootstrap: SASL … (after 5ms in state …)` as `b:9093` and `SASL …`.
fn tidy(reason: &str) -> (Option<&str>, &str) {
    let rest = reason
        .strip_prefix("GroupCoordinator: ")
        .or_else(|| Some(reason.split_once("://")?.1));
    let (address, cause) = rest
        .and_then(|rest| rest.split_once(": "))
        .map_or((None, reason), |(address, cause)| (Some(address), cause));
    let address = address.map(|address| {
        address
            .split_once('/')
            .map_or(address, |(address, _)| address)
    });
    let cause = cause
        .split_once(" (after ")
        .map_or(cause, |(cause, _)| cause);
    (address, cause.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_and_the_cause_are_found_in_an_event() {
        assert_eq!(
            tidy(
                "sasl_ssl://127.0.0.1:19192/bootstrap: SASL authentication error: Authentication failed: Invalid username \
                 or password (after 306ms in state AUTH_REQ, 1 identical error(s) suppressed)"
            ),
            (
                Some("127.0.0.1:19192"),
                "SASL authentication error: Authentication failed: Invalid username or password"
            )
        );
        assert_eq!(
            tidy("GroupCoordinator: b:9093: SASL authentication error: no"),
            (Some("b:9093"), "SASL authentication error: no")
        );
        assert_eq!(tidy("2/2 brokers are down"), (None, "2/2 brokers are down"));
    }

    #[test]
    fn librdkafkas_words_are_those_of_the_wire_client() {
        let words = |cause| authentication(cause, "SCRAM-SHA-512").map(|it| it.to_string());
        let offered = words(
            "SASL SCRAM-SHA-512 mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported \
             mechanisms: PLAIN,GSSAPI",
        );
        assert_eq!(
            offered.as_deref(),
            Some(
                "the broker does not offer the SASL mechanism SCRAM-SHA-512; it offers PLAIN, GSSAPI"
            )
        );
        let too_soon = words(
            "SASL PLAIN mechanism handshake failed: Broker: Request not valid in current SASL state: broker's \
             supported mechanisms:",
        );
        assert_eq!(too_soon, None);
        let refused = words(r#"SASL authentication error: {"status":"invalid_token"}"#);
        assert!(refused.is_some_and(|words| words.ends_with(": invalid_token")));
    }
}
