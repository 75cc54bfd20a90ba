//! What can be wrong with trust, identity and authentication, as data with words for people.
//!
//! Nothing here holds a secret: neither passwords and tokens nor user names, which may be declared as secrets.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use crate::client::{Place, SecurityProtocol};

/// A connection that security stands in the way of, and where in the user's files to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityError {
    /// The cluster's name in the topology file.
    pub cluster: String,
    /// `host:port`; `None` for what was found before any connection was made.
    pub address: Option<String>,
    pub problem: Problem,
    /// The keys that decide about it, the likeliest first.
    pub places: Vec<Place>,
}

impl SecurityError {
    /// Whether the peer at this address alone is concerned, so that another one may do.
    pub(crate) fn concerns_one_broker(&self) -> bool {
        matches!(
            self.problem,
            Problem::BrokerCertificate(_)
                | Problem::NotTls
                | Problem::TlsPort(_)
                | Problem::HostName(_)
                | Problem::Tls(_)
        )
    }

    /// Whether trying again soon may lock an account, or cannot bring anything else.
    pub(crate) fn is_worth_a_pause(&self) -> bool {
        !matches!(
            self.problem,
            Problem::Material(_) | Problem::Token(TokenProblem::Passing { .. })
        )
    }
}

impl fmt::Display for SecurityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster {}", self.cluster)?;
        if let Some(address) = &self.address {
            write!(f, ", {address}")?;
        }
        write!(f, ": {}", self.problem)?;
        let mut lead = "; look at ";
        for place in &self.places {
            write!(f, "{lead}{place}")?;
            lead = " and ";
        }
        Ok(())
    }
}

impl std::error::Error for SecurityError {}

/// What stands in the way.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Problem {
    #[error(transparent)]
    Material(MaterialProblem),
    #[error("{0}")]
    BrokerCertificate(CertificateProblem),
    #[error("`{0}` is no host name or IP address that a certificate can be checked against")]
    HostName(String),
    #[error("the broker does not answer in TLS: this port seems to be a listener without it")]
    NotTls,
    #[error("the broker answers in TLS, and `security.protocol` is {}: this is a listener for SSL or SASL_SSL", .0.name())]
    TlsPort(SecurityProtocol),
    #[error("the TLS handshake failed: {0}")]
    Tls(String),
    #[error("{0}")]
    ClientCertificate(ClientCertificateProblem),
    #[error(
        "the broker does not offer the SASL mechanism {wanted}; it offers {}",
        list(.offered)
    )]
    MechanismNotOffered {
        wanted: &'static str,
        offered: Vec<String>,
    },
    #[error("this listener does not use SASL, while `security.protocol` is {}", .0.name())]
    NoSasl(SecurityProtocol),
    #[error(
        "the broker refuses to authenticate with {mechanism}: {}",
        .message.trim_end_matches('.')
    )]
    Refused {
        mechanism: &'static str,
        /// The broker's own words.
        message: String,
    },
    #[error("{mechanism} with the broker failed: {cause}")]
    Exchange {
        mechanism: &'static str,
        cause: String,
    },
    #[error("{0}")]
    Token(TokenProblem),
    #[error("the session's time is over and it could not be renewed: {0}")]
    Renewal(Box<Problem>),
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Where certificates and keys were read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    Text,
    System,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Text => f.write_str("the PEM text"),
            Self::System => f.write_str("the system's store of certificate authorities"),
        }
    }
}

/// Why certificates, keys or stores of our own cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MaterialProblem {
    #[error("{path} cannot be read: {cause}", path = .path.display())]
    Unreadable { path: PathBuf, cause: String },
    #[error("{0} holds no certificate")]
    NoCertificate(Source),
    #[error("a certificate in {source_} cannot be read: {cause}")]
    BadCertificate { source_: Source, cause: String },
    #[error("{0} holds no private key")]
    NoKey(Source),
    #[error(
        "the private key in {0} is encrypted and no password is given for it (`ssl.key.password`)"
    )]
    KeyPasswordMissing(Source),
    #[error(
        "the private key in {0} cannot be decrypted: the password is wrong, or the key is damaged"
    )]
    KeyPasswordWrong(Source),
    #[error("the private key in {source_} is of a kind that cannot be used: {kind}")]
    KeyUnsupported { source_: Source, kind: String },
    #[error(
        "the private key in {key} does not belong to the certificate {subject} in {certificate}"
    )]
    KeyForeign {
        key: Source,
        certificate: Source,
        subject: String,
    },
    #[error("the password of the store {} is wrong, or the store is damaged", .0.display())]
    StorePassword(PathBuf),
    #[error("the store {} needs a password", .0.display())]
    StorePasswordMissing(PathBuf),
    #[error("{path} is neither a JKS nor a PKCS#12 store{hint}", path = .path.display())]
    NoStore { path: PathBuf, hint: &'static str },
    #[error("the store {path} is damaged: {cause}", path = .path.display())]
    StoreDamaged { path: PathBuf, cause: &'static str },
    #[error(
        "the store {} is encrypted in a way that this system's OpenSSL does not know (RC2, as Java 8 used to write it); \
         convert it with `keytool -importkeystore -srckeystore OLD -destkeystore NEW -deststoretype pkcs12` of Java 11 or later",
        .0.display()
    )]
    StoreOutdated(PathBuf),
    #[error("the settings for TLS cannot be combined: {0}")]
    Settings(String),
    #[error("brokers that connect to this cluster themselves cannot be given {0}")]
    OnlyHere(&'static str),
}

/// Why a broker's certificate is not accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the broker's certificate {subject} is not accepted: {fault}")]
pub struct CertificateProblem {
    pub subject: String,
    pub fault: CertificateFault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// Nobody whom we trust stands at the end of the chain.
    UnknownAuthority {
        issuer: String,
        self_signed: bool,
    },
    /// `certificate` is the one at fault when it is not the broker's own but one above it.
    Expired {
        at: String,
        certificate: Option<String>,
    },
    NotYetValid {
        at: String,
        certificate: Option<String>,
    },
    WrongName {
        wanted: String,
        names: Vec<String>,
    },
    NotForServers,
    Other(String),
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = |f: &mut fmt::Formatter<'_>, certificate: &Option<String>| match certificate {
            Some(name) => write!(f, "{name}, which signed it, "),
            None => f.write_str("it "),
        };
        match self {
            Self::UnknownAuthority {
                issuer: _,
                self_signed: true,
            } => f.write_str("it is signed by itself and not among the trusted certificates"),
            Self::UnknownAuthority { issuer, .. } => write!(
                f,
                "its issuer {issuer} is not among the trusted certificate authorities"
            ),
            Self::Expired { at, certificate } => {
                whose(f, certificate)?;
                write!(f, "expired on {at}")
            }
            Self::NotYetValid { at, certificate } => {
                whose(f, certificate)?;
                write!(
                    f,
                    "is valid only from {at} on (is this machine's clock right?)"
                )
            }
            Self::WrongName { wanted, names } if names.is_empty() => {
                write!(f, "it names no host, so it is not for {wanted}")
            }
            Self::WrongName { wanted, names } => {
                write!(f, "it is for {}, not for {wanted}", names.join(", "))
            }
            Self::NotForServers => f.write_str("it is not meant for servers (extended key usage)"),
            Self::Other(cause) => f.write_str(cause),
        }
    }
}

/// Why the broker does not accept us by our certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificateProblem {
    /// It wants one and none is configured.
    Missing,
    /// It does not like ours.
    Refused {
        subject: String,
        issuer: String,
        /// The end of its validity, when that has passed.
        expired: Option<String>,
        /// The broker's alert.
        alert: String,
    },
}

impl ClientCertificateProblem {
    /// In words; `server`: "the broker", say.
    pub fn told_of(&self, server: &str) -> String {
        match self {
            Self::Missing => format!(
                "{server} asks for a client certificate (mTLS), and none is configured: \
                 set `ssl.keystore.location`, or `ssl.certificate.location` and `ssl.key.location`"
            ),
            Self::Refused {
                subject,
                issuer,
                expired,
                alert,
            } => {
                let cause = match expired {
                    Some(at) => format!("it expired on {at}"),
                    None => {
                        format!("its issuer {issuer} is perhaps not in {server}'s trust store")
                    }
                };
                format!("{server} refuses our certificate {subject} ({alert}): {cause}")
            }
        }
    }
}

impl fmt::Display for ClientCertificateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told_of("the broker"))
    }
}

/// Why there is no bearer token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenProblem {
    /// The endpoint could not be asked; it may answer later.
    Passing { endpoint: String, cause: String },
    /// The endpoint said no.
    Refused { endpoint: String, cause: String },
    /// The endpoint's certificate is not accepted.
    Distrusted { endpoint: String, cause: String },
    /// The token or what it is made from cannot be used.
    Unusable(String),
}

impl fmt::Display for TokenProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passing { endpoint, cause } | Self::Distrusted { endpoint, cause } => {
                write!(f, "no token from {endpoint}: {cause}")
            }
            Self::Refused { endpoint, cause } => {
                write!(f, "{endpoint} refuses a token: {cause}")
            }
            Self::Unusable(cause) => write!(f, "there is no usable bearer token: {cause}"),
        }
    }
}

impl From<MaterialProblem> for Problem {
    fn from(problem: MaterialProblem) -> Self {
        Self::Material(problem)
    }
}

impl From<TokenProblem> for Problem {
    fn from(problem: TokenProblem) -> Self {
        Self::Token(problem)
    }
}
