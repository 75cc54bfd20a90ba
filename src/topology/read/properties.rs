//! Properties files that a topology names: each is read once, and every value in it is hidden but
//! those of properties that are known to be harmless.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::reader::{Node, Reader};
use super::references;
use crate::client::interpret::is_citable;
use crate::client::keys;
use crate::client::properties::{self, Encoding, Properties};
use crate::topology::codes::Code;
use crate::topology::diagnostic::{Diagnostic, Places, SourceFile};
use crate::topology::mask::{Mask, secret_in_value, user_in_address};
use crate::topology::model::{FileId, Span};

/// A larger file holds no client properties.
const LARGEST: u64 = 1 << 20;

/// A properties file.
#[derive(Debug)]
pub(super) struct PropertiesFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) mask: Mask,
    pub(super) properties: Properties,
}

impl PropertiesFile {
    pub(super) fn as_source(&self) -> SourceFile {
        SourceFile::new(&self.path, &self.text, &self.mask)
    }

    /// Where relative paths in it start.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// Reads the file that a key names, unless it has been read already. Gives its index among the
/// reader's other files.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<usize> {
    let (path, span) = references::path(reader, "properties_file", node)?;
    if let Some(index) = reader.others.iter().position(|other| other.path == path) {
        return Some(index);
    }
    let file = match reader.surroundings.file(&path, LARGEST) {
        Ok(file) => file,
        Err(_) if !reader.surroundings.are_known() => return None,
        Err(error) => {
            references::report_unreadable(reader, &path, span, &error);
            return None;
        }
    };
    let decoded = properties::decode(file.bytes);
    let text = decoded.text;
    let properties = properties::parse(&text);
    let mask = mask(&text, &properties);
    let index = reader.others.len();
    let id = FileId(u32::try_from(index + 1).unwrap_or(u32::MAX));
    check(
        reader,
        &Places::new(id, &text),
        &properties,
        decoded.encoding,
    );
    let holds_secrets = properties
        .properties
        .iter()
        .any(|property| keys::find(property.key.as_str()).is_some_and(keys::Key::is_secret));
    if file.readable_by_others && holds_secrets {
        references::warn_readable(reader, &path, span);
    }
    reader.others.push(PropertiesFile {
        path,
        text,
        mask,
        properties,
    });
    Some(index)
}

fn mask(text: &str, properties: &Properties) -> Mask {
    let mut mask = Mask::default();
    for property in &properties.properties {
        let key = property.key.as_str();
        // What stands before the host of an address may be a password.
        let user = property.value.as_str().contains('@');
        if !keys::is_harmless(key) || (user && key.ends_with(".servers")) {
            mask.hide(property.value_lines.clone());
            if !is_citable(key) {
                mask.hide(property.key.whole());
            }
            continue;
        }
        let Range { start, end } = property.value_lines;
        let value = &text[start..end];
        if let Some(at) = secret_in_value(value, &['=', ':', ' ', '\t', '\u{c}']) {
            mask.hide(start + at..end);
        }
        if keys::find(key).is_some_and(|key| key.value == keys::Value::Url) {
            let hidden = user_in_address(value);
            mask.hide(start + hidden.start..start + hidden.end);
        }
    }
    for comment in &properties.comments {
        mask.hide_comment(text, comment.clone());
    }
    mask.hide_everywhere(text, false);
    mask
}

/// What makes the file mean something else than its author may think.
fn check(
    reader: &mut Reader<'_>,
    places: &Places<'_>,
    properties: &Properties,
    encoding: Encoding,
) {
    for escape in &properties.bad_escapes {
        reader.report(
            Diagnostic::error(Code::PropertiesSyntax, "this escape is incomplete")
                .at(
                    places.span(escape.clone()),
                    "`\\u` and four hexadecimal digits are needed",
                )
                .help("write \\\\ for a backslash; Java refuses the file as it is"),
        );
    }
    warn_encoding(reader, places, properties, encoding);
    let mut seen: std::collections::HashMap<&str, Span> = std::collections::HashMap::new();
    for property in &properties.properties {
        let span = places.span(property.key.whole());
        let key = property.key.as_str();
        let Some(first) = seen.insert(key, span) else {
            continue;
        };
        let message = if is_citable(key) {
            format!("`{key}` is there twice")
        } else {
            "a property is there twice".to_owned()
        };
        reader.report(
            Diagnostic::warning(Code::DuplicateProperty, message)
                .at(span, "this one counts")
                .at(first, "this one does not")
                .help("keep one of them"),
        );
    }
}

/// Java takes every byte of such a file for a character of ISO-8859-1.
fn warn_encoding(
    reader: &mut Reader<'_>,
    places: &Places<'_>,
    properties: &Properties,
    encoding: Encoding,
) {
    let (label, help) = match encoding {
        Encoding::Ascii => return,
        Encoding::Utf8 => (
            "Java takes it for other characters",
            "kmirror reads the file as UTF-8, Java as ISO-8859-1: write \\uXXXX for what is not ASCII",
        ),
        Encoding::Latin1 => (
            "this is not UTF-8",
            "the file is read as ISO-8859-1, as Java does: write \\uXXXX for what is not ASCII",
        ),
    };
    // In a comment it makes no difference.
    let foreign = properties.properties.iter().find_map(|property| {
        let of = |written: &crate::client::written::Written| {
            let text = written.as_str();
            let (start, char) = text.char_indices().find(|(_, char)| !char.is_ascii())?;
            let source = written.source(start..start + char.len_utf8());
            // An escape is ASCII.
            (source.len() == char.len_utf8()).then_some(source)
        };
        of(&property.key).or_else(|| of(&property.value))
    });
    if let Some(range) = foreign {
        reader.report(
            Diagnostic::warning(Code::PropertiesEncoding, "a value is not ASCII")
                .at(places.span(range), label)
                .help(help),
        );
    }
}
