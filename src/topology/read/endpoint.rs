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
use crate::topology::model::{Endpoint, Span};

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
    if let (Some((url, span)), Some(_)) = (&url, &password) {
        warn_in_clear(reader, key, url, *span);
    }
    let protocol = match &url {
        Some((url, _)) if !url.secure => SecurityProtocol::Plaintext,
        _ => SecurityProtocol::Ssl,
    };
    let tls = client::read_tls(&table, reader, protocol);
    Some(Endpoint {
        url: url?.0,
        credentials: credentials(username, password),
        tls,
        span,
    })
}

fn credentials(
    username: Option<(Given, Place)>,
    password: Option<(Given, Place)>,
) -> Option<Credentials> {
    let keyed = |(given, place): (Given, Place)| -> Option<Keyed<Text>> {
        Some(Keyed {
            value: given.text?,
            place,
        })
    };
    Some(Credentials {
        username: keyed(username?)?,
        password: keyed(password?)?,
    })
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
            format!("the password of `{key}` is sent in clear text"),
        )
        .at(span, "whoever can read the connection gets it")
        .help("use an https:// address"),
    );
}
