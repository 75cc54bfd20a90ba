//! Trust, identity and authentication: what [`crate::client::settings`] asks for, carried out.
//!
//! One [`Security`] belongs to a cluster and is shared by everything that connects to it. It reads certificates, keys, stores and
//! passwords when a connection is made, and again when their files have changed, so that renewed ones are taken up
//! without a restart. It says what a failure means, and which keys of the user's files decide about it.

pub mod acceptor;
mod files;
mod gate;
mod http;
mod java;
mod jks;
mod librdkafka;
mod pem;
pub mod problem;
pub mod rest;
pub mod sasl;
mod stores;
mod tls;
mod token;
mod verify;

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use self::files::Files;
use self::gate::Gates;
pub use self::java::Property;
pub use self::librdkafka::Librdkafka;
use self::problem::{
    CertificateFault, ClientCertificateProblem, MaterialProblem, Problem, SecurityError,
    TokenProblem,
};
pub(crate) use self::sasl::Exchange;
use self::tls::{Ending, Failure, Tls};
use self::token::{BearerToken, Tokens};
use super::error::Error;
use crate::client::secret::Origin;
use crate::client::settings::{
    Identity, Keyed, Pem, SaslSettings, Store, TokenSource, Trust, Verify,
};
use crate::client::{ClientSettings, Place, SecurityProtocol, Text};

/// How a cluster is reached safely.
#[derive(Debug)]
pub struct Security {
    cluster: String,
    settings: ClientSettings,
    loaded: Mutex<Option<Loaded>>,
    /// Where bearer tokens come from, if those are asked for.
    tokens: Option<Arc<Tokens>>,
    gates: Gates,
}

/// TLS as its files had it.
#[derive(Debug)]
struct Loaded {
    files: Files,
    tls: Arc<Tls>,
}

impl Security {
    pub fn new(cluster: impl Into<String>, settings: ClientSettings) -> Arc<Self> {
        let cluster = cluster.into();
        let tokens = match settings.sasl.as_ref().map(|sasl| &sasl.value) {
            Some(SaslSettings::OAuthBearer(source)) => Some(Tokens::new(&cluster, source.clone())),
            _ => None,
        };
        Arc::new(Self {
            cluster,
            settings,
            tokens,
            loaded: Mutex::default(),
            gates: Gates::default(),
        })
    }

    /// Neither TLS nor SASL.
    pub fn plaintext(cluster: impl Into<String>) -> Arc<Self> {
        Self::new(cluster, ClientSettings::default())
    }

    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    pub fn protocol(&self) -> SecurityProtocol {
        self.settings.protocol.value
    }

    /// Reads all files, so that what is wrong with them is known before anything is connected to.
    ///
    /// # Errors
    /// A file that is missing or cannot be used, a wrong password for one, a key that belongs to another certificate.
    pub async fn prepare(self: &Arc<Self>) -> Result<(), Error> {
        self.warn_of_unverified_brokers();
        self.tls().await?;
        let mut files = Files::default();
        for secret in self.secrets() {
            files
                .secret(&secret.value)
                .map_err(|problem| self.own(problem, vec![secret.place.clone()]))?;
        }
        Ok(())
    }

    fn warn_of_unverified_brokers(&self) {
        if !self.protocol().has_tls() {
            return;
        }
        let verify = &self.settings.tls.verify;
        let cluster = &self.cluster;
        match verify.value {
            Verify::Full => {}
            Verify::ChainOnly => tracing::warn!(
                "cluster {cluster}: host names in certificates are NOT CHECKED ({}): anybody with a certificate of the \
                 same authority can pretend to be a broker",
                verify.place
            ),
            Verify::Nothing => tracing::warn!(
                "cluster {cluster}: certificates are NOT CHECKED at all ({}): anybody in between can read and change \
                 everything, passwords included",
                verify.place
            ),
        }
    }

    /// TLS as the files have it now; `None` where the protocol has none.
    async fn tls(self: &Arc<Self>) -> Result<Option<Arc<Tls>>, Box<SecurityError>> {
        if !self.protocol().has_tls() {
            return Ok(None);
        }
        let security = Arc::clone(self);
        // Files and slow key derivations.
        let read = tokio::task::spawn_blocking(move || security.load());
        let tls = read
            .await
            .map_err(|panic| self.own(MaterialProblem::Settings(panic.to_string()), vec![]))??;
        Ok(Some(tls))
    }

    fn load(&self) -> Result<Arc<Tls>, Box<SecurityError>> {
        let mut loaded = self
            .loaded
            .lock()
            .expect("nothing panics while it holds this lock");
        if let Some(loaded) = loaded.as_ref()
            && loaded.files.are_unchanged()
        {
            return Ok(Arc::clone(&loaded.tls));
        }
        let mut files = Files::default();
        match Tls::read(&self.settings.tls, &mut files) {
            Ok(tls) => {
                let tls = Arc::new(tls);
                self.warn_of_its_end(&tls);
                *loaded = Some(Loaded {
                    files,
                    tls: Arc::clone(&tls),
                });
                Ok(tls)
            }
            Err((problem, places)) => {
                let error = self.own(problem, places);
                match loaded.as_mut() {
                    // Half of a renewal perhaps: key and certificate are not written at the same instant.
                    Some(former) => {
                        self.gates.tell(&format!(
                            "{error}; what was read before stays in use meanwhile"
                        ));
                        Ok(Arc::clone(&former.tls))
                    }
                    None => Err(error),
                }
            }
        }
    }

    fn warn_of_its_end(&self, tls: &Tls) {
        let (cluster, place) = (&self.cluster, self.identity_place());
        match tls.ending() {
            Some(Ending::Over(at)) => tracing::warn!(
                "cluster {cluster}: our certificate expired on {at}: the brokers will refuse it; look at {place}"
            ),
            Some(Ending::Soon(at)) => tracing::warn!(
                "cluster {cluster}: our certificate expires on {at}; look at {place}"
            ),
            None => {}
        }
    }

    /// Shakes hands with a broker over TCP, if the protocol has TLS.
    pub(super) async fn handshake(
        self: &Arc<Self>,
        address: &str,
        stream: TcpStream,
    ) -> Result<Transport, Error> {
        let Some(tls) = self.tls().await? else {
            return Ok(Transport::Plain(stream));
        };
        match tls.connect(host_of(address), stream).await {
            Ok(stream) => Ok(Transport::Tls(Box::new(stream))),
            Err(Failure::Problem(problem)) => Err(self.at(address, problem).into()),
            Err(Failure::Lost(error)) => {
                let lead = match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => String::new(),
                    _ => format!("{}; ", super::error::io_words(&error)),
                };
                Err(Error::Disconnected {
                    address: address.to_owned(),
                    during: TLS_HANDSHAKE.to_owned(),
                    cause: Some(format!(
                        "{lead}is this the port of a listener without TLS, or of no Kafka broker at all? look at {}",
                        self.protocol_place()
                    )),
                })
            }
        }
    }

    /// What an I/O error of an established connection means, if it is one of TLS.
    pub(super) fn transport_error(&self, address: &str, error: &std::io::Error) -> Option<Error> {
        let loaded = self
            .loaded
            .lock()
            .expect("nothing panics while it holds this lock");
        let problem = loaded.as_ref()?.tls.problem_of(error)?;
        Some(self.at(address, problem).into())
    }

    /// What starts a new authentication, with the credentials of this moment.
    pub(super) async fn exchange(
        &self,
        address: &str,
    ) -> Result<Option<Exchange>, Box<SecurityError>> {
        let Some(sasl) = &self.settings.sasl else {
            return Ok(None);
        };
        let mut files = Files::default();
        let mut read = |text: &Keyed<Text>| {
            files
                .secret(&text.value)
                .map_err(|problem| self.own(problem, vec![text.place.clone()]))
        };
        let mechanism = sasl.value.mechanism();
        let unusable = |cause| self.of_cluster(Problem::Exchange { mechanism, cause });
        let exchange = match &sasl.value {
            SaslSettings::Plain(credentials) => {
                let username = read(&credentials.username)?;
                Exchange::plain(&username, &read(&credentials.password)?).map_err(unusable)?
            }
            SaslSettings::Scram {
                hash,
                credentials,
                token_auth,
            } => {
                let username = read(&credentials.username)?;
                let password = read(&credentials.password)?;
                Exchange::scram(*hash, &username, &password, *token_auth).map_err(unusable)?
            }
            SaslSettings::OAuthBearer(_) => {
                let token = self.token(address).await?;
                Exchange::oauth(&token.value, &token.extensions)
                    .map_err(|cause| self.of_cluster(TokenProblem::Unusable(cause).into()))?
            }
        };
        Ok(Some(exchange))
    }

    /// A bearer token for a broker.
    async fn token(&self, address: &str) -> Result<BearerToken, Box<SecurityError>> {
        let tokens = self.tokens.as_ref().expect("OAUTHBEARER has its source");
        let token = tokens.token(host_of(address)).await;
        token.map_err(|failure| {
            let mut error = self.of_cluster(failure.problem);
            if let Some(places) = failure.places {
                error.places = places;
            }
            error
        })
    }

    /// Whether a connection may be tried: shortly after a refusal it would only be refused again, and accounts can be locked.
    pub(super) fn admit(&self, address: &str) -> Result<(), Error> {
        self.gates.admit(address).map_err(Error::from)
    }

    /// Learns how a connection went.
    pub(super) fn note(&self, address: &str, error: Option<&Error>) {
        match error {
            None => self.gates.passed(address),
            Some(Error::Security(error)) => {
                if let (Problem::Refused { .. }, Some(tokens)) = (&error.problem, &self.tokens) {
                    tokens.discard();
                }
                let mut files = Files::default();
                for path in self.files() {
                    files.note(path);
                }
                self.gates.refused(address, error, files);
            }
            Some(_) => {}
        }
    }

    /// A problem with something of ours.
    fn own(&self, problem: MaterialProblem, places: Vec<Place>) -> Box<SecurityError> {
        Box::new(SecurityError {
            cluster: self.cluster.clone(),
            address: None,
            problem: problem.into(),
            places,
        })
    }

    /// A problem that has nothing to do with a single broker.
    fn of_cluster(&self, problem: Problem) -> Box<SecurityError> {
        Box::new(SecurityError {
            cluster: self.cluster.clone(),
            address: None,
            places: self.places(&problem),
            problem,
        })
    }

    /// A problem with a broker.
    pub(super) fn at(&self, address: &str, problem: Problem) -> Box<SecurityError> {
        let mut error = self.of_cluster(problem);
        error.address = Some(address.to_owned());
        error
    }

    /// The keys that decide about a problem.
    fn places(&self, problem: &Problem) -> Vec<Place> {
        let tls = &self.settings.tls;
        let sasl = self.settings.sasl.as_ref();
        let mechanism = || named(sasl.map(|sasl| &sasl.place), "sasl.mechanism");
        let trust = || {
            named(
                tls.trust.as_ref().map(|trust| &trust.place),
                "ssl.truststore.location",
            )
        };
        let verify = || {
            named(
                Some(&tls.verify.place),
                "ssl.endpoint.identification.algorithm",
            )
        };
        match problem {
            Problem::Material(_) => vec![],
            Problem::BrokerCertificate(certificate) => match certificate.fault {
                CertificateFault::WrongName { .. } => vec![verify()],
                _ => vec![trust()],
            },
            Problem::HostName(_) => vec![verify()],
            Problem::NotTls | Problem::TlsPort(_) | Problem::Tls(_) | Problem::NoSasl(_) => {
                vec![self.protocol_place()]
            }
            Problem::ClientCertificate(problem) => match problem {
                ClientCertificateProblem::Missing => vec![self.protocol_place()],
                ClientCertificateProblem::Refused { .. } => vec![self.identity_place()],
            },
            Problem::MechanismNotOffered { .. } | Problem::Exchange { .. } => vec![mechanism()],
            Problem::Refused { .. } => {
                let mut places: Vec<Place> = Vec::new();
                for secret in self.secrets().into_iter().rev() {
                    if !places.contains(&secret.place) {
                        places.push(secret.place.clone());
                    }
                }
                places
            }
            Problem::Token(token_problem) => match sasl.map(|sasl| &sasl.value) {
                Some(SaslSettings::OAuthBearer(TokenSource::Static { token, .. })) => {
                    vec![token.place.clone()]
                }
                Some(SaslSettings::OAuthBearer(TokenSource::ClientCredentials {
                    endpoint,
                    client_secret,
                    trust,
                    ..
                })) => match token_problem {
                    TokenProblem::Distrusted { .. } => vec![
                        named(
                            trust.as_ref().map(|trust| &trust.place),
                            "https.ca.location",
                        ),
                        endpoint.place.clone(),
                    ],
                    TokenProblem::Refused { .. } => {
                        vec![endpoint.place.clone(), client_secret.place.clone()]
                    }
                    TokenProblem::Passing { .. } | TokenProblem::Unusable(_) => {
                        vec![endpoint.place.clone()]
                    }
                },
                _ => vec![mechanism()],
            },
            Problem::Renewal(problem) => self.places(problem),
        }
    }

    /// The key that says which protocol it is.
    pub(super) fn protocol_place(&self) -> Place {
        named(Some(&self.settings.protocol.place), "security.protocol")
    }

    /// Who a broker takes us for, by the key that decides about it. The name itself may be a secret.
    pub fn user(&self) -> String {
        let sasl = self.settings.sasl.as_ref();
        match sasl.map(|sasl| &sasl.value) {
            Some(SaslSettings::Plain(credentials) | SaslSettings::Scram { credentials, .. }) => {
                format!("the user of {}", credentials.username.place)
            }
            Some(SaslSettings::OAuthBearer(TokenSource::Static { token, .. })) => {
                format!("the subject of the token of {}", token.place)
            }
            Some(SaslSettings::OAuthBearer(TokenSource::ClientCredentials {
                client_id, ..
            })) => format!("the client of {}", client_id.place),
            Some(SaslSettings::OAuthBearer(TokenSource::MskIam { .. })) => {
                "the AWS identity whose credentials were found".to_owned()
            }
            None if self.protocol().has_tls() && self.settings.tls.identity.is_some() => {
                format!(
                    "the subject of the certificate of {}",
                    self.identity_place()
                )
            }
            None => format!(
                "User:ANONYMOUS, since {} has no user in it",
                self.protocol_place()
            ),
        }
    }

    fn identity_place(&self) -> Place {
        let identity = self.settings.tls.identity.as_ref();
        named(
            identity.map(|identity| &identity.place),
            "ssl.keystore.location",
        )
    }

    /// What authentication takes that may lie in files.
    fn secrets(&self) -> Vec<&Keyed<Text>> {
        match self.settings.sasl.as_ref().map(|sasl| &sasl.value) {
            Some(SaslSettings::Plain(credentials) | SaslSettings::Scram { credentials, .. }) => {
                vec![&credentials.username, &credentials.password]
            }
            Some(SaslSettings::OAuthBearer(TokenSource::Static { token, .. })) => vec![token],
            Some(SaslSettings::OAuthBearer(TokenSource::ClientCredentials {
                client_id,
                client_secret,
                ..
            })) => vec![client_id, client_secret],
            Some(SaslSettings::OAuthBearer(TokenSource::MskIam { .. })) | None => vec![],
        }
    }

    /// All files that connections depend on.
    fn files(&self) -> Vec<&Path> {
        let tls = &self.settings.tls;
        let mut files: Vec<&Path> = Vec::new();
        let mut trusts: Vec<&Trust> = tls.trust.iter().map(|trust| &trust.value).collect();
        if let Some(SaslSettings::OAuthBearer(TokenSource::ClientCredentials {
            trust: Some(trust),
            ..
        })) = self.settings.sasl.as_ref().map(|sasl| &sasl.value)
        {
            trusts.push(&trust.value);
        }
        for trust in trusts {
            match trust {
                Trust::Pem(pem) => files.extend(pem_file(pem)),
                Trust::Store(store) => files.extend(store_files(store)),
            }
        }
        match tls.identity.as_ref().map(|identity| &identity.value) {
            Some(Identity::Pem {
                certificates,
                key,
                key_password,
            }) => {
                files.extend(pem_file(certificates).into_iter().chain(pem_file(key)));
                files.extend(
                    key_password
                        .as_ref()
                        .and_then(|text| text_file(&text.value)),
                );
            }
            Some(Identity::Store {
                store,
                key_password,
            }) => {
                files.extend(store_files(store));
                files.extend(
                    key_password
                        .as_ref()
                        .and_then(|text| text_file(&text.value)),
                );
            }
            None => {}
        }
        let secrets = self.secrets();
        files.extend(secrets.iter().filter_map(|text| text_file(&text.value)));
        files
    }
}

fn text_file(text: &Text) -> Option<&Path> {
    match &text.origin {
        Origin::File(path) => Some(path),
        Origin::Inline | Origin::Env(_) => None,
    }
}

fn pem_file(pem: &Pem) -> Option<&Path> {
    match pem {
        Pem::File(path) => Some(path),
        Pem::Text(text) => text_file(text),
    }
}

fn store_files(store: &Store) -> Vec<&Path> {
    let password = store.password.as_ref();
    let password = password.and_then(|text| text_file(&text.value));
    std::iter::once(store.path.as_path())
        .chain(password)
        .collect()
}

/// A place, or the key that it would be for a default.
fn named(place: Option<&Place>, key: &str) -> Place {
    match place {
        Some(place) if !place.key.is_empty() => place.clone(),
        _ => Place {
            key: key.to_owned(),
            at: String::new(),
        },
    }
}

/// The host of `host:port` or `[address]:port`.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// Stands in for a request's name while TLS is being negotiated.
pub(super) const TLS_HANDSHAKE: &str = "the TLS handshake";

/// A connection to a broker before anything of Kafka is said over it.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

#[cfg(test)]
mod tests;
