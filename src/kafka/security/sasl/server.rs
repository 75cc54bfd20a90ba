//! The broker's side of SASL: who has an account, and what is said to whom, in the words of Kafka's brokers.
//!
//! For the embedded broker. PLAIN (RFC 4616) and SCRAM (RFC 5802, RFC 7677) as Kafka takes them: no channel binding, names and
//! passwords as they are typed. What the client sends comes from the network: it is parsed, never trusted, and how long it
//! may be is for the connection to say.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, pbkdf2};
use zeroize::Zeroizing;

use super::scram::{Algorithms, FEWEST_ITERATIONS};
use crate::client::Secret;
use crate::client::settings::ScramHash;

/// Names are escaped, proofs and nonces are base64: more than this is none of it.
const LONGEST_MESSAGE: usize = 16 * 1024;
const SALT: usize = 16;

/// A mechanism that accounts can be used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    Scram(ScramHash),
}

impl Mechanism {
    /// All that are known here, in the order in which they are named to clients.
    pub const ALL: [Mechanism; 3] = [
        Mechanism::Plain,
        Mechanism::Scram(ScramHash::Sha256),
        Mechanism::Scram(ScramHash::Sha512),
    ];

    /// As it is named on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram(ScramHash::Sha256) => "SCRAM-SHA-256",
            Self::Scram(ScramHash::Sha512) => "SCRAM-SHA-512",
        }
    }
}

/// The system gives no random numbers.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandom;

/// Users and their passwords, and the mechanisms that they may come with.
#[derive(Debug)]
pub struct Accounts {
    mechanisms: Vec<Mechanism>,
    users: BTreeMap<String, Account>,
}

struct Account {
    password: Secret,
    sha256: Verifier,
    sha512: Verifier,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account(…)")
    }
}

/// What a broker keeps of a password for SCRAM.
struct Verifier {
    salt: [u8; SALT],
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl Accounts {
    /// # Errors
    /// There are no random numbers for salts.
    pub fn new<'a>(
        mechanisms: &[Mechanism],
        users: impl IntoIterator<Item = (&'a str, &'a Secret)>,
    ) -> Result<Self, NoRandom> {
        let mut accounts = BTreeMap::new();
        for (name, password) in users {
            let account = Account {
                password: password.clone(),
                sha256: Verifier::new(ScramHash::Sha256, password)?,
                sha512: Verifier::new(ScramHash::Sha512, password)?,
            };
            accounts.insert(name.to_owned(), account);
        }
        Ok(Self {
            mechanisms: mechanisms.to_vec(),
            users: accounts,
        })
    }

    #[must_use]
    pub fn mechanisms(&self) -> &[Mechanism] {
        &self.mechanisms
    }

    /// The mechanism of that name, if clients may come with it.
    #[must_use]
    pub fn offered(&self, name: &str) -> Option<Mechanism> {
        let mut offered = self.mechanisms.iter().copied();
        offered.find(|mechanism| mechanism.name() == name)
    }
}

impl Verifier {
    fn new(hash: ScramHash, password: &Secret) -> Result<Self, NoRandom> {
        let mut salt = [0; SALT];
        SystemRandom::new().fill(&mut salt).map_err(|_| NoRandom)?;
        Ok(Self::with_salt(hash, password, salt))
    }

    fn with_salt(hash: ScramHash, password: &Secret, salt: [u8; SALT]) -> Self {
        let algorithms = Algorithms::of(hash);
        let mut salted = Zeroizing::new(vec![0; algorithms.digest.output_len()]);
        let iterations = NonZeroU32::new(FEWEST_ITERATIONS).unwrap_or(NonZeroU32::MIN);
        let password = password.expose().as_bytes();
        pbkdf2::derive(algorithms.pbkdf2, iterations, &salt, password, &mut salted);
        let client_key = algorithms.hmac(&salted, b"Client Key");
        let stored_key = digest::digest(algorithms.digest, client_key.as_ref());
        let server_key = algorithms.hmac(&salted, b"Server Key");
        Self {
            salt,
            stored_key: stored_key.as_ref().to_vec(),
            server_key: server_key.as_ref().to_vec(),
        }
    }
}

/// Why somebody is not let in, in the words that a broker has for it. They tell nobody whether a user exists.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// What the client's message is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Another message is awaited.
    Challenge(Vec<u8>),
    /// The client is who it says it is.
    Welcome(Vec<u8>),
}

/// One authentication, as the broker sees it.
pub struct Dialogue {
    mechanism: Mechanism,
    stage: Stage,
}

impl fmt::Debug for Dialogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mechanism = self.mechanism;
        write!(f, "Dialogue({}, …)", mechanism.name())
    }
}

enum Stage {
    First,
    /// SCRAM only: the proof is awaited.
    Proof(Box<Proof>),
    Over,
}

/// What the client's proof is checked with.
struct Proof {
    user: String,
    /// The client's header, as its last message repeats it.
    channel_binding: String,
    nonce: String,
    first_bare: String,
    server_first: String,
}

impl Dialogue {
    #[must_use]
    pub fn new(mechanism: Mechanism) -> Self {
        Self {
            mechanism,
            stage: Stage::First,
        }
    }

    /// Takes the client's next message.
    ///
    /// # Errors
    /// The client is not let in; the dialogue is over then.
    pub fn step(&mut self, accounts: &Accounts, message: &[u8]) -> Result<Reply, Refused> {
        let mechanism = self.mechanism;
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        if message.len() > LONGEST_MESSAGE {
            return Err(invalid(mechanism));
        }
        let text = std::str::from_utf8(message).map_err(|_| invalid(mechanism))?;
        match (mechanism, stage) {
            (Mechanism::Plain, Stage::First) => plain(accounts, text),
            (Mechanism::Scram(_), Stage::First) => {
                let mut random = [0; 18];
                let filled = SystemRandom::new().fill(&mut random);
                filled.map_err(|_| invalid(mechanism))?;
                let proof =
                    open(text, &STANDARD.encode(random)).ok_or_else(|| invalid(mechanism))?;
                self.challenge(accounts, proof)
            }
            (Mechanism::Scram(hash), Stage::Proof(proof)) => {
                check(accounts, hash, &proof, text).ok_or_else(|| invalid(mechanism))
            }
            (_, Stage::Over) | (Mechanism::Plain, Stage::Proof(_)) => Err(invalid(mechanism)),
        }
    }

    /// As a broker does, a user that there is none of is refused at once.
    fn challenge(&mut self, accounts: &Accounts, mut proof: Proof) -> Result<Reply, Refused> {
        let known = accounts.users.get(&proof.user);
        let known = known.ok_or_else(|| invalid(self.mechanism))?;
        let verifier = known.verifier(self.mechanism);
        proof.server_first = format!(
            "r={},s={},i={FEWEST_ITERATIONS}",
            proof.nonce,
            STANDARD.encode(verifier.salt)
        );
        let answer = proof.server_first.clone().into_bytes();
        self.stage = Stage::Proof(Box::new(proof));
        Ok(Reply::Challenge(answer))
    }
}

impl Account {
    fn verifier(&self, mechanism: Mechanism) -> &Verifier {
        match mechanism {
            Mechanism::Scram(ScramHash::Sha256) => &self.sha256,
            Mechanism::Scram(ScramHash::Sha512) | Mechanism::Plain => &self.sha512,
        }
    }
}

/// What is said where a mechanism has no words of its own for clients.
fn invalid(mechanism: Mechanism) -> Refused {
    Refused(format!(
        "Authentication failed during authentication due to invalid credentials with SASL mechanism {}",
        mechanism.name()
    ))
}

fn plain(accounts: &Accounts, text: &str) -> Result<Reply, Refused> {
    let refused = |words: &str| Err(Refused(words.to_owned()));
    let tokens: Vec<&str> = text.split('\0').collect();
    let [authorization, user, password] = tokens[..] else {
        return Err(Refused(format!(
            "Invalid SASL/PLAIN response: expected 3 tokens, got {}",
            tokens.len()
        )));
    };
    if user.is_empty() {
        return refused("Authentication failed: username not specified");
    }
    if password.is_empty() {
        return refused("Authentication failed: password not specified");
    }
    let known = accounts.users.get(user);
    let is_right = known
        .is_some_and(|account| equal(account.password.expose().as_bytes(), password.as_bytes()));
    if !is_right {
        return refused("Authentication failed: Invalid username or password");
    }
    if !authorization.is_empty() && authorization != user {
        return refused(
            "Authentication failed: Client requested an authorization id that is different from username",
        );
    }
    Ok(Reply::Welcome(Vec::new()))
}

/// In a time that does not depend on where they differ.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && openssl::memcmp::eq(one, other)
}

/// Reads a client's first SCRAM message; `None` for what is none. Delegation tokens are not known here.
fn open(text: &str, server_nonce: &str) -> Option<Proof> {
    let (authorization, bare) = text.strip_prefix("n,")?.split_once(',')?;
    let header = &text[..text.len() - bare.len()];
    let mut fields = bare.split(',');
    let user = unescaped(fields.next()?.strip_prefix("n=")?)?;
    let nonce = fields.next()?.strip_prefix("r=")?;
    if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    if fields.any(|extension| extension.starts_with("tokenauth=")) {
        return None;
    }
    let asked_for = authorization.strip_prefix("a=").map(unescaped);
    if !authorization.is_empty() && asked_for.flatten().as_ref() != Some(&user) {
        return None;
    }
    Some(Proof {
        user,
        channel_binding: STANDARD.encode(header),
        nonce: format!("{nonce}{server_nonce}"),
        first_bare: bare.to_owned(),
        server_first: String::new(),
    })
}

/// A name without its escapes; `None` where there are others than SCRAM has.
fn unescaped(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(2)?;
        plain.push(match escaped {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        plain.push_str(rest);
    }
    (!plain.is_empty()).then_some(plain)
}

/// Whether the client's last message proves that it knows the password; gives the broker's own proof.
fn check(accounts: &Accounts, hash: ScramHash, proof: &Proof, text: &str) -> Option<Reply> {
    let (bare, shown) = text.rsplit_once(",p=")?;
    let mut fields = bare.split(',');
    let binding = fields.next()?.strip_prefix("c=")?;
    let nonce = fields.next()?.strip_prefix("r=")?;
    // Like Kafka's brokers: older librdkafka (2.0) sets its own nonce once more before the whole.
    if binding != proof.channel_binding || !nonce.ends_with(&proof.nonce) {
        return None;
    }
    let algorithms = Algorithms::of(hash);
    let verifier = accounts
        .users
        .get(&proof.user)?
        .verifier(Mechanism::Scram(hash));
    let signed = format!("{},{},{bare}", proof.first_bare, proof.server_first);
    let signature = algorithms.hmac(&verifier.stored_key, signed.as_bytes());
    let shown = STANDARD.decode(shown).ok()?;
    if shown.len() != signature.as_ref().len() {
        return None;
    }
    let client_key: Zeroizing<Vec<u8>> = Zeroizing::new(
        shown
            .iter()
            .zip(signature.as_ref())
            .map(|(shown, signature)| shown ^ signature)
            .collect(),
    );
    let stored_key = digest::digest(algorithms.digest, &client_key);
    if !equal(stored_key.as_ref(), &verifier.stored_key) {
        return None;
    }
    let own = algorithms.hmac(&verifier.server_key, signed.as_bytes());
    let welcome = format!("v={}", STANDARD.encode(own));
    Some(Reply::Welcome(welcome.into_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kafka::security::Exchange;

    fn accounts(user: &str, password: &str) -> Accounts {
        Accounts::new(&Mechanism::ALL, [(user, &Secret::new(password))]).expect("random numbers")
    }

    fn exchange(mechanism: Mechanism, user: &str, password: &str) -> Exchange {
        let (user, password) = (Secret::new(user), Secret::new(password));
        let made = match mechanism {
            Mechanism::Plain => Exchange::plain(&user, &password),
            Mechanism::Scram(hash) => Exchange::scram(hash, &user, &password, false),
        };
        made.expect("can be said")
    }

    /// Our own client and the broker's side, until one of them is through.
    fn talk(mechanism: Mechanism, accounts: &Accounts, mut client: Exchange) -> Result<(), String> {
        let mut broker = Dialogue::new(mechanism);
        let mut message = client.first();
        loop {
            let reply = broker.step(accounts, &message);
            match reply.map_err(|refused| refused.0)? {
                Reply::Challenge(challenge) => {
                    message = client.next(&challenge)?.expect("there is more to say");
                }
                Reply::Welcome(last) => {
                    assert!(client.next(&last)?.is_none());
                    return Ok(());
                }
            }
        }
    }

    #[test]
    fn whoever_knows_the_password_comes_in_by_each_mechanism() {
        for (user, password) in [("ada", "s3cret"), ("a=b,c", "p,=ä ✓"), ("Zoë", "\"\\")] {
            let accounts = accounts(user, password);
            for mechanism in Mechanism::ALL {
                let client = exchange(mechanism, user, password);
                assert_eq!(talk(mechanism, &accounts, client), Ok(()), "{mechanism:?}");
            }
        }
    }

    #[test]
    fn nobody_learns_whether_a_user_exists() {
        let accounts = accounts("ada", "s3cret");
        for mechanism in Mechanism::ALL {
            let wrong = talk(mechanism, &accounts, exchange(mechanism, "ada", "s3cre"));
            let unknown = talk(mechanism, &accounts, exchange(mechanism, "bob", "s3cret"));
            assert_eq!(wrong, unknown);
            let words = wrong.expect_err("is refused");
            assert_eq!(
                words,
                match mechanism {
                    Mechanism::Plain =>
                        "Authentication failed: Invalid username or password".to_owned(),
                    Mechanism::Scram(_) => format!(
                        "Authentication failed during authentication due to invalid credentials with SASL mechanism {}",
                        mechanism.name()
                    ),
                }
            );
        }
    }

    #[test]
    fn a_plain_message_that_is_none_is_told_what_is_wrong_with_it() {
        let accounts = accounts("ada", "s3cret");
        let refused = |message: &str| {
            let mut broker = Dialogue::new(Mechanism::Plain);
            let reply = broker.step(&accounts, message.as_bytes());
            reply.expect_err("is refused").0
        };
        for (message, words) in [
            ("ada", "expected 3 tokens, got 1"),
            ("\0ada\0s3cret\0", "expected 3 tokens, got 4"),
            ("\0\0s3cret", "username not specified"),
            ("\0ada\0", "password not specified"),
            ("bob\0ada\0s3cret", "different from username"),
        ] {
            assert!(refused(message).contains(words), "{message:?}");
        }
        let mut broker = Dialogue::new(Mechanism::Plain);
        let said = broker.step(&accounts, b"ada\0ada\0s3cret");
        assert_eq!(said, Ok(Reply::Welcome(Vec::new())));
        // Once is enough.
        assert!(broker.step(&accounts, b"\0ada\0s3cret").is_err());
    }

    #[test]
    fn a_scram_message_that_is_none_ends_the_dialogue() {
        let accounts = accounts("ada", "s3cret");
        let mechanism = Mechanism::Scram(ScramHash::Sha256);
        for first in [
            "y,,n=ada,r=abc",
            "p=tls-unique,,n=ada,r=abc",
            "n,,n=ada",
            "n,,n=ada,r=",
            "n,,n=,r=abc",
            "n,,n=a=20da,r=abc",
            "n,,n=ada=,r=abc",
            "n,a=bob,n=ada,r=abc",
            "n,,n=ada,r=abc,tokenauth=true",
            "n,,m=x,n=ada,r=abc",
            "",
        ] {
            let said = Dialogue::new(mechanism).step(&accounts, first.as_bytes());
            assert_eq!(said, Err(invalid(mechanism)), "{first}");
        }
        let as_oneself = Dialogue::new(mechanism).step(&accounts, b"n,a=ada,n=ada,r=abc");
        assert!(matches!(as_oneself, Ok(Reply::Challenge(_))));
        for last in ["c=biws,r=abc,p=AAAA", "c=biws", "", "p=", "c=eSws,r=,p=!"] {
            let mut broker = Dialogue::new(mechanism);
            let first = broker.step(&accounts, b"n,,n=ada,r=abc");
            assert!(first.is_ok());
            assert!(broker.step(&accounts, last.as_bytes()).is_err(), "{last}");
        }
    }

    /// RFC 7677, section 3: the salt is as long as ours, so the verifier of that example can be made.
    #[test]
    fn the_published_exchange_is_taken() {
        let hash = ScramHash::Sha256;
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let salt: [u8; SALT] = salt.try_into().expect("sixteen bytes");
        let mut accounts = accounts("user", "pencil");
        let account = accounts.users.get_mut("user").expect("is there");
        account.sha256 = Verifier::with_salt(hash, &Secret::new("pencil"), salt);
        let proof = open(
            "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        );
        let mut broker = Dialogue::new(Mechanism::Scram(hash));
        let challenge = broker.challenge(&accounts, proof.expect("is one"));
        let said = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(challenge, Ok(Reply::Challenge(said.to_vec())));
        let last = broker.step(
            &accounts,
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        );
        let welcome = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(last, Ok(Reply::Welcome(welcome.to_vec())));
    }

    /// As librdkafka 2.0 says it, and as Kafka's brokers take it.
    #[test]
    fn a_nonce_that_is_repeated_is_no_wrong_password() {
        let accounts = accounts("ada", "s3cret");
        let hash = ScramHash::Sha512;
        let mut broker = Dialogue::new(Mechanism::Scram(hash));
        let challenge = match broker.step(&accounts, b"n,,n=ada,r=abc") {
            Ok(Reply::Challenge(challenge)) => String::from_utf8(challenge).expect("is text"),
            other => panic!("{other:?}"),
        };
        let nonce = challenge.split(',').next().expect("has a nonce");
        let nonce = nonce.strip_prefix("r=").expect("has a nonce");
        let bare = format!("c=biws,r=abc{nonce}");
        let algorithms = Algorithms::of(hash);
        let mut salted = vec![0; algorithms.digest.output_len()];
        let salt = accounts.users["ada"].sha512.salt;
        let iterations = NonZeroU32::new(FEWEST_ITERATIONS).expect("is not zero");
        pbkdf2::derive(algorithms.pbkdf2, iterations, &salt, b"s3cret", &mut salted);
        let client_key = algorithms.hmac(&salted, b"Client Key");
        let stored_key = digest::digest(algorithms.digest, client_key.as_ref());
        let signed = format!("n=ada,r=abc,{challenge},{bare}");
        let signature = algorithms.hmac(stored_key.as_ref(), signed.as_bytes());
        let pairs = client_key.as_ref().iter().zip(signature.as_ref());
        let proof: Vec<u8> = pairs.map(|(key, signature)| key ^ signature).collect();
        let last = format!("{bare},p={}", STANDARD.encode(proof));
        let said = broker.step(&accounts, last.as_bytes());
        assert!(matches!(said, Ok(Reply::Welcome(_))), "{said:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_message_breaks_the_broker_or_comes_in(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..3)) {
            let accounts = Accounts::new(&Mechanism::ALL, []).expect("random numbers");
            for mechanism in Mechanism::ALL {
                let mut broker = Dialogue::new(mechanism);
                for message in &messages {
                    prop_assert!(broker.step(&accounts, message).is_err());
                }
            }
        }

        #[test]
        fn escaped_names_come_back(name in "[a-z=,äé✓]{1,12}") {
            let escaped = name.replace('=', "=3D").replace(',', "=2C");
            prop_assert_eq!(unescaped(&escaped), Some(name));
        }
    }
}
