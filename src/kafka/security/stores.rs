//! From settings to certificates and keys in memory, whatever they are kept in.
//!
//! Java reads a JKS store where PKCS#12 was declared and the other way round, so what a store is decides its content.
//! As in Java, trusted are the certificates that a store holds as such and the leaf of each key's chain. In a PKCS#12 store
//! the two cannot be told apart here, so there all its certificates are.

use std::path::Path;

use openssl::error::ErrorStack;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use zeroize::Zeroizing;

use super::files::Files;
use super::problem::{MaterialProblem, Source};
use super::{jks, pem};
use crate::client::settings::{Identity, Keyed, Pem, Store, Trust};
use crate::client::{Place, Secret, Text};

/// Something of ours that cannot be used, and the keys to look at.
pub(super) type Failed = (MaterialProblem, Vec<Place>);

/// A certificate chain, leaf first, with its private key.
#[derive(Clone, Debug)]
pub(super) struct OwnIdentity {
    pub chain: Vec<X509>,
    pub key: PKey<Private>,
}

/// The certificates that settings say to trust.
pub(super) fn trusted(trust: &Keyed<Trust>, files: &mut Files) -> Result<Vec<X509>, Failed> {
    match &trust.value {
        Trust::Pem(text) => {
            let (bytes, source) = read_pem(text, files).map_err(at([&trust.place]))?;
            pem::certificates(&bytes, &source).map_err(at([&trust.place]))
        }
        Trust::Store(store) => {
            let contents = open(store, None, &trust.place, files)?;
            let mut all = contents.trusted;
            all.extend(contents.leaves);
            if all.is_empty() {
                let problem = MaterialProblem::NoCertificate(Source::File(store.path.clone()));
                return Err((problem, vec![trust.place.clone()]));
            }
            Ok(all)
        }
    }
}

/// The certificate authorities of the operating system.
pub(super) fn of_the_system() -> Result<Vec<X509>, MaterialProblem> {
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::debug!(%error, "a part of the system's certificate authorities is left out");
    }
    // A few odd ones among them are no reason to trust none.
    let certificates: Vec<X509> = loaded
        .certs
        .iter()
        .filter_map(|der| X509::from_der(der).ok())
        .collect();
    if certificates.is_empty() {
        return Err(MaterialProblem::NoCertificate(Source::System));
    }
    Ok(certificates)
}

/// The identity that settings give us.
pub(super) fn identity(
    identity: &Keyed<Identity>,
    files: &mut Files,
) -> Result<OwnIdentity, Failed> {
    let place = &identity.place;
    match &identity.value {
        Identity::Pem {
            certificates,
            key,
            key_password,
        } => {
            let (bytes, certificate_source) = read_pem(certificates, files).map_err(at([place]))?;
            let chain = pem::certificates(&bytes, &certificate_source).map_err(at([place]))?;
            let (bytes, key_source) = read_pem(key, files).map_err(at([place]))?;
            let password = secret(key_password.as_ref(), files)?;
            let key =
                pem::private_key(&bytes, password.as_ref(), &key_source).map_err(|problem| {
                    let password = key_password.as_ref().map(|password| &password.place);
                    at(password.into_iter().chain([place]))(problem)
                })?;
            pair(chain, key, key_source, certificate_source).map_err(at([place]))
        }
        Identity::Store {
            store,
            key_password,
        } => {
            let source = Source::File(store.path.clone());
            let contents = open(store, Some(key_password.as_ref()), place, files)?;
            let (key, chain) = contents
                .key
                .ok_or_else(|| at([place])(MaterialProblem::NoKey(source.clone())))?;
            pair(chain, key, source.clone(), source).map_err(at([place]))
        }
    }
}

fn at<'a>(places: impl IntoIterator<Item = &'a Place>) -> impl FnOnce(MaterialProblem) -> Failed {
    let places = places.into_iter().cloned().collect();
    |problem| (problem, places)
}

/// Leaf first, with what may stand between it and an authority; the key has to be the leaf's.
pub(super) fn pair(
    mut chain: Vec<X509>,
    key: PKey<Private>,
    key_source: Source,
    certificate: Source,
) -> Result<OwnIdentity, MaterialProblem> {
    let belongs = |candidate: &X509| {
        candidate
            .public_key()
            .is_ok_and(|public| public.public_eq(&key))
    };
    // Some files have the authority first.
    let Some(leaf) = chain.iter().position(belongs) else {
        let subject = chain
            .first()
            .map_or_else(|| "(none)".to_owned(), |first| name(first.subject_name()));
        return Err(MaterialProblem::KeyForeign {
            key: key_source,
            certificate,
            subject,
        });
    };
    let leaf = chain.remove(leaf);
    chain.insert(0, leaf);
    Ok(OwnIdentity { chain, key })
}

fn read_pem(
    text: &Pem,
    files: &mut Files,
) -> Result<(Zeroizing<Vec<u8>>, Source), MaterialProblem> {
    match text {
        Pem::File(path) => {
            let bytes = files.read(path)?;
            Ok((Zeroizing::new(bytes), Source::File(path.clone())))
        }
        Pem::Text(text) => {
            let secret = files.secret(text)?;
            Ok((
                Zeroizing::new(secret.expose().as_bytes().to_vec()),
                Source::Text,
            ))
        }
    }
}

fn secret(text: Option<&Keyed<Text>>, files: &mut Files) -> Result<Option<Secret>, Failed> {
    text.map(|text| files.secret(&text.value).map_err(at([&text.place])))
        .transpose()
}

/// What a store gives.
#[derive(Default)]
struct Contents {
    trusted: Vec<X509>,
    /// The leaves of all keys' chains.
    leaves: Vec<X509>,
    key: Option<(PKey<Private>, Vec<X509>)>,
}

/// Opens a store: for its certificates alone, or also for its key, with the password of that.
fn open(
    store: &Store,
    key_password: Option<Option<&Keyed<Text>>>,
    place: &Place,
    files: &mut Files,
) -> Result<Contents, Failed> {
    let path = &store.path;
    let bytes = Zeroizing::new(files.read(path).map_err(at([place]))?);
    let password = secret(store.password.as_ref(), files)?;
    let password_place = store.password.as_ref().map(|password| &password.place);
    let places = || password_place.into_iter().chain([place]);
    if jks::is_jks(&bytes) {
        let own_password = secret(key_password.flatten(), files)?;
        let own_place = key_password.flatten().map(|password| &password.place);
        let read = jks::read(&bytes, password.as_ref())
            .map_err(|error| at(places())(jks_problem(error, path)))?;
        let with_key = key_password.is_some();
        let key_password = own_password.as_ref().or(password.as_ref());
        from_jks(&read, with_key, key_password, path)
            .map_err(|problem| at(own_place.into_iter().chain(places()))(problem))
    } else if bytes.first() == Some(&0x30) {
        from_pkcs12(&bytes, password.as_ref(), path).map_err(at(places()))
    } else {
        let hint = if jks::is_jceks(&bytes) {
            " but JCEKS; convert it with `keytool -importkeystore … -deststoretype pkcs12`"
        } else if bytes.starts_with(b"-----BEGIN") {
            " but PEM: give it as `ssl.ca.location`, or set `ssl.truststore.type = PEM` or `ssl.keystore.type = PEM`"
        } else {
            ""
        };
        let path = path.clone();
        Err(at([place])(MaterialProblem::NoStore { path, hint }))
    }
}

fn jks_problem(error: jks::JksError, path: &Path) -> MaterialProblem {
    let path = path.to_owned();
    match error {
        jks::JksError::Password => MaterialProblem::StorePassword(path),
        jks::JksError::Damaged(cause) => MaterialProblem::StoreDamaged { path, cause },
    }
}

fn from_jks(
    store: &jks::Jks,
    with_key: bool,
    key_password: Option<&Secret>,
    path: &Path,
) -> Result<Contents, MaterialProblem> {
    let certificates = |all: &[Vec<u8>]| {
        let parsed = all.iter().map(|der| certificate(der, path));
        parsed.collect::<Result<Vec<_>, _>>()
    };
    let mut contents = Contents {
        trusted: certificates(&store.trusted)?,
        ..Contents::default()
    };
    for entry in &store.keys {
        if let Some(leaf) = entry.chain.first() {
            contents.leaves.push(certificate(leaf, path)?);
        }
    }
    if with_key && let Some(entry) = store.keys.first() {
        if store.keys.len() > 1 {
            tracing::debug!(path = %path.display(), "the store holds several keys; the first is used");
        }
        let password =
            key_password.ok_or_else(|| MaterialProblem::StorePasswordMissing(path.to_owned()))?;
        let source = Source::File(path.to_owned());
        let key = entry.reveal(password).map_err(|error| match error {
            jks::JksError::Password => MaterialProblem::KeyPasswordWrong(source.clone()),
            jks::JksError::Damaged(_) => jks_problem(error, path),
        })?;
        let key = PKey::private_key_from_pkcs8(&key).map_err(|error| {
            MaterialProblem::KeyUnsupported {
                source_: source,
                kind: pem::openssl_words(&error),
            }
        })?;
        contents.key = Some((key, certificates(&entry.chain)?));
    }
    Ok(contents)
}

fn certificate(der: &[u8], path: &Path) -> Result<X509, MaterialProblem> {
    X509::from_der(der).map_err(|error| MaterialProblem::BadCertificate {
        source_: Source::File(path.to_owned()),
        cause: pem::openssl_words(&error),
    })
}

fn from_pkcs12(
    bytes: &[u8],
    password: Option<&Secret>,
    path: &Path,
) -> Result<Contents, MaterialProblem> {
    let store = Pkcs12::from_der(bytes).map_err(|_| MaterialProblem::NoStore {
        path: path.to_owned(),
        hint: "",
    })?;
    let given = password.map_or("", Secret::expose);
    if given.contains('\0') {
        // It would be cut off there.
        return Err(MaterialProblem::StorePassword(path.to_owned()));
    }
    let parsed = pem::with_legacy(|| store.parse2(given)).map_err(|error: ErrorStack| {
        if pem::is_unsupported(&error) {
            MaterialProblem::StoreOutdated(path.to_owned())
        } else if password.is_none() {
            MaterialProblem::StorePasswordMissing(path.to_owned())
        } else {
            MaterialProblem::StorePassword(path.to_owned())
        }
    })?;
    let trusted: Vec<X509> = parsed.ca.into_iter().flatten().collect();
    let leaves: Vec<X509> = parsed.cert.into_iter().collect();
    let key = parsed.pkey.map(|key| {
        let chain = leaves.iter().chain(&trusted).cloned().collect();
        (key, chain)
    });
    Ok(Contents {
        trusted,
        leaves,
        key,
    })
}

/// A distinguished name as people read it: `CN=broker, O=Example`.
pub(super) fn name(name: &openssl::x509::X509NameRef) -> String {
    let parts: Vec<String> = name
        .entries()
        .filter_map(|entry| {
            let key = entry.object().nid().short_name().ok()?;
            let value = entry.data().to_string().ok()?;
            Some(format!("{key}={value}"))
        })
        .collect();
    if parts.is_empty() {
        "(without a name)".to_owned()
    } else {
        parts.join(", ")
    }
}
