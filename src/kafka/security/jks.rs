//! Java's own key store format, JKS, read only.
//!
//! Nobody keeps a library for it up, and it is small: a magic number, entries one after the other, and a SHA-1 digest over the
//! password and everything. Certificates stand in it as they are; a private key is hidden behind a key stream of
//! SHA-1 digests. Nothing is taken for granted of the bytes: a length that leads out of the file is an error.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN};
use zeroize::Zeroizing;

use crate::client::Secret;

const MAGIC: [u8; 4] = [0xFE, 0xED, 0xFE, 0xED];
/// JCEKS has the same shape but other ciphers; it is named in the error.
const JCEKS_MAGIC: [u8; 4] = [0xCE, 0xCE, 0xCE, 0xCE];
/// What Java mixes into the digest.
const SALT_OF_THE_WHOLE: &[u8] = b"Mighty Aphrodite";
/// 1.3.6.1.4.1.42.2.17.1.1, JavaSoft's key protector.
const KEY_PROTECTOR: [u8; 10] = [0x2B, 0x06, 0x01, 0x04, 0x01, 0x2A, 0x02, 0x11, 0x01, 0x01];

/// Whether bytes are a JKS store.
pub(super) fn is_jks(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

pub(super) fn is_jceks(bytes: &[u8]) -> bool {
    bytes.starts_with(&JCEKS_MAGIC)
}

/// What a store holds, certificates as DER.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Jks {
    pub trusted: Vec<Vec<u8>>,
    pub keys: Vec<KeyEntry>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyEntry {
    /// Still hidden.
    hidden: Vec<u8>,
    /// Leaf first.
    pub chain: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JksError {
    Password,
    Damaged(&'static str),
}

const SHORT: JksError = JksError::Damaged("it ends in the middle of an entry");

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], JksError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<usize, JksError> {
        let bytes = self.0.first_chunk::<2>().ok_or(SHORT)?;
        self.0 = &self.0[2..];
        Ok(usize::from(u16::from_be_bytes(*bytes)))
    }

    fn u32(&mut self) -> Result<usize, JksError> {
        let bytes = self.0.first_chunk::<4>().ok_or(SHORT)?;
        self.0 = &self.0[4..];
        usize::try_from(u32::from_be_bytes(*bytes)).map_err(|_| SHORT)
    }

    /// A name; nothing depends on what it says.
    fn skip_text(&mut self) -> Result<(), JksError> {
        let length = self.u16()?;
        self.take(length)?;
        Ok(())
    }

    fn bytes(&mut self) -> Result<&'a [u8], JksError> {
        let length = self.u32()?;
        self.take(length)
    }
}

/// Reads a store. Without a password its digest is not checked, as in Java.
pub(super) fn read(bytes: &[u8], password: Option<&Secret>) -> Result<Jks, JksError> {
    let body_length = bytes.len().checked_sub(SHA1_OUTPUT_LEN).ok_or(SHORT)?;
    let (body, digest) = bytes.split_at(body_length);
    if let Some(password) = password {
        let mut sum = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        sum.update(&utf16(password));
        sum.update(SALT_OF_THE_WHOLE);
        sum.update(body);
        if sum.finish().as_ref() != digest {
            return Err(JksError::Password);
        }
    }
    let mut input = Input(body);
    input.take(MAGIC.len())?;
    let version = input.u32()?;
    if !matches!(version, 1 | 2) {
        return Err(JksError::Damaged("its version is neither 1 nor 2"));
    }
    let count = input.u32()?;
    let mut store = Jks::default();
    for _ in 0..count {
        let tag = input.u32()?;
        input.skip_text()?;
        // When it was made.
        input.take(8)?;
        match tag {
            1 => {
                let hidden = input.bytes()?.to_vec();
                let length = input.u32()?;
                let mut chain = Vec::new();
                for _ in 0..length {
                    chain.push(certificate(&mut input, version)?);
                }
                store.keys.push(KeyEntry { hidden, chain });
            }
            2 => store.trusted.push(certificate(&mut input, version)?),
            _ => return Err(JksError::Damaged("it has an entry of unknown kind")),
        }
    }
    if input.0.is_empty() {
        Ok(store)
    } else {
        Err(JksError::Damaged("something follows its last entry"))
    }
}

fn certificate(input: &mut Input<'_>, version: usize) -> Result<Vec<u8>, JksError> {
    if version == 2 {
        // Its type, which is always X.509.
        input.skip_text()?;
    }
    Ok(input.bytes()?.to_vec())
}

impl KeyEntry {
    /// The key as PKCS#8.
    pub fn reveal(&self, password: &Secret) -> Result<Zeroizing<Vec<u8>>, JksError> {
        let damaged = JksError::Damaged("the wrapping of its private key cannot be read");
        let protected = unwrap(&self.hidden).ok_or(damaged)?;
        let (salt, rest) = protected.split_at_checked(SHA1_OUTPUT_LEN).ok_or(damaged)?;
        let length = rest.len().checked_sub(SHA1_OUTPUT_LEN).ok_or(damaged)?;
        let (hidden, check) = rest.split_at(length);
        let password = utf16(password);
        let digest = |second: &[u8]| {
            let mut sum = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            sum.update(&password);
            sum.update(second);
            sum.finish()
        };
        let mut plain = Zeroizing::new(hidden.to_vec());
        let mut stream = digest(salt);
        for piece in plain.chunks_mut(SHA1_OUTPUT_LEN) {
            for (byte, key) in piece.iter_mut().zip(stream.as_ref()) {
                *byte ^= key;
            }
            stream = digest(stream.as_ref());
        }
        if digest(&plain).as_ref() == check {
            Ok(plain)
        } else {
            Err(JksError::Password)
        }
    }
}

/// The octets of `SEQUENCE { SEQUENCE { OID of the key protector, … }, OCTET STRING }`.
fn unwrap(der: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const OID: u8 = 0x06;
    const OCTETS: u8 = 0x04;
    let (outer, _) = element(der, SEQUENCE)?;
    let (algorithm, rest) = element(outer, SEQUENCE)?;
    let (oid, _) = element(algorithm, OID)?;
    let (octets, _) = element(rest, OCTETS)?;
    (oid == KEY_PROTECTOR).then_some(octets)
}

/// The content of the DER element that bytes begin with, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let count = usize::from(length & 0x7F);
        if !(1..=4).contains(&count) {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(count)?;
        let length = digits
            .iter()
            .fold(0_usize, |sum, digit| (sum << 8) | usize::from(*digit));
        (length, rest)
    };
    rest.split_at_checked(length)
}

/// Java takes a password as its UTF-16 units.
fn utf16(password: &Secret) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(
        password
            .expose()
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect(),
    )
}
