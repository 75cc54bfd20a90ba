//! Whom to trust, who to be, how much to check.

use super::{Found, Kind, Table};
use crate::client::settings::{
    Identity, Keyed, Pem, Store, StoreKind, TlsSettings, TlsVersions, Trust, Verify,
};

/// Where a store lies and what is said about it.
struct StoreKeys {
    location: &'static str,
    kind: &'static str,
    password: &'static str,
    /// Java's key for the same as PEM text.
    inline: &'static str,
}

const TRUSTSTORE: StoreKeys = StoreKeys {
    location: "ssl.truststore.location",
    kind: "ssl.truststore.type",
    password: "ssl.truststore.password",
    inline: "ssl.truststore.certificates",
};

const KEYSTORE: StoreKeys = StoreKeys {
    location: "ssl.keystore.location",
    kind: "ssl.keystore.type",
    password: "ssl.keystore.password",
    inline: "ssl.keystore.certificate.chain",
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum StoreForm {
    Jks,
    Pkcs12,
    Pem,
}

pub(super) fn read(table: &mut Table<'_>) -> TlsSettings {
    TlsSettings {
        trust: trust(table),
        identity: identity(table),
        verify: verify(table),
        versions: versions(table),
    }
}

/// What a value in PEM form says, or the path to it.
pub(super) fn pem(table: &mut Table<'_>, found: Found<'_>) -> Option<Pem> {
    if found.entry.key.ends_with(".location") {
        let is_key = found.entry.key == "ssl.key.location";
        let is_secret = is_key && !table.is_set("ssl.key.password");
        let path = table.file(found, found.str()?, is_secret);
        return Some(Pem::File(path));
    }
    found.text().map(|text| Pem::Text(text.clone()))
}

fn trust(table: &mut Table<'_>) -> Option<Keyed<Trust>> {
    let found = table.alternatives(
        &[
            TRUSTSTORE.location,
            TRUSTSTORE.inline,
            "ssl.ca.location",
            "ssl.ca.pem",
        ],
        "both say whom to trust",
    );
    let Some(found) = found else {
        report_without_location(table, &TRUSTSTORE);
        return None;
    };
    let trust = match found.entry.key.as_str() {
        "ssl.ca.location" if found.str() == Some("probe") => return None,
        key if key == TRUSTSTORE.location => match form(table, &TRUSTSTORE)? {
            StoreForm::Pem => {
                report_pem_password(table, &TRUSTSTORE);
                Trust::Pem(Pem::File(table.file(found, found.str()?, false)))
            }
            form => Trust::Store(store(table, &TRUSTSTORE, found, form)?),
        },
        key if key == TRUSTSTORE.inline => {
            expect_pem(table, &TRUSTSTORE, found);
            Trust::Pem(pem(table, found)?)
        }
        _ => Trust::Pem(pem(table, found)?),
    };
    Some(found.keyed(trust))
}

fn identity(table: &mut Table<'_>) -> Option<Keyed<Identity>> {
    let found = table.alternatives(
        &[
            KEYSTORE.location,
            KEYSTORE.inline,
            "ssl.certificate.location",
            "ssl.certificate.pem",
        ],
        "both say which certificate the client has",
    );
    let Some(found) = found else {
        report_without_location(table, &KEYSTORE);
        report_key_alone(table);
        return None;
    };
    let key_password = table.keyed("ssl.key.password");
    let identity = match found.entry.key.as_str() {
        key if key == KEYSTORE.location => {
            report_key_beside_store(table, found);
            match form(table, &KEYSTORE)? {
                StoreForm::Pem => {
                    report_pem_password(table, &KEYSTORE);
                    let is_secret = key_password.is_none();
                    let file = Pem::File(table.file(found, found.str()?, is_secret));
                    Identity::Pem {
                        certificates: file.clone(),
                        key: file,
                        key_password,
                    }
                }
                form => Identity::Store {
                    store: store(table, &KEYSTORE, found, form)?,
                    key_password,
                },
            }
        }
        key => {
            if key == KEYSTORE.inline {
                expect_pem(table, &KEYSTORE, found);
            }
            let private = table.alternatives(
                &["ssl.keystore.key", "ssl.key.location", "ssl.key.pem"],
                "both hold the client's private key",
            );
            let Some(private) = private else {
                let java = key == KEYSTORE.inline;
                let wanted = if java {
                    "ssl.keystore.key"
                } else {
                    "ssl.key.location"
                };
                table.report(
                    Kind::Missing,
                    found.key(),
                    "the client's certificate has no private key",
                    format!("`{wanted}` is not set"),
                );
                table.help(format!("set {wanted}"));
                return None;
            };
            Identity::Pem {
                certificates: pem(table, found)?,
                key: pem(table, private)?,
                key_password,
            }
        }
    };
    Some(found.keyed(identity))
}

/// The form that a store is said to have.
fn form(table: &mut Table<'_>, keys: &StoreKeys) -> Option<StoreForm> {
    let Some(found) = table.get(keys.kind) else {
        return Some(StoreForm::Jks);
    };
    let written = found.str()?.trim().to_uppercase();
    match written.as_str() {
        "JKS" => Some(StoreForm::Jks),
        "PKCS12" => Some(StoreForm::Pkcs12),
        "PEM" => Some(StoreForm::Pem),
        _ => {
            table.bad_word(found, &written, &["JKS", "PKCS12", "PEM"]);
            None
        }
    }
}

fn store(
    table: &mut Table<'_>,
    keys: &StoreKeys,
    found: Found<'_>,
    form: StoreForm,
) -> Option<Store> {
    Some(Store {
        kind: match form {
            StoreForm::Pkcs12 => StoreKind::Pkcs12,
            StoreForm::Jks | StoreForm::Pem => StoreKind::Jks,
        },
        path: table.file(found, found.str()?, false),
        password: table.keyed(keys.password),
    })
}

/// Java takes PEM text only where the store is said to be PEM; a store of another form is
/// certainly not meant.
fn expect_pem(table: &mut Table<'_>, keys: &StoreKeys, inline: Found<'_>) {
    let Some(kind) = table.get(keys.kind) else {
        return;
    };
    if matches!(form(table, keys), Some(StoreForm::Jks | StoreForm::Pkcs12)) {
        let message = format!(
            "`{}` is PEM text and `{}` says otherwise",
            inline.entry.key, keys.kind
        );
        table
            .report(Kind::Conflict, kind.value(), message, "has to be PEM")
            .also
            .push((inline.key(), "because of this".to_owned()));
        table.help(format!("write {}=PEM", keys.kind));
    }
}

fn report_pem_password(table: &mut Table<'_>, keys: &StoreKeys) {
    if let Some(password) = table.get(keys.password) {
        let message = format!("`{}` has no effect here", keys.password);
        table.report(
            Kind::NoEffect,
            password.key(),
            message,
            "a PEM file has no password of its own",
        );
        table.help("for an encrypted private key set ssl.key.password");
    }
}

/// A type or a password without the store that they belong to.
fn report_without_location(table: &mut Table<'_>, keys: &StoreKeys) {
    let found = [keys.password, keys.kind]
        .into_iter()
        .find_map(|key| table.get(key));
    // A type alone is often written out with its default.
    let Some(found) = found.filter(|found| found.entry.key == keys.password) else {
        return;
    };
    let message = format!("`{}` belongs to no store", found.entry.key);
    let label = format!("`{}` is not set", keys.location);
    table.report(Kind::Missing, found.key(), message, label);
    table.help(format!("set {}, or take the password out", keys.location));
}

fn report_key_alone(table: &mut Table<'_>) {
    let alone = [
        ("ssl.keystore.key", KEYSTORE.inline),
        ("ssl.key.location", "ssl.certificate.location"),
        ("ssl.key.pem", "ssl.certificate.pem"),
    ];
    for (key, wanted) in alone {
        if let Some(found) = table.get(key) {
            table.report(
                Kind::Missing,
                found.key(),
                "the client's private key has no certificate",
                format!("`{wanted}` is not set"),
            );
            table.help(format!("set {wanted}"));
        }
    }
}

fn report_key_beside_store(table: &mut Table<'_>, store: Found<'_>) {
    for key in ["ssl.keystore.key", "ssl.key.location", "ssl.key.pem"] {
        let Some(found) = table
            .get(key)
            .filter(|found| found.entry.from == store.entry.from)
        else {
            continue;
        };
        let message = format!("`{key}` and `{}` are both set", store.entry.key);
        table
            .report(
                Kind::Conflict,
                found.key(),
                message,
                "both hold the client's private key",
            )
            .also
            .push((store.key(), "the other one".to_owned()));
        table.help("keep one of them");
    }
}

fn verify(table: &mut Table<'_>) -> Keyed<Verify> {
    const ALL: &str = "enable.ssl.certificate.verification";
    const HOST: &str = "ssl.endpoint.identification.algorithm";
    if table.bool(ALL) == Some(false)
        && let Some(found) = table.get(ALL)
    {
        table.report(
            Kind::Insecure,
            found.value(),
            "the brokers' certificates are not checked at all",
            "whoever can reach the connection can pose as a broker",
        );
        table.help(
            "take it out and set ssl.ca.location or ssl.truststore.location to the authority \
             that signs the brokers' certificates",
        );
        return found.keyed(Verify::Nothing);
    }
    let Some(found) = table.get(HOST) else {
        return Keyed::default();
    };
    let Some(written) = found.str() else {
        return Keyed::default();
    };
    let written = written.trim().to_lowercase();
    match written.as_str() {
        "https" => found.keyed(Verify::Full),
        "" | "none" => {
            table.report(
                Kind::Insecure,
                found.key(),
                "the brokers' host names are not checked",
                "whoever has any certificate of the same authority can pose as a broker",
            );
            table.help(
                "take it out, and let the brokers' certificates name the hosts that clients use",
            );
            found.keyed(Verify::ChainOnly)
        }
        _ => {
            table.bad_word(found, &written, &["https", "none"]);
            Keyed::default()
        }
    }
}

fn versions(table: &mut Table<'_>) -> TlsVersions {
    let Some(found) = table.get("ssl.enabled.protocols") else {
        return TlsVersions::default();
    };
    let Some(text) = found.str() else {
        return TlsVersions::default();
    };
    let mut versions = TlsVersions {
        tls12: false,
        tls13: false,
    };
    let mut old = None;
    for name in text.split(',').map(str::trim) {
        match name.to_lowercase().as_str() {
            "tlsv1.2" => versions.tls12 = true,
            "tlsv1.3" => versions.tls13 = true,
            "tlsv1" | "tlsv1.1" | "sslv2hello" | "sslv3" => old = Some(name),
            other => table.bad_word(found, other, &["TLSv1.2", "TLSv1.3"]),
        }
    }
    if !versions.tls12 && !versions.tls13 {
        if old.is_some() {
            table.report(
                Kind::Refused,
                found.value(),
                "these versions of TLS are not supported",
                "broken since long",
            );
            table.help("let the brokers speak TLSv1.2 or TLSv1.3");
        }
        return TlsVersions::default();
    }
    if let Some(old) = old {
        let message = format!("{old} is never spoken");
        table.report(
            Kind::NoEffect,
            found.value(),
            message,
            "only the newer versions in this list count",
        );
        table.help("keep TLSv1.2 and TLSv1.3");
    }
    versions
}
