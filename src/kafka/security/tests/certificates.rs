//! Certificates for tests: good ones, and each kind of bad one.

use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};

/// A certificate with its key.
#[derive(Clone)]
pub(in super::super) struct Pair {
    pub certificate: X509,
    pub key: PKey<Private>,
}

/// What is special about a certificate.
#[derive(Clone, Copy, Default)]
pub(in super::super) struct Wish<'a> {
    pub cn: &'a str,
    /// DNS names and addresses.
    pub san: &'a [&'a str],
    pub authority: bool,
    /// Days from now.
    pub ends: Option<i64>,
    pub begins: Option<i64>,
    /// X.509 version 1, without extensions.
    pub old: bool,
    pub for_clients_only: bool,
}

fn at(days: i64) -> Asn1Time {
    let now = jiff::Timestamp::now().as_second();
    Asn1Time::from_unix(now + days * 24 * 3600).unwrap()
}

fn subject(cn: &str) -> X509Name {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, cn).unwrap();
    name.build()
}

impl Pair {
    /// Signed by `issuer`, or by itself.
    pub fn make(wish: Wish<'_>, issuer: Option<&Pair>) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut builder = X509::builder().unwrap();
        let name = subject(wish.cn);
        builder.set_subject_name(&name).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder
            .set_issuer_name(issuer.map_or(&name, |issuer| issuer.certificate.subject_name()))
            .unwrap();
        let serial = BigNum::from_u32(rand::random::<u32>() >> 1).unwrap();
        builder
            .set_serial_number(&serial.to_asn1_integer().unwrap())
            .unwrap();
        builder
            .set_not_before(&at(wish.begins.unwrap_or(-30)))
            .unwrap();
        builder
            .set_not_after(&at(wish.ends.unwrap_or(365)))
            .unwrap();
        if !wish.old {
            builder.set_version(2).unwrap();
            extend(&mut builder, wish, issuer);
        }
        let signer = issuer.map_or(&key, |issuer| &issuer.key);
        builder.sign(signer, MessageDigest::sha256()).unwrap();
        Self {
            certificate: builder.build(),
            key,
        }
    }

    pub fn authority(cn: &str) -> Self {
        let wish = Wish {
            cn,
            authority: true,
            ..Wish::default()
        };
        Self::make(wish, None)
    }

    /// For a broker at `localhost` and `127.0.0.1`.
    pub fn broker(authority: &Pair) -> Self {
        let wish = Wish {
            cn: "broker",
            san: &["localhost", "127.0.0.1"],
            ..Wish::default()
        };
        Self::make(wish, Some(authority))
    }

    pub fn client(cn: &str, authority: &Pair) -> Self {
        let wish = Wish {
            cn,
            for_clients_only: true,
            ..Wish::default()
        };
        Self::make(wish, Some(authority))
    }

    pub fn write_certificate(&self, folder: &Path, file: &str) -> PathBuf {
        let path = folder.join(file);
        std::fs::write(&path, self.certificate.to_pem().unwrap()).unwrap();
        path
    }

    pub fn write_key(&self, folder: &Path, file: &str) -> PathBuf {
        let path = folder.join(file);
        std::fs::write(&path, self.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        path
    }
}

fn extend(builder: &mut openssl::x509::X509Builder, wish: Wish<'_>, issuer: Option<&Pair>) {
    if wish.authority {
        let constraints = BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(constraints).unwrap();
    }
    if wish.for_clients_only {
        let usage = ExtendedKeyUsage::new().client_auth().build().unwrap();
        builder.append_extension(usage).unwrap();
    }
    if !wish.san.is_empty() {
        let mut names = SubjectAlternativeName::new();
        for name in wish.san {
            if name.parse::<std::net::IpAddr>().is_ok() {
                names.ip(name);
            } else {
                names.dns(name);
            }
        }
        let issuer = issuer.map(|issuer| &*issuer.certificate);
        let names = names.build(&builder.x509v3_context(issuer, None)).unwrap();
        builder.append_extension(names).unwrap();
    }
}
