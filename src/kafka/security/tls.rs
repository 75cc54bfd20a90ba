//! TLS with a broker: the configuration made of a cluster's settings, the handshake, and what a failed one means.

use std::io;
use std::sync::Arc;

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::x509::X509;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::files::Files;
use super::pem::openssl_words;
use super::problem::{ClientCertificateProblem, MaterialProblem, Problem, Source};
use super::stores::{self, Failed, OwnIdentity, name};
use super::verify::{self, Verifier, date};
use crate::client::settings::{Identity, Pem, TlsSettings};

/// Seven days: when a certificate of ours should have been renewed, at the latest.
const LATE: i64 = 7 * 24 * 3600;

/// What TLS with one cluster takes, read from its files.
#[derive(Debug)]
pub(super) struct Tls {
    pub config: Arc<ClientConfig>,
    pub trusted: Vec<X509>,
    pub identity: Option<OwnIdentity>,
}

impl Tls {
    pub fn read(settings: &TlsSettings, files: &mut Files) -> Result<Self, Failed> {
        let trusted = match &settings.trust {
            Some(trust) => stores::trusted(trust, files)?,
            None => stores::of_the_system().map_err(|problem| (problem, vec![]))?,
        };
        let own = settings.identity.as_ref();
        let identity = own
            .map(|identity| stores::identity(identity, files))
            .transpose()?;
        let config = config(settings, &trusted, identity.as_ref()).map_err(|problem| {
            let place = own.map(|identity| identity.place.clone());
            (problem, place.into_iter().collect())
        })?;
        Ok(Self {
            config: Arc::new(config),
            trusted,
            identity,
        })
    }

    /// Our own certificate's end, if that has passed or should have been prevented by now.
    pub fn ending(&self) -> Option<Ending> {
        let leaf = self.identity.as_ref()?.chain.first()?;
        let now = Asn1Time::days_from_now(0).ok()?;
        let at = date(leaf.not_after());
        if leaf.not_after() < now {
            return Some(Ending::Over(at));
        }
        let seconds = |from: &Asn1TimeRef| {
            let time = from.diff(leaf.not_after()).ok()?;
            Some(i64::from(time.days) * 24 * 3600 + i64::from(time.secs))
        };
        // Some certificates live for a day, others for years.
        let (left, life) = (seconds(&now)?, seconds(leaf.not_before())?);
        (left < (life / 5).min(LATE)).then_some(Ending::Soon(at))
    }

    /// Shakes hands over a TCP connection.
    pub async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let server = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::Problem(Problem::HostName(host.to_owned())))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let connected = connector.connect(server, stream).await;
        connected.map_err(|error| match self.problem_of(&error) {
            Some(problem) => Failure::Problem(problem),
            None => Failure::Lost(error),
        })
    }

    /// What a TLS error of a connection means; `None`: the connection was lost, whatever for.
    pub fn problem_of(&self, error: &io::Error) -> Option<Problem> {
        let error: &rustls::Error = error.get_ref()?.downcast_ref()?;
        if let Some(problem) = verify::reported(error) {
            return Some(Problem::BrokerCertificate(problem.clone()));
        }
        Some(match error {
            rustls::Error::AlertReceived(alert) => self.alert(*alert),
            rustls::Error::InvalidMessage(_) => Problem::NotTls,
            rustls::Error::PeerIncompatible(cause) => Problem::Tls(format!(
                "the broker and kmirror have nothing in common ({cause:?})"
            )),
            other => Problem::Tls(other.to_string()),
        })
    }

    fn alert(&self, alert: AlertDescription) -> Problem {
        use AlertDescription as Alert;
        let text = alert_words(alert);
        match alert {
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired => {
                Problem::ClientCertificate(self.client_certificate(text))
            }
            Alert::ProtocolVersion => Problem::Tls(
                "the broker speaks none of the TLS versions offered (`ssl.enabled.protocols`; kmirror knows 1.2 and 1.3)"
                    .to_owned(),
            ),
            Alert::HandshakeFailure => Problem::Tls(
                "the broker and kmirror have no cipher, curve or kind of key in common, or the broker wants a client certificate"
                    .to_owned(),
            ),
            _ => Problem::Tls(format!("the broker says {text}")),
        }
    }

    /// What a refusal of our certificate means.
    pub fn client_certificate(&self, alert: String) -> ClientCertificateProblem {
        let leaf = self
            .identity
            .as_ref()
            .and_then(|identity| identity.chain.first());
        let Some(leaf) = leaf else {
            return ClientCertificateProblem::Missing;
        };
        ClientCertificateProblem::Refused {
            subject: name(leaf.subject_name()),
            issuer: name(leaf.issuer_name()),
            expired: match self.ending() {
                Some(Ending::Over(at)) => Some(at),
                Some(Ending::Soon(_)) | None => None,
            },
            alert,
        }
    }
}

/// A certificate of ours that needs to be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Over(String),
    Soon(String),
}

/// Why a handshake came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    Problem(Problem),
    Lost(io::Error),
}

/// `CertificateUnknown` as `certificate unknown`.
fn alert_words(alert: AlertDescription) -> String {
    let mut words = String::new();
    for letter in format!("{alert:?}").chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() && !words.ends_with('C') {
            words.push(' ');
        }
        words.push(letter);
    }
    format!("alert {}: {}", u8::from(alert), words.to_lowercase())
}

fn config(
    settings: &TlsSettings,
    trusted: &[X509],
    identity: Option<&OwnIdentity>,
) -> Result<ClientConfig, MaterialProblem> {
    let provider = Arc::new(ring::default_provider());
    let mut versions = Vec::new();
    if settings.versions.tls13 {
        versions.push(&rustls::version::TLS13);
    }
    if settings.versions.tls12 {
        versions.push(&rustls::version::TLS12);
    }
    if versions.is_empty() {
        return Err(MaterialProblem::Settings(
            "neither TLS 1.2 nor TLS 1.3 is enabled".to_owned(),
        ));
    }
    let verifier = Verifier::new(
        trusted.to_vec(),
        settings.verify.value,
        provider.signature_verification_algorithms,
    );
    let client_certificate = identity
        .map(|identity| certified(identity, &provider, &key_source(settings)))
        .transpose()?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| MaterialProblem::Settings(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match client_certificate {
        Some(key) => builder.with_client_cert_resolver(Arc::new(Always(Arc::new(key)))),
        None => builder.with_no_client_auth(),
    };
    // Connections are few and live long; a resumed one would not look at the certificate again.
    config.resumption = Resumption::disabled();
    Ok(config)
}

pub(super) fn certified(
    identity: &OwnIdentity,
    provider: &CryptoProvider,
    key_source: &Source,
) -> Result<CertifiedKey, MaterialProblem> {
    let unsupported = |kind: String| MaterialProblem::KeyUnsupported {
        source_: key_source.clone(),
        kind,
    };
    let der = |certificate: &X509| {
        let der = certificate.to_der();
        der.map(CertificateDer::from)
            .map_err(|error| unsupported(openssl_words(&error)))
    };
    let chain = identity.chain.iter().map(der).collect::<Result<_, _>>()?;
    let key = identity.key.private_key_to_pkcs8();
    let key = key.map_err(|error| unsupported(openssl_words(&error)))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|_| unsupported(kind(identity)))?;
    Ok(CertifiedKey::new(chain, key))
}

fn key_source(settings: &TlsSettings) -> Source {
    let path = match settings.identity.as_ref().map(|identity| &identity.value) {
        Some(Identity::Store { store, .. }) => Some(&store.path),
        Some(Identity::Pem {
            key: Pem::File(path),
            ..
        }) => Some(path),
        Some(Identity::Pem { .. }) | None => None,
    };
    path.map_or(Source::Text, |path| Source::File(path.clone()))
}

/// What a key is, next to what may be used.
fn kind(identity: &OwnIdentity) -> String {
    let key = &identity.key;
    let name = match key.ec_key() {
        Ok(ec) => ec
            .group()
            .curve_name()
            .and_then(|curve| curve.short_name().ok())
            .map_or("EC".to_owned(), |curve| format!("EC {curve}")),
        Err(_) => {
            let kind = openssl::nid::Nid::from_raw(key.id().as_raw());
            let kind = kind.short_name().unwrap_or("unknown");
            format!("{kind}, {} bits", key.bits())
        }
    };
    format!("{name}; RSA from 2048 to 4096 bits, EC P-256, EC P-384 and Ed25519 can be used")
}

/// Shows our certificate to whoever asks, whatever authorities the broker names, or name the client asks for: a refusal
/// says more than silence.
#[derive(Debug)]
pub(super) struct Always(pub Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Always {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
