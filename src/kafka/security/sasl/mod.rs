//! SASL exchanges as state machines: what to say first, and what to answer. The requests that carry them are sent in
//! [`crate::kafka::connection`]. [`server`] is the broker's side.

pub(super) mod oauth;
pub(super) mod scram;
pub mod server;

use zeroize::Zeroizing;

use crate::client::Secret;
use crate::client::settings::ScramHash;
use oauth::OAuth;
use scram::Scram;

/// One authentication, with everything it takes.
#[derive(Debug)]
pub(crate) struct Exchange {
    mechanism: &'static str,
    state: State,
}

enum State {
    Plain(Zeroizing<Vec<u8>>),
    Scram(Box<Scram>),
    OAuth(OAuth),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State(…)")
    }
}

/// Words for what went wrong; never a secret.
pub(super) type Cause = String;

impl Exchange {
    /// RFC 4616.
    pub(super) fn plain(username: &Secret, password: &Secret) -> Result<Self, Cause> {
        let (username, password) = (username.expose(), password.expose());
        if username.contains('\0') || password.contains('\0') {
            return Err("PLAIN carries no user name or password with a NUL character".to_owned());
        }
        let message = Zeroizing::new(format!("\0{username}\0{password}").into_bytes());
        Ok(Self {
            mechanism: "PLAIN",
            state: State::Plain(message),
        })
    }

    pub(super) fn scram(
        hash: ScramHash,
        username: &Secret,
        password: &Secret,
        token_auth: bool,
    ) -> Result<Self, Cause> {
        Ok(Self {
            mechanism: match hash {
                ScramHash::Sha256 => "SCRAM-SHA-256",
                ScramHash::Sha512 => "SCRAM-SHA-512",
            },
            state: State::Scram(Box::new(Scram::new(hash, username, password, token_auth)?)),
        })
    }

    pub(super) fn oauth(token: &Secret, extensions: &[(String, String)]) -> Result<Self, Cause> {
        Ok(Self {
            mechanism: oauth::MECHANISM,
            state: State::OAuth(OAuth::new(token, extensions)?),
        })
    }

    pub(crate) fn mechanism(&self) -> &'static str {
        self.mechanism
    }

    /// The client's first message.
    pub(crate) fn first(&self) -> Zeroizing<Vec<u8>> {
        match &self.state {
            State::Plain(message) => message.clone(),
            State::Scram(scram) => scram.first(),
            State::OAuth(oauth) => oauth.first(),
        }
    }

    /// The answer to a challenge; `None` once there is nothing left to say.
    ///
    /// # Errors
    /// Where the broker does not keep to the mechanism, or cannot prove that it knows the password.
    pub(crate) fn next(&mut self, challenge: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Cause> {
        match &mut self.state {
            State::Plain(_) if challenge.is_empty() => Ok(None),
            State::Plain(_) => Err("the broker answers PLAIN with a challenge".to_owned()),
            State::Scram(scram) => scram.next(challenge),
            State::OAuth(oauth) => Ok(oauth.next(challenge)),
        }
    }

    /// What the mechanism itself knows of a refusal, beyond the broker's general words.
    pub(crate) fn refusal(&self) -> Option<Cause> {
        match &self.state {
            State::OAuth(oauth) => oauth.refusal(),
            State::Plain(_) | State::Scram(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_says_user_and_password_and_nothing_else() {
        let exchange = Exchange::plain(&Secret::new("bob"), &Secret::new("s3crét")).unwrap();
        assert_eq!(exchange.first().as_slice(), "\0bob\0s3crét".as_bytes());
        assert!(!format!("{exchange:?}").contains("s3cr"));
        let smuggled = Exchange::plain(&Secret::new("bob\0admin"), &Secret::new("x"));
        assert!(smuggled.is_err());
    }
}
