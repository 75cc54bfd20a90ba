//! Secrets at rest: sealed with a key that only servers and workers have.
//!
//! AES-256-GCM with a random nonce for each value. The link's id and the config's name are authenticated along with it, so
//! that a sealed value is of no use in another place. A short hash of the key stands beside each value: whoever has another
//! key is told which one is wanted instead of that something is broken.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

pub use crate::control::records::SealedText as Sealed;

use crate::client::Secret;
use crate::client::secret::LARGEST_SECRET;
use crate::client::surroundings::Surroundings;

/// Where the key is looked up, as text.
pub const KEY_VARIABLE: &str = "KMIRROR_KEY";
/// Where the path of a file with the key is looked up.
pub const KEY_FILE_VARIABLE: &str = "KMIRROR_KEY_FILE";

const KEY_BYTES: usize = 32;

/// What secrets of links are sealed with.
pub struct Key {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    id: String,
}

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error(
        "{place} is no key: it has to be 32 bytes in base64 or hex, such as `kmirror key new` prints"
    )]
    Malformed { place: String },
    #[error("the key cannot be read from {place}: {cause}")]
    Unreadable { place: String, cause: String },
}

/// Why a sealed value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error(
        "`{config}` is stored encrypted, and there is no key here: set KMIRROR_KEY to the key {wanted}"
    )]
    NoKey { config: String, wanted: String },
    #[error(
        "`{config}` is encrypted with the key {wanted}, and the key here is {found}: set KMIRROR_KEY to that one"
    )]
    OtherKey {
        config: String,
        wanted: String,
        found: String,
    },
    #[error("`{config}` is encrypted and was changed since: set it anew")]
    Broken { config: String },
}

impl Key {
    /// A fresh one.
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        random(bytes.as_mut());
        Self::of(bytes)
    }

    /// Reads a key: 32 bytes in base64 or hex.
    ///
    /// # Errors
    /// The text is none. It is not repeated.
    pub fn parse(text: &str, place: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let decoded = Zeroizing::new(decode(text).unwrap_or_default());
        let bytes = <[u8; KEY_BYTES]>::try_from(decoded.as_slice());
        let bytes = bytes.map_err(|_| KeyError::Malformed {
            place: place.to_owned(),
        })?;
        Ok(Self::of(Zeroizing::new(bytes)))
    }

    /// Looks for a key: in the file where one is named, else in the environment.
    ///
    /// # Errors
    /// What is there is no key, or cannot be read.
    pub fn look(file: Option<&Path>, around: &dyn Surroundings) -> Result<Option<Self>, KeyError> {
        Self::look_for(file, KEY_VARIABLE, Some(KEY_FILE_VARIABLE), around)
    }

    /// The same with other names.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    pub fn look_for(
        file: Option<&Path>,
        variable: &str,
        file_variable: Option<&str>,
        around: &dyn Surroundings,
    ) -> Result<Option<Self>, KeyError> {
        if let Some(path) = file {
            return Self::read(path, around).map(Some);
        }
        let named = |name: &str| {
            around.variable(name).map_err(|_| KeyError::Unreadable {
                place: name.to_owned(),
                cause: "it is no Unicode".to_owned(),
            })
        };
        if let Some(text) = named(variable)?.filter(|text| !text.is_empty()) {
            let text = Zeroizing::new(text);
            return Self::parse(&text, variable).map(Some);
        }
        let path = match file_variable {
            Some(name) => named(name)?.filter(|path| !path.is_empty()),
            None => None,
        };
        path.map(|path| Self::read(Path::new(&path), around))
            .transpose()
    }

    fn read(path: &Path, around: &dyn Surroundings) -> Result<Self, KeyError> {
        let place = path.display().to_string();
        let file = around
            .file(path, LARGEST_SECRET)
            .map_err(|error| KeyError::Unreadable {
                place: place.clone(),
                cause: error.to_string(),
            })?;
        if file.readable_by_others {
            tracing::warn!("{place} holds a key and can be read by others: chmod 600 it");
        }
        let bytes = Zeroizing::new(file.bytes);
        Self::parse(&String::from_utf8_lossy(&bytes), &place)
    }

    fn of(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"kmirror key id\0");
        context.update(bytes.as_ref());
        let id = hex(&context.finish().as_ref()[..4]);
        Self { bytes, id }
    }

    /// A short hash, to tell keys apart.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key itself, as it is to be kept.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.bytes.as_ref()))
    }

    /// Seals the value of one config of one link.
    pub fn seal(&self, link: Uuid, config: &str, secret: &Secret) -> Sealed {
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce);
        let mut text = secret.expose().as_bytes().to_vec();
        self.cipher()
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context(link, config)),
                &mut text,
            )
            .expect("a config is far smaller than what the cipher takes");
        Sealed {
            key: self.id.clone(),
            nonce: STANDARD.encode(nonce),
            text: STANDARD.encode(text),
        }
    }

    /// Opens what was sealed.
    ///
    /// # Errors
    /// There is no key, it is another one, or the value is not as it was sealed.
    pub fn open(
        key: Option<&Self>,
        link: Uuid,
        config: &str,
        sealed: &Sealed,
    ) -> Result<Secret, Unreadable> {
        let key = key.ok_or_else(|| Unreadable::NoKey {
            config: config.to_owned(),
            wanted: sealed.key.clone(),
        })?;
        if key.id != sealed.key {
            return Err(Unreadable::OtherKey {
                config: config.to_owned(),
                wanted: sealed.key.clone(),
                found: key.id.clone(),
            });
        }
        key.try_open(link, config, sealed)
            .ok_or_else(|| Unreadable::Broken {
                config: config.to_owned(),
            })
    }

    fn try_open(&self, link: Uuid, config: &str, sealed: &Sealed) -> Option<Secret> {
        let nonce: [u8; NONCE_LEN] = STANDARD.decode(&sealed.nonce).ok()?.try_into().ok()?;
        let mut text = Zeroizing::new(STANDARD.decode(&sealed.text).ok()?);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let aad = Aad::from(context(link, config));
        let opened = self.cipher().open_in_place(nonce, aad, &mut text).ok()?;
        std::str::from_utf8(opened).ok().map(Secret::new)
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&AES_256_GCM, self.bytes.as_ref());
        LessSafeKey::new(key.expect("the key has the cipher's length"))
    }
}

/// Without the key itself.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

fn context(link: Uuid, config: &str) -> Vec<u8> {
    format!("kmirror link {link} {config}").into_bytes()
}

fn random(bytes: &mut [u8]) {
    SystemRandom::new()
        .fill(bytes)
        .expect("the system gives random bytes");
}

fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len() == 2 * KEY_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
        return (0..text.len()).step_by(2).map(digit).collect();
    }
    let mut plain = text.trim_end_matches('=').to_owned();
    let decoded = STANDARD_NO_PAD
        .decode(&plain)
        .or_else(|_| URL_SAFE_NO_PAD.decode(&plain));
    plain.zeroize();
    decoded.ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::client::surroundings::{File, NotUnicode};

    proptest! {
        #[test]
        fn what_is_sealed_opens_in_its_own_place_only(text in ".{1,400}", link in any::<u128>(), other in any::<u128>()) {
            let (key, secret) = (Key::generate(), Secret::new(text));
            let link = Uuid::from_u128(link);
            let sealed = key.seal(link, "sasl.jaas.config", &secret);
            let opened = Key::open(Some(&key), link, "sasl.jaas.config", &sealed);
            prop_assert_eq!(opened.expect("is opened"), secret.clone());
            let broken = Unreadable::Broken { config: "ssl.key.password".to_owned() };
            prop_assert_eq!(Key::open(Some(&key), link, "ssl.key.password", &sealed), Err(broken));
            if Uuid::from_u128(other) != link {
                prop_assert!(Key::open(Some(&key), Uuid::from_u128(other), "sasl.jaas.config", &sealed).is_err());
            }
            // The same text is never stored twice in the same form.
            prop_assert_ne!(key.seal(link, "sasl.jaas.config", &secret), sealed);
        }

        #[test]
        fn a_changed_value_is_not_taken(at in 0usize..40, bit in 0u8..8) {
            let key = Key::generate();
            let mut sealed = key.seal(Uuid::nil(), "a", &Secret::new("x".repeat(24)));
            let mut text = STANDARD.decode(&sealed.text).expect("base64");
            text[at] ^= 1 << bit;
            sealed.text = STANDARD.encode(text);
            prop_assert!(Key::open(Some(&key), Uuid::nil(), "a", &sealed).is_err());
        }
    }

    #[test]
    fn a_key_is_read_in_base64_and_hex_and_known_by_its_id() {
        let key = Key::generate();
        let text = key.text();
        let hexed = hex(key.bytes.as_ref());
        let url = URL_SAFE_NO_PAD.encode(key.bytes.as_ref());
        for written in [
            text.as_str(),
            &format!("{}\n", *text),
            &hexed,
            &hexed.to_uppercase(),
            &url,
        ] {
            assert_eq!(Key::parse(written, "x").expect("is a key").id(), key.id());
        }
        assert_eq!(key.id().len(), 8);
        assert!(!format!("{key:?}").contains(text.as_str()));
        for bad in ["", "hunter2", &text[1..], &hexed[2..]] {
            let error = Key::parse(bad, "KMIRROR_KEY")
                .expect_err("is no key")
                .to_string();
            assert!(error.starts_with("KMIRROR_KEY is no key") && !error.contains("hunter2"));
        }
    }

    #[test]
    fn another_key_says_which_one_is_wanted() {
        let (one, two) = (Key::generate(), Key::generate());
        let sealed = one.seal(Uuid::nil(), "a", &Secret::new("x"));
        let error = Key::open(Some(&two), Uuid::nil(), "a", &sealed).expect_err("another key");
        assert!(error.to_string().contains(one.id()) && error.to_string().contains(two.id()));
        assert!(Key::open(None, Uuid::nil(), "a", &sealed).is_err());
    }

    struct Around(String);

    impl Surroundings for Around {
        fn variable(&self, name: &str) -> Result<Option<String>, NotUnicode> {
            Ok((name == KEY_FILE_VARIABLE).then(|| "here".to_owned()))
        }

        fn file(&self, path: &Path, _: u64) -> std::io::Result<File> {
            assert_eq!(path, Path::new("here"));
            Ok(File {
                bytes: self.0.clone().into_bytes(),
                readable_by_others: false,
            })
        }

        fn look(&self, _: &Path) -> std::io::Result<bool> {
            Ok(true)
        }
    }

    #[test]
    fn a_key_may_lie_in_a_file() {
        let key = Key::generate();
        let around = Around(format!("{}\n", *key.text()));
        let found = Key::look(None, &around)
            .expect("is read")
            .expect("is there");
        assert_eq!(found.id(), key.id());
        assert!(
            Key::look(None, &crate::client::surroundings::Nowhere)
                .expect("none")
                .is_none()
        );
        assert!(Key::look(Some(Path::new("here")), &Around("x".to_owned())).is_err());
    }
}
