//! A certificate authority for one run: made in memory, trusted by whoever is told to, gone with the process.
//!
//! Its key is kept nowhere, so that nobody can pretend to be anything to those who go on trusting it.

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name};

use crate::kafka::security::acceptor::InMemory;
use crate::kafka::security::problem::MaterialProblem;

/// Days before now from which certificates are valid, for clocks that differ.
const BEFORE: i64 = 1;
/// Days that certificates are valid for: longer than anybody lets a sandbox run.
const LIFE: i64 = 365;
/// Bits of a serial number.
const SERIAL: i32 = 127;

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("a certificate cannot be made: {0}")]
    Openssl(#[from] ErrorStack),
    #[error("a certificate that was made cannot be used: {0}")]
    Unusable(#[from] MaterialProblem),
}

/// An authority that signs certificates of servers.
pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(…)")
    }
}

impl Authority {
    /// Makes one, with a fresh key (P-256).
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn new() -> Result<Self, AuthorityError> {
        let key = fresh_key()?;
        let name = called("kmirror sandbox authority")?;
        let mut builder = begin(&name, &key)?;
        builder.set_issuer_name(&name)?;
        builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
        let usage = KeyUsage::new()
            .critical()
            .key_cert_sign()
            .crl_sign()
            .build()?;
        builder.append_extension(usage)?;
        let identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
        builder.append_extension(identifier)?;
        builder.sign(&key, MessageDigest::sha256())?;
        let certificate = builder.build();
        Ok(Self { certificate, key })
    }

    /// The certificate that clients are to trust.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn pem(&self) -> Result<String, AuthorityError> {
        let pem = self.certificate.to_pem()?;
        Ok(String::from_utf8_lossy(&pem).into_owned())
    }

    /// A certificate for a server that is reached by these names and addresses.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn server(&self, hosts: &[String]) -> Result<InMemory, AuthorityError> {
        let key = fresh_key()?;
        let mut builder = begin(&called("kmirror sandbox")?, &key)?;
        builder.set_issuer_name(self.certificate.subject_name())?;
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        let usage = KeyUsage::new().critical().digital_signature().build()?;
        builder.append_extension(usage)?;
        builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
        let context = builder.x509v3_context(Some(&self.certificate), None);
        let own = SubjectKeyIdentifier::new().build(&context)?;
        let issuers = AuthorityKeyIdentifier::new().keyid(true).build(&context)?;
        let mut names = SubjectAlternativeName::new();
        for host in hosts {
            match host.parse::<std::net::IpAddr>() {
                Ok(address) => names.ip(&address.to_string()),
                Err(_) => names.dns(host),
            };
        }
        let names = names.build(&context)?;
        for extension in [own, issuers, names] {
            builder.append_extension(extension)?;
        }
        builder.sign(&self.key, MessageDigest::sha256())?;
        Ok(InMemory::new(vec![builder.build()], key)?)
    }
}

fn fresh_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn called(name: &str) -> Result<X509Name, ErrorStack> {
    let mut builder = X509Name::builder()?;
    builder.append_entry_by_nid(Nid::COMMONNAME, name)?;
    Ok(builder.build())
}

/// What all certificates have in common.
fn begin(name: &X509Name, key: &PKey<Private>) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let mut serial = BigNum::new()?;
    serial.rand(SERIAL, MsbOption::MAYBE_ZERO, false)?;
    builder.set_serial_number(&*Asn1Integer::from_bn(&serial)?)?;
    builder.set_subject_name(name)?;
    builder.set_pubkey(key)?;
    builder.set_not_before(&*day(-BEFORE)?)?;
    builder.set_not_after(&*day(LIFE)?)?;
    Ok(builder)
}

/// So many days from now.
fn day(days: i64) -> Result<Asn1Time, ErrorStack> {
    Asn1Time::from_unix(jiff::Timestamp::now().as_second() + days * 24 * 3600)
}
