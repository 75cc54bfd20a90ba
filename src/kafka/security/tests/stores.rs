//! What keytool and OpenSSL write is read.

use std::path::PathBuf;

use super::super::files::Files;
use super::super::problem::MaterialProblem;
use super::super::stores::{Failed, identity, name, trusted};
use super::super::{jks, stores};
use crate::client::settings::{Identity, Keyed, Pem, Store, StoreKind, Trust};
use crate::client::{Place, Secret, Text};

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/kafka/security/tests/stores")
        .join(file)
}

fn keyed<T>(value: T, key: &str) -> Keyed<T> {
    Keyed {
        value,
        place: Place {
            key: key.to_owned(),
            at: "west.properties:1".to_owned(),
        },
    }
}

fn store(file: &str, password: Option<&str>) -> Store {
    Store {
        // Declared as the other one on purpose: the content decides.
        kind: if file.ends_with("jks") {
            StoreKind::Pkcs12
        } else {
            StoreKind::Jks
        },
        path: path(file),
        password: password.map(|password| keyed(Text::inline(password), "ssl.truststore.password")),
    }
}

fn trust_in(file: &str, password: Option<&str>) -> Result<Vec<String>, Failed> {
    let trust = keyed(
        Trust::Store(store(file, password)),
        "ssl.truststore.location",
    );
    let certificates = trusted(&trust, &mut Files::default())?;
    Ok(certificates
        .iter()
        .map(|certificate| name(certificate.subject_name()))
        .collect())
}

fn own(identity_: Identity) -> Result<Vec<String>, Failed> {
    let identity = identity(
        &keyed(identity_, "ssl.keystore.location"),
        &mut Files::default(),
    )?;
    let leaf = identity.chain[0].public_key().unwrap();
    assert!(leaf.public_eq(&identity.key));
    Ok(identity
        .chain
        .iter()
        .map(|certificate| name(certificate.subject_name()))
        .collect())
}

fn own_store(
    file: &str,
    password: Option<&str>,
    key_password: Option<&str>,
) -> Result<Vec<String>, Failed> {
    own(Identity::Store {
        store: store(file, password),
        key_password: key_password.map(|text| keyed(Text::inline(text), "ssl.key.password")),
    })
}

fn own_pem(certificate: &str, key: &str, password: Option<&str>) -> Result<Vec<String>, Failed> {
    own(Identity::Pem {
        certificates: Pem::File(path(certificate)),
        key: Pem::File(path(key)),
        key_password: password.map(|text| keyed(Text::inline(text), "ssl.key.password")),
    })
}

#[test]
fn trust_stores_of_every_java_are_read_whatever_they_are_declared_as() {
    for file in ["trust.jks", "trust.p12", "trust-java8.p12"] {
        let found = trust_in(file, Some("store-pw")).unwrap_or_else(|(problem, _)| {
            panic!("{file}: {problem}");
        });
        assert_eq!(found, ["CN=Test CA, O=Example"], "{file}");
    }
}

#[test]
fn a_trust_store_without_password_is_read_as_java_reads_it() {
    for file in ["trust.jks", "trust-open.p12"] {
        assert_eq!(
            trust_in(file, None).unwrap(),
            ["CN=Test CA, O=Example"],
            "{file}"
        );
    }
    let (problem, _) = trust_in("trust.p12", None).unwrap_err();
    assert_eq!(
        problem,
        MaterialProblem::StorePasswordMissing(path("trust.p12"))
    );
}

#[test]
fn a_wrong_store_password_is_told_as_such_with_its_place() {
    for file in ["trust.jks", "trust.p12", "trust-java8.p12", "key.p12"] {
        let (problem, places) = trust_in(file, Some("wrong")).unwrap_err();
        assert_eq!(problem, MaterialProblem::StorePassword(path(file)));
        assert_eq!(places[0].key, "ssl.truststore.password");
    }
}

#[test]
fn key_stores_of_every_java_are_read() {
    let chain = ["CN=client1", "CN=Test CA, O=Example"];
    for (file, key_password) in [
        ("key.jks", Some("key-pw")),
        ("key.p12", None),
        ("key.p12", Some("store-pw")),
        ("key-java8.p12", None),
    ] {
        let found = own_store(file, Some("store-pw"), key_password)
            .unwrap_or_else(|(problem, _)| panic!("{file}: {problem}"));
        assert_eq!(found, chain, "{file}");
    }
}

#[test]
fn a_key_store_also_serves_as_trust_store() {
    assert_eq!(
        trust_in("key.jks", Some("store-pw")).unwrap(),
        ["CN=client1"]
    );
    let mut found = trust_in("key.p12", Some("store-pw")).unwrap();
    found.sort();
    assert_eq!(found, ["CN=Test CA, O=Example", "CN=client1"]);
}

#[test]
fn a_wrong_or_missing_key_password_is_told_apart_from_the_stores() {
    let (problem, places) = own_store("key.jks", Some("store-pw"), Some("wrong")).unwrap_err();
    assert!(matches!(problem, MaterialProblem::KeyPasswordWrong(_)));
    assert_eq!(places[0].key, "ssl.key.password");
    // Java takes the store's password where none is given for the key.
    let (problem, _) = own_store("key.jks", Some("store-pw"), None).unwrap_err();
    assert!(matches!(problem, MaterialProblem::KeyPasswordWrong(_)));
    let (problem, _) = own_store("key.jks", None, None).unwrap_err();
    assert!(matches!(problem, MaterialProblem::StorePasswordMissing(_)));
    let (problem, _) = own_store("trust.jks", Some("store-pw"), None).unwrap_err();
    assert!(matches!(problem, MaterialProblem::NoKey(_)));
}

#[test]
fn encrypted_keys_in_pem_are_read_in_all_their_forms() {
    for key in ["pbes2.key", "3des.key", "traditional.key"] {
        own_pem("client.crt", key, Some("key-pw"))
            .unwrap_or_else(|(problem, _)| panic!("{key}: {problem}"));
        let (problem, places) = own_pem("client.crt", key, Some("wrong")).unwrap_err();
        assert!(matches!(problem, MaterialProblem::KeyPasswordWrong(_)));
        assert_eq!(places[0].key, "ssl.key.password", "{key}");
        let (problem, _) = own_pem("client.crt", key, None).unwrap_err();
        assert!(matches!(problem, MaterialProblem::KeyPasswordMissing(_)));
    }
    for key in ["client.key", "sec1.key"] {
        own_pem("client.crt", key, None).unwrap_or_else(|(problem, _)| panic!("{key}: {problem}"));
    }
}

#[test]
fn a_key_of_another_certificate_is_noticed_before_any_broker_does() {
    let (problem, _) = own_pem("ca.pem", "client.key", None).unwrap_err();
    assert_eq!(
        problem.to_string(),
        format!(
            "the private key in {} does not belong to the certificate CN=Test CA, O=Example in {}",
            path("client.key").display(),
            path("ca.pem").display()
        )
    );
}

#[test]
fn pem_without_line_breaks_is_read_as_properties_files_have_it() {
    let one_line = std::fs::read_to_string(path("ca.pem"))
        .unwrap()
        .replace('\n', " ");
    let trust = keyed(
        Trust::Pem(Pem::Text(Text::inline(format!(
            "a remark {one_line} {one_line}"
        )))),
        "ssl.truststore.certificates",
    );
    assert_eq!(trusted(&trust, &mut Files::default()).unwrap().len(), 2);
}

#[test]
fn what_is_no_store_is_named() {
    for (file, hint) in [
        ("ca.pem", "but PEM"),
        ("other.jceks", "but JCEKS"),
        ("../stores.rs", "neither a JKS nor a PKCS#12 store"),
    ] {
        let (problem, _) = trust_in(file, Some("store-pw")).unwrap_err();
        assert!(problem.to_string().contains(hint), "{problem}");
    }
    let (problem, _) = trust_in("absent.jks", None).unwrap_err();
    assert!(problem.to_string().ends_with("there is no such file"));
    let trust = keyed(Trust::Pem(Pem::File(path("client.key"))), "ssl.ca.location");
    let (problem, _) = trusted(&trust, &mut Files::default()).unwrap_err();
    assert!(matches!(problem, MaterialProblem::NoCertificate(_)));
}

#[test]
fn the_systems_own_authorities_are_found() {
    // A minimal machine may have none; then this says so instead of trusting nobody silently.
    match stores::of_the_system() {
        Ok(all) => assert!(!all.is_empty()),
        Err(problem) => assert!(problem.to_string().contains("system's store")),
    }
}

proptest::proptest! {
    /// A store with any bytes changed or cut off gives an error or the same certificates, never a crash.
    #[test]
    fn a_damaged_store_never_crashes(
        file in proptest::sample::select(vec!["key.jks", "trust.jks"]),
        at in 0_usize..1_100,
        value in proptest::prelude::any::<u8>(),
        cut in 0_usize..1_100,
    ) {
        let mut bytes = std::fs::read(path(file)).unwrap();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        bytes.truncate(cut.max(4));
        if let Ok(store) = jks::read(&bytes, None) {
            for key in &store.keys {
                let _ = key.reveal(&Secret::new("key-pw"));
            }
        }
    }
}
