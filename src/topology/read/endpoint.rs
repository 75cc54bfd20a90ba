//! HTTP servers of a cluster: the brokers' REST API and a Connect cluster.

use super::reader::{Reader, Table};
use super::references::{self, Given, Sensitivity};
use super::{Kind, client};
use crate::client::SecurityProtocol;
use crate::client::secret::Text;
use crate::client::settings::{Credentials, Keyed, Place};
use crate::client::url::HttpUrl;
use crate::topology::codes::Code;
use crate::topology::diagnostic::Diagnostic;
use crate::topology::model::{Endpoint, Login, Span};

/// Reads `rest` or `connect` of a cluster.
pub(super) fn read(
    cluster: &Table<'_, '_>,
    key: &'static str,
    reader: &mut Reader<'_>,
) -> Option<Endpoint> {
    let node = cluster.get(key)?;
    let Some(entries) = node.get_ref().as_table() else {
        let help = format!("write {key} = {{ url = \"https://HOST:PORT\" }}");
        reader.wrong_type(key, node, "a table", Some(help));
        return None;
    };
    let mut path = cluster.path.clone();
    path.push(key.to_owned());
    let span = reader.span(node.span());
    let table = Table::new(Kind::Endpoint, path, span, entries);
    table.finish(reader, &["url"]);
    let place = |name: &str, span: Span, reader: &Reader<'_>| Place {
        key: format!("{key}.{name}"),
        at: format!("{}:{}", reader.name, span.line),
    };
    let url = url(&table, reader);
    let mut part = |name: &'static str, sensitivity| {
        let node = table.get(name)?;
        let given = references::string(reader, name, node, sensitivity)?;
        let place = place(name, given.span, reader);
        Some((given, place))
    };
    let username = part("username", Sensitivity::Open);
    let password = part("password", Sensitivity::Secret);
    let token = part("token", Sensitivity::Secret);
    for (one, other, wanted) in [
        (&username, &password, "password"),
        (&password, &username, "username"),
    ] {
        if let (Some((given, _)), None) = (one, other)
            && table.get(wanted).is_none()
        {
            reader.report(
                Diagnostic::error(
                    Code::MissingProperty,
                    format!("`{wanted}` of `{key}` is not set"),
                )
                .at(given.span, "this is no use alone")
                .help(format!("set {wanted}, or leave both out")),
            );
        }
    }
    if let (Some((token, _)), Some((other, _))) = (&token, username.as_ref().or(password.as_ref()))
    {
        reader.report(
            Diagnostic::error(
                Code::ConflictingProperties,
                format!("`{key}` has a token, and a user as well"),
            )
            .at(other.span, "who asks, in one way")
            .at(token.span, "and in another")
            .help("keep one of the two"),
        );
    }
    if let (Some((url, span)), true) = (&url, password.is_some() || token.is_some()) {
        warn_in_clear(reader, key, url, *span);
    }
    let protocol = match &url {
        Some((url, _)) if !url.secure => SecurityProtocol::Plaintext,
        _ => SecurityProtocol::Ssl,
    };
    let tls = client::read_tls(&table, reader, protocol);
    Some(Endpoint {
        url: url?.0,
        login: login(username, password, token),
        tls,
        span,
    })
}

fn login(
    username: Option<(Given, Place)>,
    password: Option<(Given, Place)>,
    token: Option<(Given, Place)>,
) -> Option<Login> {
    let keyed = |(given, place): (Given, Place)| -> Option<Keyed<Text>> {
        Some(Keyed {
            value: given.text?,
            place,
        })
    };
    if let Some(token) = token.and_then(keyed) {
        return Some(Login::Bearer(token));
    }
    Some(Login::Basic(Credentials {
        username: keyed(username?)?,
        password: keyed(password?)?,
    }))
}

fn url(table: &Table<'_, '_>, reader: &mut Reader<'_>) -> Option<(HttpUrl, Span)> {
    let node = table.get("url")?;
    let given = references::string(reader, "url", node, Sensitivity::Open)?;
    let text = given.text?;
    // The address is not repeated: it may hold a password.
    let problem = match HttpUrl::of(text.value.expose()) {
        Ok(url) if url.path.contains('?') => "a query does not belong here".to_owned(),
        Ok(url) => return Some((url, given.span)),
        Err(problem) => problem,
    };
    reader.report(
        Diagnostic::error(Code::BadUrl, "this is no address of an HTTP server")
            .at(given.span, problem)
            .help("write https://HOST:PORT and a path; `username` and `password` have keys of their own"),
    );
    None
}

fn warn_in_clear(reader: &mut Reader<'_>, key: &str, url: &HttpUrl, span: Span) {
    if url.secure || url.is_local() {
        return;
    }
    reader.report(
        Diagnostic::warning(
            Code::InsecureConnection,
            format!("what `{key}` is asked with is sent in clear text"),
        )
        .at(span, "whoever can read the connection gets it")
        .help("use an https:// address"),
    );
}
