//! Bootstrap servers: `host:port`, as one string with commas or as an array of strings.

use std::ops::Range;

use super::reader::Reader;
use crate::topology::codes::Code;
use crate::topology::diagnostic::Diagnostic;
use crate::topology::model::{FileId, Span, Spanned};

/// What is wrong with an address and how it should look.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) what: String,
    pub(super) help: String,
}

/// The parts of a comma-separated list with their places in it, blanks around them left out.
pub(super) fn split(list: &str) -> Vec<(Range<usize>, &str)> {
    let mut parts = Vec::new();
    let mut at = 0;
    for part in list.split(',') {
        let trimmed = part.trim();
        let first = at + (part.len() - part.trim_start().len());
        parts.push((first..first + trimmed.len(), trimmed));
        at += part.len() + 1;
    }
    parts
}

/// Checks the form of one address. Nothing is looked up.
pub(super) fn check(address: &str) -> Result<(), Problem> {
    if address.contains('@') {
        return problem(
            "an address has no user in it",
            "write HOST:PORT; set sasl.username and sasl.password in the cluster's client table"
                .into(),
        );
    }
    if address.is_empty() {
        return problem(
            "this is empty",
            "write HOST:PORT, such as broker-1:9092".into(),
        );
    }
    if let Some((scheme, rest)) = address.split_once("://") {
        return problem(
            &format!("`{scheme}://` does not belong here"),
            format!("write {}", rest.trim_end_matches('/')),
        );
    }
    if address.contains(char::is_whitespace) {
        return problem(
            "there is a blank in it",
            "separate addresses with commas, or write an array of strings".into(),
        );
    }
    if address.contains('/') {
        return problem("a path does not belong here", "write HOST:PORT".into());
    }
    let (host, port) = host_and_port(address)?;
    if host.is_empty() {
        return problem("the host is missing", format!("write HOST{address}"));
    }
    let legal = |char: char| char.is_alphanumeric() || matches!(char, '.' | '-' | '_' | ':');
    if let Some(illegal) = host.chars().find(|char| !legal(*char)) {
        return problem(
            &format!("`{}` is in no host name", illegal.escape_debug()),
            "write HOST:PORT".into(),
        );
    }
    match port {
        None | Some("") => problem(
            "the port is missing",
            format!(
                "write {}:9092, or whatever port the broker listens on",
                address.trim_end_matches(':')
            ),
        ),
        Some(port) if port.chars().all(|char| char.is_ascii_digit()) => match port.parse::<u16>() {
            Ok(1..) => Ok(()),
            _ => problem(
                &format!("there is no port {port}"),
                "ports go from 1 to 65535".into(),
            ),
        },
        Some(port) => problem(
            &format!("`{port}` is no port number"),
            "ports go from 1 to 65535".into(),
        ),
    }
}

fn host_and_port(address: &str) -> Result<(&str, Option<&str>), Problem> {
    let Some(rest) = address.strip_prefix('[') else {
        return match address.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => problem(
                "an IPv6 address needs brackets",
                format!("write [ADDRESS]:PORT, such as [{host}]:9092"),
            ),
            Some((host, port)) => Ok((host, Some(port))),
            None => Ok((address, None)),
        };
    };
    match rest.split_once(']') {
        Some((host, rest)) if host.parse::<std::net::Ipv6Addr>().is_ok() => {
            Ok((host, rest.strip_prefix(':')))
        }
        _ => problem(
            "the brackets hold no IPv6 address",
            "write [ADDRESS]:PORT, such as [::1]:9092".into(),
        ),
    }
}

fn problem<T>(what: &str, help: String) -> Result<T, Problem> {
    Err(Problem {
        what: what.to_owned(),
        help,
    })
}

/// Adds the address to the list, or says what is wrong with it.
pub(super) fn read(
    reader: &mut Reader<'_>,
    server: &str,
    span: Span,
    servers: &mut Vec<Spanned<String>>,
) {
    match check(server) {
        Ok(()) => {
            if is_wildcard(server) {
                warn_wildcard(reader, server, span);
            }
            servers.push(Spanned {
                value: server.to_owned(),
                span,
            });
        }
        Err(problem) => {
            // What stands before the host may be a password.
            let host = server.rfind('@').map(|at| &server[at..]);
            if let Some(host) = host
                && span.file == FileId::TOPOLOGY
            {
                reader.mask.hide(span.start..span.end - host.len());
            }
            let shown = host.map_or(server.to_owned(), |host| format!("…{host}"));
            reader.report(
                Diagnostic::error(
                    Code::BadAddress,
                    format!("`{shown}` is no bootstrap server"),
                )
                .at(span, problem.what)
                .help(problem.help),
            );
        }
    }
}

fn warn_wildcard(reader: &mut Reader<'_>, server: &str, span: Span) {
    reader.report(
        Diagnostic::warning(
            Code::WildcardAddress,
            format!("`{server}` is an address to listen on"),
        )
        .at(span, "clients need the broker's own address")
        .help("write the host that the broker runs on, or localhost"),
    );
}

/// Whether it is an address to listen on, which clients cannot mean.
fn is_wildcard(address: &str) -> bool {
    address.starts_with("0.0.0.0:") || address.starts_with("[::]:")
}

/// One spelling for addresses that are the same.
pub(in crate::topology) fn canonical(address: &str) -> String {
    let lower = address.to_lowercase();
    match lower.rsplit_once(':') {
        Some(("localhost" | "[::1]", port)) => format!("127.0.0.1:{port}"),
        _ => lower,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_an_address_is_checked() {
        for address in [
            "a:1",
            "broker-1.eu:9092",
            "10.0.0.1:65535",
            "[::1]:9092",
            "b_1:9",
        ] {
            assert_eq!(check(address), Ok(()), "{address}");
        }
        for (address, what) in [
            ("", "this is empty"),
            ("a", "the port is missing"),
            ("a:", "the port is missing"),
            (":9092", "the host is missing"),
            ("a:0", "there is no port 0"),
            ("a:65536", "there is no port 65536"),
            ("a:99999999999", "there is no port 99999999999"),
            ("a:90a2", "`90a2` is no port number"),
            ("a:+1", "`+1` is no port number"),
            ("kafka://a:9092", "`kafka://` does not belong here"),
            ("PLAINTEXT://a:9092/", "`PLAINTEXT://` does not belong here"),
            ("a:1 b:2", "there is a blank in it"),
            ("a:9092/x", "a path does not belong here"),
            ("::1:9092", "an IPv6 address needs brackets"),
            ("[x]:9092", "the brackets hold no IPv6 address"),
            ("[::1", "the brackets hold no IPv6 address"),
            ("[::1]9092", "the port is missing"),
            ("a$b:1", "`$` is in no host name"),
        ] {
            assert_eq!(check(address).expect_err(address).what, what);
        }
    }

    #[test]
    fn a_list_is_cut_with_places() {
        assert_eq!(split("a:1, b:2"), [(0..3, "a:1"), (5..8, "b:2")]);
        assert_eq!(split("a:1,"), [(0..3, "a:1"), (4..4, "")]);
        assert_eq!(canonical("LOCALHOST:9092"), canonical("127.0.0.1:9092"));
    }
}
