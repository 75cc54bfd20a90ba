//! SCRAM (RFC 5802, RFC 7677) as Kafka speaks it: without channel binding, names and passwords as they are typed (no SASLprep),
//! and with `tokenauth=true` for delegation tokens (KIP-48).
//!
//! Own code on ring's primitives: the libraries that know SCRAM normalise passwords, which Kafka does not, and have no
//! place for Kafka's extension.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

use super::Cause;
use crate::client::Secret;
use crate::client::settings::ScramHash;

/// What Kafka's own client asks for at least, so that a false broker cannot have the password cheaply.
pub(super) const FEWEST_ITERATIONS: u32 = 4096;
/// More would be an attack on this machine's time. Kafka allows its users 16384.
const MOST_ITERATIONS: u32 = 1_000_000;
/// Without channel binding.
const GS2_HEADER: &str = "n,,";
/// The header in base64, as the final message repeats it.
const CHANNEL_BINDING: &str = "c=biws";

/// The client's side.
pub(in super::super) struct Scram {
    algorithms: Algorithms,
    password: Secret,
    nonce: String,
    first_bare: Zeroizing<String>,
    state: Stage,
}

enum Stage {
    AwaitsSalt,
    /// With the proof that only the real broker can give.
    AwaitsProof {
        signature: Vec<u8>,
    },
    Done,
}

/// Both sides compute with these.
#[derive(Clone, Copy)]
pub(super) struct Algorithms {
    pub digest: &'static digest::Algorithm,
    pub hmac: hmac::Algorithm,
    pub pbkdf2: pbkdf2::Algorithm,
}

impl Algorithms {
    pub fn of(hash: ScramHash) -> Self {
        match hash {
            ScramHash::Sha256 => Self {
                digest: &digest::SHA256,
                hmac: hmac::HMAC_SHA256,
                pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256,
            },
            ScramHash::Sha512 => Self {
                digest: &digest::SHA512,
                hmac: hmac::HMAC_SHA512,
                pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512,
            },
        }
    }

    pub fn hmac(self, key: &[u8], message: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.hmac, key), message)
    }
}

impl Scram {
    pub fn new(
        hash: ScramHash,
        username: &Secret,
        password: &Secret,
        token_auth: bool,
    ) -> Result<Self, Cause> {
        let mut random = [0; 24];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| "the system gives no random numbers".to_owned())?;
        let nonce = STANDARD.encode(random);
        Ok(Self::with_nonce(
            hash, username, password, token_auth, nonce,
        ))
    }

    fn with_nonce(
        hash: ScramHash,
        username: &Secret,
        password: &Secret,
        token_auth: bool,
        nonce: String,
    ) -> Self {
        let username = username.expose().replace('=', "=3D").replace(',', "=2C");
        let extension = if token_auth { ",tokenauth=true" } else { "" };
        Self {
            algorithms: Algorithms::of(hash),
            password: password.clone(),
            first_bare: Zeroizing::new(format!("n={username},r={nonce}{extension}")),
            nonce,
            state: Stage::AwaitsSalt,
        }
    }

    pub fn first(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(format!("{GS2_HEADER}{}", *self.first_bare).into_bytes())
    }

    pub fn next(&mut self, challenge: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Cause> {
        let challenge = std::str::from_utf8(challenge)
            .map_err(|_| "the broker's message is not UTF-8".to_owned())?;
        match &self.state {
            Stage::AwaitsSalt => self.prove(challenge).map(Some),
            Stage::AwaitsProof { signature } => {
                check(challenge, signature)?;
                self.state = Stage::Done;
                Ok(None)
            }
            Stage::Done => Err("the broker goes on after its last message".to_owned()),
        }
    }

    /// Takes salt and iterations, gives the proof that we know the password.
    fn prove(&mut self, server_first: &str) -> Result<Zeroizing<Vec<u8>>, Cause> {
        let ServerFirst {
            nonce,
            salt,
            iterations,
        } = ServerFirst::read(server_first)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the broker's nonce does not continue ours".to_owned());
        }
        let Algorithms { digest: hash, .. } = self.algorithms;
        let mut salted = Zeroizing::new(vec![0; hash.output_len()]);
        let password = self.password.expose().as_bytes();
        pbkdf2::derive(
            self.algorithms.pbkdf2,
            iterations,
            &salt,
            password,
            &mut salted,
        );

        let final_bare = format!("{CHANNEL_BINDING},r={nonce}");
        let signed = Zeroizing::new(format!("{},{server_first},{final_bare}", *self.first_bare));
        let client_key = self.algorithms.hmac(&salted, b"Client Key");
        let stored_key = digest::digest(hash, client_key.as_ref());
        let client_signature = self.algorithms.hmac(stored_key.as_ref(), signed.as_bytes());
        let proof: Zeroizing<Vec<u8>> = Zeroizing::new(
            client_key
                .as_ref()
                .iter()
                .zip(client_signature.as_ref())
                .map(|(key, signature)| key ^ signature)
                .collect(),
        );
        let server_key = self.algorithms.hmac(&salted, b"Server Key");
        let signature = self.algorithms.hmac(server_key.as_ref(), signed.as_bytes());
        self.state = Stage::AwaitsProof {
            signature: signature.as_ref().to_vec(),
        };
        let message = format!("{final_bare},p={}", STANDARD.encode(&*proof));
        Ok(Zeroizing::new(message.into_bytes()))
    }
}

struct ServerFirst<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl<'a> ServerFirst<'a> {
    fn read(message: &'a str) -> Result<Self, Cause> {
        let mut fields = message.split(',');
        let mut field = |name: &str| {
            fields
                .next()
                .and_then(|field| field.strip_prefix(name)?.strip_prefix('='))
                .ok_or_else(|| "the broker's first message is not what SCRAM asks for".to_owned())
        };
        let nonce = field("r")?;
        let salt = STANDARD
            .decode(field("s")?)
            .map_err(|_| "the broker's salt is not base64".to_owned())?;
        let iterations = field("i")?;
        let count: u32 = iterations
            .parse()
            .map_err(|_| "the broker's number of iterations is no number".to_owned())?;
        if count < FEWEST_ITERATIONS {
            return Err(format!(
                "the broker asks for {count} iterations, fewer than the {FEWEST_ITERATIONS} that are safe"
            ));
        }
        let iterations = NonZeroU32::new(count)
            .filter(|_| count <= MOST_ITERATIONS)
            .ok_or_else(|| {
                format!("the broker asks for {count} iterations, more than {MOST_ITERATIONS}")
            })?;
        Ok(Self {
            nonce,
            salt,
            iterations,
        })
    }
}

/// Whether the broker knows what only a broker that knows the password's digest can know.
fn check(server_final: &str, expected: &[u8]) -> Result<(), Cause> {
    let first = server_final.split(',').next().unwrap_or_default();
    if let Some(error) = first.strip_prefix("e=") {
        return Err(format!("the broker says {error}"));
    }
    let signature = first
        .strip_prefix("v=")
        .and_then(|text| STANDARD.decode(text).ok())
        .ok_or_else(|| "the broker's last message is not what SCRAM asks for".to_owned())?;
    if signature == expected {
        Ok(())
    } else {
        Err(
            "the broker does not prove that it knows the password: it may not be the one it pretends to be"
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3.
    #[test]
    fn the_published_exchange_for_sha_256_is_reproduced() {
        let mut scram = Scram::with_nonce(
            ScramHash::Sha256,
            &Secret::new("user"),
            &Secret::new("pencil"),
            false,
            "rOprNGfwEbeRWgbNEkqO".to_owned(),
        );
        assert_eq!(
            scram.first().as_slice(),
            b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
        );
        let server_first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let answer = scram.next(server_first).unwrap().unwrap();
        assert_eq!(
            std::str::from_utf8(&answer).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let last = scram
            .next(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
            .unwrap();
        assert!(last.is_none());
    }

    /// Computed with Python's hashlib, which gives RFC 7677's values for SHA-256.
    #[test]
    fn an_independent_implementation_agrees_for_sha_512() {
        let mut scram = Scram::with_nonce(
            ScramHash::Sha512,
            &Secret::new("user"),
            &Secret::new("pencil"),
            false,
            "rOprNGfwEbeRWgbNEkqO".to_owned(),
        );
        let server_first = b"r=rOprNGfwEbeRWgbNEkqO02431b08-2f0c-4bcb-8b8f-5e5bb7ac5b2b,s=Yin2FuHTt/M0kJWb0t9OI32n2VmOGi3m+JfjOvuDF88=,i=4096";
        let answer = scram.next(server_first).unwrap().unwrap();
        assert_eq!(
            std::str::from_utf8(&answer).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO02431b08-2f0c-4bcb-8b8f-5e5bb7ac5b2b,p=JqXSrAZI1lGqxsLKdj3yzhKxh0C97s6Awp4jBPkL+ZVtD4y+6c86ILDCZkehESh4131YVXMokODypHNzXOSSvg=="
        );
        let last = scram.next(b"v=RRAFU5fxMnuwHrXedtpSH1Mp+8uKfqTNpikBNeEk5DVwqtK3eLkobBbnFlmxznhpSnI2mkabf6ap9tTd8a18yg==");
        assert!(last.unwrap().is_none());
    }

    fn started() -> Scram {
        Scram::with_nonce(
            ScramHash::Sha256,
            &Secret::new("user"),
            &Secret::new("pencil"),
            false,
            "abc".to_owned(),
        )
    }

    #[test]
    fn a_false_broker_is_found_out() {
        let mut scram = started();
        let sent = scram.next(b"r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        assert!(sent.unwrap().is_some());
        let error = scram
            .next(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
            .unwrap_err();
        assert!(error.contains("does not prove"), "{error}");
    }

    #[test]
    fn what_would_give_the_password_away_or_take_all_time_is_refused() {
        for (message, cause) in [
            ("r=abcdef,s=W22ZaA==,i=1", "fewer than"),
            ("r=abcdef,s=W22ZaA==,i=4000000000", "more than"),
            ("r=abcdef,s=W22ZaA==,i=-1", "no number"),
            ("r=xyz,s=W22ZaA==,i=4096", "does not continue"),
            ("r=abc,s=W22ZaA==,i=4096", "does not continue"),
            ("r=abcdef,s=?,i=4096", "not base64"),
            ("s=W22ZaA==,i=4096", "not what SCRAM"),
            ("m=what,r=abcdef,s=W22ZaA==,i=4096", "not what SCRAM"),
        ] {
            let error = started().next(message.as_bytes()).unwrap_err();
            assert!(error.contains(cause), "{message}: {error}");
        }
        assert!(started().next(b"\xFF").is_err());
    }

    #[test]
    fn names_are_escaped_and_tokens_announced_as_kafka_reads_them() {
        let scram = Scram::with_nonce(
            ScramHash::Sha512,
            &Secret::new("a=b,c"),
            &Secret::new("pencil"),
            true,
            "abc".to_owned(),
        );
        assert_eq!(
            scram.first().as_slice(),
            b"n,,n=a=3Db=2Cc,r=abc,tokenauth=true"
        );
    }
}
