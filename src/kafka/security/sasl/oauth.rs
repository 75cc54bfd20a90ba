//! OAUTHBEARER (RFC 7628) with Kafka's extensions (KIP-342).

use serde::Deserialize;
use zeroize::Zeroizing;

use super::Cause;
use crate::client::Secret;

pub(in super::super) const MECHANISM: &str = "OAUTHBEARER";
/// Separates the parts of a message, and is all there is to say to a refusal.
const SEPARATOR: char = '\u{1}';

/// The client's side.
pub(in super::super) struct OAuth {
    first: Zeroizing<Vec<u8>>,
    refusal: Option<Cause>,
}

/// What a broker says of a token that it does not take.
#[derive(Debug, Deserialize)]
struct Refusal {
    status: Option<String>,
    scope: Option<String>,
    #[serde(rename = "openid-configuration")]
    configuration: Option<String>,
}

impl OAuth {
    pub fn new(token: &Secret, extensions: &[(String, String)]) -> Result<Self, Cause> {
        let body = payload(token, extensions)?;
        let first = format!("n,,{SEPARATOR}auth=Bearer {}{SEPARATOR}{SEPARATOR}", *body);
        Ok(Self {
            first: Zeroizing::new(first.into_bytes()),
            refusal: None,
        })
    }

    pub fn first(&self) -> Zeroizing<Vec<u8>> {
        self.first.clone()
    }

    /// A challenge is a refusal in JSON; the broker wants it acknowledged before it says so with an error code.
    pub fn next(&mut self, challenge: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        if challenge.is_empty() {
            return None;
        }
        self.refusal = Some(words(challenge));
        Some(Zeroizing::new(vec![1]))
    }

    pub fn refusal(&self) -> Option<Cause> {
        self.refusal.clone()
    }
}

/// The token and what follows it in the message.
pub(in super::super) fn payload(
    token: &Secret,
    extensions: &[(String, String)],
) -> Result<Zeroizing<String>, Cause> {
    let token = token.expose();
    if token.is_empty() {
        return Err("the token is empty".to_owned());
    }
    // RFC 6750's b64token; anything else could leave its place in the message.
    if !token
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
    {
        return Err("the token has characters that a bearer token cannot have".to_owned());
    }
    let mut payload = Zeroizing::new(token.to_owned());
    for (key, value) in extensions {
        if key == "auth" || key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(format!(
                "`{key}` cannot be the name of a SASL extension: letters only, and not `auth`"
            ));
        }
        let printable = |byte: u8| matches!(byte, 0x20..=0x7E | b'\t' | b'\r' | b'\n');
        if !value.bytes().all(printable) {
            return Err(format!(
                "the SASL extension `{key}` has a value that is not ASCII text"
            ));
        }
        payload.push(SEPARATOR);
        payload.push_str(key);
        payload.push('=');
        payload.push_str(value);
    }
    Ok(payload)
}

/// A refusal in words.
pub(in super::super) fn words(challenge: &[u8]) -> Cause {
    let Ok(refusal) = serde_json::from_slice::<Refusal>(challenge) else {
        return "the broker refuses the token and gives no readable reason".to_owned();
    };
    let mut words = refusal.status.unwrap_or_else(|| "refused".to_owned());
    if let Some(scope) = refusal.scope {
        words.push_str(&format!(" (it wants the scope {scope})"));
    }
    if let Some(configuration) = refusal.configuration {
        words.push_str(&format!(" (see {configuration})"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_and_extensions_stand_where_rfc_7628_and_kip_342_want_them() {
        let extensions = [("logicalCluster".to_owned(), "lkc-1".to_owned())];
        let oauth = OAuth::new(&Secret::new("eyJ.e30."), &extensions).unwrap();
        assert_eq!(
            oauth.first().as_slice(),
            b"n,,\x01auth=Bearer eyJ.e30.\x01logicalCluster=lkc-1\x01\x01"
        );
    }

    #[test]
    fn a_refusal_is_acknowledged_and_kept_in_words() {
        let mut oauth = OAuth::new(&Secret::new("t"), &[]).unwrap();
        assert!(oauth.next(b"").is_none());
        let answer = oauth.next(br#"{"status":"invalid_token","scope":"kafka"}"#);
        assert_eq!(answer.unwrap().as_slice(), b"\x01");
        assert_eq!(
            oauth.refusal().unwrap(),
            "invalid_token (it wants the scope kafka)"
        );
    }

    #[test]
    fn nothing_can_leave_its_place_in_the_message() {
        assert!(OAuth::new(&Secret::new("a\u{1}b"), &[]).is_err());
        assert!(OAuth::new(&Secret::new(""), &[]).is_err());
        for (key, value) in [("auth", "x"), ("a b", "x"), ("a", "x\u{1}y")] {
            let extensions = [(key.to_owned(), value.to_owned())];
            assert!(OAuth::new(&Secret::new("t"), &extensions).is_err());
        }
    }
}
