//! Certificates and keys in PEM text, as people write it.
//!
//! Text out of a properties file may have lost its line breaks, files may hold several blocks and remarks between
//! them: blocks are found by their marks and read without regard to white space. Keys may be encrypted in any way that
//! OpenSSL knows, PKCS#8 or traditional.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::provider::Provider;
use openssl::x509::X509;
use zeroize::Zeroizing;

use super::problem::{MaterialProblem, Source};
use crate::client::Secret;

/// One `-----BEGIN …-----` block.
struct Block<'a> {
    label: &'a str,
    body: Body<'a>,
}

enum Body<'a> {
    Der(Zeroizing<Vec<u8>>),
    /// With headers inside, as traditional encrypted keys have them: the whole block as it stands.
    WithHeaders(&'a str),
    /// No base64.
    Garbled,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    const BEGIN: &str = "-----BEGIN ";
    const DASHES: &str = "-----";
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(BEGIN) {
        let block = &rest[start..];
        let after = &block[BEGIN.len()..];
        let Some(label_end) = after.find(DASHES) else {
            break;
        };
        let label = &after[..label_end];
        let body = &after[label_end + DASHES.len()..];
        let end_mark = format!("-----END {label}-----");
        let Some(end) = body.find(&end_mark) else {
            break;
        };
        let inner = &body[..end];
        let whole = BEGIN.len() + label_end + DASHES.len() + end + end_mark.len();
        let body = if inner.contains(':') {
            Body::WithHeaders(&block[..whole])
        } else {
            let packed: Zeroizing<String> = Zeroizing::new(inner.split_whitespace().collect());
            STANDARD
                .decode(packed.as_bytes())
                .map_or(Body::Garbled, |der| Body::Der(Zeroizing::new(der)))
        };
        found.push(Block { label, body });
        rest = &block[whole..];
    }
    found
}

/// All certificates of a text, in its order.
pub(super) fn certificates(bytes: &[u8], source: &Source) -> Result<Vec<X509>, MaterialProblem> {
    let text = String::from_utf8_lossy(bytes);
    let mut certificates = Vec::new();
    for block in blocks(&text) {
        if !matches!(
            block.label,
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE"
        ) {
            continue;
        }
        let bad = |cause: String| MaterialProblem::BadCertificate {
            source_: source.clone(),
            cause,
        };
        let Body::Der(der) = block.body else {
            return Err(bad("it is not base64".to_owned()));
        };
        certificates.push(X509::from_der(&der).map_err(|error| bad(openssl_words(&error)))?);
    }
    if certificates.is_empty() {
        return Err(MaterialProblem::NoCertificate(source.clone()));
    }
    Ok(certificates)
}

/// The first private key of a text.
pub(super) fn private_key(
    bytes: &[u8],
    password: Option<&Secret>,
    source: &Source,
) -> Result<PKey<Private>, MaterialProblem> {
    let text = Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
    let blocks = blocks(&text);
    let block = blocks
        .iter()
        .find(|block| block.label.ends_with("PRIVATE KEY"))
        .ok_or_else(|| MaterialProblem::NoKey(source.clone()))?;
    let needed = || {
        password
            .map(|password| password.expose().as_bytes())
            .ok_or_else(|| MaterialProblem::KeyPasswordMissing(source.clone()))
    };
    let undecryptable = |error: ErrorStack| {
        if is_unsupported(&error) {
            MaterialProblem::KeyUnsupported {
                source_: source.clone(),
                kind: "this system's OpenSSL does not know how it is encrypted".to_owned(),
            }
        } else {
            MaterialProblem::KeyPasswordWrong(source.clone())
        }
    };
    match &block.body {
        Body::Garbled => Err(MaterialProblem::KeyUnsupported {
            source_: source.clone(),
            kind: "it is not base64".to_owned(),
        }),
        Body::Der(der) if block.label == "ENCRYPTED PRIVATE KEY" => {
            let password = needed()?;
            with_legacy(|| PKey::private_key_from_pkcs8_passphrase(der, password))
                .map_err(undecryptable)
        }
        Body::WithHeaders(block) if block.contains("ENCRYPTED") => {
            let password = needed()?;
            with_legacy(|| PKey::private_key_from_pem_passphrase(block.as_bytes(), password))
                .map_err(undecryptable)
        }
        Body::WithHeaders(block) => {
            PKey::private_key_from_pem(block.as_bytes()).map_err(|error| unreadable(source, &error))
        }
        Body::Der(der) => {
            PKey::private_key_from_der(der).map_err(|error| unreadable(source, &error))
        }
    }
}

fn unreadable(source: &Source, error: &ErrorStack) -> MaterialProblem {
    MaterialProblem::KeyUnsupported {
        source_: source.clone(),
        kind: openssl_words(error),
    }
}

/// Tries again with OpenSSL's old ciphers if one of those is what it takes. They are known to it only meanwhile.
pub(super) fn with_legacy<T>(read: impl Fn() -> Result<T, ErrorStack>) -> Result<T, ErrorStack> {
    let error = match read() {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if !is_unsupported(&error) {
        return Err(error);
    }
    // Where the system has no such module, the first error says so well enough.
    let Ok(_legacy) = Provider::try_load(None, "legacy", true) else {
        return Err(error);
    };
    read()
}

pub(super) fn is_unsupported(error: &ErrorStack) -> bool {
    error
        .errors()
        .iter()
        .any(|error| matches!(error.reason(), Some("unsupported" | "unknown cipher")))
}

/// The innermost reason, without OpenSSL's numbers.
pub(super) fn openssl_words(error: &ErrorStack) -> String {
    error
        .errors()
        .iter()
        .find_map(|error| error.reason())
        .unwrap_or("OpenSSL gives no reason")
        .to_owned()
}
