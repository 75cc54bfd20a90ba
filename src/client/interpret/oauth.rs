//! OAUTHBEARER: where bearer tokens come from.
//!
//! Client credentials may stand in the login module (Kafka's names, or Strimzi's), or in keys of
//! their own (Kafka's since 4.1, or librdkafka's).

use super::sasl::{Login, Module, callback_handler, msk_iam};
use super::{Found, Kind, Part, Spot, Table, tls};
use crate::client::secret::{Origin, Secret, Text};
use crate::client::settings::{Keyed, Pem, Store, StoreKind, TokenSource, Trust};
use crate::client::url::HttpUrl;

/// Options of the login module that are understood, besides `extension_*`.
pub(super) const OPTIONS: &[&str] = &[
    "clientId",
    "clientSecret",
    "scope",
    "ssl.truststore.location",
    "ssl.truststore.type",
    "ssl.truststore.password",
    "ssl.truststore.certificates",
    "oauth.client.id",
    "oauth.client.secret",
    "oauth.scope",
    "oauth.token.endpoint.uri",
    "oauth.access.token",
];

/// What options for tokens that are not signed begin with.
pub(super) const UNSECURED: &str = "unsecuredLogin";

const ENDPOINT: &str = "sasl.oauthbearer.token.endpoint.url";
const TOKEN: &str = "sasl.oauthbearer.token";
const CLIENT_ID: &[&str] = &[
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.id",
];
const CLIENT_SECRET: &[&str] = &[
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.client.secret",
];

pub(super) fn read(
    table: &mut Table<'_>,
    login: Option<&Login<'_>>,
    mechanism: Found<'_>,
    broken: bool,
) -> Option<TokenSource> {
    let handler = callback_handler(
        table,
        "sasl.login.callback.handler.class",
        &[
            "OAuthBearerLoginCallbackHandler",
            "JaasClientOauthLoginCallbackHandler",
            "IAMOAuthBearerLoginCallbackHandler",
        ],
    );
    callback_handler(
        table,
        "sasl.client.callback.handler.class",
        &[
            "IAMOAuthBearerLoginCallbackHandler",
            "OAuthBearerSaslClientCallbackHandler",
        ],
    );
    callback_handler(
        table,
        "sasl.oauthbearer.jwt.retriever.class",
        &[
            "DefaultJwtRetriever",
            "ClientCredentialsJwtRetriever",
            "FileJwtRetriever",
        ],
    );
    check_words(table);
    let is_amazon = handler == Some("IAMOAuthBearerLoginCallbackHandler")
        || login.is_some_and(|login| login.module == Module::MskIam);
    if is_amazon {
        return Some(msk_iam(
            table,
            login.filter(|login| login.module == Module::MskIam),
        ));
    }
    if let Some(login) = login {
        refuse_unsecured(table, login).ok()?;
    }
    let extensions = extensions(table, login);
    if let Some(token) = own_token(table, login) {
        return Some(TokenSource::Static { token, extensions });
    }
    let Some(endpoint) = endpoint(table, login) else {
        if !broken && !table.is_set(ENDPOINT) && !table.is_set(TOKEN) {
            table.report(
                Kind::Missing,
                mechanism.value(),
                "there is nowhere to get a token from",
                "this needs a token",
            );
            table.help(format!(
                "set {ENDPOINT} with a client id and secret, or {TOKEN} for a token of your own"
            ));
        }
        return None;
    };
    if let Some(path) = file_of(&endpoint.value) {
        // Kafka reads a token from a file of this name.
        let found = table.get(ENDPOINT)?;
        let path = table.file(found, path, true);
        return Some(TokenSource::Static {
            token: Keyed {
                value: Text {
                    origin: Origin::File(path),
                    value: Secret::new(""),
                },
                place: endpoint.place,
            },
            extensions,
        });
    }
    let id = client_option(table, login, CLIENT_ID, &["clientId", "oauth.client.id"]);
    let secret = client_option(
        table,
        login,
        CLIENT_SECRET,
        &["clientSecret", "oauth.client.secret"],
    );
    for (found, keys) in [(&id, CLIENT_ID), (&secret, CLIENT_SECRET)] {
        if found.is_none() && !broken && keys.iter().all(|key| table.is_known(key)) {
            let wanted = keys[0];
            let at = table
                .get(ENDPOINT)
                .map_or(mechanism.value(), |found| found.key());
            let message = format!("`{wanted}` is not set");
            table.report(Kind::Missing, at, message, "the token endpoint asks for it");
            table.help(format!("set {wanted}"));
        }
    }
    Some(TokenSource::ClientCredentials {
        endpoint,
        client_id: id?,
        client_secret: secret?,
        scope: scope(table, login),
        extensions,
        trust: trust(table, login),
    })
}

/// librdkafka's choices between what is supported and what is not.
fn check_words(table: &mut Table<'_>) {
    for (key, supported, instead) in [
        (
            "sasl.oauthbearer.method",
            "oidc",
            "set it to oidc, with the token endpoint's URL, a client id and a secret",
        ),
        (
            "sasl.oauthbearer.grant.type",
            "client_credentials",
            "set it to client_credentials, with a client id and a secret",
        ),
    ] {
        let Some(found) = table.get(key) else {
            continue;
        };
        // Ours alone, so librdkafka's method says nothing about it.
        let own = table.is_set(TOKEN);
        if let Some(value) = found.str().map(str::trim)
            && !value.eq_ignore_ascii_case(supported)
            && !own
        {
            let message = format!("this value of `{key}` is not supported");
            let label = format!("only {supported} is");
            table.report(Kind::Refused, found.value(), message, label);
            table.help(instead);
        }
    }
}

/// Tokens that are not signed are for development only.
fn refuse_unsecured(table: &mut Table<'_>, login: &Login<'_>) -> Result<(), ()> {
    let mut options = login.jaas.options.iter();
    let Some((name, _)) = options.find(|(name, _)| name.text.starts_with(UNSECURED)) else {
        return Ok(());
    };
    table.report(
        Kind::Refused,
        login.at(name),
        "tokens that are not signed are not supported",
        "this makes a token that anybody could make",
    );
    table.help(format!(
        "set {ENDPOINT} with a client id and secret, or {TOKEN}"
    ));
    Err(())
}

/// A token of the user's own.
fn own_token(table: &mut Table<'_>, login: Option<&Login<'_>>) -> Option<Keyed<Text>> {
    table
        .keyed(TOKEN)
        .or_else(|| login?.option("oauth.access.token"))
}

/// The path of a `file:` URL.
fn file_of(url: &str) -> Option<&str> {
    let path = url.strip_prefix("file:")?;
    Some(match path.strip_prefix("//") {
        Some(path) => path.strip_prefix("localhost").unwrap_or(path),
        None => path,
    })
}

fn endpoint(table: &mut Table<'_>, login: Option<&Login<'_>>) -> Option<Keyed<String>> {
    let (found, url, at): (Found<'_>, String, Spot) = match table.get(ENDPOINT) {
        Some(found) => (found, found.str()?.trim().to_owned(), found.value()),
        None => {
            let login = login?;
            let word = login.jaas.option("oauth.token.endpoint.uri")?;
            let at = login.at(word);
            // The entry lives as long as the table.
            let found = table.get(super::sasl::JAAS)?;
            (found, word.text.clone(), at)
        }
    };
    if let Some(path) = file_of(&url) {
        if !path.starts_with('/') {
            table.report(
                Kind::BadValue,
                at,
                "a `file:` URL needs an absolute path",
                "this is none",
            );
            table.help("write file:///PATH");
            return None;
        }
        return Some(found.keyed(url));
    }
    let parsed = match HttpUrl::of(&url) {
        Ok(parsed) => parsed,
        Err(problem) => {
            let message = format!("`{}` is no usable URL", found.entry.key);
            table.report(Kind::BadValue, at, message, problem);
            table.help("write https://HOST/PATH, or file:///PATH for a token in a file");
            return None;
        }
    };
    if !parsed.secure && !parsed.is_local() {
        table.report(
            Kind::Insecure,
            at,
            "the client secret is sent in clear text",
            "whoever can read the connection gets the secret and the tokens",
        );
        table.help("use the endpoint's https URL");
    }
    Some(found.keyed(url))
}

/// A part of the client credentials, from a key of its own or from the login module.
fn client_option(
    table: &mut Table<'_>,
    login: Option<&Login<'_>>,
    keys: &[&str],
    options: &[&str],
) -> Option<Keyed<Text>> {
    let found = table.one_of(keys);
    let option = login.and_then(|login| {
        let name = options
            .iter()
            .find(|name| login.jaas.option(name).is_some())?;
        Some((login, login.jaas.option(name)?, login.option(name)?))
    });
    if let (Some(found), Some((login, word, _))) = (found, &option)
        && found.entry.from == login.found.entry.from
    {
        let message = format!(
            "`{}` is also an option of the login module",
            found.entry.key
        );
        table
            .report(Kind::Conflict, found.key(), message, "set here")
            .also
            .push((login.at(word), "and here".to_owned()));
        table.help("keep one of them");
    }
    match (found, option) {
        (Some(found), Some((login, _, option))) if found.entry.from < login.found.entry.from => {
            Some(option)
        }
        (Some(found), _) => found.text().map(|text| found.keyed(text.clone())),
        (None, option) => option.map(|(_, _, option)| option),
    }
}

fn scope(table: &mut Table<'_>, login: Option<&Login<'_>>) -> Option<String> {
    table.text("sasl.oauthbearer.scope").or_else(|| {
        let login = login?;
        let word = ["scope", "oauth.scope"]
            .iter()
            .find_map(|name| login.jaas.option(name))?;
        Some(word.text.clone())
    })
}

/// SASL extensions (KIP-342).
fn extensions(table: &mut Table<'_>, login: Option<&Login<'_>>) -> Vec<(String, String)> {
    let mut extensions: Vec<(String, String, Spot)> = Vec::new();
    if let Some(found) = table.get("sasl.oauthbearer.extensions")
        && let Some(text) = found.str()
    {
        for pair in text
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
        {
            match pair.split_once('=') {
                Some((name, value)) => extensions.push((
                    name.trim().to_owned(),
                    value.trim().to_owned(),
                    found.value(),
                )),
                None => table.bad_value(found, "has to be NAME=VALUE, several with commas"),
            }
        }
    }
    if let Some(login) = login {
        for (name, value) in &login.jaas.options {
            if let Some(extension) = name.text.strip_prefix("extension_") {
                extensions.push((extension.to_owned(), value.text.clone(), login.at(name)));
            }
        }
    }
    extensions
        .into_iter()
        .filter_map(|(name, value, at)| {
            let is_name = !name.is_empty()
                && name.chars().all(|char| char.is_ascii_alphabetic())
                && name != "auth";
            let is_value = value
                .chars()
                .all(|char| matches!(char, ' '..='~' | '\t' | '\r' | '\n'));
            if is_name && is_value {
                return Some((name, value));
            }
            let label = if is_name {
                "the value has to be ASCII text"
            } else {
                "the name has to be letters only, and not `auth`"
            };
            table.report(Kind::BadValue, at, "this is no SASL extension", label);
            None
        })
        .collect()
}

/// Whom the connection to the endpoint trusts.
fn trust(table: &mut Table<'_>, login: Option<&Login<'_>>) -> Option<Keyed<Trust>> {
    let found = table.alternatives(
        &["https.ca.location", "https.ca.pem"],
        "both say whom to trust",
    );
    if let Some(found) = found {
        return tls::pem(table, found).map(|pem| found.keyed(Trust::Pem(pem)));
    }
    let login = login?;
    let found = login.found;
    if let Some(text) = login.option("ssl.truststore.certificates") {
        return Some(found.keyed(Trust::Pem(Pem::Text(text.value))));
    }
    let location = login.jaas.option("ssl.truststore.location")?;
    let path = table.file(found, &location.text, false);
    let kind = login.jaas.option("ssl.truststore.type");
    let kind = match kind.map(|word| word.text.to_uppercase()).as_deref() {
        None | Some("JKS") => StoreKind::Jks,
        Some("PKCS12") => StoreKind::Pkcs12,
        Some("PEM") => return Some(found.keyed(Trust::Pem(Pem::File(path)))),
        Some(_) => {
            let at = kind.map_or(found.key(), |word| {
                found.spot(Part::Within(word.range.clone()))
            });
            table.report(
                Kind::BadJaas,
                at,
                "this form of a trust store is not supported",
                "has to be JKS, PKCS12 or PEM",
            );
            return None;
        }
    };
    Some(found.keyed(Trust::Store(Store {
        kind,
        path,
        password: login.option("ssl.truststore.password"),
    })))
}
