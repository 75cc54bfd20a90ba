//! Properties files that a topology names: each is read once, and every value in it is hidden but
//! those of properties that are known to be harmless.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::reader::{Node, Reader};
use super::references;
use crate::client::interpret::{is_citable, nearest_key};
use crate::client::keys;
use crate::client::properties::{self, Encoding, Properties, Property};
use crate::client::sensitive::looks_secret;
use crate::client::written::Written;
use crate::topology::codes::Code;
use crate::topology::diagnostic::{Diagnostic, HiddenWords, Places, SourceFile};
use crate::topology::mask::{Mask, hidden_in_address, secret_in_value};
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

    /// Blanks out what diagnostics about hidden places in this file cite of it.
    pub(super) fn conceal(&self, id: FileId, source: &SourceFile, found: &mut [Diagnostic]) {
        let meant = self
            .properties
            .properties
            .iter()
            .flat_map(|property| [&property.key, &property.value])
            .filter(|part| self.mask.touches(&part.whole()))
            .map(Written::as_str);
        let hidden = HiddenWords::new(&self.text, source.text(), meant);
        for diagnostic in found {
            if diagnostic.touches(id, &self.mask) {
                diagnostic.conceal(&hidden);
            }
        }
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
    let mut comments = properties.comments.iter().peekable();
    // Above is a secret, which may go on here: a line that lacks its backslash is a key to Java.
    let mut goes_on = false;
    for property in &properties.properties {
        let key = property.key.whole();
        while let Some(comment) = comments.next_if(|comment| comment.start < key.start) {
            hide_comment(&mut mask, text, comment, &mut goes_on);
        }
        let name = property.key.as_str();
        let Range { start, end } = property.value_lines;
        if keys::is_harmless(name) {
            goes_on = hide_in_value(&mut mask, property, text);
            continue;
        }
        mask.hide(start..end);
        let is_stray =
            goes_on && keys::find(name).is_none() && (start == end || nearest_key(name).is_none());
        if is_stray || !is_citable(name) {
            mask.hide(key);
        } else if keys::find(name).is_none() {
            mask.hide(hidden_in_key(&property.key));
        }
        goes_on = is_stray || looks_secret(name);
    }
    for comment in comments {
        hide_comment(&mut mask, text, comment, &mut goes_on);
    }
    mask.hide_everywhere(text, false);
    mask
}

/// What of a key that does not exist may be a secret: a line that goes on by mistake, or a
/// separator that is missing, makes the value a part of the key.
fn hidden_in_key(key: &Written) -> Range<usize> {
    let (name, whole) = (key.as_str(), key.whole());
    // It spans lines, or has escapes.
    if whole.len() > name.len() {
        return whole;
    }
    // One or two letters more are a mistake in typing.
    const SHORTEST: usize = 3;
    let value = keys::all()
        .filter(|known| known.is_secret())
        .filter_map(|known| name.find(known.name).map(|at| at + known.name.len()))
        .max()
        .filter(|at| looks_secret(name) && name.len() - at >= SHORTEST);
    key.source(value.unwrap_or(name.len())..name.len())
}

/// Hides what of a comment may be a secret: all of it where one may go on.
fn hide_comment(mask: &mut Mask, text: &str, comment: &Range<usize>, goes_on: &mut bool) {
    if *goes_on {
        mask.hide(comment.clone());
    } else {
        *goes_on = mask.hide_comment(text, comment.clone());
    }
}

/// Hides what of a harmless property's value may be a secret. Returns whether it may go on below.
fn hide_in_value(mask: &mut Mask, property: &Property, text: &str) -> bool {
    let key = property.key.as_str();
    let Range { start, end } = property.value_lines;
    let value = &text[start..end];
    // What stands before the host of an address may be a password.
    if key.ends_with(".servers") && property.value.as_str().contains('@') {
        mask.hide(start..end);
        return true;
    }
    let secret = secret_in_value(value, &['=', ':', ' ', '\t', '\u{c}']);
    let mut goes_on = secret.is_some();
    if let Some(at) = secret {
        mask.hide(start + at..end);
    }
    if keys::find(key).is_some_and(|key| key.value == keys::Value::Url) {
        goes_on = value.contains("://");
        let hidden = hidden_in_address(value);
        mask.hide(start + hidden.start..start + hidden.end);
    }
    goes_on
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
        let of = |written: &Written| {
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
