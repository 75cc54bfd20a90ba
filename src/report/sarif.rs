//! What every SARIF 2.1.0 document is made of: one run with rules and results.
//!
//! Columns are counted in characters, which SARIF has to be told. Paths are relative to the folder
//! where the program was started, which is the root of the sources as far as code scanning is concerned.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::{from_root, json};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The document, with a final newline.
pub(super) fn document(rules: &[Value], results: &[Value]) -> String {
    json::document(&json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "kmirror",
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                },
            },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    }))
}

/// In messages, braces stand for arguments and `[…](…)` is a link, unless they are escaped.
pub(super) fn message(text: &str) -> Value {
    let text = text
        .replace('{', "{{")
        .replace('}', "}}")
        .replace("](", "\\](");
    json!({ "text": text })
}

pub(super) fn artifact(path: &Path) -> Value {
    let mut uri = String::new();
    for byte in from_root(path).replace('\\', "/").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            _ => write!(uri, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
    }
    if path.is_absolute() {
        json!({ "uri": format!("file://{uri}") })
    } else {
        json!({ "uri": uri, "uriBaseId": "%SRCROOT%" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shows_what_the_file_says() {
        let shown = |text| message(text)["text"].clone();
        assert_eq!(shown("`${topic}` [a](b)"), "`${{topic}}` [a\\](b)");
        assert_eq!(shown("[clusters.a]"), "[clusters.a]");
    }

    #[test]
    fn paths_are_uris() {
        let uri = |path| artifact(Path::new(path))["uri"].clone();
        assert_eq!(uri("./a b/ä.toml"), "a%20b/%C3%A4.toml");
        assert_eq!(uri("/srv/a:b.toml"), "file:///srv/a%3Ab.toml");
        assert_eq!(uri("<stdin>"), "%3Cstdin%3E");
    }
}
