//! What a token says of its own life, where it is a JWT. Nothing is verified: that is the broker's business.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::client::Secret;

/// Of a JWT's claims, those that matter here.
#[derive(Debug, PartialEq)]
pub(super) struct Life {
    pub expires: Option<SystemTime>,
}

#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
}

/// `None`: it is no JWT.
pub(super) fn life(token: &Secret) -> Option<Life> {
    let mut parts = token.expose().split('.');
    let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    let expires = claims
        .exp
        .filter(|exp| (0.0..1e11).contains(exp))
        .map(|exp| SystemTime::UNIX_EPOCH + Duration::from_secs_f64(exp));
    Some(Life { expires })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> Secret {
        let claims = URL_SAFE_NO_PAD.encode(claims);
        Secret::new(format!("eyJhbGciOiJub25lIn0.{claims}."))
    }

    #[test]
    fn the_end_of_a_tokens_life_is_read_and_nonsense_is_no_end() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let life_of = |claims| life(&token(claims)).and_then(|life| life.expires);
        assert_eq!(life_of(r#"{"exp":1800000000,"sub":"me"}"#), Some(end));
        assert_eq!(life_of(r#"{"exp":-5}"#), None);
        assert_eq!(life_of(r#"{"exp":1e300}"#), None);
        assert_eq!(life_of("{}"), None);
        assert_eq!(life(&Secret::new("opaque")), None);
        assert_eq!(life(&Secret::new("a.b.c")), None);
    }
}
