//! Whether a broker's certificate is accepted.
//!
//! The chain is judged by OpenSSL and not by rustls' own verifier, for two reasons. librdkafka is linked with the
//! same OpenSSL: what one client stack accepts, the other does too. And certificates of Kafka clusters often come out of
//! scripts: X.509 version 1, a host name in CN only, a self-signed broker certificate that is itself in the trust store. Java
//! accepts all of these, rustls' verifier none. Any certificate in the trust store is an anchor, as in Java.
//! The handshake's signature is checked by rustls with the key that OpenSSL read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use openssl::asn1::Asn1TimeRef;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509PurposeId, X509Ref, X509StoreContext};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::pem::openssl_words;
use super::problem::{CertificateFault, CertificateProblem};
use super::stores::name;
use crate::client::settings::Verify;

/// Keys and digests of at least 112 bits, what OpenSSL and Java ask for in connections: RSA from 2048 bits on, no SHA-1.
const AUTH_LEVEL: i32 = 2;

/// OpenSSL's results, as its x509_vfy.h numbers them.
mod result {
    pub const UNABLE_TO_GET_ISSUER_CERT: i32 = 2;
    pub const NOT_YET_VALID: i32 = 9;
    pub const EXPIRED: i32 = 10;
    pub const SELF_SIGNED_LEAF: i32 = 18;
    pub const SELF_SIGNED_IN_CHAIN: i32 = 19;
    pub const UNABLE_TO_GET_ISSUER_CERT_LOCALLY: i32 = 20;
    pub const UNABLE_TO_VERIFY_LEAF_SIGNATURE: i32 = 21;
    pub const INVALID_PURPOSE: i32 = 26;
    pub const HOSTNAME_MISMATCH: i32 = 62;
    pub const IP_ADDRESS_MISMATCH: i32 = 64;
}

/// Judges brokers by what settings say to trust.
pub(super) struct Verifier {
    trusted: Vec<X509>,
    verify: Verify,
    algorithms: WebPkiSupportedAlgorithms,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("trusted", &self.trusted.len())
            .field("verify", &self.verify)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    pub fn new(trusted: Vec<X509>, verify: Verify, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self {
            trusted,
            verify,
            algorithms,
        }
    }

    fn judge(
        &self,
        leaf: &X509,
        others: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), CertificateProblem> {
        if self.verify == Verify::Nothing {
            return Ok(());
        }
        let problem = |fault| CertificateProblem {
            subject: name(leaf.subject_name()),
            fault,
        };
        let judged = self.with_openssl(leaf, others, server, now);
        match judged.map_err(|error| problem(CertificateFault::Other(openssl_words(&error))))? {
            None => Ok(()),
            Some(fault) => Err(problem(fault)),
        }
    }

    /// `None`: accepted.
    fn with_openssl(
        &self,
        leaf: &X509,
        others: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<Option<CertificateFault>, ErrorStack> {
        let mut chain = Stack::new()?;
        for other in others {
            chain.push(X509::from_der(other)?)?;
        }
        let store = self.store(server, now)?;
        let mut context = X509StoreContext::new()?;
        context.init(&store, leaf, &chain, |context| {
            if context.verify_cert()? {
                return Ok(None);
            }
            let error = context.error();
            let at_fault = context.current_cert().unwrap_or(leaf);
            let above = (context.error_depth() > 0).then(|| name(at_fault.subject_name()));
            Ok(Some(match error.as_raw() {
                result::EXPIRED => CertificateFault::Expired {
                    at: date(at_fault.not_after()),
                    certificate: above,
                },
                result::NOT_YET_VALID => CertificateFault::NotYetValid {
                    at: date(at_fault.not_before()),
                    certificate: above,
                },
                result::UNABLE_TO_GET_ISSUER_CERT
                | result::UNABLE_TO_GET_ISSUER_CERT_LOCALLY
                | result::UNABLE_TO_VERIFY_LEAF_SIGNATURE
                | result::SELF_SIGNED_IN_CHAIN => CertificateFault::UnknownAuthority {
                    issuer: name(at_fault.issuer_name()),
                    self_signed: false,
                },
                result::SELF_SIGNED_LEAF => CertificateFault::UnknownAuthority {
                    issuer: name(at_fault.issuer_name()),
                    self_signed: true,
                },
                result::HOSTNAME_MISMATCH | result::IP_ADDRESS_MISMATCH => {
                    CertificateFault::WrongName {
                        wanted: server.to_str().into_owned(),
                        names: names(leaf),
                    }
                }
                result::INVALID_PURPOSE => CertificateFault::NotForServers,
                _ => CertificateFault::Other(error.error_string().to_owned()),
            }))
        })
    }

    fn store(&self, server: &ServerName<'_>, now: UnixTime) -> Result<X509Store, ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        for certificate in &self.trusted {
            store.add_cert(certificate.clone())?;
        }
        let mut param = X509VerifyParam::new()?;
        param.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        param.set_purpose(X509PurposeId::SSL_SERVER)?;
        param.set_auth_level(AUTH_LEVEL);
        if let Ok(now) = i64::try_from(now.as_secs()) {
            param.set_time(now);
        }
        if self.verify == Verify::Full {
            match server {
                ServerName::IpAddress(address) => param.set_ip(IpAddr::from(*address))?,
                other => param.set_host(&other.to_str())?,
            }
        }
        store.set_param(&param)?;
        Ok(store.build())
    }
}

/// The hosts that a certificate names, as OpenSSL looks at them.
fn names(certificate: &X509Ref) -> Vec<String> {
    let mut names: Vec<String> = certificate
        .subject_alt_names()
        .into_iter()
        .flatten()
        .filter_map(|entry| match (entry.dnsname(), entry.ipaddress()) {
            (Some(host), _) => Some(host.to_owned()),
            (None, Some(bytes)) => ip(bytes),
            (None, None) => None,
        })
        .collect();
    if names.is_empty() {
        names = certificate
            .subject_name()
            .entries_by_nid(Nid::COMMONNAME)
            .filter_map(|entry| entry.data().to_string().ok())
            .collect();
    }
    names
}

fn ip(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(sixteen).to_string())
}

/// A time as OpenSSL prints it: `Nov 21 10:00:00 2026 GMT`.
pub(super) fn date(time: &Asn1TimeRef) -> String {
    time.to_string()
}

fn not_read(error: &ErrorStack) -> Error {
    let problem = CertificateProblem {
        subject: "(unreadable)".to_owned(),
        fault: CertificateFault::Other(openssl_words(error)),
    };
    refused(problem)
}

fn refused(problem: CertificateProblem) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(problem))))
}

/// The problem that a verifier of ours reported through rustls.
pub(super) fn reported(error: &Error) -> Option<&CertificateProblem> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref(),
        _ => None,
    }
}

fn public_key(
    certificate: &CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'static>, ErrorStack> {
    let key = X509::from_der(certificate)?
        .public_key()?
        .public_key_to_der()?;
    Ok(SubjectPublicKeyInfoDer::from(key))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = X509::from_der(end_entity).map_err(|error| not_read(&error))?;
        self.judge(&leaf, intermediates, server_name, now)
            .map_err(refused)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let bad = || Error::InvalidCertificate(CertificateError::BadSignature);
        let key = public_key(cert).map_err(|error| not_read(&error))?;
        let key = webpki::RawPublicKeyEntity::try_from(&key).map_err(|_| bad())?;
        // In TLS 1.2 a scheme does not say the curve, so there may be several algorithms for it.
        let algorithms = self.algorithms.mapping.iter();
        let valid = algorithms
            .filter(|(scheme, _)| *scheme == dss.scheme)
            .flat_map(|(_, algorithms)| algorithms.iter())
            .any(|algorithm| {
                key.verify_signature(*algorithm, message, dss.signature())
                    .is_ok()
            });
        if valid {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(bad())
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = public_key(cert).map_err(|error| not_read(&error))?;
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
