//! Which keys hold values that must not be seen, judged by their names alone.
//!
//! Used on text that nothing else is known about: a file that could not be parsed, a key that does
//! not exist. It errs towards hiding: a hidden timeout costs a second look, a shown password costs
//! the password.

/// Whatever has one of these in its name holds a secret.
const WORDS: &[&str] = &[
    "apikey",
    "api.key",
    "api-key",
    "api_key",
    "access.key",
    "access_key",
    "accesskey",
    "authorization",
    "credential",
    "jaas",
    "keystore.key",
    "license",
    "licence",
    "passphrase",
    "passw",
    "pasw",
    "pem",
    "private",
    "pwd",
    "secret",
    "token",
];

/// Words that people misspell, with the number of wrong letters by which they are still known.
const MISSPELT: &[(&str, usize)] = &[("password", 2), ("secret", 1), ("token", 1)];

/// Last words of a name that say that the value is about a secret and is none.
const ABOUT: &[&str] = &[
    "algorithm",
    "class",
    "enable",
    "enabled",
    "encoding",
    "endpoint",
    "env",
    "file",
    "location",
    "method",
    "ms",
    "path",
    "seconds",
    "type",
    "uri",
    "url",
];

/// Whether the value of a key of this name is to be hidden.
pub fn looks_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    let words = || key.split(|char: char| !char.is_alphanumeric());
    if words().count() > 1
        && words()
            .next_back()
            .is_some_and(|last| ABOUT.contains(&last))
    {
        return false;
    }
    if WORDS.iter().any(|word| key.contains(word)) {
        return true;
    }
    words().any(|written| {
        MISSPELT.iter().any(|(word, wrong)| {
            written.len().abs_diff(word.len()) <= *wrong
                && strsim::damerau_levenshtein(written, word) <= *wrong
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_name_also_where_that_is_misspelt() {
        for key in [
            "sasl.password",
            "SSL.Keystore.Password",
            "ssl.key.password",
            "sasl.jaas.config",
            "ssl.keystore.key",
            "ssl.key.pem",
            "clientSecret",
            "sasl.oauthbearer.token",
            "confluent.license",
            "password",
            "passwrod",
            "passworddd",
            "sasl.paswordaa",
            "sasl.pasword",
            "sasl_pasward",
            "sercet",
            "tokne",
        ] {
            assert!(looks_secret(key), "{key}");
        }
        for key in [
            "sasl.oauthbearer.token.endpoint.url",
            "ssl.truststore.location",
            "password.file",
            "sasl.username",
            "sasl.mechanism",
            "security.protocol",
            "bootstrap_servers",
            "topics",
            "source",
            "select",
            "",
        ] {
            assert!(!looks_secret(key), "{key}");
        }
    }
}
