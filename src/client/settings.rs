//! The meaning of client properties, whatever they were spelled like.
//!
//! Every part remembers the key and the place that asked for it, because an error on the wire
//! (a refused password, a foreign certificate) has to say where to look.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Text;

/// The key that asked for something, as it was spelled, and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// `sasl.jaas.config`
    pub key: String,
    /// `west.properties:4` or `topology.toml:12`; empty for a default.
    pub at: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_empty() {
            write!(f, "`{}`", self.key)
        } else {
            write!(f, "`{}` ({})", self.key, self.at)
        }
    }
}

/// A setting with the place that asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyed<T> {
    pub value: T,
    pub place: Place,
}

/// Everything that reaching a cluster takes besides its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// `security.protocol`. Its place is the key itself also where it is the default.
    pub protocol: Keyed<SecurityProtocol>,
    /// Used when the protocol is `SSL` or `SASL_SSL`.
    pub tls: TlsSettings,
    /// Present exactly when the protocol is `SASL_PLAINTEXT` or `SASL_SSL`.
    pub sasl: Option<Keyed<SaslSettings>>,
    /// `client.id`; `kmirror` when not set.
    pub client_id: Option<String>,
    /// `request.timeout.ms`
    pub request_timeout: Option<Duration>,
    /// `socket.connection.setup.timeout.ms`
    pub connect_timeout: Option<Duration>,
}

/// `security.protocol`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecurityProtocol {
    #[default]
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    pub fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    /// As Kafka spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }
}

/// Whom to trust and who to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// `None`: the certificate authorities that the operating system trusts.
    pub trust: Option<Keyed<Trust>>,
    /// The client's own certificate (mTLS).
    pub identity: Option<Keyed<Identity>>,
    pub verify: Keyed<Verify>,
    /// TLS 1.2 besides 1.3 (`ssl.enabled.protocols`).
    pub versions: TlsVersions,
}

/// How the broker's certificate is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Chain and host name.
    #[default]
    Full,
    /// Chain only: `ssl.endpoint.identification.algorithm` is empty or `none`.
    ChainOnly,
    /// Nothing: librdkafka's `enable.ssl.certificate.verification = false`.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsVersions {
    pub tls12: bool,
    pub tls13: bool,
}

impl Default for TlsVersions {
    fn default() -> Self {
        Self {
            tls12: true,
            tls13: true,
        }
    }
}

/// PEM text, or the file that holds it. Files are read when a connection is made, so that renewed
/// certificates are taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    Text(Text),
    File(PathBuf),
}

/// Certificate authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    Pem(Pem),
    Store(Store),
}

/// A JKS or PKCS#12 file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// As declared. Java reads the one where the other was declared, and so do we.
    pub kind: StoreKind,
    pub path: PathBuf,
    pub password: Option<Keyed<Text>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    Jks,
    Pkcs12,
}

/// A certificate chain with its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Pem {
        /// Leaf first.
        certificates: Pem,
        /// May be the same file.
        key: Pem,
        key_password: Option<Keyed<Text>>,
    },
    Store {
        store: Store,
        /// `None`: the store's password.
        key_password: Option<Keyed<Text>>,
    },
}

/// Who the client says it is, by SASL.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each cluster of a file"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaslSettings {
    Plain(Credentials),
    Scram {
        hash: ScramHash,
        credentials: Credentials,
        /// A delegation token (KIP-48): `tokenauth=true`.
        token_auth: bool,
    },
    OAuthBearer(TokenSource),
}

impl SaslSettings {
    /// The mechanism as it is named on the wire.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain(_) => "PLAIN",
            Self::Scram {
                hash: ScramHash::Sha256,
                ..
            } => "SCRAM-SHA-256",
            Self::Scram {
                hash: ScramHash::Sha512,
                ..
            } => "SCRAM-SHA-512",
            Self::OAuthBearer(_) => "OAUTHBEARER",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub username: Keyed<Text>,
    pub password: Keyed<Text>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramHash {
    Sha256,
    Sha512,
}

/// Where bearer tokens come from.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each cluster of a file"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// One token, used until it is changed in its file.
    Static {
        token: Keyed<Text>,
        extensions: Vec<(String, String)>,
    },
    /// OAuth 2.0 client credentials (RFC 6749, section 4.4) at an OIDC token endpoint.
    ClientCredentials {
        /// `sasl.oauthbearer.token.endpoint.url`
        endpoint: Keyed<String>,
        client_id: Keyed<Text>,
        client_secret: Keyed<Text>,
        scope: Option<String>,
        /// SASL extensions (KIP-342), such as `logicalCluster`.
        extensions: Vec<(String, String)>,
        /// Trusted by the HTTPS connection to the endpoint; `None`: the system's authorities.
        trust: Option<Keyed<Trust>>,
    },
    /// Tokens signed for Amazon MSK with AWS credentials from the environment or a profile of the
    /// shared credentials file.
    MskIam {
        /// `awsProfileName`
        profile: Option<String>,
        /// `None`: taken from the broker's host name or from `AWS_REGION`.
        region: Option<String>,
    },
}
